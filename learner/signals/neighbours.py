"""Which items are clicked before and after which: sparse rows of directed pairs, kept click by click.

Owns the pairs and nothing else: popularity and times live in `signals`, the use of pairs in
`candidates` and `features`.

A pair (q, y) says that users clicked y after q. It carries five weights (`PAIR_WEIGHTS`) and is stored
once, in the row of y: the items *before* y. A click on y therefore changes one row, and that row is
what the record of y carries. The row of y keeps at most `limit` pairs; the weakest gives way.

For the way back, the items *after* q, each row of q lists where its pairs stand. Its first `HEAD`
places hold the strongest pairs of q, kept as a heap: what follows q most can be read without looking
at all of it. Which pairs stand in the head depends on the weights alone, not on the order in which
they came, so that a process that reads compacted records proposes what the learner would.

Rows lie in two pools of blocks of 2**n places; memory follows the number of pairs.
"""

import math
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

PAIR_WEIGHTS = ("count", "decayed", "rule", "decayed_rule", "inverse")
WEIGHTS = len(PAIR_WEIGHTS)
WINDOW = 50  # events between the two clicks of a pair, at most
HEAD = 128  # pairs of an item that candidates are proposed from; recall@200 no longer grows beyond
ALWAYS_KEPT = 3  # a pair this close enters a full row even if it is the weakest: else no new one ever could
TINY = 2.0**-100  # decayed weights below it are flushed to 0 on a rebase; float32 is exact down to 2**-126
_CLASSES = 32


def _distance_weights() -> NDArray[np.float32]:
    """(WINDOW + 1, 5) float32: what a click adds to the pair with the event `distance` before it.

    count: 1. decayed: d^-.5 up to 20 events, little beyond (it also ranks pairs, so it is never 0).
    rule: 1/d up to 10. decayed_rule: d^-2 up to 3. The two decayed ones fade with the pair half-life.
    inverse: 1, over the root of the user's events so far: somebody who clicks on everything says less
    (inverse user frequency; Breese et al. 1998).
    """
    weights = np.zeros((WINDOW + 1, WEIGHTS), np.float32)
    for distance in range(1, WINDOW + 1):
        weights[distance, 0] = 1.0
        weights[distance, 1] = distance**-0.5 if distance <= 20 else 1.0 / distance
        weights[distance, 2] = 1.0 / distance if distance <= 10 else 0.0
        weights[distance, 3] = distance**-2.0 if distance <= 3 else 0.0
        weights[distance, 4] = 1.0
    return weights


DISTANCE_WEIGHTS = _distance_weights()


class Neighbours:
    """Rows of directed pairs by item number.

    `before` and `after` (cap, 3) int64: start in the pool, pairs, room. Pools: `before_item` int32 (q),
    `before_weight` (·, 5) float32, `before_place` int32 (where the pair stands in the row after q);
    `after_item` int32 (y), `after_slot` int32 (where the pair stands in the row before y), `after_key`
    float32 (its decayed weight). Decayed weights are relative to 2**(reference in half-lives).
    """

    def __init__(self, capacity: int, limit: int) -> None:
        self.limit = limit
        self.before = np.zeros((capacity, 3), np.int64)
        self.after = np.zeros((capacity, 3), np.int64)
        pool = 1 << 14
        self.before_item = np.zeros(pool, np.int32)
        self.before_weight = np.zeros((pool, WEIGHTS), np.float32)
        self.before_place = np.zeros(pool, np.int32)
        self.after_item = np.zeros(pool, np.int32)
        self.after_slot = np.zeros(pool, np.int32)
        self.after_key = np.zeros(pool, np.float32)
        self._free = np.full((2, _CLASSES), -1, np.int64)
        self._used = np.zeros(2, np.int64)

    def grow(self, capacity: int) -> None:
        """Makes room for more items."""
        self.before = _grown(self.before, capacity)
        self.after = _grown(self.after, capacity)

    def learn(
        self,
        item: int,
        history: NDArray[np.int32],
        scale: float,
        tie: NDArray[np.uint32],
        mark: NDArray[np.int32],
    ) -> None:
        """Adds the pairs of one click on `item`.

        `history` (n,) int32: the user's earlier items of interest, newest last. `scale`: weight of a
        decayed click now, relative to the reference. `tie` (cap,) decides between equal weights.
        `mark` (cap,) int32 all -1, left so.
        """
        while short := _learn(
            item, history, self.limit, np.float32(scale), DISTANCE_WEIGHTS, tie, mark, *self._arrays()
        ):
            self._grow_pool(short)

    def replace(
        self,
        item: int,
        sources: NDArray[np.int32],
        weights: NDArray[np.float32],
        tie: NDArray[np.uint32],
        mark: NDArray[np.int32],
    ) -> None:
        """Sets the row before `item`: `sources` (n,) int32 distinct, `weights` (n, 5) float32."""
        while short := _replace(item, sources, weights, tie, mark, *self._arrays()):
            self._grow_pool(short)

    def row(self, item: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Items (n,) int32 clicked before `item` and the pairs' weights (n, 5) float32; views."""
        start, count = int(self.before[item, 0]), int(self.before[item, 1])
        return self.before_item[start : start + count], self.before_weight[start : start + count]

    def followers(self, item: int) -> NDArray[np.int32]:
        """Items of the head of the row after `item`, in no particular order; a view."""
        start, count = int(self.after[item, 0]), min(int(self.after[item, 1]), HEAD)
        return self.after_item[start : start + count]

    def rescale(self, half_lives: int, tie: NDArray[np.uint32]) -> None:
        """Moves the reference of the decayed weights on by whole half-lives; exact but for `TINY` ones."""
        _rescale(
            half_lives, tie, self.before, self.before_weight, self.before_place,
            self.after, self.after_item, self.after_slot, self.after_key,
        )  # fmt: skip

    @staticmethod
    def rescaled(weights: NDArray[np.float32], half_lives: int) -> NDArray[np.float32]:
        """What `rescale` makes of weights (n, 5) float32."""
        moved = weights.copy()
        decayed = weights[:, 1:4:2].astype(np.float64) * 2.0 ** -float(half_lives)
        moved[:, 1:4:2] = np.where(decayed >= TINY, decayed, 0.0)
        return moved

    def memory_bytes(self) -> int:
        """Bytes of all arrays, unused room included."""
        return sum(array.nbytes for array in self._arrays())

    def _arrays(self) -> tuple[NDArray[Any], ...]:
        return (
            self.before, self.before_item, self.before_weight, self.before_place,
            self.after, self.after_item, self.after_slot, self.after_key, self._free, self._used,
        )  # fmt: skip

    def _grow_pool(self, short: int) -> None:
        names = (
            ("before_item", "before_weight", "before_place")
            if short == 1
            else ("after_item", "after_slot", "after_key")
        )
        for name in names:
            array = getattr(self, name)
            setattr(self, name, _grown(array, 2 * len(array)))


def _grown(array: NDArray[Any], length: int) -> NDArray[Any]:
    grown = np.zeros((length, *array.shape[1:]), array.dtype)
    grown[: len(array)] = array
    return grown


# ---- kernels. B and A stand for the arrays of the rows before and after, in the order of `_arrays`.


@numba.njit(cache=True, nogil=True)
def _weaker(a, b, after_item, after_key, tie):  # type: ignore[no-untyped-def]
    """Whether the pair at pool place a is weaker than the one at b: a total order over distinct items."""
    if after_key[a] != after_key[b]:
        return after_key[a] < after_key[b]
    return tie[after_item[a]] > tie[after_item[b]]


@numba.njit(cache=True, nogil=True)
def _room_class(places):  # type: ignore[no-untyped-def]
    size = 2
    while (1 << size) < places:
        size += 1
    return size


@numba.njit(cache=True, nogil=True)
def _take_block(pool, size, items, free, used):  # type: ignore[no-untyped-def]
    start = free[pool, size]
    if start >= 0:
        free[pool, size] = items[start]
        return start
    start = used[pool]
    used[pool] += 1 << size
    return start


@numba.njit(cache=True, nogil=True)
def _free_block(pool, start, room, items, free):  # type: ignore[no-untyped-def]
    if room > 0:
        size = _room_class(room)
        items[start] = free[pool, size]
        free[pool, size] = start


@numba.njit(cache=True, nogil=True)
def _room_before(y, places, before, before_item, before_weight, before_place, free, used):  # type: ignore[no-untyped-def]
    if before[y, 2] >= places:
        return
    size = _room_class(places)
    old, start = before[y, 0], _take_block(0, size, before_item, free, used)
    for k in range(before[y, 1]):
        before_item[start + k] = before_item[old + k]
        before_place[start + k] = before_place[old + k]
        for w in range(WEIGHTS):
            before_weight[start + k, w] = before_weight[old + k, w]
    _free_block(0, old, before[y, 2], before_item, free)
    before[y, 0] = start
    before[y, 2] = 1 << size


@numba.njit(cache=True, nogil=True)
def _room_after(q, places, after, after_item, after_slot, after_key, free, used):  # type: ignore[no-untyped-def]
    if after[q, 2] >= places:
        return
    size = _room_class(places)
    old, start = after[q, 0], _take_block(1, size, after_item, free, used)
    for k in range(after[q, 1]):
        after_item[start + k] = after_item[old + k]
        after_slot[start + k] = after_slot[old + k]
        after_key[start + k] = after_key[old + k]
    _free_block(1, old, after[q, 2], after_item, free)
    after[q, 0] = start
    after[q, 2] = 1 << size


@numba.njit(cache=True, nogil=True)
def _put(start, place, item, slot, key, before, before_place, after_item, after_slot, after_key):  # type: ignore[no-untyped-def]
    after_item[start + place] = item
    after_slot[start + place] = slot
    after_key[start + place] = key
    before_place[before[item, 0] + slot] = place


@numba.njit(cache=True, nogil=True)
def _swap(start, i, j, before, before_place, after_item, after_slot, after_key):  # type: ignore[no-untyped-def]
    item, slot, key = after_item[start + i], after_slot[start + i], after_key[start + i]
    _put(
        start, i, after_item[start + j], after_slot[start + j], after_key[start + j],
        before, before_place, after_item, after_slot, after_key,
    )  # fmt: skip
    _put(start, j, item, slot, key, before, before_place, after_item, after_slot, after_key)


@numba.njit(cache=True, nogil=True)
def _sift_down(start, i, tie, before, before_place, after_item, after_slot, after_key):  # type: ignore[no-untyped-def]
    """Restores the heap of the head (weakest on top) below place i."""
    while True:
        child = 2 * i + 1
        if child >= HEAD:
            return
        if child + 1 < HEAD and _weaker(start + child + 1, start + child, after_item, after_key, tie):
            child += 1
        if not _weaker(start + child, start + i, after_item, after_key, tie):
            return
        _swap(start, i, child, before, before_place, after_item, after_slot, after_key)
        i = child


@numba.njit(cache=True, nogil=True)
def _sift_up(start, i, tie, before, before_place, after_item, after_slot, after_key):  # type: ignore[no-untyped-def]
    while i > 0:
        parent = (i - 1) // 2
        if not _weaker(start + i, start + parent, after_item, after_key, tie):
            return
        _swap(start, i, parent, before, before_place, after_item, after_slot, after_key)
        i = parent


@numba.njit(cache=True, nogil=True)
def _heapify(start, tie, before, before_place, after_item, after_slot, after_key):  # type: ignore[no-untyped-def]
    for i in range(HEAD // 2 - 1, -1, -1):
        _sift_down(start, i, tie, before, before_place, after_item, after_slot, after_key)


@numba.njit(cache=True, nogil=True)
def _enter_head(start, place, tie, before, before_place, after_item, after_slot, after_key):  # type: ignore[no-untyped-def]
    """Takes the pair at a place behind the head into the head if it is stronger than the weakest there."""
    if _weaker(start, start + place, after_item, after_key, tie):
        _swap(start, 0, place, before, before_place, after_item, after_slot, after_key)
        _sift_down(start, 0, tie, before, before_place, after_item, after_slot, after_key)


@numba.njit(cache=True, nogil=True)
def _append_after(  # type: ignore[no-untyped-def]
    q, y, slot, key, tie, before, before_place, after, after_item, after_slot, after_key, free, used
):
    """Lists the pair (q, y) in the row after q."""
    count = after[q, 1]
    _room_after(q, count + 1, after, after_item, after_slot, after_key, free, used)
    start = after[q, 0]
    if count == HEAD:
        _heapify(start, tie, before, before_place, after_item, after_slot, after_key)
    _put(start, count, y, slot, key, before, before_place, after_item, after_slot, after_key)
    after[q, 1] = count + 1
    if count >= HEAD:
        _enter_head(start, count, tie, before, before_place, after_item, after_slot, after_key)


@numba.njit(cache=True, nogil=True)
def _raise_after(q, place, key, tie, before, before_place, after, after_item, after_slot, after_key):  # type: ignore[no-untyped-def]
    """A pair in the row after q became stronger."""
    start = after[q, 0]
    after_key[start + place] = key
    if after[q, 1] > HEAD:
        if place < HEAD:
            _sift_down(start, place, tie, before, before_place, after_item, after_slot, after_key)
        else:
            _enter_head(start, place, tie, before, before_place, after_item, after_slot, after_key)


@numba.njit(cache=True, nogil=True)
def _remove_after(q, place, tie, before, before_place, after, after_item, after_slot, after_key):  # type: ignore[no-untyped-def]
    """Takes the pair at `place` off the row after q; the strongest behind the head moves up."""
    start, last = after[q, 0], after[q, 1] - 1
    hole = place
    if last >= HEAD and place < HEAD:
        best = HEAD
        for other in range(HEAD + 1, last + 1):
            if _weaker(start + best, start + other, after_item, after_key, tie):
                best = other
        _swap(start, place, best, before, before_place, after_item, after_slot, after_key)
        _sift_up(start, place, tie, before, before_place, after_item, after_slot, after_key)
        _sift_down(start, place, tie, before, before_place, after_item, after_slot, after_key)
        hole = best
    if hole != last:
        _put(
            start, hole, after_item[start + last], after_slot[start + last], after_key[start + last],
            before, before_place, after_item, after_slot, after_key,
        )  # fmt: skip
    after[q, 1] = last


@numba.njit(cache=True, nogil=True)
def _shortage(need_before, need_after, before_item, after_item, used):  # type: ignore[no-untyped-def]
    """1 or 2 if the pool of the rows before or after may not hold what is to come, else 0."""
    if used[0] + need_before > before_item.shape[0]:
        return 1
    if used[1] + need_after > after_item.shape[0]:
        return 2
    return 0


@numba.njit(cache=True, nogil=True)
def _learn(  # type: ignore[no-untyped-def]
    y, history, limit, scale, distance_weight, tie, mark,
    before, before_item, before_weight, before_place, after, after_item, after_slot, after_key, free, used,
):  # fmt: skip
    length = min(history.shape[0], WINDOW)
    activity = np.float32(1.0 / math.sqrt(length + 5.0))
    distinct = np.empty(WINDOW, np.int32)
    nearest = np.empty(WINDOW, np.int32)
    slot_of = np.empty(WINDOW, np.int32)
    added = np.zeros((WINDOW, WEIGHTS), np.float32)
    sources, need_after = 0, 0
    for distance in range(1, length + 1):
        q = history[history.shape[0] - distance]
        if q == y:
            continue
        e = mark[q]
        if e < 0:
            e = sources
            mark[q] = e
            distinct[e], nearest[e], slot_of[e] = q, distance, -1
            sources += 1
            if after[q, 1] == after[q, 2]:
                need_after += max(4, 2 * after[q, 2])
        added[e, 0] += distance_weight[distance, 0]
        added[e, 1] += scale * distance_weight[distance, 1]
        added[e, 2] += distance_weight[distance, 2]
        added[e, 3] += scale * distance_weight[distance, 3]
        added[e, 4] += activity * distance_weight[distance, 4]
    short = _shortage(4 * (before[y, 1] + sources + 4), need_after, before_item, after_item, used)
    if short:
        for e in range(sources):
            mark[distinct[e]] = -1
        return short
    start = before[y, 0]
    for k in range(before[y, 1]):
        e = mark[before_item[start + k]]
        if e >= 0:
            slot_of[e] = k
    # First what is known, so that no pair of this click gives way to another before it is counted.
    for e in range(sources):
        mark[distinct[e]] = -1
        k = slot_of[e]
        if k >= 0:
            for w in range(WEIGHTS):
                before_weight[start + k, w] += added[e, w]
            _raise_after(
                distinct[e], before_place[start + k], before_weight[start + k, 1], tie,
                before, before_place, after, after_item, after_slot, after_key,
            )  # fmt: skip
    weakest = -1
    for e in range(sources):
        if slot_of[e] >= 0:
            continue
        q, k = distinct[e], before[y, 1]
        if k < limit:
            _room_before(y, k + 1, before, before_item, before_weight, before_place, free, used)
            start = before[y, 0]
            before[y, 1] = k + 1
        else:
            if weakest < 0:
                weakest = _weakest_before(start, k, before_item, before_weight, tie)
            if added[e, 1] <= before_weight[start + weakest, 1] and nearest[e] > ALWAYS_KEPT:
                continue
            k = weakest
            weakest = -1
            _remove_after(
                before_item[start + k], before_place[start + k], tie,
                before, before_place, after, after_item, after_slot, after_key,
            )  # fmt: skip
        before_item[start + k] = q
        for w in range(WEIGHTS):
            before_weight[start + k, w] = added[e, w]
        _append_after(
            q, y, k, added[e, 1], tie,
            before, before_place, after, after_item, after_slot, after_key, free, used,
        )  # fmt: skip
    return 0


@numba.njit(cache=True, nogil=True)
def _weakest_before(start, count, before_item, before_weight, tie):  # type: ignore[no-untyped-def]
    weakest = 0
    for k in range(1, count):
        key, least = before_weight[start + k, 1], before_weight[start + weakest, 1]
        if key < least or (key == least and tie[before_item[start + k]] > tie[before_item[start + weakest]]):
            weakest = k
    return weakest


@numba.njit(cache=True, nogil=True)
def _replace(  # type: ignore[no-untyped-def]
    y, sources, weights, tie, mark,
    before, before_item, before_weight, before_place, after, after_item, after_slot, after_key, free, used,
):  # fmt: skip
    count, need_after = sources.shape[0], 0
    for k in range(count):
        if after[sources[k], 1] == after[sources[k], 2]:
            need_after += max(4, 2 * after[sources[k], 2])
    short = _shortage(4 * (count + 4), need_after, before_item, after_item, used)
    if short:
        return short
    place_of = np.full(count, -1, np.int32)
    for k in range(count):
        mark[sources[k]] = k
    start = before[y, 0]
    for s in range(before[y, 1]):
        q = before_item[start + s]
        if mark[q] >= 0:
            place_of[mark[q]] = before_place[start + s]
        else:
            _remove_after(
                q, before_place[start + s], tie,
                before, before_place, after, after_item, after_slot, after_key,
            )  # fmt: skip
    before[y, 1] = 0  # nothing to copy when the row moves
    _room_before(y, count, before, before_item, before_weight, before_place, free, used)
    before[y, 1] = count
    start = before[y, 0]
    for k in range(count):
        q = sources[k]
        mark[q] = -1
        before_item[start + k] = q
        for w in range(WEIGHTS):
            before_weight[start + k, w] = weights[k, w]
        before_place[start + k] = place_of[k]
        if place_of[k] >= 0:
            after_slot[after[q, 0] + place_of[k]] = k
    for k in range(count):
        q, place = sources[k], before_place[start + k]
        if place >= 0 and after_key[after[q, 0] + place] > weights[k, 1]:
            # Weaker than before (a learner that began anew): as if it had just come.
            _remove_after(q, place, tie, before, before_place, after, after_item, after_slot, after_key)
            place = -1
        if place < 0:
            _append_after(
                q, y, k, weights[k, 1], tie,
                before, before_place, after, after_item, after_slot, after_key, free, used,
            )  # fmt: skip
        else:
            _raise_after(
                q, place, weights[k, 1], tie, before, before_place, after, after_item, after_slot, after_key
            )
    return 0


@numba.njit(cache=True, nogil=True)
def _rescale(  # type: ignore[no-untyped-def]
    half_lives, tie, before, before_weight, before_place, after, after_item, after_slot, after_key
):
    factor = 2.0 ** (-float(half_lives))
    for y in range(before.shape[0]):
        for k in range(before[y, 0], before[y, 0] + before[y, 1]):
            for w in (1, 3):
                scaled = before_weight[k, w] * factor
                before_weight[k, w] = scaled if scaled >= TINY else 0.0
    for q in range(after.shape[0]):
        start, count = after[q, 0], after[q, 1]
        for place in range(count):
            y = after_item[start + place]
            after_key[start + place] = before_weight[before[y, 0] + after_slot[start + place], 1]
        if count > HEAD:  # weights flushed to 0 tie, which may change who is strongest
            _heapify(start, tie, before, before_place, after_item, after_slot, after_key)
            for place in range(HEAD, count):
                _enter_head(start, place, tie, before, before_place, after_item, after_slot, after_key)
