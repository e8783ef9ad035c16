"""What the process says of itself: whether it lives, whether it is ready, and its interface."""

import time
from collections import Counter
from typing import Any, Literal

import msgspec
from litestar import Request, Response, get
from litestar.datastructures import State

from streams import __version__
from streams.api.bodies import answer
from streams.api.openapi import Doc
from streams.api.parts import here

Asking = Request[Any, Any, State]


class Health(msgspec.Struct):
    """Whether the process lives."""

    status: Literal["ok"]


class Readiness(msgspec.Struct):
    """Whether it can serve. lists: whether any came within `max_age_ms`."""

    status: Literal["ok", "away"]
    broker: Literal["ok", "away"]
    catalogue: Literal["ok", "reading"]
    lists: Literal["ok", "none"]


class Welcome(msgspec.Struct):
    """What runs here. running: how many processes of each kind speak on the topic `figures`"""

    name: str
    version: str
    prefix: str
    ready: bool
    running: dict[str, int]
    docs: str
    openapi: str


@get("/healthz", opt={"doc": Doc("about", answer=Health, errors=(), scopes=())})
async def healthz() -> Response[bytes]:
    """Whether the process lives."""
    return answer(Health("ok"))


@get("/readyz", opt={"doc": Doc("about", answer=Readiness, answers={503: Readiness}, errors=(), scopes=())})
async def readyz(request: Asking) -> Response[bytes]:
    """Whether the broker answers and the catalogue is read."""
    parts = here(request)
    newest, brokers = parts.lists.newest_ms, parts.brokers
    fresh = newest is not None and newest + parts.settings.max_age_ms > time.time() * 1000
    told = Readiness(
        "ok" if parts.is_ready else "away", "ok" if brokers.answering else "away",
        "ok" if brokers.caught_up.is_set() else "reading", "ok" if fresh else "none",
    )  # fmt: skip
    return answer(told, *((200,) if parts.is_ready else (503, {"Retry-After": "1"})))


@get("/", opt={"doc": Doc("about", answer=Welcome, errors=(), scopes=())})
async def root(request: Asking) -> Response[bytes]:
    """What runs here, and where its description is."""
    parts = here(request)
    running = dict(sorted(Counter(each.process for each in parts.status.status.processes).items()))
    if "text/html" in request.headers.get("accept", ""):
        state = "ready" if parts.is_ready else "not ready: see /readyz"
        said = ", ".join(f"{kind}: {count}" for kind, count in running.items()) or "nothing that speaks"
        page = (
            "<!doctype html><meta charset=utf-8><title>Nextclick</title><h1>Nextclick</h1>"
            f"<p>Version {__version__}, {state}. <a href=/docs>What can be asked</a></p>"
            f"<p>Running: {said}</p>"
        )
        return Response(page.encode(), media_type="text/html")
    told = Welcome(
        "nextclick", __version__, parts.settings.prefix, parts.is_ready, running, "/docs", "/openapi.json"
    )
    return answer(told)


@get("/openapi.json", opt={"open": True})
async def description(request: Asking) -> Response[bytes]:
    """The description of all this."""
    return answer(request.app.state.description)


@get("/docs", opt={"open": True})
async def docs(request: Asking) -> Response[bytes]:
    """The same for people."""
    return Response(request.app.state.docs, media_type="text/html")


ROUTES = [healthz, readyz, root, description, docs]
