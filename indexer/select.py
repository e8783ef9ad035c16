"""The best k of many scores, and the order of equal ones.

Owns selection and order; knows neither vectors nor FAISS. Lists are (B, k), best first, padded with
item -1 and score -inf; equal scores order by item number.
"""

import numpy as np
from numpy.typing import NDArray

from indexer.rows import Floats, Found, Ints

# Groups for one place of the list: with G = 4 k groups about 1.15 k scores pass the bound, and the
# partition over the group maxima costs a few microseconds.
GROUPS_A_PLACE = 4
ROWS_A_GROUP = 3  # with fewer the maxima cost more than they save


def nothing(queries: int, k: int) -> Found:
    """Lists (B, k) that hold nothing."""
    return np.full((queries, k), -1, np.int32), np.full((queries, k), -np.inf, np.float32)


def at_least(scores: Floats, k: int) -> Floats:
    """A bound (B,) float32 for each row of scores (B, n), k <= n, that at least k scores reach.

    The k-th largest of any groups' maxima is such a bound. Finding it over interleaved groups takes
    one pass of vector instructions, where a partition of all scores takes several of branches.
    """
    n = scores.shape[1]
    groups = GROUPS_A_PLACE * k
    depth = n // groups
    if depth < ROWS_A_GROUP:
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
    found = nothing(queries, k)
    places = min(k, n)
    if places == 0:
        return found
    bound = at_least(scores, places)
    for b in range(queries):
        passed = np.flatnonzero(scores[b] >= bound[b])
        own, candidates = scores[b][passed], items[passed]
        order = np.argsort(-own)
        ranked = own[order]
        if (ranked[1:] == ranked[:-1]).any():
            order = np.lexsort((candidates, -own))
        order = order[:places]
        found[0][b, :places], found[1][b, :places] = candidates[order], own[order]
    return found


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
