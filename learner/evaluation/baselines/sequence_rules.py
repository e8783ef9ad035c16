"""Streaming sequence rules: what followed the user's last items, plain or with decay.

Score of item j: the sum over the last L items q, d places back, of R(q, j) / d, divided by
(clicks(j) + shrink) ** power, where R(q, j) sums 1 / distance over the times j came after q in a history, at
most ten places later (SR of Ludewig and Jannach 2018, kept up to date click by click); with decay each of
those times counts less the longer ago it is.
"""

import math

import numpy as np

from learner.evaluation.baselines.item_knn import NORMALISERS, Factors
from learner.evaluation.baselines.memory import DAY_MS, HOUR_MS, RULE_WINDOW, Doubles, Memory
from learner.evaluation.baselines.popularity import (
    HALF_LIVES_MS,
    Popularity,
    half_life_in_words,
    tune_popularity,
)
from learner.evaluation.baselines.scoring import Sums, pair_ranking, try_settings
from learner.evaluation.baselines.tuning import Budget, once, rehearse
from learner.evaluation.system import Ask, Event, FirstPart, Ints, Ranking

LASTS = (1, 3, 5, 10)
RULE_HALF_LIVES_MS = (6 * HOUR_MS, *(days * DAY_MS for days in (1, 4, 14, 40, 120, 300, 1000)))
Rule = tuple[int, tuple[float, float], float | None]
DISTANCE = np.arange(1.0, RULE_WINDOW + 1)


def tune_rules(first: FirstPart) -> Budget:
    """Finds what does best, by one pass that tries everything: `best`, and also `plain` and `decayed`.

    Each is a (last, normaliser, half-life in ms or None).
    """
    return once(first, "sequence_rules", lambda: _search(first))


def _search(first: FirstPart) -> Budget:
    popular = HALF_LIVES_MS[tune_popularity(first).found["half_life"]]
    # Columns hold different units, which does not matter: a ranking looks at one column only.
    columns = np.arange(1 + len(RULE_HALF_LIVES_MS), dtype=np.int32)
    gains = np.zeros((len(LASTS), len(columns), len(NORMALISERS)))
    memory = Memory(first, [popular], rules=RULE_HALF_LIVES_MS)
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
    best = _best(gains, columns)
    last, normaliser, half_life_ms = best
    return Budget(
        settings=gains.size,
        events=events,
        ndcg=float(gains.max() / max(events, 1)),
        chosen={
            "last": last,
            "shrink": normaliser[0],
            "power": normaliser[1],
            "half_life": half_life_in_words(half_life_ms or math.inf),
        },
        found={"best": best, "plain": _best(gains, columns[:1]), "decayed": _best(gains, columns[1:])},
    )


def _best(gains: Doubles, columns: Ints) -> Rule:
    last, column, normaliser = np.unravel_index(int(np.argmax(gains[:, columns])), gains[:, columns].shape)
    place = int(columns[column])
    half_life_ms = RULE_HALF_LIVES_MS[place - 1] if place else None
    return LASTS[last], NORMALISERS[normaliser], half_life_ms


class SequenceRules(Popularity):
    """Sequence rules; decay, how many last items and the normaliser are tuned."""

    name = "sequence_rules"

    def tune(self, first: FirstPart) -> None:
        """Tries every number of last items, half-life and normaliser in one pass."""
        self.budget.add(tune_rules(first))
        self.last, self.normaliser, self.decay_ms = self.budget.found["best"]

    def remember(self, first: FirstPart) -> Memory:
        """Popularity and rules, decayed or plain."""
        self.factors = Factors(len(first.item_ids), [self.normaliser])
        decays = [] if self.decay_ms is None else [self.decay_ms]
        return Memory(first, [HALF_LIVES_MS[self.half_life]], rules=decays)

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
            memory.rules, 0 if self.decay_ms is None else 1, last, 1.0 / DISTANCE[: len(last)], self.sums,
            memory.mark, stamp, memory.known, self.factors.values[:, 0], self.tie,
        )  # fmt: skip
