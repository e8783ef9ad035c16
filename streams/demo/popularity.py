"""Popularity that fades, the list everybody could make: what the demo's lists are compared with.

Owns how fast it fades. Knows clicks as items at times, and nothing of who is told.
"""

import math
from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from learner.data.times import DAY_MS

HALF_LIVES_MS = tuple(days * DAY_MS for days in (1 / 24, 0.25, 1, 4, 14, 45, 180, 1000, math.inf))


class DecayedPopularity:
    """Clicks an item got, each halved every `half_life_ms`; the list everybody could make.

    Only the order matters, so weights grow with time instead of all counts shrinking.
    """

    def __init__(self, half_life_ms: float) -> None:
        self.half_life_ms = half_life_ms
        self.ids: list[str] = []
        self._index: dict[str, int] = {}
        self._weight = np.zeros(1024)
        self._reference_ms: int | None = None

    def learn(self, item_id: str, time_ms: int) -> None:
        """Counts one click."""
        number = self._index.get(item_id)
        if number is None:
            number = self._index[item_id] = len(self.ids)
            self.ids.append(item_id)
            if number >= len(self._weight):
                self._weight = np.concatenate([self._weight, np.zeros(len(self._weight))])
        if self._reference_ms is None:
            self._reference_ms = time_ms
        age = (time_ms - self._reference_ms) / self.half_life_ms
        if age > 500:
            self._weight *= 2.0**-age
            self._reference_ms, age = time_ms, 0.0
        self._weight[number] += 2.0**age

    def top(self, k: int, excluded: set[str]) -> list[str]:
        """The k items with the highest popularity that are not excluded."""
        if not self.ids:
            return []
        weight = self._weight[: len(self.ids)].copy()
        barred = [self._index[item] for item in excluded if item in self._index]
        weight[barred] = -1.0
        reach = min(k, len(weight))
        best: NDArray[np.int64] = np.argpartition(-weight, reach - 1)[:reach]
        ranked = sorted(best.tolist(), key=lambda n: (-weight[n], self.ids[n]))
        return [self.ids[number] for number in ranked if weight[number] >= 0]


def best_half_life(items: list[str], users: list[str], times_ms: list[int], k: int = 10) -> float:
    """The half-life whose lists hit most often on the last fifth of the given clicks, in ms."""
    start = int(len(items) * 0.8)
    step = max(1, (len(items) - start) // 2000)
    seen: dict[str, set[str]] = defaultdict(set)
    systems = [DecayedPopularity(half_life) for half_life in HALF_LIVES_MS]
    hits = np.zeros(len(systems))
    for n, (item, user, time_ms) in enumerate(zip(items, users, times_ms, strict=True)):
        if n >= start and n % step == 0 and item not in seen[user]:
            hits += [item in system.top(k, seen[user]) for system in systems]
        for system in systems:
            system.learn(item, time_ms)
        seen[user].add(item)
    return systems[int(np.argmax(hits))].half_life_ms
