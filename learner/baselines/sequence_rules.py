"""Streaming sequence rules: what followed the user's last items, plain or with decay.

Score of item j: the sum over the last L items q, d places back, of R(q, j) / d, divided by
(clicks(j) + shrink) ** power, where R(q, j) sums 1 / distance over the times j came after q in a history, at
most ten places later (SR of Ludewig and Jannach 2018, kept up to date click by click); with decay each of
those times counts less the longer ago it is.
"""

import numpy as np

from learner.baselines.item_knn import NORMALISERS, Factors
from learner.baselines.memory import DAY_MS, HOUR_MS, RULE_WINDOW, Memory
from learner.baselines.popularity import HALF_LIVES_MS, Popularity, half_life_in_words
from learner.baselines.scoring import Sums, pair_ranking, try_settings
from learner.baselines.tuning import Stopwatch, rehearse
from learner.system import Ask, Event, FirstPart, Ints, Ranking

LASTS = (1, 3, 5, 10)
RULE_HALF_LIVES_MS = (6 * HOUR_MS, *(days * DAY_MS for days in (1, 4, 14, 40, 120, 300, 1000)))
_DISTANCE = np.arange(1.0, RULE_WINDOW + 1)


class SequenceRules(Popularity):
    """Plain sequence rules; how many last items and the normaliser are tuned."""

    name = "sequence_rules"
    half_lives_ms: tuple[float, ...] = ()

    def tune(self, first: FirstPart) -> None:
        """Tries every number of last items, half-life and normaliser in one pass."""
        decays = self.half_lives_ms
        # Columns hold different units, which do not matter: a ranking looks at one column only.
        columns = np.arange(1 if decays else 0, 1 + len(decays), dtype=np.int32)
        gains = np.zeros((len(LASTS), len(columns), len(NORMALISERS)))
        with Stopwatch(self.budget):
            memory = Memory(first, [HALF_LIVES_MS[self.half_life]], rules=decays)
            factors = Factors(len(first.item_ids))
            sums = Sums(len(first.item_ids), len(columns))
            table = memory.rules

            def answer(event: Event) -> None:
                recent, stamp = memory.recall(event.user)
                recent = recent[:RULE_WINDOW]
                _, rows, blocks, items, weights, _ = table.arrays
                try_settings(
                    rows, blocks, items, weights, columns, event.item, recent,
                    1.0 / _DISTANCE[: len(recent)], np.array(LASTS, np.int32), factors.values, sums.sums,
                    sums.seen, sums.touched, memory.mark, stamp, memory.known, memory.popularity[0], gains,
                )  # fmt: skip

            events = rehearse(
                first, memory, answer, lambda event: factors.update(event.item, memory.clicks[event.item])
            )
        last, column, normaliser = np.unravel_index(int(np.argmax(gains)), gains.shape)
        self.last, self.normaliser = LASTS[last], NORMALISERS[normaliser]
        self.decays = [decays[column]] if decays else []
        self.budget.settings += gains.size
        self.budget.ndcg = float(gains.max() / max(events, 1))
        self.budget.chosen |= {
            "last": self.last, "shrink": self.normaliser[0], "power": self.normaliser[1]
        }  # fmt: skip
        if self.decays:
            self.budget.chosen["half_life"] = half_life_in_words(self.decays[0])

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
            memory.rules, len(self.decays), last, 1.0 / _DISTANCE[: len(last)], self.sums, memory.mark, stamp,
            memory.known, self.factors.values[:, 0], self.tie,
        )  # fmt: skip


class DecayedSequenceRules(SequenceRules):
    """Sequence rules that forget; the half-life is tuned too."""

    name = "sequence_rules_decayed"
    half_lives_ms = RULE_HALF_LIVES_MS
