"""A user's lists as they are made: server-sent events.

Owns what is sent when. A client that reads slowly makes nothing grow: of lists that came meanwhile it gets
the newest alone.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
from litestar import Request as HttpRequest
from litestar import get
from litestar.datastructures import State
from litestar.response import Stream

from streams.api.bodies import read_query
from streams.api.held import Held
from streams.api.ids import path_id
from streams.api.keys import caller_of
from streams.api.list_routes import Fields, K, ListQuery, Name, wanted_of
from streams.api.lists import ListOut, Wanted
from streams.api.openapi import LISTS, Doc
from streams.api.parts import Parts, here
from streams.api.problems import Away, Problem
from streams.wire.contract import Request
from streams.wire.steering import DEFAULT

COMMENT_SECONDS = 15.0  # shorter than what proxies take for silence
MOST_STREAMS = 20_000  # open at once, some 23 KB each; more are refused
_RETRY_MS = 2_000


class StreamQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What a stream may be asked for. `key` and `user_token`: for browsers, whose streams send no headers."""

    scenario: Name | None = None
    k: K | None = None
    fields: Fields = []
    key: str | None = None
    user_token: str | None = None


@get(
    "/v1/users/{user_id:str}/recommendations/stream",
    opt={
        "doc": Doc(
            "lists", query=StreamQuery, answer=str, media="text/event-stream", errors=(400, 422, 503),
            scopes=LISTS,
        )
    },
)  # fmt: skip
async def stream(request: HttpRequest[Any, Any, State]) -> Stream:
    """A user's newest list at once, then each as it is made: server-sent events named `recommendation`.

    Each event's id is its recommendation_id, and its data a list. Whoever comes back with a Last-Event-ID
    that is not the newest gets the newest, and nothing in between. A comment comes every 15 seconds.
    """
    parts = here(request)
    user_id, asked = path_id(request, "user_id"), read_query(request, StreamQuery)
    plain = ListQuery(scenario=asked.scenario, k=asked.k, user_token=asked.user_token)
    caller = caller_of(request)
    wanted = wanted_of(parts, caller, plain, user_id)
    caller.check_fields(asked.fields)
    if len(parts.slots) >= MOST_STREAMS:
        raise Away(f"{MOST_STREAMS:,} streams are open here; ask another process", 5)
    last = request.headers.get("last-event-id", "")
    return Stream(
        events(parts, wanted, last, list(asked.fields), lambda: parts.keys.holds(caller)),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"},
    )


async def events(
    parts: Parts, wanted: Wanted, last: str, fields: list[str], may: Callable[[], bool] = lambda: True
) -> AsyncIterator[bytes]:
    """The stream's bytes, as long as its client `may` have them. `last`: the id of the list that it has."""
    user_id, scenario = wanted.request.user_id, wanted.request.scenario or DEFAULT
    assert user_id is not None
    slot = Slot(scenario)
    parts.slots.add(slot)
    parts.lists.held.watch(user_id, slot.put)
    try:
        yield f"retry: {_RETRY_MS}\n\n".encode()
        sent = 0  # items of the last list
        newest = parts.lists.newest(user_id, scenario)
        if newest is None or (newest.id != last and _is_longer(parts, wanted)):
            first = await _computed(parts, wanted)
            if first is not None and first.recommendation_id != last:
                last, sent = first.recommendation_id, len(first.items)
                yield _event(first, parts, fields)
            elif first is None and newest is not None:
                slot.put(scenario, newest)
        elif newest.id != last:
            slot.put(scenario, newest)
        due = time.monotonic() + COMMENT_SECONDS
        while not parts.closing.is_set():
            held = await slot.take(due - time.monotonic())
            if not may():
                return  # its key is gone: whoever comes back with it hears so
            if held is not None and held.id != last:
                is_longer = _is_longer(parts, wanted)
                # What a click brought alone: streams that ask for each other's answers would never end.
                made = await _computed(parts, wanted) if is_longer and held.click >= 0 else None
                out = made or parts.lists.told(held.value, wanted, "held")
                if not is_longer or held.click >= 0 or len(out.items) >= sent:
                    last, sent = out.recommendation_id, len(out.items)
                    yield _event(out, parts, fields)
            if time.monotonic() >= due and not parts.closing.is_set():
                due = time.monotonic() + COMMENT_SECONDS
                yield b": still here\n\n"
    finally:
        parts.slots.discard(slot)
        parts.lists.held.unwatch(user_id, slot.put)


def _is_longer(parts: Parts, wanted: Wanted) -> bool:
    """Whether more items are asked for than the scenario's lists have, so that each is to be made."""
    asked = wanted.request
    usual = Request(request_id="-", user_id=asked.user_id, scenario=asked.scenario)
    return parts.lists.k_of(asked) > parts.lists.k_of(usual)


class Slot:
    """Room for one list: the newest of a scenario that its client has not got."""

    __slots__ = ("_held", "_some", "scenario")

    def __init__(self, scenario: str) -> None:
        self.scenario = scenario
        self._held: Held | None = None
        self._some = asyncio.Event()

    def put(self, scenario: str, held: Held) -> None:
        """A list was made."""
        if scenario == self.scenario:
            self._held = held
            self._some.set()

    def wake(self) -> None:
        """Ends a wait."""
        self._some.set()

    async def take(self, seconds: float) -> Held | None:
        """The list, waited for so long."""
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await self._some.wait()
        except TimeoutError:
            pass
        held, self._held = self._held, None
        self._some.clear()
        return held


async def _computed(parts: Parts, wanted: Wanted) -> ListOut | None:
    """A list where none is held that fits; None where none is made now: the next click brings one."""
    try:
        return await parts.lists.get(wanted)
    except Problem:
        return None


def _event(out: ListOut, parts: Parts, fields: list[str]) -> bytes:
    parts.add_fields(out.items, fields)
    parts.impressions.shown(out)
    name, data = out.recommendation_id.encode(), msgspec.json.encode(out)
    return b"event: recommendation\nid: %b\ndata: %b\n\n" % (name, data)


ROUTES = [stream]
