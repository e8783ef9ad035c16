"""Signals: what all users' clicks say about items.

Owns decayed popularity (among all users, and among those who had clicked as often before), counts, times
and values by item, the pairs of items clicked one after the other (`neighbours`), and the lists of popular
and new items (`toplists`). Knows neither single users nor models nor Kafka. The learner counts clicks
(`learn`); workers apply the records it sends (`apply`).

Time. A decayed sum holds, for each click at time t, 2**(t / half_life - reference); its value now is
the sum times 2**(reference - now / half_life). The reference is a whole number of half-lives, so that
moving it multiplies by a power of two, which loses nothing.

Records. A record holds all that signals know of one item, absolutely: applying it twice, or only the
last one, leads to the same arrays. A click on y changes the record of y alone; what belongs to no single
item follows from the items (the total) or only ever rises (the clock, the reference).

Weights. An event counts as often as its kind weighs, once by default. Records say what they were counted
with; those of different weights are never mixed (`recounting`).

Threads: one at a time. The kernels of `candidates` and `features` read these arrays and use `marks`.
"""

import zlib
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from learner.data.arrays import grown
from learner.data.catalogue import Catalogue
from learner.data.event_weights import EventWeights, weights_by_kind
from learner.data.times import YEAR_MS
from learner.signals.kernels import Sums, TopLists, count_click, rank, rank_born, rank_depths
from learner.signals.neighbours import Neighbours
from learner.signals.record import (
    FRONTIER,
    SignalRecord,
    Unpacked,
    decode,
    encode,
    later,
    named,
    numbered,
    unpack,
)
from learner.signals.settings import DEPTH_HALF_LIVES, DEPTHS, HALF_LIVES, SignalSettings
from learner.signals.toplists import BORN, NEWEST, TOP, top_of

# Exponents of two that sums may reach before the reference moves: far from the end of either type
# (float64 1023, float32 127), rare enough to cost nothing.
_HIGHEST_POPULARITY, _LOWEST_POPULARITY = 256, -700
_HIGHEST_PAIR = 40


class Signals:
    """Arrays by item number (cap rows), grown with the catalogue.

    popularity (cap, H) float64 relative to `reference` (H + 1,) int64 half-lives (the last: the
    pairs'); by_depth (cap, 3, 7) float64: the same of clicks by users of each depth; count, value_sum (cap,)
    float64; first_ms (of the click that was counted first), last_ms, born_ms (cap,) int64; top (H, TOP) int32
    with top_count (H,); depth_top (3, 7, TOP) with depth_top_count (3, 7); depth_column (H,): which of the
    three is the nearest to each half-life;
    newest (NEWEST + BORN,) int32 with newest_count (2,): items nobody had clicked when they were listed,
    latest first, then those clicked for the first time, latest first.

    `keep_offsets`: remember each item's applied offsets (a learner that resumes needs them).
    `on_vector(item, vector, content, space)` is called when a record brings the vector of a new item.
    """

    def __init__(
        self,
        settings: SignalSettings,
        catalogue: Catalogue,
        *,
        keep_offsets: bool = False,
        on_vector: Callable[[int, NDArray[np.float32], NDArray[np.float32], str], None] | None = None,
    ) -> None:
        self.settings = settings
        self.catalogue = catalogue
        self.on_vector = on_vector
        self.half_lives = np.array([*settings.half_lives_ms, settings.pair_half_life_ms])
        self.reference = np.zeros(HALF_LIVES + 1, np.int64)
        self.now_ms = 0
        self.total = 0.0
        self.offsets: dict[int, int] = {}  # how far the clicks have been counted, by partition
        self.frontier: dict[int, int] = {}  # the same, as of the last frontier record applied
        self.touched: set[int] = set()  # items whose record has changed since `drain`
        self.by_kind = weights_by_kind(settings.event_weights)  # (K,): how much an event counts
        self._vectors: dict[int, tuple[NDArray[np.float32], NDArray[np.float32], str]] = {}
        self._known = 0
        self._first_clicks = 0  # since the never-clicked items were last listed
        self._rebase_at_ms = 0.0
        cap = 64
        self.popularity = np.zeros((cap, HALF_LIVES))
        self.by_depth = np.zeros((cap, len(DEPTH_HALF_LIVES), len(DEPTHS)))
        self.count = np.zeros(cap)
        self.value_sum = np.zeros(cap)
        self.first_ms = np.zeros(cap, np.int64)
        self.last_ms = np.zeros(cap, np.int64)
        self.tie = np.zeros(cap, np.uint32)
        self.born_ms = np.zeros(cap, np.int64)  # when an item newer than the release came; 0 for others
        self.marks = np.full((2, cap), -1, np.int32)  # the kernels' scratch, all -1 between calls
        self.places = np.full(cap, -1, np.int8)  # the same: places in a history, small to stay in cache
        self.category_scratch = np.zeros((3, 16))  # the kernels', all 0 between calls
        self.top = np.zeros((HALF_LIVES, TOP), np.int32)
        self.top_count = np.zeros(HALF_LIVES, np.int64)
        self.depth_top = np.zeros((len(DEPTH_HALF_LIVES), len(DEPTHS), TOP), np.int32)
        self.depth_top_count = np.zeros((len(DEPTH_HALF_LIVES), len(DEPTHS)), np.int64)
        self.depth_column = settings.depth_columns()
        self.newest = np.zeros(NEWEST + BORN, np.int32)
        self.newest_count = np.zeros(2, np.int64)
        self._applied = np.full((cap, 8), -1, np.int64) if keep_offsets else None
        self.neighbours = Neighbours(cap, settings.limit(catalogue.size))
        self._bind()
        self.follow()

    def follow(self) -> None:
        """Takes in what joined the catalogue since the last call; cheap when nothing did."""
        size = self.catalogue.size
        categories = len(self.catalogue.category_names)
        if categories > self.category_scratch.shape[1]:
            self.category_scratch = np.zeros((3, 2 * categories))
        if size != self._known:
            if size > len(self.count):
                self._grow(max(2 * len(self.count), size))
            new = np.arange(self._known, size)
            ids = self.catalogue.ids
            self.tie[new] = [zlib.crc32(ids[item].encode()) for item in new.tolist()]
            self._known = size
            self.announce(new)
        elif self._first_clicks > NEWEST // 4 and self.newest_count[0] == NEWEST:
            # Others wait behind the full list of never-clicked items, a part of which now is clicked.
            self.announce(np.arange(size))

    def announce(self, items: NDArray[np.int64]) -> None:
        """Lists items (n,) among the never-clicked ones, latest first: by publication, else by `born_ms`.

        `follow` does so for items that join; again is only needed for one whose date has changed.
        """
        listed = np.unique(np.concatenate([self.newest[: self.newest_count[0]], items]))
        listed = listed[self.count[listed] == 0]
        published = (self.catalogue.published[listed] - 1970.0) * YEAR_MS
        born = np.where(np.isnan(published), self.born_ms[listed], published)
        order = np.lexsort((listed, self.tie[listed], -born))[:NEWEST]
        self.newest[: len(order)] = listed[order]
        self.newest_count[0] = len(order)
        self._first_clicks = 0

    def learn(self, item: int, time_ms: int, kind: int, value: float, history: NDArray[np.int32]) -> None:
        """Counts one click on `item`.

        `value`: normalised by kind, 0 where there is none. `history` (n,) int32: the user's earlier
        events of interest, newest last. The last `WINDOW` count: with as many the user is of the last
        depth. Events without interest change nothing, nor do those that weigh nothing.
        A time far ahead of all others must not come here: it would age everything else.
        """
        weight = self.by_kind[kind]
        if not weight:
            return
        if self.catalogue.size != self._known:
            self.follow()
        if time_ms > self._rebase_at_ms:
            self._rebase(self._reference_at(time_ms))
        self._first_clicks += self.count[item] == 0
        scale = count_click(tuple(self._sums), tuple(self._lists), item, time_ms, value, len(history), weight)
        if len(history):
            self.neighbours.learn(item, history, scale, self.tie, self._mark, weight)
        self.total += weight
        if time_ms > self.now_ms:
            self.now_ms = time_ms
        self.touched.add(item)

    def drain(self) -> list[int]:
        """Items whose record has changed since the last call, in order of their numbers."""
        items = sorted(self.touched)
        self.touched.clear()
        return items

    def set_vector(
        self, item: int, vector: NDArray[np.float32], content: NDArray[np.float32], space: str = ""
    ) -> None:
        """Gives an item newer than the release a vector (D,) and content (T,), sent with its record.

        `space` names what the numbers of `content` mean (`LiveRelease.space`).
        Such an item was born now, which counts where nobody has said when it was published.
        """
        if self.catalogue.size != self._known:
            self.follow()  # items that were announced in bulk, before anybody has clicked
        self._vectors[item] = (vector.astype("<f4"), content.astype("<f4"), space)
        self._bear(item, int(self.born_ms[item]) or self.now_ms)
        self.touched.add(item)

    def _bear(self, item: int, born_ms: int) -> None:
        if born_ms != self.born_ms[item]:
            self.born_ms[item] = born_ms
            self.announce(np.array([item]))

    def contents_of(self, space: str) -> list[tuple[int, NDArray[np.float32]]]:
        """Items newer than the release, each with its content (T,), of those that are of that space."""
        kept = list(self._vectors.items())  # another thread may be adding to them
        return [(item, content) for item, (_, content, its) in kept if its == space and len(content)]

    def forget_vectors(self) -> None:
        """Drops the vectors that records carry: a new release holds them now."""
        self._vectors.clear()

    def applied(self, item: int) -> dict[int, int]:
        """By partition, the last offset of `clicks` that the item's restored record has counted."""
        if self._applied is None or item >= len(self._applied):
            return {}
        row = self._applied[item]
        return {int(partition): int(row[partition]) for partition in np.flatnonzero(row >= 0)}

    def record(self, item: int) -> bytes:
        """The item's record as UTF-8 JSON."""
        sources, weights = self.neighbours.row(item)
        ids = self.catalogue.ids
        vector, content, space = self._vectors.get(item, (_NO_VECTOR, _NO_VECTOR, ""))
        return encode(
            SignalRecord(
                item_id=ids[item],
                offsets=named(later(self.offsets, self.applied(item))),
                now_ms=self.now_ms,
                reference=self.reference.tolist(),
                popularity=self.popularity[item].tobytes(),
                count=_whole(self.count[item]),
                first_ms=int(self.first_ms[item]),
                last_ms=int(self.last_ms[item]),
                value_sum=float(self.value_sum[item]),
                born_ms=int(self.born_ms[item]),
                before=[ids[source] for source in sources.tolist()],
                weights=weights.tobytes(),
                depths=self.by_depth[item].tobytes(),
                vector=vector.tobytes(),
                content=content.tobytes(),
                space=space,
                event_weights=dict(self.settings.event_weights),
            )
        )

    def frontier_record(self) -> bytes:
        """How far the clicks have been counted, to be sent under the key `FRONTIER` after the items'."""
        return encode(
            SignalRecord(
                item_id=FRONTIER,
                offsets=named(self.offsets),
                now_ms=self.now_ms,
                reference=self.reference.tolist(),
                event_weights=dict(self.settings.event_weights),
            )
        )

    def apply(self, item_id: str, value: bytes) -> int:
        """Applies a record of the topic `signals`; returns the item's number, -1 for the frontier.

        Raises `SignalError` for a record that is broken or belongs to another item; nothing changes then.
        """
        return self.take(decode(item_id, value))

    def take(self, record: SignalRecord) -> int:
        """Applies a record that has been decoded, as `apply` does."""
        item, offsets = -1, numbered(record)
        if record.item_id == FRONTIER:
            self.frontier = offsets
        else:
            item = self._apply_item(record, offsets)
        self.now_ms = max(self.now_ms, record.now_ms)
        self.offsets = later(self.offsets, offsets)
        return item

    def take_vector(self, record: SignalRecord) -> int:
        """Of an item's record only what is no count: its vectors, and since when it is known."""
        found = unpack(record)
        item = self.catalogue.intern(record.item_id)
        self.follow()
        self._take_vector(item, record, found)
        return item

    def weigh(self, event_weights: EventWeights) -> None:
        """Events count so from now on, and have before; raises ValueError for weights that cannot be."""
        self.settings = replace(self.settings, event_weights=event_weights)
        self.by_kind = weights_by_kind(event_weights)

    def become(self, other: "Signals") -> None:
        """All that the other one knows of the same catalogue, and nothing else; the other is spent then."""
        kept = {name: getattr(self, name) for name in ("on_vector", "_applied")}
        now_ms, offsets = max(self.now_ms, other.now_ms), later(self.offsets, other.offsets)
        vars(self).update(vars(other) | kept)
        self.now_ms, self.offsets = now_ms, offsets
        self.follow()

    def memory_bytes(self) -> int:
        """Bytes of all arrays."""
        arrays = [value for value in vars(self).values() if isinstance(value, np.ndarray)]
        own = sum(array.nbytes for array in arrays if array.base is None)  # the others are views of these
        return own + self.neighbours.memory_bytes()

    def _apply_item(self, record: SignalRecord, offsets: dict[int, int]) -> int:
        found = unpack(record)
        # Nothing is wrong with it: only now may anything change.
        item = self.catalogue.intern(record.item_id)
        numbers = list(map(self.catalogue.index.get, record.before))
        if None in numbers:
            numbers = list(map(self.catalogue.intern, record.before))
        sources = np.array(numbers, np.int32)
        self.follow()
        reference = np.array(record.reference, np.int64)
        if (reference > self.reference).any():
            self._rebase(np.maximum(reference, self.reference))
        shift = reference - self.reference  # <= 0: the record may be older than the reference
        self._set_counts(item, record)
        self._set_sums(
            item,
            _flushed(np.ldexp(found.popularity, shift[:-1])),
            _flushed(np.ldexp(found.depths, shift[list(DEPTH_HALF_LIVES)][:, None])),
        )
        weights = Neighbours.rescaled(found.weights, int(-shift[-1])) if shift[-1] else found.weights
        self.neighbours.replace(item, sources, weights, self.tie, self._mark)
        if self._applied is not None:
            self._applied = _with_offsets(self._applied, item, offsets)
        self._take_vector(item, record, found)
        return item

    def _take_vector(self, item: int, record: SignalRecord, found: Unpacked) -> None:
        if record.born_ms:
            self._bear(item, record.born_ms)
        if record.vector:
            self.set_vector(item, found.vector, found.content, record.space)
            self.touched.discard(item)
            if self.on_vector is not None:
                self.on_vector(item, *self._vectors[item])

    def _set_counts(self, item: int, record: SignalRecord) -> None:
        self.total += record.count - int(self.count[item])
        self._first_clicks += self.count[item] == 0
        self.count[item] = record.count
        self.value_sum[item] = record.value_sum
        if record.count:
            self.first_ms[item], self.last_ms[item] = record.first_ms, record.last_ms
            rank_born(item, self.first_ms, self.tie, self.newest[NEWEST:], self.newest_count)

    def _set_sums(self, item: int, popularity: NDArray[np.float64], depths: NDArray[np.float64]) -> None:
        """Sets the item's sums (H,) and (3, 7), and puts it at its place in the lists."""
        fell, depths_fell = popularity < self.popularity[item], depths < self.by_depth[item]
        rose = depths > self.by_depth[item]
        self.popularity[item] = popularity
        self.by_depth[item] = depths
        rank(item, self.popularity, self.tie, self.top, self.top_count)
        rank_depths(item, rose, self.by_depth, self.tie, self.depth_top, self.depth_top_count)
        # A learner that began anew: its sums may be smaller.
        self._rebuild_top([h for h in np.flatnonzero(fell).tolist() if item in self.top[h]])
        for at, depth in np.argwhere(depths_fell).tolist():
            if item in self.depth_top[at, depth]:
                self._rebuild_depth_top(at, depth)

    def _reference_at(self, time_ms: int) -> NDArray[np.int64]:
        """The references after a click at `time_ms`: moved where its exponent would grow too high."""
        at = np.floor(time_ms / self.half_lives).astype(np.int64)
        return np.where(at - self.reference >= _highest(), at, self.reference)

    def _rebase(self, reference: NDArray[np.int64]) -> None:
        """Moves the references on to `reference`, element by element at or above the present ones."""
        shift = reference - self.reference
        moved = np.flatnonzero(shift[:-1])
        for column in moved.tolist():
            self.popularity[:, column] = _flushed(np.ldexp(self.popularity[:, column], -shift[column]))
            if column in DEPTH_HALF_LIVES:
                at = DEPTH_HALF_LIVES.index(column)
                self.by_depth[:, at] = _flushed(np.ldexp(self.by_depth[:, at], -shift[column]))
        if shift[-1]:
            self.neighbours.rescale(int(shift[-1]), self.tie)
        self.reference[:] = reference
        self._rebuild_top(moved.tolist())
        for at, depth in np.ndindex(self.depth_top_count.shape):
            if shift[DEPTH_HALF_LIVES[at]]:
                self._rebuild_depth_top(at, depth)
        self._rebase_at_ms = float(((self.reference + _highest()) * self.half_lives).min()) - 1.0

    def _rebuild_top(self, columns: list[int]) -> None:
        for column in columns:
            best = top_of(self.popularity[: self._known, column], self.tie, TOP)
            self.top[column, : len(best)] = best
            self.top_count[column] = len(best)

    def _rebuild_depth_top(self, at: int, depth: int) -> None:
        best = top_of(self.by_depth[: self._known, at, depth], self.tie, TOP)
        self.depth_top[at, depth, : len(best)] = best
        self.depth_top_count[at, depth] = len(best)

    @property
    def without_depths(self) -> int:
        """Items whose clicks were counted by a version that knew nothing of depths."""
        size = self._known
        return int(((self.count[:size] > 0) & ~self.by_depth[:size].any((1, 2))).sum())

    def _grow(self, capacity: int) -> None:
        for name in ("popularity", "by_depth", "count", "value_sum", "first_ms", "last_ms", "tie", "born_ms"):
            setattr(self, name, grown(getattr(self, name), capacity))
        self.marks = np.full((2, capacity), -1, np.int32)
        self.places = np.full(capacity, -1, np.int8)
        self.neighbours.grow(capacity)
        if self._applied is not None:
            self._applied = grown(self._applied, capacity, -1)
        self._bind()

    def _bind(self) -> None:
        """Holds the arrays as the kernels that count take them: to be done anew when they grow."""
        self._sums = Sums(
            self.half_lives, self.reference, self.popularity, self.by_depth, self.count, self.value_sum,
            self.first_ms, self.last_ms, self.tie,
        )  # fmt: skip
        self._lists = TopLists(
            self.top, self.top_count, self.depth_top, self.depth_top_count, self.newest[NEWEST:],
            self.newest_count,
        )  # fmt: skip
        self._mark = self.marks[0]


_NO_VECTOR = np.zeros(0, np.float32)


def _whole(count: float) -> float:
    """As JSON has always had it: without a point where it is whole."""
    return int(count) if count == int(count) else float(count)


def _highest() -> NDArray[np.int64]:
    """(H + 1,) how far the exponent of each half-life, and of the pairs', may rise above the reference."""
    return np.array([_HIGHEST_POPULARITY] * HALF_LIVES + [_HIGHEST_PAIR], np.int64)


def _flushed(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sets to 0 what would soon lose bits: the same however many steps the reference took."""
    sums[sums < 2.0**_LOWEST_POPULARITY] = 0.0
    return sums


def _with_offsets(applied: NDArray[np.int64], item: int, offsets: Mapping[int, int]) -> NDArray[np.int64]:
    """Sets the item's row (partitions,) int64; widens the array for partitions it has not seen."""
    if offsets and max(offsets) >= applied.shape[1]:
        more = 2 * max(offsets) - applied.shape[1]
        applied = np.pad(applied, ((0, 0), (0, more)), constant_values=-1)
    for partition, offset in offsets.items():
        applied[item, partition] = offset
    return applied
