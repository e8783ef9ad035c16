"""Streaming item-kNN: what stood in the same histories as the user's last items.

Score of item j: the sum over the last L items q of the user of C(q, j) / sqrt(clicks(q) + 1), divided by
(clicks(j) + shrink) ** power, where C counts how often the two stood within 50 places of each other in a
history (Deshpande and Karypis 2004, kept up to date click by click).
"""

import numpy as np

from learner.evaluation.baselines.memory import Doubles, Memory
from learner.evaluation.baselines.pair_model import NORMALISERS, PairModel, try_all
from learner.evaluation.baselines.pairs import PairTable
from learner.evaluation.baselines.popularity import HALF_LIVES_MS, tune_popularity
from learner.evaluation.baselines.tuning import Budget, once
from learner.evaluation.system import FirstPart, Ints

LASTS = (1, 3, 5, 10, 20, 50)


class ItemKnn(PairModel):
    """Item-kNN over co-occurrence; how many last items and the normaliser are tuned."""

    name = "item_knn"

    def tune(self, first: FirstPart) -> None:
        """Tries every number of last items with every normaliser in one pass."""
        self.budget.add(tune_item_knn(first))
        self.last, self.normaliser = self.budget.found["last"], self.budget.found["normaliser"]

    def memory_of(self, first: FirstPart) -> Memory:
        """Popularity and co-occurrence."""
        return Memory(first, [HALF_LIVES_MS[self.half_life]], together=True)

    @staticmethod
    def table(memory: Memory) -> PairTable:
        """What stands together."""
        return memory.together

    @staticmethod
    def scale(memory: Memory, recent: Ints) -> Doubles:
        """An item that everybody has says little of any other."""
        return np.asarray((memory.clicks[recent] + 1.0) ** -0.5)


def tune_item_knn(first: FirstPart) -> Budget:
    """Finds `last` and `normaliser`, by one pass that tries all of both."""
    return once(first, "item_knn", lambda: _search(first))


def _search(first: FirstPart) -> Budget:
    popular = HALF_LIVES_MS[tune_popularity(first).found["half_life"]]
    gains, events = try_all(ItemKnn, first, Memory(first, [popular], together=True), LASTS, 1)
    last, _, normaliser = np.unravel_index(int(np.argmax(gains)), gains.shape)
    shrink, power = NORMALISERS[normaliser]
    return Budget(
        settings=gains.size,
        events=events,
        ndcg=float(gains.max() / max(events, 1)),
        chosen={"last": LASTS[last], "shrink": shrink, "power": power},
        found={"last": LASTS[last], "normaliser": (shrink, power)},
    )
