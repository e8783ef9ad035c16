"""Candidates: a few hundred items for each ask, drawn in turn from the sources.

Owns how sources are united. Knows no Kafka and no policy: an item that is unavailable or excluded never is
a candidate, all else is for the ranker to judge. The kernel looks at the user's last items, their rows of
neighbours and a few short lists, never at the whole catalogue, unless nothing else is left to fill a list
with.
"""

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from learner.data.catalogue import Catalogue
from learner.ranking import sources
from learner.ranking.arrays import (
    Asks,
    Candidates,
    ModelArrays,
    catalogue_arrays,
    pair_arrays,
    signal_arrays,
)
from learner.ranking.asker import interest
from learner.ranking.heaps import heapify, pop, shorten
from learner.ranking.sources import (
    ANN,
    BY_DEPTH,
    FEW,
    FRESH,
    IN_ORDER,
    KNN,
    OWN,
    POPULAR,
    POPULAR_NOW,
    RULES,
    SOURCES,
    TOGETHER,
)
from learner.signals.kernels import depth_of
from learner.signals.state import Signals


class _Drawn(NamedTuple):
    """What is left of each source, the fresh ones in two: a heap or a list in order."""

    keys: NDArray[np.float32]  # (S + 1, n) of heaps
    items: NDArray[np.int32]  # (S + 1, n)
    left: NDArray[np.int64]  # (S + 1,)
    begin: NDArray[np.int64]  # (S + 1,) where a list in order goes on


def propose(
    asks: Asks,
    catalogue: Catalogue,
    signals: Signals,
    model: ModelArrays,
    ann_items: NDArray[np.int32],
    size: int = 200,
) -> Candidates:
    """At most `size` candidates for each ask: min(size, eligible) of them.

    `ann_items` (B, A) int32, -1 padded: nearest items by the student's score, in any order.
    """
    batch = len(asks.length)
    out = Candidates(
        np.empty((batch, size), np.int32),
        np.empty((batch, size), np.uint8),
        np.empty((batch, size), np.int32),
        np.empty((batch, size, len(SOURCES)), np.int16),
        np.empty(batch, np.int32),
    )
    arrays = signal_arrays(signals)
    _propose(
        asks, ann_items, arrays, pair_arrays(signals.neighbours), catalogue_arrays(catalogue), model, out
    )
    return out


@numba.njit(cache=True, nogil=True)
def _propose(asks, near, signals, pairs, catalogue, model, out):  # type: ignore[no-untyped-def]
    """Fills `out`."""
    barred = signals.marks[1]  # -1 free, -2 not to be listed, else place in the list
    wanted = out.items.shape[1]
    for b in range(out.items.shape[0]):
        excluded = asks.excluded[asks.excluded_from[b] : asks.excluded_from[b + 1]]
        for item in excluded:
            barred[item] = -2
        history = asks.items[b][interest(asks, b)]
        neighbours = sources.neighbourhood(history, signals, catalogue, pairs)
        _clear(b, out)
        drawn = _draw(asks, b, near[b], history, neighbours, signals, catalogue, model, wanted)
        taken = _unite(b, drawn, signals.tie, barred, catalogue.available, out)
        if taken < wanted:
            taken = _fill(b, taken, signals, catalogue, model.popular, out)
        out.count[b] = taken
        place = signals.marks[0]
        for c in range(taken):
            j = out.items[b, c]
            barred[j] = -1
            e = place[j]
            if e >= 0 and neighbours.strongest[e] > 0:
                out.because[b, c] = neighbours.because[e]
        for item in neighbours.items:
            place[item] = -1
        for item in excluded:
            barred[item] = -1


@numba.njit(cache=True, nogil=True)
def _clear(row, out):  # type: ignore[no-untyped-def]
    """Makes a list say nothing."""
    items, source, because, ranks, _ = out
    for c in range(items.shape[1]):
        items[row, c], source[row, c], because[row, c] = -1, 0, -1
        for s in range(ranks.shape[2]):
            ranks[row, c, s] = -1


@numba.njit(cache=True, nogil=True)
def _draw(asks, row, near, history, neighbours, signals, catalogue, model, wanted):  # type: ignore[no-untyped-def]
    """All sources' items, as `_Drawn`."""
    now, available, barred = asks.now_ms[row], catalogue.available, signals.marks[1]
    n = max(neighbours.items.shape[0], near.shape[0], signals.newest.shape[0], history.shape[0]) + 1
    keys, items = np.empty((FEW + 1, n), np.float32), np.empty((FEW + 1, n), np.int32)
    left = np.zeros(FEW + 1, np.int64)

    left[ANN] = sources.nearest(keys[ANN], items[ANN], asks, row, near, signals, catalogue, model)
    near_items, slow = neighbours.items, neighbours.slow
    left[RULES] = sources.scored(keys[RULES], items[RULES], near_items, neighbours.rules, slow)
    left[KNN] = sources.scored(keys[KNN], items[KNN], near_items, neighbours.knn, slow)
    left[TOGETHER] = sources.scored(keys[TOGETHER], items[TOGETHER], near_items, neighbours.together, slow)
    for few, s in ((False, FRESH), (True, FEW)):
        left[s] = sources.fresh(keys[s], items[s], few, history, now, signals, catalogue, model)
    left[OWN] = sources.own(keys[OWN], items[OWN], history, barred, available)
    for s in (ANN, RULES, KNN, TOGETHER, FRESH, FEW, OWN):
        left[s] = shorten(keys[s], items[s], left[s], wanted)
        heapify(keys[s], items[s], left[s], signals.tie)

    depth, column = depth_of(history.shape[0]), signals.depth_column[model.popular_now]
    for s, h in ((POPULAR_NOW, model.popular_now), (POPULAR, model.popular)):
        left[s] = sources.in_order(items[s], signals.top[h], signals.top_count[h])
    top, count = signals.depth_top[column, depth], signals.depth_top_count[column, depth]
    left[BY_DEPTH] = sources.in_order(items[BY_DEPTH], top, count)
    return _Drawn(keys, items, left, np.zeros(FEW + 1, np.int64))


@numba.njit(cache=True, nogil=True)
def _unite(row, drawn, tie, barred, available, out):  # type: ignore[no-untyped-def]
    """Fills a list: each source in turn names its next item. Returns how long the list is."""
    keys, drawn_items, left, begin = drawn
    items, source, ranks = out.items, out.source, out.ranks
    wanted, taken, rank, busy = items.shape[1], 0, 0, True
    while taken < wanted and busy:
        busy = False
        for s in range(len(SOURCES)):
            j = -1
            if s in IN_ORDER:
                while j < 0 and begin[s] < left[s]:
                    j = drawn_items[s, begin[s]]
                    begin[s] += 1
                    if barred[j] == -2 or not available[j]:
                        j = -1
            else:
                heap = s
                if s == FRESH and (left[s] == 0 or (rank % 2 == 1 and left[FEW] > 0)):
                    heap = FEW
                if left[heap] > 0:
                    j = pop(keys[heap], drawn_items[heap], left[heap], tie)
                    left[heap] -= 1
            if j < 0:
                continue
            busy = True
            place = barred[j]
            if place == -1 and taken < wanted:
                place = taken
                barred[j] = place
                items[row, place] = j
                source[row, place] = s
                taken += 1
            if place >= 0:
                ranks[row, place, s] = rank
        rank += 1
    return taken


@numba.njit(cache=True, nogil=True)
def _fill(row, taken, signals, catalogue, popular, out):  # type: ignore[no-untyped-def]
    """Fills a list from the whole catalogue, most popular first; returns the new length.

    Reached only where every source has run dry: a small catalogue or a user who knows most of it.
    """
    keys, items = np.empty(catalogue.size, np.float64), np.empty(catalogue.size, np.int32)
    n = sources.everything(keys, items, popular, signals, catalogue)
    heapify(keys, items, n, signals.tie)
    while taken < out.items.shape[1] and n > 0:
        j = pop(keys, items, n, signals.tie)
        n -= 1
        signals.marks[1, j] = taken
        out.items[row, taken] = j
        out.source[row, taken] = POPULAR
        taken += 1
    return taken
