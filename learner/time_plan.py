"""How training spends its time: which lists it can afford, and what each step may take of what is left.

Owns the arithmetic alone; the steps are `training`'s. On a machine at least as fast as the nominal costs
the plan follows from the number of clicks and the budget, so that the same arguments give the same models.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

# Nominal seconds of one core to replay a click, and to make a list from it (measured with 10,000 items).
REPLAY_S, LIST_S = 0.35e-3, 1.5e-3
LISTS_SHARE = 0.35  # of the time, for making lists
LIST_STARTS = (0.35, 0.60)  # shares of the clicks at which stages begin
ENOUGH_LISTS = 8_000  # below, a second stage is not worth the clicks it has to replay
MOST_LISTS = 30_000  # a stage: 65 candidates of 115 float32 features each are 0.9 GB
MIN_EVENTS = 20  # below, there is nothing to learn a ranker from

# What each step may take of the time that is left, relative to the steps still to come.
SHARES = {"prior": 8.0, "student A": 9.0, "student B": 15.0, "lists": 30.0, "student": 22.0, "ranker": 18.0}


@dataclass(frozen=True)
class Stage:
    """Lists of the clicks [start, stop), at most `lists`; signals and states are replayed from `begin` on."""

    name: str
    begin: int
    start: int
    stop: int
    lists: int


def plan_stages(events: int, seconds: float, slowness: float = 1.0) -> list[Stage]:
    """Stages whose lists can be made in `seconds` on a machine `slowness` times slower than nominal.

    Two stages where they can be afforded, else one; where even replaying takes too long, one that
    replays the newest clicks only (its counts are then lower than those that serving sees).
    """
    if events < MIN_EVENTS:
        return []
    replay, listing = REPLAY_S * slowness, LIST_S * slowness
    first, second = (int(share * events) for share in LIST_STARTS)
    for bounds in ([(first, second), (second, events)], [(second, events)]):
        affordable = int((seconds - replay * sum(stop for _, stop in bounds)) / listing)
        wanted = sum(stop - start for start, stop in bounds)
        if affordable >= min(wanted, ENOUGH_LISTS):
            share = min(affordable / wanted, 1.0)
            names = "AB"[-len(bounds) :]
            return [
                Stage(name, 0, start, stop, min(math.ceil(share * (stop - start)), MOST_LISTS))
                for name, (start, stop) in zip(names, bounds, strict=True)
            ]
    replayed = min(int(0.5 * seconds / replay), events)
    begin = events - replayed
    start = max(begin + int(LIST_STARTS[1] * replayed), second)
    lists = min(int(0.5 * seconds / listing), events - start, MOST_LISTS)
    return [Stage("B", begin, start, events, lists)] if lists > 0 else []


def slowness_of(seconds: float, replayed: int, lists: int) -> float:
    """How much slower than nominal a trial was: at least 1, in steps of half, so that plans rarely differ."""
    ratio = seconds / max(REPLAY_S * replayed + LIST_S * lists, 1e-9)
    return 1.0 if ratio <= 1.15 else math.ceil(2 * ratio) / 2


class Budget:
    """Shares out the time that is left among the steps still to come."""

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self.seconds, self._clock, self._begun = seconds, clock, clock()
        self._to_come = dict(SHARES)

    @property
    def left(self) -> float:
        """Seconds left, but never less than a fiftieth of all: no step is skipped for want of time."""
        return max(self.seconds - (self._clock() - self._begun), 0.02 * self.seconds)

    def take(self, step: str) -> float:
        """Seconds that `step` may take; it is no longer to come."""
        share = self._to_come.pop(step)
        return self.left * share / (share + sum(self._to_come.values()))

    def skip(self, step: str) -> None:
        """Leaves a step's time to the others."""
        self._to_come.pop(step)
