"""Which items leave the lists by rule: nobody has announced them, and nobody has clicked them for long.

Owns the rule. Time is event time, told by the newest click of all: while nobody clicks on anything, nothing
ages. What the catalogue's owner has announced or withdrawn stays as the owner says. Signals tell every worker
the same, so all of them agree. Knows no index.
"""

import numpy as np
from numpy.typing import NDArray

from learner.data.catalogue import Catalogue
from learner.data.times import DAY_MS
from learner.signals.state import Signals


class Expiry:
    """`idle_days`: how long an item lives without a click."""

    def __init__(self, idle_days: float, catalogue: Catalogue, signals: Signals) -> None:
        self._idle_ms = idle_days * DAY_MS
        self._catalogue, self._signals = catalogue, signals
        self._seen_ms = np.zeros(0)  # event time at which an item was first looked at here

    def due(self) -> NDArray[np.int64]:
        """Items (n,) to be taken out now.

        One that nobody has clicked yet lives from when it was first seen here. (A release's own data may be
        much older than the clicks that it begins with, and all its items must not leave with the first.)
        """
        catalogue, signals = self._catalogue, self._signals
        signals.follow()
        size, now_ms = catalogue.size, signals.now_ms
        if not now_ms:
            return np.zeros(0, np.int64)
        joined = np.full(size - len(self._seen_ms), float(now_ms))
        self._seen_ms = np.concatenate([self._seen_ms, joined])
        alive_ms = np.where(signals.count[:size] > 0, signals.last_ms[:size], self._seen_ms)
        idle = alive_ms < now_ms - self._idle_ms
        return np.flatnonzero(idle & catalogue.available[:size] & ~catalogue.spoken[:size])

    def is_back(self, item: int) -> bool:
        """Whether an item that has left was clicked again."""
        catalogue, signals = self._catalogue, self._signals
        return bool(catalogue.expired[item]) and signals.last_ms[item] >= signals.now_ms - self._idle_ms
