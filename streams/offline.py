"""The hot path without Kafka: for replay, for training lists and for tests.

Owns a worker and a learner in one process: `recommend` answers, signals learn every click at once. The
online worker runs the same function; only the wire is missing. Knows no files and no command line.
"""

import math
from collections import defaultdict, deque
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learner.candidates import SOURCES
from learner.catalogue import Catalogue, Item
from learner.dataset import Interactions
from learner.events import INTEREST, Kind
from learner.features import FEATURES
from learner.lists import Lists
from learner.release import LiveRelease
from learner.repeats import had_before
from learner.signals import Signals, SignalSettings
from learner.system import Ask, Event, FirstPart, Ints, Ranking
from streams.contract import Click
from streams.intake import Arrival
from streams.live import Live
from streams.policy import Policy
from streams.recommend import World, rank, recommend, reencode
from streams.user_states import UserStates, event_hash

WINDOW = 50  # a user's earlier events that a click pairs with, as in the learner


class Offline:
    """One world, its users and its signals, fed click by click in order."""

    def __init__(self, live: Live, catalogue: Catalogue, policy: Policy) -> None:
        release = live.release
        signals = Signals(SignalSettings.from_dict(release.manifest.signals), catalogue)
        self.world = World(catalogue, signals, live, policy)
        self.states = UserStates(
            release.hidden_size, release.vector_size, views_consume=release.manifest.views_consume
        )
        self._interests: dict[str, deque[int]] = defaultdict(lambda: deque(maxlen=WINDOW))
        self._offset = 0

    def announce(self, item_id: str, record: Item | None) -> None:
        """An item enters the catalogue."""
        catalogue = self.world.catalogue
        number = catalogue.announce(record) if record is not None else catalogue.intern(item_id)
        self.world.signals.follow()
        self.world.live.follow([number])

    def learn(self, click: Click, *, answer: bool) -> list[str]:
        """Folds a click into state and signals; with `answer`, the list that it triggers."""
        self._offset += 1
        outcome = recommend(
            [Arrival(click, 0, self._offset)], self.states, self.world, click.timestamp, rng=None
        )[0]
        self.count(click)
        if not answer or outcome.recommendation is None:
            return []
        return [listed.item_id for listed in outcome.recommendation.items]

    def count(self, click: Click) -> None:
        """What the learner does with a click."""
        kind = Kind[click.event.upper()]
        if kind not in INTEREST:
            return
        world = self.world
        item = world.catalogue.intern(click.item_id)
        earlier = self._interests[click.user_id]
        value = np.nan if click.value is None else click.value
        scaled = world.live.release.normalised(np.array([kind], np.uint8), np.array([value], np.float32))
        world.signals.learn(item, click.timestamp, int(kind), float(scaled[0]), np.array(earlier, np.int32))
        earlier.append(item)

    def remember(self, click: Click) -> None:
        """Folds a click of the past, all but the student's step; `encode` makes up for that."""
        self._offset += 1
        kind = Kind[click.event.upper()]
        if kind is not Kind.IMPRESSION:
            slot = self.states.slot(click.user_id)
            item = self.world.catalogue.intern(click.item_id)
            value = math.nan if click.value is None else click.value
            self.states.fold(slot, item, click.timestamp, int(kind), value, event_hash(click.event_id))
            self.states.applied[slot] = self._offset
        self.count(click)

    def encode(self, at_once: int = 256) -> None:
        """Computes every user's hidden state from the last 128 events."""
        self.world.live.follow()
        slots = list(self.states.index.values())
        for start in range(0, len(slots), at_once):
            reencode(slots[start : start + at_once], self.states, self.world.live)

    def slot(self, user_id: str) -> int:
        """The user's slot, -1 if nobody has seen the user."""
        return self.states.index.get(user_id, -1)


class NextclickSystem:
    """Nextclick as `learner.replay` measures it.

    `train(first)` makes a release from the first part and returns its folder. `frozen` users see
    neither new clicks in their state nor in the signals, `without` names parts that stand still.
    """

    def __init__(
        self,
        train: Callable[[FirstPart], str],
        policy: Policy | None = None,
        *,
        name: str = "nextclick",
    ) -> None:
        self.name = name
        self.policy = policy or Policy(exploration=0.0)
        self._train = train
        self._offline: Offline | None = None
        self._numbers: NDArray[np.int32] = np.zeros(0, np.int32)

    def fit(self, first: FirstPart) -> None:
        """Trains on the first part."""
        catalogue = Catalogue()
        live = Live.load(self._train(first), catalogue)
        self._offline = Offline(live, catalogue, self.policy)
        self._first = first
        self._index = {item_id: number for number, item_id in enumerate(first.item_ids)}

    def announce(self, item: int, record: Item | None, time_ms: int) -> None:  # noqa: ARG002
        """An item enters the catalogue."""
        self._running.announce(self._first.item_ids[item], record)

    def rank(self, ask: Ask) -> Ranking:
        """Candidates with the ranker's scores; everything else counts as not found."""
        offline = self._running
        slots = np.array([offline.slot(self._first.user_ids[ask.user])], np.int64)
        ranked = rank(slots, np.array([ask.time_ms], np.int64), offline.states, offline.world)
        count = int(ranked.candidates.count[0])
        numbers = ranked.candidates.items[0, :count]
        ranks = ranked.candidates.ranks[0, :count]
        items = self._translated(numbers)
        proposals = {name: items[ranks[:, at] >= 0] for at, name in enumerate(SOURCES)}
        return Ranking(items, ranked.scores[0, :count].astype(np.float64), None, proposals)

    def learn(self, event: Event, listed: bool) -> Ints | None:
        """Folds one event in; with `listed`, returns the list that it triggers."""
        first = self._first
        click = Click(
            event_id=str(event.number),
            user_id=first.user_ids[event.user],
            item_id=first.item_ids[event.item],
            event=Kind(event.kind).word,  # type: ignore[arg-type]
            timestamp=event.time_ms,
            value=None if np.isnan(event.value) else event.value,
            scenario=event.scenario,
            history=not listed,
        )
        shown = self._running.learn(click, answer=listed)
        return np.array([self._index[item_id] for item_id in shown], np.int32) if listed else None

    def describe(self) -> dict[str, Any]:
        """The release and its settings."""
        manifest = self._running.world.live.release.manifest
        return {
            "release": manifest.release,
            "metrics": manifest.metrics,
            "candidates": self.policy.candidates,
        }

    @property
    def _running(self) -> Offline:
        assert self._offline is not None, "fit comes first"
        return self._offline

    def _translated(self, numbers: NDArray[np.int32]) -> NDArray[np.int32]:
        """The catalogue's numbers as the stream's."""
        ids = self._running.world.catalogue.ids
        for number in range(len(self._numbers), len(ids)):
            self._numbers = np.append(self._numbers, np.int32(self._index.get(ids[number], -1)))
        return self._numbers[numbers]


def collect(
    live: LiveRelease,
    data: Interactions,
    start: int,
    stop: int,
    *,
    lists: int = 40_000,
    negatives: int = 100,
    seed: int = 0,
) -> Lists:
    """Replays the hot path over [start, stop) of `data` and keeps the lists it makes (`Collect`).

    Everything before `start` only feeds states and signals; users' hidden states are then encoded from
    their last 128 events.
    """
    rng = np.random.default_rng(seed)
    catalogue = live.catalogue
    offline = Offline(Live(live, catalogue), catalogue, Policy(exploration=0.0))
    world, states = offline.world, offline.states
    repeats = live.manifest.repeat_consumption
    interest = np.isin(data.kind, [int(kind) for kind in INTEREST])
    wanted = interest if repeats else interest & ~had_before(data.user, data.item, interest)
    asked = np.flatnonzero(wanted[start:stop]) + start
    if len(asked) > lists:
        asked = np.sort(rng.choice(asked, lists, replace=False))
    is_asked = np.zeros(stop, np.bool_)
    is_asked[asked] = True
    width = negatives + 1
    features = np.zeros((len(asked), width, len(FEATURES)), np.float32)
    mask = np.zeros((len(asked), width), np.bool_)
    row = 0
    for number in range(start):
        offline.remember(_click(data, number))
    offline.encode()
    for number in range(start, stop):
        click = _click(data, number)
        item = catalogue.index.get(click.item_id, -1)
        if is_asked[number] and item >= 0:
            slots = np.array([offline.slot(click.user_id)], np.int64)
            ranked = rank(slots, np.array([click.timestamp], np.int64), states, world, score=False)
            places = _thinned(ranked.candidates.items[0], item, negatives, rng)
            if len(places) > 1:
                features[row, : len(places)] = ranked.features[0, places]
                mask[row, : len(places)] = True
                row += 1
        offline.learn(click, answer=False)
    return Lists(features[:row], np.zeros(row, np.int64), mask[:row])


def _thinned(
    items: NDArray[np.int32], answer: int, negatives: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """The answer's place, then `negatives` others drawn uniformly; nothing where the answer is missing."""
    at = np.flatnonzero(items == answer)
    if not len(at):
        return at
    others = np.flatnonzero((items >= 0) & (items != answer))
    if len(others) > negatives:
        others = rng.choice(others, negatives, replace=False)
    return np.concatenate([at, others])


def _click(data: Interactions, number: int) -> Click:
    value = float(data.value[number])
    return Click(
        event_id=str(number),
        user_id=data.user_ids[data.user[number]],
        item_id=data.item_ids[data.item[number]],
        event=Kind(int(data.kind[number])).word,  # type: ignore[arg-type]
        timestamp=int(data.time_ms[number]),
        value=None if np.isnan(value) else value,
        history=True,
    )
