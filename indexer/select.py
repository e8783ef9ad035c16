"""The best k of many scores, and the order of equal ones.

Owns selection and order; knows neither vectors nor FAISS. Lists are (B, k), best first, padded with
item -1 and score -inf; equal scores order by item number.
"""

import numba
import numpy as np
from numpy.typing import NDArray

from indexer.rows import Floats, Found, Ints

# Groups for one place of the list: with G = 4 k groups about 1.15 k scores pass the bound, and the
# partition over the group maxima costs a few microseconds.
_GROUPS_A_PLACE = 4
_ROWS_A_GROUP = 3  # with fewer the maxima cost more than they save
# Of few scores all go into buckets; from about so many on a bound that leaves out most costs less (one query,
# k = 125: 18 µs without it at 1,682 scores, 53 with it at 25,000, where it takes 116 without).
_MANY = 5_000
_BUCKETS = 1024
_FULLEST = 48  # scores in one bucket, up to which it is sorted by insertion


def nothing(queries: int, k: int) -> Found:
    """Lists (B, k) that hold nothing."""
    return np.full((queries, k), -1, np.int32), np.full((queries, k), -np.inf, np.float32)


def _at_least(scores: Floats, k: int) -> Floats:
    """A bound (B,) float32 for each row of scores (B, n), k <= n, that at least k scores reach.

    The k-th largest of any groups' maxima is such a bound. Finding it over interleaved groups takes
    one pass of vector instructions, where a partition of all scores takes several of branches.
    """
    n = scores.shape[1]
    groups = _GROUPS_A_PLACE * k
    depth = n // groups
    if depth < _ROWS_A_GROUP:
        return np.asarray(np.partition(scores, n - k, axis=1)[:, n - k])
    whole = depth * groups
    maxima = scores[:, :whole].reshape(-1, depth, groups).max(axis=1)
    rest = n - whole
    np.maximum(maxima[:, :rest], scores[:, whole:], out=maxima[:, :rest])
    return np.asarray(np.partition(maxima, groups - k, axis=1)[:, groups - k])


def best(scores: Floats, items: Ints, k: int) -> Found:
    """The best k of scores (B, n) float32 of items (n,) int32; ties at the end of the list are exact.

    Scores must not be NaN.
    """
    queries, n = scores.shape
    listed = np.empty((queries, k), np.int32), np.empty((queries, k), np.float32)
    listed[0][:, n:], listed[1][:, n:] = -1, -np.inf
    places = min(k, n)
    if not places:
        return listed
    bound = _at_least(scores, places) if n > _MANY else None
    for b in range(queries):
        own, named = scores[b], items
        if bound is not None:
            passed = np.flatnonzero(own >= bound[b])
            own, named = own[passed], items[passed]
        if not _best(own, named, places, listed[0][b], listed[1][b]):
            passed = np.flatnonzero(own >= _at_least(own[None], places))
            order = passed[np.lexsort((named[passed], -own[passed]))][:places]
            listed[0][b, :places], listed[1][b, :places] = named[order], own[order]
    return listed


@numba.njit(cache=True, nogil=True)
def _best(scores, items, places, best_items, best_scores):  # type: ignore[no-untyped-def]
    """The best `places` > 0 of scores (n,), in order; False where buckets cannot part them.

    That is where many are equal or nearly so beside the whole spread, or where one is not finite. One kernel,
    so that a search between other work costs one call and not ten; and three passes over the scores, where
    a partition takes several of branches.
    """
    least, most = scores[0], scores[0]
    for j in range(scores.shape[0]):
        least = min(least, scores[j])
        most = max(most, scores[j])
    spread = most - least
    if not 0.0 < spread < np.inf:
        return False
    scale = np.float32(_BUCKETS - 1) / spread
    if not scale < np.inf:
        return False
    count = np.zeros(_BUCKETS + 1, np.int32)
    bucket = np.empty(scores.shape[0], np.int16)  # from the highest scores down
    for j in range(scores.shape[0]):
        below = (most - scores[j]) * scale
        if not 0.0 <= below < _BUCKETS:  # NaN, against what the caller has promised
            return False
        bucket[j] = np.int16(below)
        count[bucket[j] + 1] += 1
    last, fullest = 0, 0
    while count[last] < places:  # count becomes where each bucket begins
        fullest = max(fullest, count[last + 1])
        count[last + 1] += count[last]
        last += 1
    if fullest > _FULLEST:
        return False
    order = np.empty(count[last], np.int64)
    for j in range(scores.shape[0]):
        if bucket[j] < last:
            order[count[bucket[j]]] = j
            count[bucket[j]] += 1
    for r in range(1, order.shape[0]):
        j, at = order[r], r
        while at > 0 and (
            scores[order[at - 1]] < scores[j]
            or (scores[order[at - 1]] == scores[j] and items[order[at - 1]] > items[j])
        ):
            order[at] = order[at - 1]
            at -= 1
        order[at] = j
    for r in range(places):
        best_items[r], best_scores[r] = items[order[r]], scores[order[r]]
    return True


def ordered(items: Ints, scores: Floats) -> Found:
    """Lists (B, k), best first, -1 padded, with equal scores brought into the order of item numbers."""
    if scores.shape[1] > 1:
        tied = (scores[:, 1:] == scores[:, :-1]) & (items[:, 1:] >= 0)
        for b in np.flatnonzero(tied.any(axis=1)):
            order = np.lexsort((items[b], -scores[b], items[b] < 0))
            items[b], scores[b] = items[b][order], scores[b][order]
    return items, scores


def merged(items: NDArray[np.int32], scores: Floats, k: int) -> Found:
    """The best k of unordered lists (B, m) with -1 padding, m >= k."""
    scores = np.where(items < 0, np.float32(-np.inf), scores)
    order = np.lexsort((items, -scores, items < 0), axis=1)[:, :k]
    return np.take_along_axis(items, order, axis=1), np.take_along_axis(scores, order, axis=1)
