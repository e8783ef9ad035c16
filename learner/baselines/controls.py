"""Controls, which must score like chance: if they do better, the harness gives something away."""

from typing import Any

import numpy as np

from learner.baselines.item_knn import ItemKnn
from learner.baselines.memory import Memory
from learner.catalogue import Item
from learner.metrics import LIST
from learner.system import Ask, Event, FirstPart, Ints, Ranking


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
        _, stamp = self.memory.recall(ask.user)
        eligible = np.flatnonzero(self.memory.known & (self.memory.mark != stamp)).astype(np.int32)
        return Ranking(eligible, self.rng.random(len(eligible)))

    def learn(self, event: Event, listed: bool) -> Ints | None:
        """Remembers who consumed what."""
        self.memory.learn(event)
        if not listed:
            return None
        return self.rank(Ask(event.user, event.time_ms, event.scenario)).top(LIST, self.id_rank)

    def describe(self) -> dict[str, Any]:
        """Nothing was chosen."""
        return {}


class ShuffledHistory(ItemKnn):
    """Item-kNN that sees, for each click, another item drawn from all known ones.

    Popularity, co-occurrence and histories are then noise of the right shape. What a user has truly
    consumed is still left out, as chance must be compared over what is eligible.
    """

    name = "shuffled_history"

    def fit(self, first: FirstPart) -> None:
        """Takes item-kNN's settings, and a memory for the true events beside the false one."""
        super().fit(first)
        self.truth = Memory(first)
        self.rng = np.random.default_rng(first.seed + 1)

    def announce(self, item: int, record: Item | None, time_ms: int) -> None:
        """The item may be listed from now on."""
        super().announce(item, record, time_ms)
        self.truth.announce(item)

    def rank(self, ask: Ask) -> Ranking:
        """Item-kNN's ranking by false memories, without what was truly consumed."""
        ranking = super().rank(ask)
        _, stamp = self.truth.recall(ask.user)
        kept = self.truth.mark[ranking.items] != stamp
        ties = ranking.ties[kept] if ranking.ties is not None else None
        return Ranking(ranking.items[kept], ranking.scores[kept], ties)

    def learn(self, event: Event, listed: bool) -> Ints | None:
        """Folds the event with its item exchanged."""
        self.truth.learn(event)
        self.memory.announce(event.item)
        known = np.flatnonzero(self.truth.known)
        drawn = int(self.rng.choice(known)) if len(known) else event.item
        exchanged = Event(
            event.number, event.user, drawn, event.time_ms, event.kind, event.value, event.scenario
        )
        super().learn(exchanged, listed=False)
        return self.listed(event) if listed else None
