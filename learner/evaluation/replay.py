"""Prequential replay: each later event is ranked before it is learned from, by one system after another.

Owns the walk over the stream and the moment of scoring. Knows systems by their protocol only; what is
scored is decided in `plan`, what the figures mean in `metrics`, how they are told in `report`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter, process_time
from typing import Any

import numpy as np
import numpy.typing as npt

from learner.evaluation.plan import Plan
from learner.evaluation.system import Ask, Event, Ints, Proposing, Ranking, System, Training
from learner.judging.metrics import LIST, novelty

PROPOSALS = 200  # candidates are recalled at this depth, by source and in union
Progress = Callable[[str, int, int], None]  # system, events done, events in all


@dataclass(slots=True)
class Outcome:
    """What a system did, by scored event (A,): everything the report needs.

    `position` inf where not found; `last_list` 1 or 0 for a hit in the list that the user's previous
    click had triggered, nan where there was none; `novelty` bits; `recalled` (A,) bool by source.
    """

    name: str
    position: npt.NDArray[np.float64]
    last_list: npt.NDArray[np.float64]
    novelty: npt.NDArray[np.float64]
    listed: npt.NDArray[np.bool_]
    recalled: dict[str, npt.NDArray[np.bool_]]
    catalogue: int
    fit_seconds: float = 0.0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    events: int = 0
    description: dict[str, Any] = field(default_factory=dict)

    @property
    def ms_per_click(self) -> float:
        """Mean time of ranking and learning one event of the later part, without what trains beside it."""
        return 1000.0 * self.seconds / max(self.events, 1)

    @property
    def cpu_ms_per_click(self) -> float:
        """The same in processor time, which other work on the machine does not lengthen."""
        return 1000.0 * self.cpu_seconds / max(self.events, 1)


def play(system: System, plan: Plan, progress: Progress | None = None) -> Outcome:
    """Fits `system` on the first part and walks the stream once.

    At each event: items published by now enter; if the event is scored the system ranks; an item that
    enters by this click is announced; the system learns the event. The answer goes to the system only
    with `learn`.
    """
    began = perf_counter()
    system.fit(plan.first_part())
    outcome = _blank(system.name, plan)
    outcome.fit_seconds = perf_counter() - began
    scoreboard = _Scoreboard(plan, outcome)
    proposing = system if isinstance(system, Proposing) else None
    training = system if isinstance(system, Training) else None
    for number in range(plan.stream.size):
        event = plan.stream.event(number)
        enter(system, plan, plan.entries_before.get(number, ()), event.time_ms)
        if number >= plan.split and plan.scored[number]:
            ask = Ask(event.user, event.time_ms, event.scenario)
            with _Timed(outcome):
                ranking = system.rank(ask)
                shown = ranking.top(LIST, plan.id_rank)
            scoreboard.score(event, ranking, shown)
            if proposing is not None:
                # Asked for apart: which source a candidate came from is the report's affair, not the list's.
                scoreboard.recall(event, proposing.sources, *proposing.proposals(ask))
        enter(system, plan, plan.entries_after.get(number, ()), event.time_ms)
        with _Timed(outcome if number >= plan.split else None):
            triggered = system.learn(event, bool(plan.lists[number]))
        scoreboard.learn(event, triggered)
        if training is not None and number >= plan.split:
            training.train()
        if progress is not None and number % 1000 == 0:
            progress(system.name, number, plan.stream.size)
    if progress is not None:
        progress(system.name, plan.stream.size, plan.stream.size)
    outcome.events = plan.stream.size - plan.split
    outcome.description = system.describe()
    return outcome


def replay(
    systems: Sequence[Callable[[], System]], plans: Sequence[Plan], progress: Progress | None = None
) -> list[list[Outcome]]:
    """Every system over every plan (one a seed), each from scratch: outcomes[plan][system]."""
    return [[play(make(), plan, progress) for make in systems] for plan in plans]


class _Timed:
    """Adds what its block takes to an outcome's times, if there is one."""

    __slots__ = ("_cpu", "_outcome", "_wall")

    def __init__(self, outcome: Outcome | None) -> None:
        self._outcome = outcome

    def __enter__(self) -> None:
        self._wall, self._cpu = perf_counter(), process_time()

    def __exit__(self, *_: object) -> None:
        if self._outcome is not None:
            self._outcome.seconds += perf_counter() - self._wall
            self._outcome.cpu_seconds += process_time() - self._cpu


class _Scoreboard:
    """Fills an outcome; keeps the clicks so far and each user's last triggered list."""

    def __init__(self, plan: Plan, outcome: Outcome) -> None:
        self.plan, self.outcome = plan, outcome
        self.clicks = np.zeros(len(plan.stream.item_ids), np.int64)
        self.total, self.known = 0, 0
        self.last: dict[int, Ints] = {}
        self.row = 0

    def score(self, event: Event, ranking: Ranking, shown: Ints) -> None:
        """Notes how the ranking fared against the event's item."""
        outcome, row = self.outcome, self.row
        outcome.position[row] = ranking.position(event.item)
        outcome.novelty[row] = novelty(self.clicks[shown], self.total, self.known)
        outcome.listed[shown] = True
        if event.user in self.last:
            outcome.last_list[row] = float(event.item in self.last[event.user])
        self.row += 1

    def recall(self, event: Event, sources: Sequence[str], items: Ints, named: npt.NDArray[np.bool_]) -> None:
        """Notes by which sources the item of the event just scored was among the first `PROPOSALS`."""
        recalled = self.outcome.recalled
        if not recalled:
            for source in (*sources, "union"):
                recalled[source] = np.zeros(len(self.outcome.position), np.bool_)
        for by in named[:PROPOSALS][items[:PROPOSALS] == event.item]:
            recalled["union"][self.row - 1] = True
            for at in np.flatnonzero(by).tolist():
                recalled[sources[at]][self.row - 1] = True

    def learn(self, event: Event, triggered: Ints | None) -> None:
        """Counts a click and keeps the list that it triggered."""
        if not self.plan.interest[event.number]:
            return
        self.total += 1
        self.known += int(self.clicks[event.item] == 0)
        self.clicks[event.item] += 1
        if triggered is not None:
            self.last[event.user] = triggered[:LIST]


def _blank(name: str, plan: Plan) -> Outcome:
    asked = len(plan.asked)
    return Outcome(
        name=name,
        position=np.full(asked, np.inf),
        last_list=np.full(asked, np.nan),
        novelty=np.full(asked, np.nan),
        listed=np.zeros(len(plan.stream.item_ids), np.bool_),
        recalled={},
        catalogue=int((plan.entry < plan.stream.size).sum()),
    )


def enter(system: System, plan: Plan, items: Sequence[int], time_ms: int) -> None:
    """Announces items to a system."""
    for item in items:
        system.announce(item, plan.stream.records[item], time_ms)
