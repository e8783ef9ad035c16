"""Controls, which must score like chance: if they do better, the harness gives something away."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from learner.data.catalogue import Item
from learner.data.events import INTEREST
from learner.evaluation.baselines.item_knn import ItemKnn
from learner.evaluation.baselines.memory import Memory
from learner.evaluation.baselines.popularity import HALF_LIVES_MS
from learner.evaluation.system import Ask, Event, FirstPart, Ints, Ranking
from learner.judging.metrics import LIST


class Random:
    """Ranks what is eligible at random."""

    name = "random"

    def fit(self, first: FirstPart) -> None:
        """Nothing is learned but who consumed what."""
        self.memory = Memory(first)
        self.id_rank = first.id_rank
        self.rng = np.random.default_rng(first.seed)

    def announce(self, item: int, record: Item | None, time_ms: int) -> None:
        """The item may be listed from now on."""
        del record, time_ms
        self.memory.announce(item)

    def rank(self, ask: Ask) -> Ranking:
        """A random order of what is eligible."""
        items = self.memory.recall(ask.user)[1].items()
        return Ranking(items, self.rng.random(len(items)))

    def learn(self, event: Event, listed: bool) -> Ints | None:
        """Remembers who consumed what."""
        self.memory.learn(event)
        if not listed:
            return None
        return self.rank(Ask(event.user, event.time_ms, event.scenario)).top(LIST, self.id_rank)

    def describe(self) -> dict[str, Any]:
        """Nothing was chosen."""
        return {}


class NoisyMemory(Memory):
    """Memory that sees, for each click, another item drawn from all known ones.

    What a user has truly consumed is still barred, as chance must be compared over what is eligible.
    """

    def __init__(self, first: FirstPart, half_lives_ms: Sequence[float], *, together: bool) -> None:
        super().__init__(first, half_lives_ms, together=together)
        self.rng = np.random.default_rng(first.seed + 1)

    def learn(self, event: Event) -> None:
        """Counts the event with its item exchanged."""
        self.known[event.item] = self.known[event.item] or event.kind in INTEREST
        drawn = int(self.rng.choice(np.flatnonzero(self.known))) if self.known.any() else event.item
        self.count(event, drawn)


class ShuffledHistory(ItemKnn):
    """Item-kNN with item-kNN's settings over memories that are noise of the right shape."""

    name = "shuffled_history"

    def memory_of(self, first: FirstPart) -> Memory:
        """Noisy popularity and co-occurrence."""
        return NoisyMemory(first, [HALF_LIVES_MS[self.half_life]], together=True)
