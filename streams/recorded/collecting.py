"""Lists for the ranker to learn from, made by the hot path over recorded clicks
(`learner.training.collect.Collect`).

Owns the walk: which clicks are asked about, and how many at once. A stretch of clicks is folded into its
users' states one after the other, each ask noted before its click; its lists are then made in one go, and
only then do signals learn of the stretch. So lists know of signals what a worker under load knows: all but
the newest few clicks. They hold no item that nobody could have listed yet. Needs no torch.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learner.data.catalogue import Catalogue, Item
from learner.data.dataset import Interactions
from learner.data.event_weights import ALL_ALIKE
from learner.data.events import INTEREST, Kind
from learner.data.repeats import had_before
from learner.ranking.arrays import Asks
from learner.ranking.columns import FEATURES
from learner.ranking.lists import FEATURES_FILE, Lists, Wanted, let_go, on_disk
from learner.release.live import LiveRelease
from streams.hot_path.live import Live
from streams.hot_path.policy import Policy
from streams.hot_path.rank import ask, candidates_of, features_of, joined
from streams.recorded.world import Offline
from streams.wire.contract import Click

STRETCH = 16  # clicks
LEAST = 0.5  # of the time, for lists, however long it took to replay what was before them
PASSED_OVER = 4  # of so many late stretches one is asked about all the same
WRITTEN = 500  # lists that are left in memory, where they are kept in a file
BEHIND = 0.05  # of the work, by which a walk may lag behind its time before it passes over asks


def collect(
    live: LiveRelease,
    data: Interactions,
    start: int,
    stop: int,
    wanted: Wanted,
    vectors: NDArray[np.float32] | None = None,
) -> Lists:
    """Replays the hot path over [start, stop) of `data` and keeps the lists it makes.

    Everything before `start` only feeds states and signals. `vectors` (stop - start, D) float32 are users'
    vectors before each click, where somebody has computed them; else users' hidden states are encoded from
    their last 128 events, and step on from there. Where the time proves too short, asks are passed over all
    along the way.
    """
    clock, budget_s = wanted.clock, wanted.budget_s
    begun = clock()
    rng = np.random.default_rng(wanted.seed)
    newcomers = _Newcomers(live.catalogue, data, start)
    offline = Offline(Live(live, live.catalogue), live.catalogue, Policy(exploration=0.0))
    weights = offline.world.signals.by_kind
    asked = _asked(data, start, stop, wanted.lists, live.manifest.repeat_consumption, weights, rng)
    found = _Kept(int(asked.sum()), wanted, weights, rng)
    for number in range(start):
        offline.remember(click_of(data, number))
    if vectors is None:
        offline.encode()
    ready = clock() - begun
    left = max(budget_s - ready, LEAST * budget_s)
    nobody = np.zeros_like(asked)
    for begin in range(start, stop, STRETCH):
        end = min(begin + STRETCH, stop)
        offline.world.live.follow(newcomers.by(begin))
        share = (begin - start) / max(stop - start, 1)
        late = clock() - begun > ready + (share + BEHIND) * left
        now = nobody if late and (begin - start) // STRETCH % PASSED_OVER else asked
        theirs = None if vectors is None else vectors[begin - start : end - start]
        _stretch(offline, data, range(begin, end), now, theirs, found)
    return found.lists()


def _asked(
    data: Interactions, start: int, stop: int, lists: int, repeats: bool, weights: NDArray[np.float64],
    rng: np.random.Generator,
) -> NDArray[np.bool_]:  # fmt: skip
    """(stop,): the clicks that are asked about, at most `lists`; `weights` (K,) say which count nothing."""
    interest = np.isin(data.kind[:stop], [int(kind) for kind in INTEREST])
    wanted = interest if repeats else interest & ~had_before(data.user[:stop], data.item[:stop], interest)
    wanted = wanted & (weights[data.kind[:stop]] > 0)
    numbers = np.flatnonzero(wanted[start:]) + start
    if len(numbers) > lists:
        numbers = rng.choice(numbers, lists, replace=False)
    asked = np.zeros(stop, np.bool_)
    asked[numbers] = True
    return asked


def _stretch(
    offline: Offline, data: Interactions, numbers: range, wanted: NDArray[np.bool_],
    vectors: NDArray[np.float32] | None, found: "_Kept",
) -> None:  # fmt: skip
    """Makes the lists of the clicks of these numbers (n,), and learns from the clicks.

    wanted (stop,): those that are asked about; vectors (n, D) of the users before each click, or None.
    """
    index = offline.world.catalogue.index
    clicks = [click_of(data, number) for number in numbers]
    asks: list[Asks] = []
    answers: list[int] = []
    kinds: list[int] = []
    for first, last in _runs(clicks):
        rows = [row for row in range(first, last) if wanted[numbers[row]] and clicks[row].item_id in index]
        if rows:
            slots = np.array([offline.slot(clicks[row].user_id) for row in rows], np.int64)
            times = np.array([clicks[row].timestamp for row in rows], np.int64)
            asks.append(ask(slots, times, offline.states, offline.world))
            answers += [index[clicks[row].item_id] for row in rows]
            kinds += [int(data.kind[numbers[row]]) for row in rows]
            if vectors is not None:
                asks[-1] = asks[-1]._replace(user_vector=vectors[np.array(rows)])
        if vectors is None:
            offline.step(clicks[first:last])
        else:
            for click in clicks[first:last]:
                offline.note(click)
    if asks:
        together = joined(asks)
        proposed = candidates_of(together, offline.world)
        hits = np.flatnonzero((proposed.items == np.array(answers)[:, None]).any(axis=1))
        some = proposed.rows(hits)
        columns = features_of(together.rows(hits), some, offline.world).table()  # of lists that teach
        for row, hit in enumerate(hits.tolist()):
            found.keep(some.items[row], columns[row], answers[hit], kinds[hit])
    for click in clicks:
        offline.count(click)


def _runs(clicks: Sequence[Click]) -> Iterator[tuple[int, int]]:
    """Cuts clicks into runs of different users: no ask of a run needs a click of the same run."""
    first, users = 0, set[str]()
    for row, click in enumerate(clicks):
        if click.user_id in users:
            yield first, row
            first, users = row, set()
        users.add(click.user_id)
    yield first, len(clicks)


class _Newcomers:
    """Items that nobody can list yet; by `published_at` or their first click they come.

    A release under training knows all items of its clicks. One of which nobody has ever said anything would
    be learned as "never clicked, soon clicked", which no list that is served can show: there it is not in the
    catalogue before its first click. An announced item without a date is there from the start, since nobody
    knows since when.
    """

    def __init__(self, catalogue: Catalogue, data: Interactions, start: int) -> None:
        """Takes out of the catalogue what comes later than the click `start`."""
        self._catalogue = catalogue
        numbers, rows = np.unique(data.item, return_index=True)
        first = {
            data.item_ids[number]: row for number, row in zip(numbers.tolist(), rows.tolist(), strict=True)
        }
        coming: list[tuple[int, int]] = []  # (click from which on an item can be listed, item)
        for number in np.flatnonzero(catalogue.available[: catalogue.size]).tolist():
            record = catalogue.records.get(number)
            clicked = first.get(catalogue.ids[number], -1) + 1
            at = 0
            if record is None or record == Item(item_id=record.item_id):
                at = clicked
            elif record.published_at is not None:
                at = int(data.time_ms.searchsorted(record.published_at))
                at = min(at, clicked) if clicked else at
            if at > start:
                coming.append((at, number))
        self._coming = deque(sorted(coming))
        catalogue.expire(np.array([number for _, number in coming], np.int64))

    def by(self, click: int) -> list[int]:
        """Brings back the items that have come before the click of this number; returns them."""
        came: list[int] = []
        while self._coming and self._coming[0][0] <= click:
            number = self._coming.popleft()[1]
            self._catalogue.revive(number)
            came.append(number)
        return came


class _Kept:
    """Answered lists, thinned to the answer and some of the others; `weights` (K,) of answers by kind."""

    def __init__(
        self, most: int, wanted: Wanted, weights: NDArray[np.float64], rng: np.random.Generator
    ) -> None:
        width = wanted.negatives + 1
        self._negatives, self._rng, self._row = wanted.negatives, rng, 0
        # Half precision, as they are kept
        shape = (most, width, len(FEATURES))
        self._features: NDArray[Any] = (
            on_disk(wanted.folder / FEATURES_FILE, shape)
            if wanted.folder is not None and most
            else np.zeros(shape, np.float16)
        )
        self._mask = np.zeros((most, width), np.bool_)
        self._items = np.full((most, width), -1, np.int32)
        self._by_kind = None if tuple(weights.tolist()) == ALL_ALIKE else weights
        self._weight = np.ones(most, np.float32)

    def keep(self, items: NDArray[np.int32], features: NDArray[np.float32], answer: int, kind: int) -> None:
        """Keeps a list if its answer is among the candidates (C,), features (C, F)."""
        places = thinned(items, answer, self._negatives, self._rng)
        if len(places) > 1:
            self._features[self._row, : len(places)] = features[places]
            self._mask[self._row, : len(places)] = True
            self._items[self._row, : len(places)] = items[places]
            if self._by_kind is not None:
                self._weight[self._row] = self._by_kind[kind]
            self._row += 1
            if self._row % WRITTEN == 0:
                let_go(self._features)

    def lists(self) -> Lists:
        """What was kept; answers are in place 0."""
        rows = self._row
        return Lists(
            self._features[:rows], np.zeros(rows, np.int64), self._mask[:rows], self._items[:rows],
            None if self._by_kind is None else self._weight[:rows],
        )  # fmt: skip


def thinned(
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


def click_of(data: Interactions, number: int) -> Click:
    """The event as the message that it was, marked as one of the past."""
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
