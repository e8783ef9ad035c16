"""Streaming item-kNN: what stood in the same histories as the user's last items.

Score of item j: the sum over the last L items q of the user of C(q, j) / sqrt(clicks(q) + 1), divided by
(clicks(j) + shrink) ** power, where C counts how often the two stood within 50 places of each other in a
history (Deshpande and Karypis 2004, kept up to date click by click).
"""

from collections.abc import Sequence
from itertools import product

import numpy as np

from learner.evaluation.baselines.memory import Doubles, Memory
from learner.evaluation.baselines.popularity import HALF_LIVES_MS, Popularity, tune_popularity
from learner.evaluation.baselines.scoring import Sums, pair_ranking, try_settings
from learner.evaluation.baselines.tuning import Budget, once, rehearse
from learner.evaluation.system import Ask, Event, FirstPart, Ints, Ranking

LASTS = (1, 3, 5, 10, 20, 50)
# No normalisation, then from a mild one to a full one; shrink keeps rare items from rising too far.
NORMALISERS = ((0.0, 0.0), *product((1.0, 5.0, 20.0), (0.25, 0.5, 0.75, 1.0)))


class Factors:
    """1 / (clicks + shrink) ** power for every item and normaliser: (V, Z), kept click by click."""

    def __init__(self, items: int, normalisers: Sequence[tuple[float, float]] = NORMALISERS) -> None:
        self._shrink, self._power = np.array(normalisers).T
        none = np.maximum(self._shrink, 1e-9) ** -self._power
        self.values: Doubles = np.repeat(none[None], items, axis=0)

    def update(self, item: int, clicks: float) -> None:
        """An item's clicks have changed."""
        self.values[item] = (clicks + self._shrink) ** -self._power


def tune_item_knn(first: FirstPart) -> Budget:
    """Finds `last` and `normaliser`, by one pass that tries all of both."""
    return once(first, "item_knn", lambda: _search(first))


def _search(first: FirstPart) -> Budget:
    popular = HALF_LIVES_MS[tune_popularity(first).found["half_life"]]
    gains = np.zeros((len(LASTS), 1, len(NORMALISERS)))
    memory = Memory(first, [popular], together=True)
    factors = Factors(len(first.item_ids))
    sums = Sums(len(first.item_ids), 1)

    def answer(event: Event) -> None:
        recent, stamp = memory.recall(event.user)
        _, rows, blocks, items, weights, _ = memory.together.arrays
        try_settings(
            rows, blocks, items, weights, np.zeros(1, np.int32), event.item, recent,
            (memory.clicks[recent] + 1.0) ** -0.5, np.array(LASTS, np.int32), factors.values,
            sums.sums, sums.seen, sums.touched, memory.mark, stamp, memory.known,
            memory.popularity[0], gains,
        )  # fmt: skip

    events = rehearse(first, memory, answer, lambda e: factors.update(e.item, memory.clicks[e.item]))
    last, _, normaliser = np.unravel_index(int(np.argmax(gains)), gains.shape)
    shrink, power = NORMALISERS[normaliser]
    return Budget(
        settings=gains.size,
        events=events,
        ndcg=float(gains.max() / max(events, 1)),
        chosen={"last": LASTS[last], "shrink": shrink, "power": power},
        found={"last": LASTS[last], "normaliser": (shrink, power)},
    )


class ItemKnn(Popularity):
    """Item-kNN over co-occurrence; how many last items and the normaliser are tuned."""

    name = "item_knn"

    def tune(self, first: FirstPart) -> None:
        """Tries every number of last items with every normaliser in one pass."""
        self.budget.add(tune_item_knn(first))
        self.last, self.normaliser = self.budget.found["last"], self.budget.found["normaliser"]

    def remember(self, first: FirstPart) -> Memory:
        """Popularity and co-occurrence."""
        self.factors = Factors(len(first.item_ids), [self.normaliser])
        return Memory(first, [HALF_LIVES_MS[self.half_life]], together=True)

    def learn(self, event: Event, listed: bool) -> Ints | None:
        """Folds one event; the item's normaliser changes with its clicks."""
        self.memory.learn(event)
        self.factors.update(event.item, self.memory.clicks[event.item])
        return self.listed(event) if listed else None

    def rank_known(self, ask: Ask, recent: Ints, stamp: int) -> Ranking:
        """Sums the co-occurrence rows of the last items."""
        del ask
        memory, last = self.memory, recent[: self.last]
        return pair_ranking(
            memory.together, 0, last, (memory.clicks[last] + 1.0) ** -0.5, self.sums, memory.mark, stamp,
            memory.known, self.factors.values[:, 0], self.tie,
        )  # fmt: skip
