"""How baselines are tuned: one pass over the first part answers many settings at each event of its end.

Owns the walk, the budget and its record. What is tried is each baseline's own affair.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from time import perf_counter
from typing import Any

from learner.baselines.memory import Memory
from learner.system import Event, FirstPart


@dataclass(slots=True)
class Budget:
    """What a baseline's tuning tried and took, for the report."""

    settings: int = 0
    events: int = 0
    seconds: float = 0.0
    ndcg: float = 0.0
    chosen: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """As the report shows it."""
        told = asdict(self)
        told["ndcg@10"] = told.pop("ndcg")
        return told


def rehearse(
    first: FirstPart,
    memory: Memory,
    answer: Callable[[Event], None],
    learned: Callable[[Event], None] | None = None,
    start: int | None = None,
) -> int:
    """Walks the first part as replay does; `answer` sees each scored event from `start` on, unlearned.

    `start` defaults to the last fifth. `learned` sees every event once `memory` knows it. Returns how
    many events were answered.
    """
    begin = first.tuning_from if start is None else start
    answered = 0
    for number in range(first.size):
        event = first.event(number)
        for item in first.entries_before.get(number, ()):
            memory.announce(item)
        if number >= begin and first.scored[number]:
            answer(event)
            answered += 1
        for item in first.entries_after.get(number, ()):
            memory.announce(item)
        memory.learn(event)
        if learned is not None:
            learned(event)
    return answered


class Stopwatch:
    """Adds the time spent inside it to a budget."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget

    def __enter__(self) -> None:
        self._began = perf_counter()

    def __exit__(self, *_: object) -> None:
        self._budget.seconds += perf_counter() - self._began
