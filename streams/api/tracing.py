"""Traces over HTTP: the `traceparent` of a request goes on with the records that it leads to.

Where traces are set (`otlp_endpoint`) a request and each traced list that comes are spans of their own. Owns
their names and what they tell: routes and places, and no user, item or key. Without the setting nothing is
wrapped.
"""

import time
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from typing import Any

from streams.api.limits import Limits
from streams.figures.traceparent import HEADER, parent_among, parent_of
from streams.figures.tracer import Tracer, header_of

_RAW = HEADER.encode()
_OURS = "/v1/"
_STREAM = "/stream"
_NO_ROUTE = "none"
_READ_AGAIN_MS = 10_000  # a list this old is read again, after a start or a broken line
# Whoever reaches the door may ask for a trace, also without a key. So many, of some twelve spans each, are
# half of what a worker sends to its collector in one go, and cost it a hundredth of its time.
PARENTS_A_SECOND = 20
_current: ContextVar[bytes | None] = ContextVar("traceparent", default=None)


def note(headers: Iterable[tuple[bytes, bytes]]) -> None:
    """A request begins, with these headers; what it starts inherits its trace."""
    found = next((value for name, value in headers if name == _RAW), None)
    _current.set(None if parent_of(found) is None else found)


def record_headers() -> list[tuple[str, bytes]]:
    """The headers of a record that is sent for the present request."""
    found = _current.get()
    return [] if found is None else [(HEADER, found)]


class Traces:
    """Spans by this tracer, none where there is none. now_s: a clock that only goes on."""

    def __init__(self, tracer: Tracer | None, now_s: Callable[[], float] = time.monotonic) -> None:
        self._tracer, self._now_s = tracer, now_s
        self._asked = Limits()

    def around(self, app: Any) -> Any:
        """The application, with a span around each request that is traced; streams, which last, have none.

        Of what asks for more than `PARENTS_A_SECOND` the header goes on as it came, without a span.
        """
        tracer = self._tracer
        if tracer is None:
            return app

        async def call(scope: Any, receive: Any, send: Any) -> None:
            path = scope.get("path", "")
            if scope["type"] != "http" or not path.startswith(_OURS) or path.endswith(_STREAM):
                await app(scope, receive, send)
                return
            parent = parent_of(_current.get())
            if not tracer.keeps(parent) or (parent is not None and self._is_flood()):
                if parent is None:
                    _current.set(tracer.dropped())
                await app(scope, receive, send)
                return
            span, status = tracer.begin("request", "server", parent, time.time_ns()), 0
            _current.set(header_of(span))

            async def noted(message: Any) -> None:
                nonlocal status
                if message["type"] == "http.response.start":
                    status = message["status"]
                await send(message)

            try:
                await app(scope, receive, noted)
            finally:
                route = str(scope.get("path_template") or _NO_ROUTE).replace(":str}", "}")
                if route != _NO_ROUTE:
                    span.update_name(f"{scope['method']} {route}")
                    span.set_attributes({"http.request.method": scope["method"], "http.route": route})
                span.set_attribute("http.response.status_code", status)
                span.end()

        return call

    def _is_flood(self) -> bool:
        return bool(self._asked.wait("", PARENTS_A_SECOND, self._now_s()))

    def of_lists(self, on_record: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """What takes the records of lists, with a span for each that is traced: now it can be read."""
        tracer = self._tracer
        if tracer is None:
            return on_record

        def take(record: Any) -> None:
            begun_ns = time.time_ns()
            on_record(record)
            parent = parent_among(record.headers)
            if parent is not None and parent.sampled and begun_ns / 1e6 - record.timestamp < _READ_AGAIN_MS:
                place = {
                    "messaging.system": "kafka",
                    "messaging.destination.name": record.topic,
                    "messaging.destination.partition.id": str(record.partition),
                    "messaging.kafka.offset": record.offset,
                }
                tracer.passed("take list", "consumer", parent, begun_ns, time.time_ns(), place)

        return take

    def close(self) -> None:
        """Sends what waits, for a moment at most."""
        if self._tracer is not None:
            self._tracer.close()
