"""Versions of what is written over HTTP: `ETag` and `If-Match`, by the offset of a thing's newest record.

Owns that a version is compared with what the topic holds now, whoever wrote it, and that writers here wait
for each other. In two processes, at the same moment, both may succeed: topics know no conditions.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from litestar import Request

from streams.api.brokers import NotAcknowledged
from streams.api.parts import Parts
from streams.api.problems import Away, Problem

_TAG = 'a record\'s offset in quotes, as ETag gave it: "1208"'
_CONDITIONS = ("if-match", "if-none-match")


@contextlib.asynccontextmanager
async def in_turn(
    parts: Parts, request: Request[Any, Any, Any], topic: str, key: str, reads: bool = False
) -> AsyncIterator[None]:
    """Keeps other writers of the same thing out. `reads`: the change builds on what is there.

    With a condition, or where it reads, all is known then that the topic holds. Raises Away.
    """
    turn: asyncio.Lock = parts.turns[hash((topic, key)) % len(parts.turns)]
    async with turn:
        if reads or any(name in request.headers for name in _CONDITIONS):
            try:
                await parts.brokers.read_up(topic)
            except NotAcknowledged as error:
                raise Away("what is there now cannot be looked at", 1) from error
        yield


def matched(request: Request[Any, Any, Any], offset: int | None) -> None:
    """Raises a Problem (412) where If-Match or If-None-Match names another version than `offset`."""
    wanted, unwanted = (request.headers.get(name) for name in _CONDITIONS)
    if wanted is not None and not _names(wanted, offset):
        now = "nothing" if offset is None else f'"{offset}"'
        raise Problem(412, f"it is another version by now: {now}; expected {_TAG}")
    if unwanted is not None and _names(unwanted, offset):
        raise Problem(412, "there is one already")


def tagged(offset: int) -> dict[str, str]:
    """The header that names a version."""
    return {"ETag": f'"{offset}"'}


def _names(tags: str, offset: int | None) -> bool:
    if offset is None:
        return False
    given = [tag.strip().removeprefix("W/").strip('"') for tag in tags.split(",")]
    return "*" in given or str(offset) in given
