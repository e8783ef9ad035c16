"""Clicks that are sent together, for programs with threads or without any.

Owns the thread that sends them. What waits, and when it is due, is `nextclick.pending`'s business.
"""

import atexit
import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from nextclick import sending
from nextclick.errors import ClicksNotSent, NextclickError
from nextclick.pending import Bounds, Pending, joined
from nextclick.records import Click, Event, NotTaken, Receipt

log = logging.getLogger("nextclick")


class Clicks:
    """The buffer: clicks that are sent together, by a thread of its own that begins with the first one.

    They go when there are enough of them, when the first has waited long enough, and at the end. What the
    server refuses is logged, and told by `flush` and `close`. `send` is `Client.click_many`.
    """

    def __init__(self, send: Callable[[Iterable[Click]], Receipt], bounds: Bounds) -> None:
        self._send_many, self._bounds, self._closed = send, bounds, False
        self.forked()

    def forked(self) -> None:
        """Begins with nothing, as in a forked process: what waits is its parent's, and so is the thread."""
        self._pending, self._changed = Pending(self._bounds), threading.Condition()
        self._thread: threading.Thread | None = None
        self._at_once = False
        self._idle = True  # nothing is on its way

    def __len__(self) -> int:
        return len(self._pending)

    def add(self, user_id: str, item_id: str = "", event: Event | str = "click", **more: Any) -> None:
        """A click that may wait a moment; `more`: further fields of `Click`. Raises BufferFull."""
        click = Click(user_id=user_id, item_id=item_id, event=event, **more)
        with self._changed:
            if self._closed:
                raise NextclickError("the client is closed")
            if not self._changed.wait_for(lambda: not self._pending.is_full, self._pending.bounds.full_s):
                raise self._pending.full()
            if self._closed:  # while this one waited
                raise NextclickError("the client is closed")
            self._pending.add(click, time.monotonic())
            if self._thread is None:
                self._thread = threading.Thread(target=self._send, name="nextclick-clicks", daemon=True)
                self._thread.start()
                atexit.register(self._at_exit)
            self._changed.notify_all()

    def flush(self, timeout_s: float = 10.0) -> int:
        """Sends all that waits; returns how many wait on, where the time did not do.

        Raises ClicksNotSent where any was refused since the last flush.
        """
        with self._changed:
            self._at_once = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not len(self._pending) and self._idle, timeout_s)
            self._at_once = False
            told, left = self._pending.told(ending=False), len(self._pending)
        if told is not None:
            raise told
        return left

    def close(self, timeout_s: float = 10.0) -> None:
        """The end. Raises ClicksNotSent with all that was refused or not sent."""
        refused: ClicksNotSent | None = None
        try:
            self.flush(timeout_s)
        except ClicksNotSent as error:
            refused = error
        with self._changed:
            if self._closed:
                return
            self._closed = True
            self._changed.notify_all()
            told = self._pending.told(ending=True)
        atexit.unregister(self._at_exit)
        if (trouble := joined(refused, told)) is not None:
            raise trouble

    def _send(self) -> None:
        while True:
            with self._changed:
                while not self._closed:
                    wait = self._pending.due_in(time.monotonic(), at_once=self._at_once)
                    if wait is not None and wait <= 0:
                        break
                    self._changed.wait(wait)
                if self._closed:
                    return
                some, self._idle = self._pending.first(), False
            errors = self._sent(some)
            with self._changed:
                if not self._closed:
                    self._pending.settle(some, errors, time.monotonic())
                self._idle = True
                self._changed.notify_all()

    def _sent(self, some: list[Click]) -> list[NotTaken]:
        try:
            return self._send_many(some).errors
        except Exception as error:  # this thread must not end: nobody would send any more
            return sending.none_taken(error, len(some))

    def _at_exit(self) -> None:
        """The program ends without having closed the client: what waits is sent all the same."""
        try:
            self.close()
        except ClicksNotSent as error:
            log.error("at the end of the program: %s", error)
