"""The application: its handlers, what happens to their errors, and its description.

Owns nothing of what a handler does.
"""

from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from litestar import Litestar
from litestar.config.compression import CompressionConfig
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler

from streams.api import (
    about_routes,
    click_routes,
    item_routes,
    list_routes,
    operator_routes,
    scenario_routes,
    status_routes,
    stream_routes,
    tracing,
    user_routes,
)
from streams.api.ids import SLASH
from streams.api.keys import guard
from streams.api.openapi import Doc, Route, document, page
from streams.api.parts import Parts
from streams.api.problems import problem_response

HANDLERS: list[HTTPRouteHandler] = [
    *about_routes.ROUTES,
    *click_routes.ROUTES,
    *list_routes.ROUTES,
    *stream_routes.ROUTES,
    *user_routes.ROUTES,
    *item_routes.ROUTES,
    *scenario_routes.ROUTES,
    *operator_routes.ROUTES,
    *status_routes.ROUTES,
]
_GZIP_BYTES = 1_000
_NOWHERE = "/-"


def make_app(parts: Parts) -> Litestar:
    """The application over these parts; it starts and stops them."""
    routes = list(routes_of(HANDLERS))
    state = State({"parts": parts, "description": document(routes), "docs": page(routes).encode()})
    return Litestar(
        route_handlers=list(HANDLERS),
        exception_handlers={Exception: problem_response},
        guards=[guard],
        on_startup=[parts.start],
        on_shutdown=[parts.stop],
        openapi_config=None,
        state=state,
        compression_config=CompressionConfig(
            backend="gzip", minimum_size=_GZIP_BYTES, gzip_compress_level=5, exclude=["/stream$"]
        ),
        logging_config=None,
    )


def routes_of(handlers: list[HTTPRouteHandler]) -> Iterator[Route]:
    """What is described: whatever says in `doc` what it takes."""
    for handler in handlers:
        doc = handler.opt.get("doc")
        if isinstance(doc, Doc):
            for path in sorted(handler.paths):
                text = (handler.fn.__doc__ or "").strip()
                name = handler.fn.__name__
                if len(handler.paths) > 1:
                    name += "_" + path.rpartition("/")[2]
                for method in sorted(handler.http_methods - {"OPTIONS", "HEAD"}):
                    yield Route(path.replace(":str}", "}"), method, name, text, doc)


def with_slashes(app: Any) -> Any:
    """The application, with the slashes within ids kept apart from those between them."""

    async def call(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            tracing.note(scope["headers"])
        raw = scope.get("raw_path") or b""
        if b"%2f" in raw.lower():
            path = raw.decode("latin-1").partition("?")[0]
            kept = path.replace("%2F", SLASH).replace("%2f", SLASH)
            scope = {**scope, "path": unquote(kept)}
        if "//" in scope.get("path", ""):
            scope = {**scope, "path": _NOWHERE}  # an empty id; the router would leave it out
        await app(scope, receive, send)

    return call
