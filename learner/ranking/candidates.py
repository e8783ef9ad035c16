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

from kernels.groups import one_by_one
from learner.data.catalogue import Catalogue
from learner.ranking import sources
from learner.ranking.arrays import (
    Asks,
    Candidates,
    CatalogueArrays,
    Floats,
    ModelArrays,
    PairArrays,
    SignalArrays,
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
    Neighbourhood,
)
from learner.signals.kernels import Items, Ties, Wholes, depth_of
from learner.signals.state import Signals


class Allowed(NamedTuple):
    """Items that filters leave, by mask: those that may be recommended now and that the filter takes."""

    masks: NDArray[np.bool_]  # (M, cap)
    of: Wholes  # (B,) the ask's mask, -1 where it has no filter


_NO_MASKS = np.zeros((0, 0), np.bool_)


class _Drawn(NamedTuple):
    """The sources' items, S sources and the second heap of the fresh ones: heaps, or lists in order."""

    keys: Floats  # (S + 1, n) of heaps
    items: Items  # (S + 1, n)
    count: Wholes  # type: ignore[assignment]  # (S + 1,)


def propose(
    asks: Asks,
    catalogue: Catalogue,
    signals: Signals,
    model: ModelArrays,
    ann_items: Items,
    size: int = 200,
    allowed: Allowed | None = None,
) -> Candidates:
    """At most `size` candidates for each ask: min(size, eligible) of them.

    `ann_items` (B, A) int32, -1 padded: nearest items by the student's score, in any order. `allowed`: which
    items the asks' filters leave, for asks that have one.
    """
    batch = len(asks.length)
    masks, mask_of = (_NO_MASKS, np.full(batch, -1, np.int64)) if allowed is None else allowed
    out = Candidates(
        np.empty((batch, size), np.int32),
        np.empty((batch, size), np.uint8),
        np.empty((batch, size), np.int32),
        np.empty((batch, size, len(SOURCES)), np.int16),
        np.empty(batch, np.int32),
    )
    arrays = signal_arrays(signals)
    pairs = pair_arrays(signals.neighbours)
    _propose_one_by_one(
        *asks, ann_items, masks, mask_of, *arrays, *pairs, *catalogue_arrays(catalogue), *model, *out
    )
    return out


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _propose(
    asks: Asks,
    near: Items,
    masks: NDArray[np.bool_],
    mask_of: Wholes,
    signals: SignalArrays,
    pairs: PairArrays,
    whole: CatalogueArrays,
    model: ModelArrays,
    out: Candidates,
) -> None:
    """Fills `out`."""
    place, barred = signals.marks  # barred: -1 free, -2 not to be listed, else place in the list
    wanted = out.items.shape[1]
    for b in range(out.items.shape[0]):
        catalogue = whole
        if mask_of[b] >= 0:
            catalogue = CatalogueArrays(
                whole.size, masks[mask_of[b]], whole.published, whole.categories, whole.category_weight
            )
        excluded = asks.excluded[asks.excluded_from[b] : asks.excluded_from[b + 1]]
        for j in excluded:
            barred[j] = -2
        history = asks.items[b][interest(asks, b)]
        neighbours = sources.neighbourhood(history, signals, catalogue, pairs)
        drawn = _draw(asks, b, near[b], history, neighbours, signals, catalogue, model)
        _shorten(drawn, wanted, signals.tie)
        _clear(b, out)
        taken = _unite(b, drawn, barred, catalogue.available, signals.tie, out)
        if taken < wanted:
            taken = _fill(b, taken, model.popular, signals, catalogue, out)
        out.count[b] = taken
        for c in range(taken):
            j = out.items[b, c]
            barred[j] = -1
            e = place[j]
            if e >= 0 and neighbours.strongest[e] > 0:
                out.because[b, c] = neighbours.because[e]
        for j in neighbours.items:
            place[j] = -1
        for j in excluded:
            barred[j] = -1


_propose_one_by_one = one_by_one(_propose)


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _draw(
    asks: Asks,
    row: int,
    near: Items,
    history: Items,
    neighbours: Neighbourhood,
    signals: SignalArrays,
    catalogue: CatalogueArrays,
    model: ModelArrays,
) -> _Drawn:
    """What each source has to say, heaps not yet in order."""
    n = 1 + max(neighbours.items.shape[0], near.shape[0], signals.newest.shape[0], history.shape[0])
    keys, items = np.empty((FEW + 1, n), np.float32), np.empty((FEW + 1, n), np.int32)
    count, now = np.zeros(FEW + 1, np.int64), asks.now_ms[row]
    count[ANN] = sources.nearest(keys[ANN], items[ANN], asks, row, near, signals, catalogue, model)
    for s, h in ((POPULAR_NOW, model.popular_now), (POPULAR, model.popular)):
        count[s] = sources.in_order(items[s], signals.top[h], signals.top_count[h])
    at, depth = signals.depth_column[model.popular_now], depth_of(history.shape[0])
    top, top_count = signals.depth_top[at, depth], signals.depth_top_count[at, depth]
    count[BY_DEPTH] = sources.in_order(items[BY_DEPTH], top, top_count)
    of, slow = neighbours.items, neighbours.slow
    count[RULES] = sources.scored(keys[RULES], items[RULES], of, neighbours.rules, slow)
    count[KNN] = sources.scored(keys[KNN], items[KNN], of, neighbours.knn, slow)
    count[TOGETHER] = sources.scored(keys[TOGETHER], items[TOGETHER], of, neighbours.together, slow)
    for s, few in ((FRESH, False), (FEW, True)):
        count[s] = sources.fresh(keys[s], items[s], few, history, now, signals, catalogue, model)
    count[OWN] = sources.own(keys[OWN], items[OWN], history, signals.marks[1], catalogue.available)
    return _Drawn(keys, items, count)


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _shorten(drawn: _Drawn, wanted: int, tie: Ties) -> None:
    """Puts the heaps in order; each keeps as many as a list may take of it."""
    keys, items, count = drawn
    for s in range(FEW + 1):
        if s not in IN_ORDER:
            count[s] = shorten(keys[s], items[s], count[s], wanted)
            heapify(keys[s], items[s], count[s], tie)


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _clear(row: int, out: Candidates) -> None:
    """Makes a list say nothing."""
    items, source, because, ranks, _ = out
    for c in range(items.shape[1]):
        items[row, c], source[row, c], because[row, c] = -1, 0, -1
        for s in range(ranks.shape[2]):
            ranks[row, c, s] = -1


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _unite(
    row: int, drawn: _Drawn, barred: Items, available: NDArray[np.bool_], tie: Ties, out: Candidates
) -> int:
    """Fills a list: each source in turn names its next item. Returns how long the list is."""
    keys, drawn_items, left = drawn
    items, source, _, ranks, _ = out
    cursor = np.zeros(len(SOURCES), np.int64)
    wanted, taken, rank, busy = items.shape[1], 0, 0, True
    while taken < wanted and busy:
        busy = False
        for s in range(len(SOURCES)):
            j = -1
            if s in IN_ORDER:
                while j < 0 and cursor[s] < left[s]:
                    j = drawn_items[s, cursor[s]]
                    cursor[s] += 1
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


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _fill(
    row: int, taken: int, popular: int, signals: SignalArrays, catalogue: CatalogueArrays, out: Candidates
) -> int:
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
