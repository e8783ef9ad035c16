"""The demo's thread that reads clicks and lists as they pass, and feeds scoreboard and follower.

Knows neither processes nor the screen.
"""

import contextlib
import threading
from typing import Self

from streams.demo.scoreboard import Scoreboard
from streams.demo.screen import Follower
from streams.settings import Settings
from streams.transport.topic_reader import Record, follow
from streams.transport.topics import Names
from streams.wire.contract import UNREADABLE, decode_click, decode_list


class WatchError(Exception):
    """The topics could not be read on: says why."""


class Watcher:
    """Reads clicks and lists as they come, for the length of a block, in a thread of its own."""

    def __init__(self, settings: Settings, board: Scoreboard, follower: Follower) -> None:
        self.settings, self.board, self.follower = settings, board, follower
        self.ready = threading.Event()  # when nothing that comes from now on is missed
        self._stop = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self.read, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join(5)

    def check(self) -> None:
        """Raises WatchError if the reading has failed."""
        if self._failure is not None:
            raise WatchError(f"watching the topics failed: {self._failure}")

    def read(self) -> None:
        """Until the block ends."""
        names = Names(self.settings.prefix)
        try:
            for record in follow(self.settings, {names.clicks: "end", names.recommendations: "end"}):
                self.ready.set()
                if self._stop.is_set():
                    return
                if record is None:
                    continue
                with contextlib.suppress(*UNREADABLE):  # a worker looks after bad records
                    self._see(record, is_click=record.topic == names.clicks)
        except Exception as error:
            self._failure = error

    def _see(self, record: Record, *, is_click: bool) -> None:
        if is_click:
            click = decode_click(record.value, self.settings.event_names)
            self.board.see_click(click, record.timestamp)
            self.follower.see_click(click)
        else:
            recommendation = decode_list(record.value)
            self.board.see_list(recommendation, record.timestamp)
            self.follower.see_list(recommendation)
