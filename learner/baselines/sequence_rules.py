"""Streaming sequence rules: what followed the user's last items, plain or with decay.

Score of item j: the sum over the last L items q, d places back, of R(q, j) / d, divided by
(clicks(j) + shrink) ** power, where R(q, j) sums 1 / distance over the times j came after q in a history, at
most ten places later (SR of Ludewig and Jannach 2018, kept up to date click by click); with decay each of
those times counts less the longer ago it is.
"""

import numpy as np

from learner.baselines.item_knn import NORMALISERS, Factors
from learner.baselines.memory import DAY_MS, HOUR_MS, RULE_WINDOW, Memory
from learner.baselines.popularity import HALF_LIVES_MS, Popularity, half_life_in_words, tune_popularity
from learner.baselines.scoring import Sums, pair_ranking, try_settings
from learner.baselines.tuning import Budget, once, rehearse
from learner.system import Ask, Event, FirstPart, Ints, Ranking

LASTS = (1, 3, 5, 10)
RULE_HALF_LIVES_MS = (6 * HOUR_MS, *(days * DAY_MS for days in (1, 4, 14, 40, 120, 300, 1000)))
DISTANCE = np.arange(1.0, RULE_WINDOW + 1)


def tune_rules(first: FirstPart, decays: tuple[float, ...]) -> Budget:
    """Finds `last`, `normaliser` and `decays` (none, or the best one), by one pass that tries all."""
    return once(first, f"rules {decays}", lambda: _search(first, decays))


def _search(first: FirstPart, decays: tuple[float, ...]) -> Budget:
    popular = HALF_LIVES_MS[tune_popularity(first).found["half_life"]]
    # Columns hold different units, which does not matter: a ranking looks at one column only.
    columns = np.arange(1 if decays else 0, 1 + len(decays), dtype=np.int32)
    gains = np.zeros((len(LASTS), len(columns), len(NORMALISERS)))
    memory = Memory(first, [popular], rules=decays)
    factors = Factors(len(first.item_ids))
    sums = Sums(len(first.item_ids), len(columns))

    def answer(event: Event) -> None:
        recent, stamp = memory.recall(event.user)
        recent = recent[:RULE_WINDOW]
        _, rows, blocks, items, weights, _ = memory.rules.arrays
        try_settings(
            rows, blocks, items, weights, columns, event.item, recent, 1.0 / DISTANCE[: len(recent)],
            np.array(LASTS, np.int32), factors.values, sums.sums, sums.seen, sums.touched,
            memory.mark, stamp, memory.known, memory.popularity[0], gains,
        )  # fmt: skip

    events = rehearse(first, memory, answer, lambda e: factors.update(e.item, memory.clicks[e.item]))
    last, column, normaliser = np.unravel_index(int(np.argmax(gains)), gains.shape)
    shrink, power = NORMALISERS[normaliser]
    budget = Budget(
        settings=gains.size,
        events=events,
        ndcg=float(gains.max() / max(events, 1)),
        chosen={"last": LASTS[last], "shrink": shrink, "power": power},
        found={"last": LASTS[last], "normaliser": (shrink, power), "decays": []},
    )
    if decays:
        budget.chosen["half_life"] = half_life_in_words(decays[column])
        budget.found["decays"] = [decays[column]]
    return budget


class SequenceRules(Popularity):
    """Plain sequence rules; how many last items and the normaliser are tuned."""

    name = "sequence_rules"
    half_lives_ms: tuple[float, ...] = ()

    def tune(self, first: FirstPart) -> None:
        """Tries every number of last items, half-life and normaliser in one pass."""
        self.budget.add(tune_rules(first, self.half_lives_ms))
        found = self.budget.found
        self.last, self.normaliser, self.decays = found["last"], found["normaliser"], found["decays"]

    def remember(self, first: FirstPart) -> Memory:
        """Popularity and rules."""
        self.factors = Factors(len(first.item_ids), [self.normaliser])
        return Memory(first, [HALF_LIVES_MS[self.half_life]], rules=self.decays)

    def learn(self, event: Event, listed: bool) -> Ints | None:
        """Folds one event; the item's normaliser changes with its clicks."""
        self.memory.learn(event)
        self.factors.update(event.item, self.memory.clicks[event.item])
        return self.listed(event) if listed else None

    def rank_known(self, ask: Ask, recent: Ints, stamp: int) -> Ranking:
        """Sums the successors of the last items."""
        del ask
        memory, last = self.memory, recent[: self.last]
        return pair_ranking(
            memory.rules, len(self.decays), last, 1.0 / DISTANCE[: len(last)], self.sums, memory.mark, stamp,
            memory.known, self.factors.values[:, 0], self.tie,
        )  # fmt: skip


class DecayedSequenceRules(SequenceRules):
    """Sequence rules that forget; the half-life is tuned too."""

    name = "sequence_rules_decayed"
    half_lives_ms = RULE_HALF_LIVES_MS
