"""Puts a candidate beside the live release: the same clicks, the same moments, the same hot path.

Owns the trial that `learner.judging.gate` judges: both releases answer each of the newest clicks before
either learns from it, then answer interleaved batches against the clock. Reads bundles from folders and
clicks from arrays; knows no broker and no roles.
"""

import math
import time
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learner.data.catalogue import Item
from learner.data.dataset import Interactions
from learner.data.event_weights import EventWeights
from learner.data.events import INTEREST
from learner.data.repeats import had_before
from learner.judging.gate import Decision, Limits, Trial, judge
from learner.judging.metrics import novelty
from learner.release.bundle import ReleaseError
from streams.recorded.collecting import click_of
from streams.training.contender import Contender

BATCHES = 500  # interleaved, so that the machine's moods fall on both alike
BATCH = 8  # asks: what a worker fetches together under load
WARM_UP = 10  # batches before the clock runs
HISTORY = 100_000  # newest clicks before the trial that states and signals are fed with

Progress = Callable[[float, str], None]
Clock = Callable[[], float]


@dataclass(frozen=True)
class Case:
    """What a trial is about: clicks in order, those from `start` on are answered; item records as of now.

    `idle` tells which of some items nobody has clicked for so long that a release may leave them out;
    `known` are the items that had been announced when the candidate was trained; `event_weights` how much
    events count now, None: as the live release was trained.
    """

    data: Interactions
    start: int
    items: Sequence[Item]
    idle: Callable[[Set[str]], Set[str]] = lambda _: frozenset()
    known: Set[str] = frozenset()
    event_weights: EventWeights | None = None


def try_out(
    live: Path, candidate: Path, case: Case, limits: Limits | None = None, *, seed: int = 0,
    progress: Progress = lambda _share, _text: None, clock: Clock = time.thread_time,
) -> Decision:  # fmt: skip
    """The gate's decision on the release in folder `candidate`.

    `clock` measures batches; processor time of this thread, since both run in it and a busy machine must
    not be held against a release. Raises ReleaseError where the live release cannot be loaded: of the
    candidate that is a reason to refuse it.
    """
    trial = Trial()
    ours = Contender(live, weights=case.event_weights)
    try:
        # Signals run as they were set up for the live release, whatever the candidate was trained with.
        theirs = Contender(candidate, ours.offline.world.signals.settings)
        trial.missing, trial.missing_clicks = missing(ours, theirs, case)
        _shielded(True, theirs.probe)
        trial.largest = theirs.largest
        if math.isfinite(theirs.largest):
            _answer_clicks(ours, theirs, case, trial, progress)
        if math.isfinite(theirs.largest):
            _race(ours, theirs, case, trial, clock, progress)
    except ReleaseError as error:
        trial.trouble = f"{error}"
    except _Failure as error:
        trial.trouble = f"it fails: {error}"
    return judge(trial, limits, seed=seed)


def look_over(candidate: Path, limits: Limits | None = None) -> Decision:
    """The gate's decision where nothing is live to compare with: the release loads, and speaks in numbers.

    Raises ReleaseError, which names the damaged file.
    """
    side = Contender(candidate)
    trial = Trial()
    try:
        _shielded(True, side.probe)
        trial.largest = side.largest
    except _Failure as error:
        trial.trouble = f"it fails: {error}"
    decision = judge(trial, limits)
    if decision.outcome == "refused":
        return decision
    return Decision("passed", "nothing is live, and it is sound", {})


class _Failure(Exception):  # noqa: N818 (it names what is the matter)
    """The candidate raised something while it answered."""


def missing(ours: Contender, theirs: Contender, case: Case) -> tuple[float, float]:
    """Shares of what should be in the candidate and is not: of items, and of the trial's clicks on items.

    Should: items that the live release holds and items that had been announced when the candidate was
    trained, unless withdrawn or, where nobody announced them, idle. One that has come since is new to any
    release, however long ago it was published: a catalogue is loaded in bulk, news come late.
    """
    spoken = {item.item_id: item for item in case.items}
    wanted = {name for name in ours.held if name not in spoken or spoken[name].available}
    wanted |= {item.item_id for item in case.items if item.available and item.item_id in case.known}
    if not wanted:
        return 0.0, 0.0
    lacking = wanted - theirs.held
    if unannounced := lacking - spoken.keys():
        lacking -= case.idle(unannounced)
    clicked = [case.data.item_ids[number] for number in case.data.item[case.start :].tolist()]
    on_wanted = [name for name in clicked if name in wanted]
    share = sum(name in lacking for name in on_wanted) / len(on_wanted) if on_wanted else 0.0
    return len(lacking) / len(wanted), share


def _answer_clicks(ours: Contender, theirs: Contender, case: Case, trial: Trial, progress: Progress) -> None:
    data, start = case.data, case.start
    interest = np.isin(data.kind, [int(kind) for kind in INTEREST])
    asked = interest if ours.repeats else interest & ~had_before(data.user, data.item, interest)
    sides = (ours, theirs)
    for side in sides:
        _read_history(side, case, shielded=side is theirs)
        progress(0.0, "both have read the history")
    surprise = _Surprise(data, start, interest)
    users: list[int] = []
    found: list[list[float]] = []  # positions on both lists, and the lists' novelty
    for number in range(start, len(data)):
        if not math.isfinite(theirs.largest):
            break  # no figure means anything any more
        click = click_of(data, number)
        if asked[number]:
            positions, surprises = [], []
            for side in sides:
                position, shown = _shielded(side is theirs, side.position, click)
                positions.append(position)
                surprises.append(surprise.of(shown))
            users.append(int(data.user[number]))
            found.append([*positions, *surprises])
        for side in sides:
            _shielded(side is theirs, side.learn, click)
        if interest[number]:
            surprise.clicked(int(data.item[number]))
        if number % 500 == 0:
            progress((number - start) / max(len(data) - start, 1), f"{len(found):,} answers")
    trial.user = np.array(users, np.int64)
    columns = np.array(found, np.float64).reshape(-1, 4).T
    trial.live, trial.candidate, trial.live_novelty, trial.candidate_novelty = columns
    trial.live_listed, trial.candidate_listed = len(ours.listed), len(theirs.listed)
    trial.largest = theirs.largest


def _read_history(side: Contender, case: Case, *, shielded: bool) -> None:
    """The items as of now, then the newest clicks before the trial."""
    _shielded(shielded, side.announce, case.items)
    for number in range(max(0, case.start - HISTORY), case.start):
        side.offline.remember(click_of(case.data, number))
    _shielded(shielded, side.offline.encode)


class _Surprise:
    """How novel lists are: by the clicks of interest on their items, of all `data` up to now."""

    def __init__(self, data: Interactions, start: int, interest: NDArray[np.bool_]) -> None:
        clicked = data.item[:start][interest[:start]]
        self._clicks = np.bincount(clicked, minlength=len(data.item_ids)).astype(np.int64)
        self._number_of = {name: number for number, name in enumerate(data.item_ids)}

    def clicked(self, item: int) -> None:
        """Another click came."""
        self._clicks[item] += 1

    def of(self, names: Sequence[str]) -> float:
        """A list's novelty."""
        numbers = [self._number_of.get(name) for name in names]
        counts = np.array([0 if n is None else self._clicks[n] for n in numbers], np.int64)
        return novelty(counts, int(self._clicks.sum()), int((self._clicks > 0).sum()))


def _race(
    ours: Contender, theirs: Contender, case: Case, trial: Trial, clock: Clock, progress: Progress
) -> None:
    """Interleaved batches of the same users for both; who goes first changes from batch to batch."""
    users = np.unique(case.data.user)
    if not len(users):
        return
    rng = np.random.default_rng(0)
    now_ms = int(case.data.time_ms[-1])
    taken: tuple[list[float], list[float]] = ([], [])
    for number in range(WARM_UP + BATCHES):
        names = [case.data.user_ids[user] for user in rng.choice(users, BATCH).tolist()]
        for which in (0, 1) if number % 2 else (1, 0):
            side = (ours, theirs)[which]
            slots = np.array([max(side.offline.slot(name), 0) for name in names], np.int64)
            begun = clock()
            _shielded(side is theirs, side.batch, slots, now_ms)
            if number >= WARM_UP:
                taken[which].append(1000 * (clock() - begun))
    trial.live_ms, trial.candidate_ms = np.array(taken[0]), np.array(taken[1])
    progress(1.0, f"{BATCHES} batches timed")


def _shielded(candidate: bool, work: Callable[..., Any], *arguments: Any) -> Any:
    """Runs one step of a side; what the candidate raises is a reason, what the live one raises an error."""
    try:
        return work(*arguments)
    except ReleaseError:
        raise
    except Exception as error:
        if not candidate:
            raise
        raise _Failure(" ".join(f"{type(error).__name__}: {error}".split())[:300]) from error
