"""Traces over HTTP: a request with a parent is traced as it asks, and a flood of such requests is not.

The span of a single request, through worker and list, is tests/integration/worker/test_traces.py's.
"""

import asyncio
import itertools
from typing import Any

from streams.api.tracing import PARENTS_A_SECOND, Traces, note, record_headers
from streams.figures.traceparent import HEADER, Parent, parent_of, written
from streams.figures.tracer import open_tracer
from streams.settings import Settings
from tests.worlds.collector import collecting

SCOPE = {"type": "http", "method": "POST", "path": "/v1/clicks", "path_template": "/v1/clicks"}


class Door:
    """The application within: keeps which header a record of each request would have."""

    def __init__(self, traces: Traces) -> None:
        self.sent: list[Parent | None] = []
        self._app = traces.around(self._within)

    async def _within(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 202})
        ((_, value),) = record_headers()
        self.sent.append(parent_of(value))

    def ask(self, *parents: Parent | None) -> list[Parent | None]:
        """Requests with these headers, one after the other; returns what goes on of each."""

        async def send(_: Any) -> None:
            pass

        async def run() -> None:
            for parent in parents:
                note([] if parent is None else [(HEADER.encode(), written(parent))])
                await self._app(SCOPE, None, send)

        before = len(self.sent)
        asyncio.run(run())
        return self.sent[before:]


def test_a_flood_of_requests_that_ask_for_traces_is_passed_on_without_spans() -> None:
    now_s = 100.0
    numbers = itertools.count(1)
    with collecting() as collector:
        tracer = open_tracer(Settings(otlp_endpoint=collector.url, trace_share=0.0), "api")
        assert tracer is not None
        door = Door(Traces(tracer, lambda: now_s))

        def kept(count: int) -> int:
            parents = [Parent(next(numbers), 7, True) for _ in range(count)]
            found = door.ask(*parents)
            assert [each and each.trace_id for each in found] == [each.trace_id for each in parents]
            assert all(each is not None and each.sampled for each in found)
            return sum(each != parent for each, parent in zip(found, parents, strict=True))

        at_once = kept(500)
        assert at_once == 2 * PARENTS_A_SECOND
        door.ask(*[Parent(9_999, 7, False)] * 500)  # asks for none, and takes none away
        now_s += 1.0
        later = kept(500)
        assert later == PARENTS_A_SECOND
        drawn = open_tracer(Settings(otlp_endpoint=collector.url, trace_share=1.0), "api")
        assert drawn is not None
        Door(Traces(drawn, lambda: now_s)).ask(*[None] * 100)  # nobody has asked for these
        tracer.close()
        drawn.close()
        assert len(collector.spans) == at_once + later + 100
