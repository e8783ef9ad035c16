"""How training spends its time: which lists it can afford, and what each step may take of what is left.

Owns the arithmetic alone; the steps are `train`'s, the jobs `jobs`'. Jobs run beside each other, so their
time is seconds of a core; a step's is what passes until all its jobs are done. On a machine at least as fast
as the nominal costs the plan follows from the number of clicks and the budget, so that the same arguments
give the same models.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

# Nominal seconds of one core to replay a click, to make a list from it, and to train a student on it for one
# epoch (measured with 10,000 items).
REPLAY_S, LIST_S, STUDENT_S = 0.1e-3, 0.7e-3, 80e-6
LISTS_SHARE = 0.3  # of the time, for making lists
LIST_STARTS = (0.25, 0.45, 0.70)  # shares of the clicks at which stages begin
STAGES = "ABC"[: len(LIST_STARTS)]
ENOUGH_LISTS = 8_000  # below, a second stage is not worth the clicks it has to replay
MOST_LISTS = 30_000  # a stage: 49 candidates of 317 features in half precision are 0.93 GB on the disk
MIN_EVENTS = 20  # below, there is nothing to learn a ranker from

WRITING_SHARE = 0.03  # of the budget, kept back for packing and writing the release
EASE_SHARE = 0.02  # of the budget, for each fit of the item-item model: one a stage and the final one
CONTENT_SHARE = 0.15  # of the budget, for reading texts
READ_S = 5e-3  # nominal seconds to read one text of 15 to 30 tokens

# What each step may take of the time that is left, relative to the steps still to come. Calibration takes
# what it takes, which is little.
SHARES = {"prior": 6.0, "models": 58.0, "ranker": 35.0, "calibration": 1.0}
FILLED = 0.9  # of the processes' time that jobs can use: they are not of one size


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

    All stages where they can be afforded, else the later ones; where even replaying takes too long, one
    that replays the newest clicks only (its counts are then lower than those that serving sees).
    """
    if events < MIN_EVENTS:
        return []
    replay, listing = REPLAY_S * slowness, LIST_S * slowness
    edges = [*(int(share * events) for share in LIST_STARTS), events]
    every = list(pairwise(edges))
    for bounds in (every[k:] for k in range(len(every))):
        affordable = int((seconds - replay * sum(stop for _, stop in bounds)) / listing)
        wanted = sum(stop - start for start, stop in bounds)
        if affordable >= min(wanted, ENOUGH_LISTS):
            share = min(affordable / wanted, 1.0)
            names = STAGES[-len(bounds) :]
            return [
                Stage(name, 0, start, stop, min(math.ceil(share * (stop - start)), MOST_LISTS))
                for name, (start, stop) in zip(names, bounds, strict=True)
            ]
    replayed = min(int(0.5 * seconds / replay), events)
    begin = events - replayed
    start = max(begin + int(LIST_STARTS[-1] * replayed), edges[-2])
    lists = min(int(0.5 * seconds / listing), events - start, MOST_LISTS)
    return [Stage(STAGES[-1], begin, start, events, lists)] if lists > 0 else []


def shares_of(costs: Sequence[float], seconds: float, processes: int) -> list[float]:
    """What each of several jobs may take, of `seconds` in which `processes` work: as their `costs` are."""
    whole = sum(costs) or 1.0
    capacity = seconds * (FILLED * processes if processes > 1 else 1.0)
    return [min(capacity * cost / whole, seconds) for cost in costs]


def texts_within(seconds: float) -> int:
    """How many texts may be read in full in `seconds`; the rest is glanced at."""
    return max(int(seconds / READ_S), 1)


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
        """Seconds left for the steps, but never less than a fiftieth: none is skipped for want of time."""
        usable = (1 - WRITING_SHARE) * self.seconds
        return max(usable - (self._clock() - self._begun), 0.02 * self.seconds)

    def forgive(self, seconds: float) -> None:
        """Leaves `seconds` that have passed out of the account."""
        self._begun += seconds

    def take(self, step: str) -> float:
        """Seconds that `step` may take; it is no longer to come."""
        share = self._to_come.pop(step)
        return self.left * share / (share + sum(self._to_come.values()))
