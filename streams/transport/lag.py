"""How far a worker is behind its producers: clicks whose effects are not acknowledged, and their age.

Owns what counts as behind. Where a partition's log ends is known as of its last fetch. Knows no click.
"""

import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from faust.types.tuples import TP


class Progress(NamedTuple):
    """Of one partition: all before `done` is done with, the log ends at `end`; None: not known yet.

    oldest_ms: when the record at `done` was sent, where it is in hand
    """

    done: int
    end: int | None
    oldest_ms: int | None


class Lag:
    """As of the last look. `clock` in seconds since 1970."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.clicks = 0
        self.seconds = 0.0
        self._clock = clock
        self._since: dict[TP, float] = {}  # partitions that are behind, of whose records none is in hand

    def look(self, partitions: Iterable[TP], progress: Callable[[TP], Progress]) -> None:
        """Asks for each partition that the worker has now."""
        now, clicks, oldest, since = self._clock(), 0, 0.0, {}
        for tp in partitions:
            done, end, sent_ms = progress(tp)
            behind = max(0, (end or 0) - done)
            if sent_ms is not None:
                clicks += max(1, behind)
                oldest = max(oldest, now - sent_ms / 1000)
            elif behind:  # nobody knows yet how old they are: at least as old as this is known
                clicks += behind
                since[tp] = self._since.get(tp, now)
                oldest = max(oldest, now - since[tp])
        self.clicks, self.seconds, self._since = clicks, oldest, since
