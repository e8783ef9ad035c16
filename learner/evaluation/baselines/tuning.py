"""How baselines are tuned: one pass over the first part answers many settings at each event of its end.

Owns the walk, the budget and its record. What is tried is each baseline's own affair.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt

from learner.evaluation.baselines.memory import Memory
from learner.evaluation.system import Event, FirstPart
from learner.judging.metrics import LIST


@dataclass(slots=True)
class Budget:
    """What a search tried and took, and what it found: `chosen` in words, `found` as values."""

    settings: int = 0
    events: int = 0
    seconds: float = 0.0
    ndcg: float = 0.0
    chosen: dict[str, Any] = field(default_factory=dict)
    found: dict[str, Any] = field(default_factory=dict)

    def add(self, other: "Budget") -> None:
        """Counts another search as part of this one; the last one's NDCG stands."""
        self.settings += other.settings
        self.events = max(self.events, other.events)
        self.seconds += other.seconds
        self.ndcg = other.ndcg
        self.chosen |= other.chosen
        self.found |= other.found

    def as_dict(self) -> dict[str, Any]:
        """As the report shows it."""
        return {
            "settings": self.settings,
            "events": self.events,
            "seconds": self.seconds,
            "ndcg@10": self.ndcg,
            "chosen": self.chosen,
        }


def once(first: FirstPart, name: str, search: Callable[[], Budget]) -> Budget:
    """The budget of a search, run only if no baseline has run it on this first part."""
    if name not in first.notes:
        began = perf_counter()
        budget = search()
        budget.seconds = perf_counter() - began
        first.notes[name] = budget
    found: Budget = first.notes[name]
    return found


def sampled(first: FirstPart, most: int | None = None) -> npt.NDArray[np.bool_]:
    """(n,): the events that settings are tried on, scored ones of the last fifth; all, or `most` drawn."""
    scored = np.flatnonzero(first.scored)
    scored = scored[scored >= first.tuning_from]
    if most is not None:
        scored = np.random.default_rng(first.seed).permutation(scored)[:most]
    chosen = np.zeros(first.size, np.bool_)
    chosen[scored] = True
    return chosen


def gain(position: float) -> float:
    """NDCG@10 of an answer at a position."""
    return float(1.0 / np.log2(1.0 + position)) if position <= LIST else 0.0


def rehearse(
    first: FirstPart,
    memory: Memory,
    answer: Callable[[Event], None],
    learned: Callable[[Event], None] | None = None,
    most: int | None = None,
) -> int:
    """Walks the first part as replay does; `answer` sees the `sampled` events, unlearned.

    `learned` sees every event once `memory` knows it. Returns how many events were answered.
    """
    asked = sampled(first, most)
    for number in range(first.size):
        event = first.event(number)
        for item in first.entries_before.get(number, ()):
            memory.announce(item)
        if asked[number]:
            answer(event)
        for item in first.entries_after.get(number, ()):
            memory.announce(item)
        memory.learn(event)
        if learned is not None:
            learned(event)
    return int(asked.sum())
