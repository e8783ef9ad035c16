"""Clicks that are sent together, for asyncio.

Owns the task that sends them. What waits, and when it is due, is `nextclick.pending`'s business.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from nextclick import sending
from nextclick.errors import ClicksNotSent, NextclickError
from nextclick.pending import Bounds, Pending, joined
from nextclick.records import Click, Event, NotTaken, Receipt

log = logging.getLogger("nextclick")


class AsyncClicks:
    """The buffer, as `Client.clicks`: a task sends it, which begins with the first click."""

    def __init__(self, send: Callable[[Iterable[Click]], Awaitable[Receipt]], bounds: Bounds) -> None:
        self._send_many, self._bounds, self._closed = send, bounds, False
        self.forked()

    def forked(self) -> None:
        """Begins with nothing, as in a forked process: what waits is its parent's, and so is the task."""
        self._pending, self._changed = Pending(self._bounds), asyncio.Condition()
        self._task: asyncio.Task[None] | None = None
        self._at_once = False
        self._idle = True  # nothing is on its way

    def __len__(self) -> int:
        return len(self._pending)

    def __del__(self) -> None:
        if len(self._pending):
            log.error("%d clicks were not sent: await close() of the client", len(self._pending))

    async def add(self, user_id: str, item_id: str = "", event: Event | str = "click", **more: Any) -> None:
        """A click that may wait a moment; `more`: further fields of `Click`. Raises BufferFull."""
        click = Click(user_id=user_id, item_id=item_id, event=event, **more)
        async with self._changed:
            if self._closed:
                raise NextclickError("the client is closed")
            if not await self._within(lambda: not self._pending.is_full, self._pending.bounds.full_s):
                raise self._pending.full()
            if self._closed:  # while this one waited
                raise NextclickError("the client is closed")
            self._pending.add(click, time.monotonic())
            if self._task is None:
                self._task = asyncio.create_task(self._send(), name="nextclick-clicks")
            self._changed.notify_all()

    async def flush(self, timeout_s: float = 10.0) -> int:
        """Sends all that waits; returns how many wait on, where the time did not do.

        Raises ClicksNotSent where any was refused since the last flush.
        """
        async with self._changed:
            self._at_once = True
            self._changed.notify_all()
            await self._within(lambda: not len(self._pending) and self._idle, timeout_s)
            self._at_once = False
            told, left = self._pending.told(ending=False), len(self._pending)
        if told is not None:
            raise told
        return left

    async def close(self, timeout_s: float = 10.0) -> None:
        """The end. Raises ClicksNotSent with all that was refused or not sent."""
        refused: ClicksNotSent | None = None
        try:
            await self.flush(timeout_s)
        except ClicksNotSent as error:
            refused = error
        async with self._changed:
            if self._closed:
                return
            self._closed = True
            self._changed.notify_all()
            told = self._pending.told(ending=True)
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if (trouble := joined(refused, told)) is not None:
            raise trouble

    async def _within(self, what: Callable[[], bool], seconds: float) -> bool:
        """Waits, with the lock held, until it holds, so long at most."""
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait_for(what)
        except TimeoutError:
            return what()
        return True

    async def _send(self) -> None:
        while True:
            async with self._changed:
                while True:
                    wait = self._pending.due_in(time.monotonic(), at_once=self._at_once)
                    if wait is not None and wait <= 0:
                        break
                    try:
                        async with asyncio.timeout(wait):
                            await self._changed.wait()
                    except TimeoutError:
                        pass
                some, self._idle = self._pending.first(), False
            errors = await self._sent(some)
            async with self._changed:
                if not self._closed:
                    self._pending.settle(some, errors, time.monotonic())
                self._idle = True
                self._changed.notify_all()

    async def _sent(self, some: list[Click]) -> list[NotTaken]:
        try:
            return (await self._send_many(some)).errors
        except Exception as error:  # this task must not end: nobody would send any more
            return sending.none_taken(error, len(some))
