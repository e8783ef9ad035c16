"""How often lists hit, beside what the most popular items would have: the least that a recommender must beat.

Owns the rates and the list of popular items, which is the learner's own: by the clicks counted so far, each
halved every 14 days. Knows no topic.
"""

import time
from collections.abc import Callable, Collection, Sequence

from learner.signals.state import Signals

PLACES = 10  # of the list of popular items, as long as lists are by default
LEFT_OUT = 100  # items that a user clicked last, which no list of popular items for that user holds
_HALF_LIFE = 4  # place of 14 days among the signals' half-lives
_ANSWERS = 1000  # that a rate is about: those before count ever less
_AGAIN_SECONDS = 1.0


class Popular:
    """Which items are popular now, by the hashes of their ids; looked at anew once a second."""

    def __init__(self, signals: Signals, clock: Callable[[], float] = time.monotonic) -> None:
        self._signals, self._clock = signals, clock
        self._looked = -_AGAIN_SECONDS
        self._items: Sequence[int] = ()

    def holds(self, item: int, known: Collection[int]) -> bool:
        """Whether the list for somebody who knows these items holds that one."""
        if self._clock() - self._looked >= _AGAIN_SECONDS:
            self._looked = self._clock()
            signals = self._signals
            top = signals.top[_HALF_LIFE, : signals.top_count[_HALF_LIFE]].tolist()
            self._items = [hash(signals.catalogue.ids[number]) for number in top]
        places = PLACES
        for each in self._items:
            if each == item:
                return True
            places -= each not in known
            if not places:
                break
        return False


class HitRates:
    """Of the live release's answers, since the start and as a rate of late; None before the first."""

    def __init__(self) -> None:
        self.answers = self.hits = self.popular_hits = 0
        self.rate: float | None = None
        self.popular_rate: float | None = None

    def observe(self, hit: bool, popular: bool) -> None:
        """One answer; `popular`: whether the list of popular items held it."""
        self.answers += 1
        self.hits += hit
        self.popular_hits += popular
        weight = 1 / min(self.answers, _ANSWERS)
        self.rate = (1 - weight) * (self.rate or 0.0) + weight * hit
        self.popular_rate = (1 - weight) * (self.popular_rate or 0.0) + weight * popular
