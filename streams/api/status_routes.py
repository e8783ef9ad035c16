"""What all processes say of themselves: once, or once a second."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
from litestar import Request, Response, get
from litestar.datastructures import State
from litestar.response import Stream

from streams.api.bodies import answer
from streams.api.keys import caller_of
from streams.api.openapi import Doc
from streams.api.parts import Parts, here
from streams.figures.status import Status

Asking = Request[Any, Any, State]
EVERY_SECONDS = 1.0


@get("/v1/status", opt={"doc": Doc("operators", answer=Status, errors=(503,))})
async def status(request: Asking) -> Response[bytes]:
    """What all processes say of themselves, added up.

    Counters begin anew with their processes; a process that has been silent for ten seconds is gone. Names
    and what they mean stand in docs/operating/metrics.md. `remarks` says what an operator wants to know.
    """
    parts = here(request)
    parts.needs_broker()
    return answer(parts.status.status)


@get(
    "/v1/status/stream",
    opt={"doc": Doc("operators", answer=str, media="text/event-stream", errors=(503,))},
)
async def stream(request: Asking) -> Stream:
    """The same once a second: server-sent events named `status`."""
    parts, caller = here(request), caller_of(request)
    parts.needs_broker()
    return Stream(
        events(parts, lambda: parts.keys.holds(caller)), media_type="text/event-stream",
        headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"},
    )  # fmt: skip


async def events(parts: Parts, may: Callable[[], bool] = lambda: True) -> AsyncIterator[bytes]:
    """The stream's bytes, until the server ends, or its client no longer `may` have them."""
    yield b"retry: 2000\n\n"
    while not parts.closing.is_set() and may():
        yield b"event: status\ndata: %b\n\n" % msgspec.json.encode(parts.status.status)
        try:
            async with asyncio.timeout(EVERY_SECONDS):
                await parts.closing.wait()
        except TimeoutError:
            continue


ROUTES = [status, stream]
