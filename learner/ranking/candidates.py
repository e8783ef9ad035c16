"""Candidates: a few hundred items for each ask, drawn in turn from nine sources.

Owns the sources and how they are united. Knows no Kafka and no policy: an item that is unavailable or
excluded never is a candidate, all else is for the ranker to judge. The kernel looks at the user's last
items, their rows of neighbours and a few short lists, never at the whole catalogue, unless nothing
else is left to fill a list with.
"""

import math
from dataclasses import dataclass, field

import numba
import numpy as np
from numpy.typing import NDArray

from learner.data.catalogue import Catalogue
from learner.signals.heads import HEAD
from learner.signals.kernels import decay, depth_of
from learner.signals.pair_weights import WINDOW
from learner.signals.state import Signals
from learner.signals.toplists import NEWEST

# Nearest by the student, with the popularity prior; popular by a short and by a long half-life, and by the
# short one among users of the same depth (`signals.DEPTHS`); what follows the last 10 items; what goes
# together with them; the same for the last item alone and decayed; in turn an item nobody has clicked and
# one with at most `FEW_CLICKS`, by content and age; what the user had, often and lately first, where it may
# be had again.
SOURCES = (
    "ann", "popular_now", "popular", "popular_by_depth", "rules", "knn", "together", "fresh", "own",
)  # fmt: skip
ANN, POPULAR_NOW, POPULAR, BY_DEPTH, RULES, KNN, TOGETHER, FRESH, OWN = range(len(SOURCES))
FEW = len(SOURCES)  # heap of the fresh items that were clicked a few times
LAST = 10  # items of the history that neighbours are looked up for
PROFILE = 20  # items whose content makes the user's profile, with weights .9**d
FEW_CLICKS = 3
AGEING = np.float32(0.15)  # what a fresh item loses against a better match of content, times log(1 + weeks)
NOT_INTEREST = 5  # kinds from here on (dislike, hide, impression) are no interest: see learner.data.events
_BUCKETS = 512
EPSILON = 0.05  # clicks added to a decayed popularity before its logarithm
_WEEK_MS = 7 * 86_400_000.0
_YEAR_MS = 365.25 * 86_400_000.0


@dataclass(slots=True)
class Asks:
    """Lists to be made, one a row; rows need not be distinct users."""

    items: NDArray[np.int32]  # (B, 128) oldest first, left-aligned
    times: NDArray[np.int64]  # (B, 128) Unix ms
    kinds: NDArray[np.uint8]  # (B, 128) learner.data.events.Kind
    values: NDArray[np.float32]  # (B, 128) normalised by kind, 0 where there is none
    length: NDArray[np.int32]  # (B,) events in the row
    events: NDArray[np.int64]  # (B,) events of the user ever
    now_ms: NDArray[np.int64]  # (B,)
    user_vector: NDArray[np.float32]  # (B, D)
    excluded_from: NDArray[np.int64]  # (B + 1,) where each row begins in `excluded`
    excluded: NDArray[np.int32]  # items that a row's list must not hold

    def rows(self, rows: NDArray[np.int64]) -> "Asks":
        """Some of the asks (n,), without what their lists must not hold: for lists that are made already."""
        return Asks(
            self.items[rows], self.times[rows], self.kinds[rows], self.values[rows], self.length[rows],
            self.events[rows], self.now_ms[rows], self.user_vector[rows],
            np.zeros(len(rows) + 1, np.int64), np.zeros(0, np.int32),
        )  # fmt: skip


def _no_items() -> NDArray[np.int32]:
    return np.full((0, 1), -1, np.int32)


def _nothing() -> NDArray[np.float32]:
    return np.zeros(0, np.float32)


def _no_weights() -> NDArray[np.float32]:
    return np.zeros((0, 1), np.float32)


@dataclass(slots=True)
class ModelArrays:
    """What candidates and features need of a release, by item number; at least catalogue.size rows."""

    vectors: NDArray[np.float32]  # (cap, D)
    bias: NDArray[np.float32]  # (cap,)
    content: NDArray[np.float32]  # (cap, T) unit rows, or 0 where there is no text
    prior_weight: float = 0.0  # of log popularity in the student's score
    # Indices into the half-lives: popular at short notice (also by depth, and the prior); in the long run.
    popular_now: int = 2
    popular: int = 4
    # Static item-item model: row q lists the items it speaks for, then -1 to its end. May have fewer rows.
    ease_item: NDArray[np.int32] = field(default_factory=_no_items)  # (rows, Ke)
    ease_weight: NDArray[np.float32] = field(default_factory=_no_weights)  # (rows, Ke)
    calibration: NDArray[np.float32] = field(default_factory=_nothing)  # (cap,) added to the ranker's scores


@dataclass(slots=True)
class Candidates:
    """Candidates of a batch of asks, in the order in which the sources proposed them."""

    items: NDArray[np.int32]  # (B, C) -1 padded
    source: NDArray[np.uint8]  # (B, C) index into SOURCES of the first source to propose it
    because: NDArray[np.int32]  # (B, C) the item of the history that speaks for it most, or -1
    ranks: NDArray[np.int16]  # (B, C, S) rank from 0 in each source, -1 where it was not looked at
    count: NDArray[np.int32]  # (B,)

    def rows(self, rows: NDArray[np.int64]) -> "Candidates":
        """The candidates of some of the asks, (n,)."""
        return Candidates(
            self.items[rows], self.source[rows], self.because[rows], self.ranks[rows], self.count[rows]
        )


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
    signals.follow()
    batch = len(asks.length)
    out = Candidates(
        np.empty((batch, size), np.int32),
        np.empty((batch, size), np.uint8),
        np.empty((batch, size), np.int32),
        np.empty((batch, size, len(SOURCES)), np.int16),
        np.empty(batch, np.int32),
    )
    pairs = signals.neighbours
    _propose(
        asks.items, asks.kinds, asks.length, asks.now_ms, asks.user_vector, asks.excluded_from, asks.excluded,
        ann_items, catalogue.size, catalogue.available, signals.half_lives, signals.reference,
        signals.popularity, signals.count, signals.first_ms, signals.born_ms, catalogue.published,
        signals.tie, signals.top,
        signals.top_count, signals.depth_top[signals.depth_column[model.popular_now]],
        signals.depth_top_count[signals.depth_column[model.popular_now]],
        signals.newest, signals.newest_count, signals.marks,
        pairs.before.rows, pairs.before.item, pairs.before.weight, pairs.after.rows, pairs.after.item,
        pairs.after.place,
        model.vectors, model.bias, model.content, model.prior_weight, model.popular_now, model.popular,
        out.items, out.source, out.because, out.ranks, out.count,
    )  # fmt: skip
    return out


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})
def dot(a, i, b, j):  # type: ignore[no-untyped-def]
    """Inner product of a[i] and b[j], float32, in whatever order is fastest.

    Rows by number, since numba counts references to each view of a row, which takes longer than the product.
    """
    total = np.float32(0.0)
    for k in range(a.shape[1]):
        total += a[i, k] * b[j, k]
    return total


@numba.njit(cache=True, nogil=True)
def decayed_by(now_ms, half_life_ms, reference):  # type: ignore[no-untyped-def]
    """`decay`, finite also for one who asks about times long past.

    Clicks later than `now_ms` would then count more than once: bound what it is multiplied with by the
    number of clicks.
    """
    return min(decay(now_ms, half_life_ms, reference), 1e200)


@numba.njit(cache=True, nogil=True)
def interest(kinds, length, out):  # type: ignore[no-untyped-def]
    """Places of the last events of interest, newest first, into `out`; returns how many."""
    found = 0
    for place in range(length - 1, -1, -1):
        if kinds[place] < NOT_INTEREST:
            out[found] = place
            found += 1
            if found == out.shape[0]:
                break
    return found


@numba.njit(cache=True, nogil=True)
def content_profile(items, recent, found, content, profile):  # type: ignore[no-untyped-def]
    """Unit mean of the content of the last items, weights .9**d, into `profile` (1, T); or 0."""
    profile[:] = 0.0
    weight = 1.0
    for d in range(min(found, PROFILE)):
        q = items[recent[d]]
        for k in range(profile.shape[1]):
            profile[0, k] += np.float32(weight) * content[q, k]
        weight *= 0.9
    norm = math.sqrt(dot(profile, 0, profile, 0))
    if norm > 1e-9:
        for k in range(profile.shape[1]):
            profile[0, k] /= np.float32(norm)


@numba.njit(cache=True, nogil=True)
def _first(i, j, keys, items, tie):  # type: ignore[no-untyped-def]
    if keys[i] != keys[j]:
        return keys[i] > keys[j]
    return tie[items[i]] < tie[items[j]]


@numba.njit(cache=True, nogil=True)
def _sift(keys, items, i, n, tie):  # type: ignore[no-untyped-def]
    while True:
        child = 2 * i + 1
        if child >= n:
            return
        if child + 1 < n and _first(child + 1, child, keys, items, tie):
            child += 1
        if not _first(child, i, keys, items, tie):
            return
        keys[i], keys[child] = keys[child], keys[i]
        items[i], items[child] = items[child], items[i]
        i = child


@numba.njit(cache=True, nogil=True)
def _heapify(keys, items, n, tie):  # type: ignore[no-untyped-def]
    for i in range(n // 2 - 1, -1, -1):
        _sift(keys, items, i, n, tie)


@numba.njit(cache=True, nogil=True)
def _shorten(keys, items, n, wanted):  # type: ignore[no-untyped-def]
    """Drops from n items those that at least `wanted` others surpass; returns how many stay.

    A list takes at most `wanted` items from a source, and two passes over a histogram cost a third of
    the heap of them all.
    """
    if n <= 2 * wanted:
        return n
    least, most = keys[0], keys[0]
    for k in range(1, n):
        least = min(least, keys[k])
        most = max(most, keys[k])
    if most <= least:
        return n
    scale = np.float32((_BUCKETS - 1) / (most - least))
    buckets = np.zeros(_BUCKETS, np.int32)
    for k in range(n):
        buckets[int((keys[k] - least) * scale)] += 1
    above, lowest = 0, _BUCKETS
    while above < wanted:
        lowest -= 1
        above += buckets[lowest]
    kept = 0
    for k in range(n):
        keys[kept], items[kept] = keys[k], items[k]
        kept += int((keys[k] - least) * scale) >= lowest
    return kept


@numba.njit(cache=True, nogil=True)
def _pop(keys, items, n, tie):  # type: ignore[no-untyped-def]
    """Best item of a heap of n > 0; the heap then holds n - 1."""
    best = items[0]
    keys[0], items[0] = keys[n - 1], items[n - 1]
    _sift(keys, items, 0, n - 1, tie)
    return best


@numba.njit(cache=True, nogil=True)
def _propose(  # type: ignore[no-untyped-def]
    items, kinds, length, now_ms, user_vector, excluded_from, excluded,
    ann_items, size, available,
    half_lives, reference, popularity, count, first_ms, born_ms, published,
    tie, top, top_count, depth_top, depth_top_count, newest, newest_count, marks,
    before, before_item, before_weight, after, after_item, after_slot,
    vectors, bias, content, prior_weight, short, long,
    out_items, out_source, out_because, out_ranks, out_count,
):  # fmt: skip
    wanted = out_items.shape[1]
    slot, barred = marks[0], marks[1]  # barred: -1 free, -2 not to be listed, else place in the list
    recent = np.empty(items.shape[1], np.int32)
    profile = np.empty((1, content.shape[1]), np.float32)
    kept = np.empty((3, top.shape[1]), np.int32)  # lists of the popular ones, in the order of their sources
    kept_count = np.empty(3, np.int64)
    kept[0], kept_count[0] = top[short], top_count[short]
    kept[1], kept_count[1] = top[long], top_count[long]
    for b in range(items.shape[0]):
        now, row = now_ms[b], items[b]
        out_items[b], out_source[b], out_because[b], out_ranks[b] = -1, 0, -1, -1
        for k in range(excluded_from[b], excluded_from[b + 1]):
            barred[excluded[k]] = -2
        found_all = interest(kinds[b], length[b], recent)
        found = min(found_all, WINDOW)

        # Neighbours of the last items: scores of rules, knn and together by touched item.
        room = 0
        for d in range(min(found, LAST)):
            q = row[recent[d]]
            room += before[q, 1] + min(after[q, 1], HEAD)
        touched = np.empty(room, np.int32)
        because = np.empty(room, np.int32)
        strongest = np.empty(room, np.float32)
        rules = np.empty(room, np.float32)
        knn = np.empty(room, np.float32)
        together = np.empty(room, np.float32)
        n = 0
        for d in range(min(found, LAST)):
            q = row[recent[d]]
            share = np.float32(1.0 / math.sqrt(count[q] + 1.0))
            near = np.float32(1.0 / (d + 1))
            for k in range(before[q, 0], before[q, 0] + before[q, 1]):
                j = before_item[k]
                e = slot[j]
                if e < 0:
                    if barred[j] != -1 or not available[j]:
                        continue
                    e = slot[j] = n
                    touched[e] = j
                    rules[e] = knn[e] = together[e] = strongest[e] = 0.0
                    n += 1
                evidence = share * before_weight[k, 0]
                knn[e] += evidence
                if d == 0:
                    together[e] += before_weight[k, 1]
                if evidence > strongest[e]:
                    strongest[e], because[e] = evidence, q
            for k in range(after[q, 0], after[q, 0] + min(after[q, 1], HEAD)):
                j = after_item[k]
                e = slot[j]
                if e < 0:
                    if barred[j] != -1 or not available[j]:
                        continue
                    e = slot[j] = n
                    touched[e] = j
                    rules[e] = knn[e] = together[e] = strongest[e] = 0.0
                    n += 1
                p = before[j, 0] + after_slot[k]
                evidence = share * before_weight[p, 0]
                rules[e] += near * before_weight[p, 2]
                knn[e] += evidence
                if d == 0:
                    together[e] += before_weight[p, 1] + np.float32(2.0) * before_weight[p, 3]
                evidence += near * share * before_weight[p, 2]
                if evidence > strongest[e]:
                    strongest[e], because[e] = evidence, q

        # One heap a source; the popular ones come from kept lists.
        widest = max(n, ann_items.shape[1], newest.shape[0], found_all)
        # The fresh ones come in two: never clicked, and clicked a few times.
        keys = np.empty((FEW + 1, widest), np.float32)
        heaps = np.empty((FEW + 1, widest), np.int32)
        left = np.zeros(FEW + 1, np.int64)
        for e in range(n):
            j = touched[e]
            slow = np.float32(1.0 / math.sqrt(count[j] + 5.0))
            for s, score in ((RULES, rules[e]), (KNN, knn[e]), (TOGETHER, together[e])):
                if score > 0:
                    keys[s, left[s]] = score * slow
                    heaps[s, left[s]] = j
                    left[s] += 1
        factor = decayed_by(now, half_lives[short], reference[short])
        for a in range(ann_items.shape[1]):
            j = ann_items[b, a]
            if j >= 0 and barred[j] == -1 and available[j]:
                prior = prior_weight * math.log(min(popularity[j, short] * factor, count[j]) + EPSILON)
                keys[ANN, left[ANN]] = dot(user_vector, b, vectors, j) + bias[j] + np.float32(prior)
                heaps[ANN, left[ANN]] = j
                left[ANN] += 1
        content_profile(row, recent, found, content, profile)
        for part in range(2):
            begin, fresh = (0, FRESH) if part == 0 else (NEWEST, FEW)
            for k in range(begin, begin + newest_count[part]):
                j = newest[k]
                if count[j] > (0 if part == 0 else FEW_CLICKS) or barred[j] != -1 or not available[j]:
                    continue
                since = float(first_ms[j] if part == 1 else born_ms[j])
                if not math.isnan(published[j]):
                    since = max((published[j] - 1970.0) * _YEAR_MS, float(first_ms[j]))
                weeks = max(now - since, 0.0) / _WEEK_MS
                keys[fresh, left[fresh]] = dot(profile, 0, content, j) - AGEING * math.log1p(weeks)
                heaps[fresh, left[fresh]] = j
                left[fresh] += 1
        for d in range(found_all):
            j = row[recent[d]]
            if barred[j] != -1 or not available[j]:  # all of them, unless items may be had again
                continue
            e = 0
            while e < left[OWN] and heaps[OWN, e] != j:
                e += 1
            if e == left[OWN]:
                keys[OWN, e], heaps[OWN, e] = 0.0, j
                left[OWN] += 1
            keys[OWN, e] += np.float32(1.0 / (d + 1))
        for s in (ANN, RULES, KNN, TOGETHER, FRESH, FEW, OWN):
            left[s] = _shorten(keys[s], heaps[s], left[s], wanted)
            _heapify(keys[s], heaps[s], left[s], tie)

        # Round robin: each source in turn names its next item.
        depth = depth_of(found_all)
        taken, rank = 0, 0
        cursor = np.zeros(len(SOURCES), np.int64)
        kept[2], kept_count[2] = depth_top[depth], depth_top_count[depth]
        busy = True
        while taken < wanted and busy:
            busy = False
            for s in range(len(SOURCES)):
                j = -1
                if s in (POPULAR_NOW, POPULAR, BY_DEPTH):
                    while j < 0 and cursor[s] < kept_count[s - POPULAR_NOW]:
                        j = kept[s - POPULAR_NOW, cursor[s]]
                        cursor[s] += 1
                        if barred[j] == -2 or not available[j]:
                            j = -1
                else:
                    heap = s
                    if s == FRESH and (left[s] == 0 or (rank % 2 == 1 and left[FEW] > 0)):
                        heap = FEW
                    if left[heap] > 0:
                        j = _pop(keys[heap], heaps[heap], left[heap], tie)
                        left[heap] -= 1
                if j < 0:
                    continue
                busy = True
                place = barred[j]
                if place == -1 and taken < wanted:
                    place = taken
                    barred[j] = place
                    out_items[b, place] = j
                    out_source[b, place] = s
                    taken += 1
                if place >= 0:
                    out_ranks[b, place, s] = rank
            rank += 1

        if taken < wanted:
            taken = _fill(
                taken, wanted, size, available, barred, popularity[:, long], count, tie,
                out_items[b], out_source[b],
            )  # fmt: skip
        for place in range(taken):
            j = out_items[b, place]
            barred[j] = -1
            if slot[j] >= 0 and strongest[slot[j]] > 0:
                out_because[b, place] = because[slot[j]]
        out_count[b] = taken
        for e in range(n):
            slot[touched[e]] = -1
        for k in range(excluded_from[b], excluded_from[b + 1]):
            barred[excluded[k]] = -1


@numba.njit(cache=True, nogil=True)
def _fill(taken, wanted, size, available, barred, popularity, count, tie, items, source):  # type: ignore[no-untyped-def]
    """Fills a list from the whole catalogue, most popular first; returns the new length.

    Reached only where every source has run dry: a small catalogue or a user who knows most of it.
    """
    keys = np.empty(size, np.float64)
    heap = np.empty(size, np.int32)
    n = 0
    for j in range(size):
        if available[j] and barred[j] == -1:
            keys[n] = popularity[j] if popularity[j] > 0 else -1.0 / (1.0 + count[j])
            heap[n] = j
            n += 1
    _heapify(keys, heap, n, tie)
    while taken < wanted and n > 0:
        j = _pop(keys, heap, n, tie)
        n -= 1
        barred[j] = taken
        items[taken] = j
        source[taken] = POPULAR
        taken += 1
    return taken
