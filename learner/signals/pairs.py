"""Kernels that change pairs: those of one click, a row that a record brings, and the reference of time.

Owns which pairs a row before an item keeps. Where rows lie is `rows`', the order of rows after items
`heads`'. Those that add pairs change nothing where a pool is too short, and say which.
"""

import math
from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from learner.signals.heads import Ties, append, order, remove, strengthen
from learner.signals.pair_weights import DECAYED, DISTANCE_WEIGHTS, WEIGHTS, WINDOW
from learner.signals.rows import Side, fits, make_room

ALWAYS_KEPT = 3  # a pair this close enters a full row even if it is the weakest: else no new one ever could
TINY = 2.0**-100  # decayed weights below it are flushed to 0 on a rebase; float32 is exact down to 2**-126
DONE, BEFORE_SHORT, AFTER_SHORT = 0, 1, 2


class Sources(NamedTuple):
    """The distinct items of a history, from the newest on, in arrays of `WINDOW` places.

    item int32; nearest int32, how many events before the click it was met first; slot int32, where the pair
    stands in the row before the clicked item, -1 for a new one; added (·, 5) float32, what the click adds.
    """

    item: NDArray[np.int32]
    nearest: NDArray[np.int32]
    slot: NDArray[np.int32]
    added: NDArray[np.float32]


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def count_pairs(
    rows_before: tuple[Any, ...],
    rows_after: tuple[Any, ...],
    tie: Ties,
    mark: NDArray[np.int32],
    y: int,
    history: NDArray[np.int32],
    limit: int,
    scale: float,
    weight: float,
) -> int:
    """Adds the pairs of one click on y to the row before it, which keeps `limit`; see `Neighbours.learn`.

    `rows_before` and `rows_after` are sides as plain tuples, which numba takes half a microsecond faster.
    """
    before, after = Side(*rows_before), Side(*rows_after)
    sources = Sources(
        np.empty(WINDOW, np.int32),
        np.empty(WINDOW, np.int32),
        np.empty(WINDOW, np.int32),
        np.zeros((WINDOW, WEIGHTS), np.float32),
    )
    count: int = _gather(sources, mark, y, history, np.float32(weight * scale), np.float32(weight))
    short: int = _shortage(before, after, before.rows[y, 1] + count, sources.item[:count])
    if not short:
        start = before.rows[y, 0]
        for k in range(before.rows[y, 1]):
            e = mark[before.item[start + k]]
            if e >= 0:
                sources.slot[e] = k
    for e in range(count):
        mark[sources.item[e]] = -1
    if short:
        return short
    # First what is known, so that no pair of this click gives way to another before it is counted.
    _add_known(before, after, tie, y, sources, count)
    _add_new(before, after, tie, y, sources, count, limit)
    return DONE


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def replace_row(
    rows_before: tuple[Any, ...],
    rows_after: tuple[Any, ...],
    tie: Ties,
    mark: NDArray[np.int32],
    y: int,
    sources: NDArray[np.int32],
    weights: NDArray[np.float32],
) -> int:
    """Sets the row before y; see `Neighbours.replace`. Sides come as in `count_pairs`."""
    before, after = Side(*rows_before), Side(*rows_after)
    count = sources.shape[0]
    short: int = _shortage(before, after, count, sources)
    if short:
        return short
    place_of = np.full(count, -1, np.int32)
    for k in range(count):
        mark[sources[k]] = k
    start = before.rows[y, 0]
    for s in range(before.rows[y, 1]):
        q = before.item[start + s]
        if mark[q] >= 0:
            place_of[mark[q]] = before.place[start + s]
        else:
            remove(before, after, tie, q, before.place[start + s])
    before.rows[y, 1] = 0  # nothing to copy when the row moves
    make_room(before, y, count)
    before.rows[y, 1] = count
    start = before.rows[y, 0]
    for k in range(count):
        q = sources[k]
        mark[q] = -1
        before.item[start + k] = q
        for w in range(WEIGHTS):
            before.weight[start + k, w] = weights[k, w]
        before.place[start + k] = place_of[k]
        if place_of[k] >= 0:
            after.place[after.rows[q, 0] + place_of[k]] = k
    for k in range(count):
        q, place = sources[k], before.place[start + k]
        if place >= 0 and after.weight[after.rows[q, 0] + place, 0] > weights[k, 1]:
            # Weaker than before (a learner that began anew): as if it had just come.
            remove(before, after, tie, q, place)
            place = -1
        if place < 0:
            append(before, after, tie, q, y, k, weights[k, 1])
        else:
            strengthen(before, after, tie, q, place, weights[k, 1])
    return DONE


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def rescale(before: Side, after: Side, tie: Ties, half_lives: int) -> None:
    """Moves the reference of the decayed weights on by whole half-lives."""
    factor = 2.0 ** (-float(half_lives))
    for y in range(before.rows.shape[0]):
        for k in range(before.rows[y, 0], before.rows[y, 0] + before.rows[y, 1]):
            for w in DECAYED:
                scaled = before.weight[k, w] * factor
                before.weight[k, w] = scaled if scaled >= TINY else 0.0
    for q in range(after.rows.shape[0]):
        start, count = after.rows[q, 0], after.rows[q, 1]
        for place in range(start, start + count):
            y = after.item[place]
            after.weight[place, 0] = before.weight[before.rows[y, 0] + after.place[place], 1]
        order(before, after, tie, q)  # weights flushed to 0 tie, which may change who is strongest


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _gather(
    sources: Sources, mark: NDArray[np.int32], y: int, history: NDArray[np.int32], scale: np.float32,
    weight: np.float32,
) -> int:  # fmt: skip
    """Adds up what the click adds to each pair; returns how many. `mark` holds their numbers, by item."""
    length = min(history.shape[0], WINDOW)
    activity = weight * np.float32(1.0 / math.sqrt(length + 5.0))
    count = 0
    for distance in range(1, length + 1):
        q = history[history.shape[0] - distance]
        if q == y:
            continue
        e = mark[q]
        if e < 0:
            e = count
            mark[q] = e
            sources.item[e], sources.nearest[e], sources.slot[e] = q, distance, -1
            count += 1
        sources.added[e, 0] += weight * DISTANCE_WEIGHTS[distance, 0]
        sources.added[e, 1] += scale * DISTANCE_WEIGHTS[distance, 1]
        sources.added[e, 2] += weight * DISTANCE_WEIGHTS[distance, 2]
        sources.added[e, 3] += scale * DISTANCE_WEIGHTS[distance, 3]
        sources.added[e, 4] += activity * DISTANCE_WEIGHTS[distance, 4]
    return count


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _shortage(before: Side, after: Side, pairs: int, sources: NDArray[np.int32]) -> int:
    """Whether a pool may not hold a row before an item with so many pairs, or one more after each source."""
    more = 0
    for e in range(sources.shape[0]):
        q = sources[e]
        if after.rows[q, 1] == after.rows[q, 2]:
            more += max(4, 2 * after.rows[q, 2])
    if not fits(before, 4 * (pairs + 4)):
        return BEFORE_SHORT
    return DONE if fits(after, more) else AFTER_SHORT


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _add_known(before: Side, after: Side, tie: Ties, y: int, sources: Sources, count: int) -> None:
    start = before.rows[y, 0]
    for e in range(count):
        k = sources.slot[e]
        if k >= 0:
            for w in range(WEIGHTS):
                before.weight[start + k, w] += sources.added[e, w]
            strengthen(
                before, after, tie, sources.item[e], before.place[start + k], before.weight[start + k, 1]
            )


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _add_new(before: Side, after: Side, tie: Ties, y: int, sources: Sources, count: int, limit: int) -> None:
    """Where the row is full, the weakest gives way to a pair that is stronger or close by."""
    weakest = -1
    for e in range(count):
        if sources.slot[e] >= 0:
            continue
        k = before.rows[y, 1]
        if k < limit:
            make_room(before, y, k + 1)
            before.rows[y, 1] = k + 1
        else:
            if weakest < 0:
                weakest = _weakest(before, tie, y)
            least = before.weight[before.rows[y, 0] + weakest, 1]
            if sources.added[e, 1] <= least and sources.nearest[e] > ALWAYS_KEPT:
                continue
            k = weakest
            weakest = -1
            at = before.rows[y, 0] + k
            remove(before, after, tie, before.item[at], before.place[at])
        at = before.rows[y, 0] + k
        before.item[at] = sources.item[e]
        for w in range(WEIGHTS):
            before.weight[at, w] = sources.added[e, w]
        append(before, after, tie, sources.item[e], y, k, sources.added[e, 1])


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _weakest(before: Side, tie: Ties, y: int) -> int:
    """Where in the row before y its weakest pair stands."""
    start, weakest = before.rows[y, 0], 0
    for k in range(1, before.rows[y, 1]):
        weight, least = before.weight[start + k, 1], before.weight[start + weakest, 1]
        if weight < least or (
            weight == least and tie[before.item[start + k]] > tie[before.item[start + weakest]]
        ):
            weakest = k
    return weakest
