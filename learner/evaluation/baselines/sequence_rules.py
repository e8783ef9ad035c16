"""Streaming sequence rules: what followed the user's last items, plain or with decay.

Score of item j: the sum over the last L items q, d places back, of R(q, j) / d, divided by
(clicks(j) + shrink) ** power, where R(q, j) sums 1 / distance over the times j came after q in a history, at
most ten places later (SR of Ludewig and Jannach 2018, kept up to date click by click); with decay each of
those times counts less the longer ago it is.
"""

import math

import numpy as np

from learner.data.times import DAY_MS, HOUR_MS
from learner.evaluation.baselines.memory import RULE_WINDOW, Doubles, Memory
from learner.evaluation.baselines.pair_model import NORMALISERS, Normaliser, PairModel, try_all
from learner.evaluation.baselines.pairs import PairTable
from learner.evaluation.baselines.popularity import HALF_LIVES_MS, half_life_in_words, tune_popularity
from learner.evaluation.baselines.tuning import Budget, once
from learner.evaluation.system import FirstPart, Ints

LASTS = (1, 3, 5, RULE_WINDOW)
RULE_HALF_LIVES_MS = (6 * HOUR_MS, *(days * DAY_MS for days in (1, 4, 14, 40, 120, 300, 1000)))
Rule = tuple[int, Normaliser, float | None]  # last items, normaliser, half-life in ms
DISTANCE = np.arange(1.0, RULE_WINDOW + 1)


class SequenceRules(PairModel):
    """Sequence rules; decay, how many last items and the normaliser are tuned."""

    name = "sequence_rules"

    def tune(self, first: FirstPart) -> None:
        """Tries every number of last items, half-life and normaliser in one pass."""
        self.budget.add(tune_rules(first))
        self.last, self.normaliser, self.decay_ms = self.budget.found["best"]

    def memory_of(self, first: FirstPart) -> Memory:
        """Popularity and rules, decayed or plain."""
        self.column = 0 if self.decay_ms is None else 1
        decays = [] if self.decay_ms is None else [self.decay_ms]
        return Memory(first, [HALF_LIVES_MS[self.half_life]], rules=decays)

    @staticmethod
    def table(memory: Memory) -> PairTable:
        """What follows."""
        return memory.rules

    @staticmethod
    def scale(memory: Memory, recent: Ints) -> Doubles:
        """The longer ago, the less."""
        del memory
        return np.asarray(1.0 / DISTANCE[: len(recent)])


def tune_rules(first: FirstPart) -> Budget:
    """Finds what does best, by one pass that tries everything: `best`, and also `plain` and `decayed`.

    Each is a `Rule`.
    """
    return once(first, "sequence_rules", lambda: _search(first))


def _search(first: FirstPart) -> Budget:
    popular = HALF_LIVES_MS[tune_popularity(first).found["half_life"]]
    memory = Memory(first, [popular], rules=RULE_HALF_LIVES_MS)
    # Columns hold different units, which does not matter: a ranking looks at one column only.
    columns = np.arange(1 + len(RULE_HALF_LIVES_MS), dtype=np.int32)
    gains, events = try_all(SequenceRules, first, memory, LASTS, len(columns))
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
