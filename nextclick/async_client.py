"""`AsyncClient`: the same as `Client` for asyncio; each method is awaited, streams are read with `async for`.

Owns the connections and the pauses.
"""

import asyncio
import functools
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, TypeVar

import httpx

from nextclick import operating, reading, sending
from nextclick.async_buffer import AsyncClicks
from nextclick.events import SILENT_SECONDS, Following
from nextclick.exchange import Call, Line, Lost, Patience, Reply, Talk
from nextclick.forking import tell
from nextclick.pending import Bounds
from nextclick.records import Item
from nextclick.seen import Seen
from nextclick.tokens import TokenOf, giving
from nextclick.wire import checked, headers_of, lost, params_of, request_of

P = ParamSpec("P")
T = TypeVar("T")
A = TypeVar("A")


def _method(build: Callable[P, Call[T]]) -> "Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, T]]":
    """A method that makes the call and awaits its answer."""

    @functools.wraps(build)
    async def method(self: "AsyncClient", /, *given: P.args, **named: P.kwargs) -> T:
        return await self._run(build(*given, **named).talk(self._line))

    return method


def _stream(
    build: Callable[P, Following[A]],
) -> "Callable[Concatenate[AsyncClient, P], AsyncIterator[A]]":
    """A method that opens the stream and reads it, as long as one asks for the next."""

    @functools.wraps(build)
    def method(self: "AsyncClient", /, *given: P.args, **named: P.kwargs) -> AsyncIterator[A]:
        return self._follow(build(*given, **named))

    return method


class AsyncClient:
    """A line to `nextclick api`, for one event loop; arguments as `Client`'s."""

    def __init__(
        self, url: str = "http://127.0.0.1:8080", *, key: str | None = None,
        user_token: str | TokenOf | None = None, timeout_s: float = 10.0, patience: Patience | None = None,
        buffer: Bounds | None = None, http: httpx.AsyncClient | None = None,
    ) -> None:  # fmt: skip
        self._url, self._headers, self._timeout_s = checked(url), headers_of(key), timeout_s
        self._given, self._own = http, None if http else httpx.AsyncClient()
        self._line = Line(patience or Patience(), Seen(), giving(user_token))
        self.clicks = AsyncClicks(self.click_many, buffer or Bounds())
        tell(self)

    click = _method(sending.click)
    click_many = _method(sending.click_many)
    recommendations = _method(reading.recommendations)
    recommend = _method(reading.recommend)
    batch = _method(reading.batch)
    similar = _method(reading.similar)
    rank = _method(reading.rank)
    search = _method(reading.search)
    popular = _method(reading.popular)
    user = _method(reading.user)
    items = _method(operating.items)
    item = _method(operating.item)
    put_item = _method(operating.put_item)
    patch_item = _method(operating.patch_item)
    delete_item = _method(operating.delete_item)
    put_items = _method(operating.put_items)
    forget_user = _method(operating.forget_user)
    merge_users = _method(operating.merge_users)
    scenarios = _method(operating.scenarios)
    scenario = _method(operating.scenario)
    put_scenario = _method(operating.put_scenario)
    try_scenario = _method(operating.try_scenario)
    delete_scenario = _method(operating.delete_scenario)
    releases = _method(operating.releases)
    release = _method(operating.release)
    promote = _method(operating.promote)
    rollback = _method(operating.rollback)
    pin = _method(operating.pin)
    unpin = _method(operating.unpin)
    dead_letters = _method(operating.dead_letters)
    retry_dead_letters = _method(operating.retry_dead_letters)
    ready = _method(operating.ready)
    status = _method(operating.status)
    stream = _stream(reading.stream)
    status_stream = _stream(operating.status_stream)

    async def all_items(self, q: str = "", *, limit: int = 500) -> AsyncIterator[Item]:
        """The whole catalogue, read a page at a time as it is asked for."""
        cursor: str | None = None
        while True:
            page = await self.items(q, cursor=cursor, limit=limit)
            for each in page.items:
                yield each
            if (cursor := page.next) is None:
                return

    async def close(self, timeout_s: float = 10.0) -> None:
        """Sends what waits in `clicks`, for so long at most. Raises ClicksNotSent with the rest."""
        try:
            await self.clicks.close(timeout_s)
        finally:
            if self._own is not None:
                await self._own.aclose()

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def _http(self) -> httpx.AsyncClient:
        if self._given is not None:
            return self._given
        if self._own is None:  # in a forked process
            self._own = httpx.AsyncClient()
        return self._own

    def _forked(self) -> None:
        self._own = None  # what comes on those connections is the parent's
        self._line = self._line.forked()
        self.clicks.forked()

    async def _run(self, talk: Talk[T]) -> T:
        reply: Reply | Lost | None = None
        while True:
            try:
                step = talk.send(reply)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            if isinstance(step, Call):
                reply = await self._reply(step)
            else:
                await asyncio.sleep(step)
                reply = None

    async def _reply(self, call: Call[Any]) -> Reply | Lost:
        try:
            got = await self._http.request(**request_of(call, self._url, self._headers, self._timeout_s))
        except httpx.RequestError as error:
            return lost(error)
        return Reply(got.status_code, got.headers, got.content)

    async def _follow(self, following: Following[A]) -> AsyncIterator[A]:
        named = self._headers | self._line.headers_of(following.user_id)
        timeout = httpx.Timeout(self._timeout_s, read=SILENT_SECONDS)
        while True:
            error: Exception | None = None
            try:
                async with self._http.stream(
                    "GET", self._url + following.path, params=params_of(following.query), timeout=timeout,
                    headers=named | following.headers,
                ) as got:  # fmt: skip
                    if got.status_code == 200:
                        following.opened()
                        async for some in got.aiter_bytes():
                            for event in following.feed(some):
                                yield event
                        wait = following.lost(None, time.monotonic())
                    else:
                        body = await got.aread()
                        wait = following.refused(got.status_code, got.headers, body, time.monotonic())
            except httpx.RequestError as broken:
                error = broken
            if error is not None:
                wait = following.lost(error, time.monotonic())
            await asyncio.sleep(wait)
