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

from learner.data.catalogue import Catalogue, Item
from learner.data.dataset import Interactions
from learner.data.events import INTEREST
from learner.data.repeats import had_before
from learner.judging.gate import Decision, Limits, Trial, judge
from learner.judging.metrics import LIST, expected_position, novelty
from learner.release.live import ReleaseError
from learner.signals.settings import SignalSettings
from learner.signals.state import Signals
from streams.hot_path.live import Live
from streams.hot_path.policy import Policy
from streams.hot_path.rank import rank
from streams.recorded.collecting import click_of
from streams.recorded.world import Offline
from streams.wire.contract import Click

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
    `known` are the items that had been announced when the candidate was trained.
    """

    data: Interactions
    start: int
    items: Sequence[Item]
    idle: Callable[[Set[str]], Set[str]] = lambda _: frozenset()
    known: Set[str] = frozenset()


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
    ours = _Side(live)
    try:
        # Signals run as they were set up for the live release, whatever the candidate was trained with.
        theirs = _Side(candidate, ours.offline.world.signals.settings)
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
    side = _Side(candidate)
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


class _Side:
    """One of the two releases, with a world of its own."""

    def __init__(self, folder: Path, signals: SignalSettings | None = None) -> None:
        catalogue = Catalogue()
        live = Live.load(folder, catalogue)
        self.held = frozenset(catalogue.ids)  # before anything else joins
        self.offline = Offline(live, catalogue, Policy(exploration=0.0))
        if signals is not None:
            self.offline.world.signals = Signals(signals, catalogue)
        self.largest = 0.0
        self.listed: set[str] = set()

    @property
    def repeats(self) -> bool:
        """Whether consumed items come again, as the release says."""
        return self.offline.world.live.repeat_consumption

    def probe(self) -> None:
        """Notes how large the student's vectors are; nan or infinite ones end in no list at all."""
        release = self.offline.world.live.release
        vectors = release.model.vectors[: min(256, self.offline.world.catalogue.size)]
        rows = len(vectors)
        hidden = np.zeros((rows, release.hidden_size), np.float32)
        for _ in range(3):
            hidden, made = release.step(
                vectors,
                np.ones(rows, np.int64),
                np.zeros(rows, np.float32),
                np.zeros(rows, np.float32),
                hidden,
            )
            self._note(made)

    def _note(self, numbers: NDArray[np.float32]) -> None:
        # The maximum of NumPy keeps nan; that of Python does not.
        self.largest = float(np.maximum(self.largest, np.abs(numbers).max(initial=0.0)))

    def announce(self, items: Sequence[Item]) -> None:
        """The catalogue's owner's word on items; those that are new to the release get their vectors."""
        offline = self.offline
        catalogue, release = offline.world.catalogue, offline.world.live.release
        new = [item for item in items if item.available and item.item_id not in self.held]
        for item in items:
            if item.available:
                catalogue.announce(item)
            else:
                catalogue.withdraw(item.item_id)
        offline.world.signals.follow()
        release.ensure(catalogue)
        if new:
            contents = _contents(self.offline, new)
            for item, content in zip(new, contents, strict=True):
                number = catalogue.index[item.item_id]
                release.set_vector(number, release.embed(content, item.categories), content)
        offline.world.live.follow(catalogue.index[item.item_id] for item in items)

    def position(self, click: Click) -> tuple[float, list[int]]:
        """Where the clicked item stands for this user at this moment, and the numbers of the list."""
        offline = self.offline
        ranked = offline.rank(offline.ask(offline.slot(click.user_id), click.timestamp))
        count = int(ranked.candidates.count[0])
        items, scores = ranked.candidates.items[0, :count], ranked.scores[0, :count]
        self._note(scores)
        order = np.argsort(-scores, kind="stable")[:LIST]
        shown = items[order].tolist()
        self.listed.update(offline.world.catalogue.ids[number] for number in shown)
        at = np.flatnonzero(items == offline.world.catalogue.index.get(click.item_id, -1))
        if not len(at):
            return np.inf, shown
        own = scores[at[0]]
        better, tied = float((scores > own).sum()), float((scores == own).sum() - 1)
        return float(expected_position(np.array(better), np.array(tied))), shown

    def batch(self, slots: NDArray[np.int64], now_ms: int) -> None:
        """One student step and one ranking for a batch of users; changes nothing."""
        offline = self.offline
        states, world = offline.states, offline.world
        release = world.live.release
        histories = states.gather(slots)
        last = np.maximum(histories.length - 1, 0)
        rows = np.arange(len(slots))
        kinds = histories.kinds[rows, last]
        release.step(
            release.model.vectors[np.maximum(histories.items[rows, last], 0)], kinds.astype(np.int64),
            np.zeros(len(slots), np.float32),
            release.normalised(kinds, histories.values[rows, last]), states.hidden[slots],
        )  # fmt: skip
        rank(slots, np.full(len(slots), now_ms, np.int64), states, world)


def missing(ours: _Side, theirs: _Side, case: Case) -> tuple[float, float]:
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


def _answer_clicks(ours: _Side, theirs: _Side, case: Case, trial: Trial, progress: Progress) -> None:
    data, start = case.data, case.start
    interest = np.isin(data.kind, [int(kind) for kind in INTEREST])
    asked = interest if ours.repeats else interest & ~had_before(data.user, data.item, interest)
    begin = max(0, start - HISTORY)
    sides = (ours, theirs)
    for side in sides:
        _shielded(side is theirs, side.announce, case.items)
        for number in range(begin, start):
            side.offline.remember(click_of(data, number))
        _shielded(side is theirs, side.offline.encode)
        progress(0.0, "both have read the history")
    clicks = np.bincount(data.item[:start][interest[:start]], minlength=len(data.item_ids)).astype(np.int64)
    number_of = {name: number for number, name in enumerate(data.item_ids)}
    users: list[int] = []
    found: list[tuple[float, float, float, float]] = []
    for number in range(start, len(data)):
        if not math.isfinite(theirs.largest):
            break  # no figure means anything any more
        click = click_of(data, number)
        if asked[number]:
            positions, surprises = [], []
            for side in sides:
                position, shown = _shielded(side is theirs, side.position, click)
                ids = side.offline.world.catalogue.ids
                counts = np.array([_count(clicks, number_of.get(ids[item])) for item in shown], np.int64)
                positions.append(position)
                surprises.append(novelty(counts, int(clicks.sum()), int((clicks > 0).sum())))
            users.append(int(data.user[number]))
            found.append((positions[0], positions[1], surprises[0], surprises[1]))
        for side in sides:
            _shielded(side is theirs, lambda side=side, click=click: side.offline.learn(click, answer=False))
        if interest[number]:
            clicks[data.item[number]] += 1
        if number % 500 == 0:
            progress((number - start) / max(len(data) - start, 1), f"{len(found):,} answers")
    table = np.array(found, np.float64).reshape(-1, 4)
    trial.user = np.array(users, np.int64)
    trial.live, trial.candidate, trial.live_novelty, trial.candidate_novelty = table.T
    trial.live_listed, trial.candidate_listed = len(ours.listed), len(theirs.listed)
    trial.largest = theirs.largest


def _race(ours: _Side, theirs: _Side, case: Case, trial: Trial, clock: Clock, progress: Progress) -> None:
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


def _count(clicks: NDArray[np.int64], number: int | None) -> int:
    return 0 if number is None else int(clicks[number])


def _contents(offline: Offline, items: Sequence[Item]) -> NDArray[np.float32]:
    """Content vectors (n, T) of new items, by the encoder that the release was made with."""
    from learner.text.content import ContentEncoder

    release = offline.world.live.release
    encoder = ContentEncoder.load({"name": release.manifest.encoder.name}, release.encoder)
    contents: NDArray[np.float32] = encoder.encode(items)
    return contents
