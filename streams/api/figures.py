"""What an api measures: its requests by route and status, its lists, clicks and streams.

Owns the counting around each request, and where the other figures are read. What a figure means stands in
`streams.figures.table`.
"""

import socket
import time
from typing import TYPE_CHECKING, Any

from streams.figures.record import Speaker
from streams.figures.registry import Figures
from streams.figures.scraped import serve_metrics
from streams.figures.sender import say_figures

if TYPE_CHECKING:
    from streams.api.parts import Parts

_NO_ROUTE = "none"  # of a request that no route takes
_STREAM = "/stream"


class Measured:
    """The api's figures. clicks: acknowledged so far"""

    def __init__(self) -> None:
        self.figures = figures = Figures("api")
        self.clicks = 0
        self.lists = figures.counts("nextclick_api_lists_total")
        self._requests = figures.counts("nextclick_api_requests_total")
        figures.tells("nextclick_api_clicks_total", lambda: self.clicks)
        self._key = "api"

    def register(self, parts: "Parts") -> None:
        """What the parts know of themselves."""
        for name, read in {
            "ready": lambda: parts.is_ready,
            "streams": lambda: len(parts.slots),
            "held_users": lambda: len(parts.lists.held),
            "held_bytes": lambda: parts.lists.held.bytes,
        }.items():
            self.figures.tells(f"nextclick_api_{name}", read)

    def listen(self, parts: "Parts", port: int) -> None:
        """The api listens on this port: that and the host say which of several it is."""
        self._key = f"api-{socket.gethostname()}:{port}"
        serve_metrics(parts.settings, self.figures)

    async def say(self, parts: "Parts") -> None:
        """Says the figures, until cancelled; not before the topics are made, or a broker might make them."""
        await parts.brokers.prepared()
        await say_figures(parts.settings, Speaker(self.figures, self._key))

    def around(self, app: Any) -> Any:
        """The application, with each of its requests counted."""

        async def call(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            begun, statuses = time.perf_counter(), []

            async def noted(message: Any) -> None:
                if message["type"] == "http.response.start":
                    statuses.append(message["status"])
                await send(message)

            try:
                await app(scope, receive, noted)
            finally:
                self._answered(scope, statuses, time.perf_counter() - begun)

        return call

    def _answered(self, scope: Any, statuses: list[int], seconds: float) -> None:
        status = str(statuses[0]) if statuses else "none"  # its client went before there was an answer
        route = str(scope.get("path_template") or _NO_ROUTE).replace(":str}", "}")
        self._requests.add(scope["method"] if route != _NO_ROUTE else "any", route, status)
        if not route.endswith(_STREAM):
            self.figures.histogram("nextclick_api_request_seconds", route).observe(seconds)
