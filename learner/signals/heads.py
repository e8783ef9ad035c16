"""The head of a row after an item: its first `HEAD` places hold the strongest pairs, as a heap.

Owns the order within the rows after items. What follows an item most can so be read without looking at all
of it. Which pairs stand in the head depends on the weights alone, not on the order in which they came, so
that a process that reads compacted records proposes what the learner would.

A place counts from the beginning of its row. The kernels keep `place` of both sides right: a pair (q, y)
stands at one place in the row after q and at another, its slot, in the row before y.
"""

import numba
import numpy as np
from numpy.typing import NDArray

from learner.signals.rows import Side, make_room

HEAD = 128  # pairs of an item that candidates are proposed from; recall@200 no longer grows beyond

Ties = NDArray[np.uint32]


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def append(before: Side, after: Side, tie: Ties, q: int, y: int, slot: int, weight: float) -> None:
    """Lists the pair (q, y), which stands at `slot` in the row before y, in the row after q."""
    count = after.rows[q, 1]
    make_room(after, q, count + 1)
    start = after.rows[q, 0]
    if count == HEAD:
        _heapify(before, after, tie, start)
    _put(before, after, start + count, count, y, slot, weight)
    after.rows[q, 1] = count + 1
    if count >= HEAD:
        _enter(before, after, tie, start, count)


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def strengthen(before: Side, after: Side, tie: Ties, q: int, place: int, weight: float) -> None:
    """The pair at `place` in the row after q became stronger."""
    start = after.rows[q, 0]
    after.weight[start + place, 0] = weight
    if after.rows[q, 1] > HEAD:
        if place < HEAD:
            _sift_down(before, after, tie, start, place)
        else:
            _enter(before, after, tie, start, place)


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def remove(before: Side, after: Side, tie: Ties, q: int, place: int) -> None:
    """Takes the pair at `place` off the row after q; the strongest behind the head moves up."""
    start, last = after.rows[q, 0], after.rows[q, 1] - 1
    hole = place
    if last >= HEAD and place < HEAD:
        best = HEAD
        for other in range(HEAD + 1, last + 1):
            if _weaker(after, tie, start + best, start + other):
                best = other
        _swap(before, after, start, place, best)
        _sift_up(before, after, tie, start, place)
        _sift_down(before, after, tie, start, place)
        hole = best
    if hole != last:
        end = start + last
        _put(before, after, start + hole, hole, after.item[end], after.place[end], after.weight[end, 0])
    after.rows[q, 1] = last


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def order(before: Side, after: Side, tie: Ties, q: int) -> None:
    """Finds the head of the row after q anew, whatever has become of its weights."""
    start, count = after.rows[q, 0], after.rows[q, 1]
    if count > HEAD:
        _heapify(before, after, tie, start)
        for place in range(HEAD, count):
            _enter(before, after, tie, start, place)


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _weaker(after: Side, tie: Ties, a: int, b: int) -> bool:
    """Whether the pair at pool place a is weaker than the one at b: a total order over distinct items."""
    if after.weight[a, 0] != after.weight[b, 0]:
        return bool(after.weight[a, 0] < after.weight[b, 0])
    return bool(tie[after.item[a]] > tie[after.item[b]])


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _put(before: Side, after: Side, at: int, place: int, item: int, slot: int, weight: float) -> None:
    """Puts a pair at the pool place `at`, which is `place` in its row."""
    after.item[at] = item
    after.place[at] = slot
    after.weight[at, 0] = weight
    before.place[before.rows[item, 0] + slot] = place


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _swap(before: Side, after: Side, start: int, i: int, j: int) -> None:
    a, b = start + i, start + j
    item, slot, weight = after.item[a], after.place[a], after.weight[a, 0]
    _put(before, after, a, i, after.item[b], after.place[b], after.weight[b, 0])
    _put(before, after, b, j, item, slot, weight)


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _sift_down(before: Side, after: Side, tie: Ties, start: int, i: int) -> None:
    """Restores the heap of the head (weakest on top) below place i."""
    while True:
        child = 2 * i + 1
        if child >= HEAD:
            return
        if child + 1 < HEAD and _weaker(after, tie, start + child + 1, start + child):
            child += 1
        if not _weaker(after, tie, start + child, start + i):
            return
        _swap(before, after, start, i, child)
        i = child


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _sift_up(before: Side, after: Side, tie: Ties, start: int, i: int) -> None:
    while i > 0:
        parent = (i - 1) // 2
        if not _weaker(after, tie, start + i, start + parent):
            return
        _swap(before, after, start, i, parent)
        i = parent


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _heapify(before: Side, after: Side, tie: Ties, start: int) -> None:
    for i in range(HEAD // 2 - 1, -1, -1):
        _sift_down(before, after, tie, start, i)


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _enter(before: Side, after: Side, tie: Ties, start: int, place: int) -> None:
    """Takes the pair at a place behind the head into the head if it is stronger than the weakest there."""
    if _weaker(after, tie, start, start + place):
        _swap(before, after, start, 0, place)
        _sift_down(before, after, tie, start, 0)
