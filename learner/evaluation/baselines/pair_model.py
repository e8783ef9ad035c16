"""What item-kNN and sequence rules share: sums over the pairs of a user's last items, normalised by clicks.

Owns the normalisers, the ranking, and the search that tries all settings in one pass. Does not know what a
pair means.
"""

from collections.abc import Sequence
from itertools import product

import numpy as np

from learner.evaluation.baselines.memory import Doubles, Eligible, Memory
from learner.evaluation.baselines.pairs import PairTable
from learner.evaluation.baselines.popularity import Popularity
from learner.evaluation.baselines.scoring import Grid, Sums, pair_ranking, try_settings
from learner.evaluation.baselines.tuning import rehearse
from learner.evaluation.system import Ask, Event, FirstPart, Ints, Ranking

Normaliser = tuple[float, float]  # shrink and power
# No normalisation, then from a mild one to a full one; shrink keeps rare items from rising too far.
NORMALISERS: tuple[Normaliser, ...] = ((0.0, 0.0), *product((1.0, 5.0, 20.0), (0.25, 0.5, 0.75, 1.0)))


class Factors:
    """1 / (clicks + shrink) ** power for every item and normaliser: (V, Z), kept click by click."""

    def __init__(self, items: int, normalisers: Sequence[Normaliser] = NORMALISERS) -> None:
        self._shrink, self._power = np.array(normalisers).T
        none = np.maximum(self._shrink, 1e-9) ** -self._power
        self.values: Doubles = np.repeat(none[None], items, axis=0)

    def update(self, item: int, clicks: float) -> None:
        """An item's clicks have changed."""
        self.values[item] = (clicks + self._shrink) ** -self._power


class PairModel(Popularity):
    """Score of j: the sum over the last items q of scale(q) * weight(q, j), divided by j's normaliser.

    Subclasses choose `last`, `normaliser` and `column` in `tune`, and say where weights are and what each of
    the last items counts.
    """

    last: int
    normaliser: Normaliser
    column = 0

    @staticmethod
    def table(memory: Memory) -> PairTable:
        """Where the weights are."""
        raise NotImplementedError

    @staticmethod
    def scale(memory: Memory, recent: Ints) -> Doubles:
        """What each of the last items counts, (L,) newest first."""
        raise NotImplementedError

    def remember(self, first: FirstPart) -> Memory:
        """The normaliser begins anew with the memory."""
        self.factors = Factors(len(first.item_ids), [self.normaliser])
        return super().remember(first)

    def learn(self, event: Event, listed: bool) -> Ints | None:
        """Counts one event; the item's normaliser changes with its clicks."""
        self.memory.learn(event)
        self.factors.update(event.item, self.memory.clicks[event.item])
        return self.listed(event) if listed else None

    def rank_known(self, ask: Ask, recent: Ints, eligible: Eligible) -> Ranking:
        """Sums the rows of the last items."""
        del ask
        last, factor = recent[: self.last], self.factors.values[:, 0]
        pairs, scale = self.table(self.memory).pairs, self.scale(self.memory, last)
        return pair_ranking(pairs, self.column, last, scale, factor, self.sums, eligible)


def try_all(
    model: type[PairModel], first: FirstPart, memory: Memory, lasts: Sequence[int], columns: int
) -> tuple[Doubles, int]:
    """Tries all `lasts` (ascending), columns and NORMALISERS on the last fifth of the first part.

    Returns the sums of their NDCG@10 (lasts, columns, normalisers), and over how many events.
    """
    items = len(first.item_ids)
    factors, sums = Factors(items), Sums.of(items, columns)
    grid = Grid(np.array(lasts, np.int32), np.arange(columns, dtype=np.int32), factors.values)
    gains = np.zeros((len(lasts), columns, len(NORMALISERS)))

    def answer(event: Event) -> None:
        recent, eligible = memory.recall(event.user)
        recent = recent[: lasts[-1]]
        pairs, scale = model.table(memory).pairs, model.scale(memory, recent)
        try_settings(pairs, event.item, recent, scale, grid, sums, eligible, gains)

    return gains, rehearse(first, memory, answer, lambda e: factors.update(e.item, memory.clicks[e.item]))
