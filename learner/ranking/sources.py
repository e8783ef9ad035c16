"""The sources that candidates are drawn from, and what each has to say.

Owns the sources' names and order (`SOURCES`), and one function for each kind of source that fills its heap:
`(keys, items) -> n`. Only items that may be listed come in: available, and not marked in `barred`. Knows
neither how sources take turns nor the list that is made.
"""

import math
from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from learner.data.times import DAY_MS, YEAR_MS
from learner.ranking.arrays import (
    Asks,
    CatalogueArrays,
    Floats,
    ModelArrays,
    PairArrays,
    SignalArrays,
)
from learner.ranking.asker import LAST, TASTE
from learner.ranking.feature_math import EPSILON, content_profile, decayed_by, dot
from learner.signals.heads import HEAD
from learner.signals.kernels import Doubles, Items
from learner.signals.toplists import NEWEST

# Nearest by the student, with the popularity prior; popular by a short and by a long half-life, and by the
# short one among users of the same depth (`signals.settings.DEPTHS`); what follows the last 10 items; what
# goes together with them; the same for the last item alone and decayed; in turn an item nobody has clicked
# and one with at most `FEW_CLICKS`, by content and age; what the user had, often and lately first, where it
# may be had again.
SOURCES = (
    "ann", "popular_now", "popular", "popular_by_depth", "rules", "knn", "together", "fresh", "own",
)  # fmt: skip
ANN, POPULAR_NOW, POPULAR, BY_DEPTH, RULES, KNN, TOGETHER, FRESH, OWN = range(len(SOURCES))
FEW = len(SOURCES)  # a second heap of the fresh ones: those that were clicked a few times
FEW_CLICKS = 5  # with 3 fewer of them are found, and nothing else gains by it (docs/log.md)
IN_ORDER = (POPULAR_NOW, POPULAR, BY_DEPTH)  # these sources' items are no heap, but come in their order
AGEING = np.float32(0.15)  # what a fresh item loses against a better match of content, times log(1 + weeks)
_WEEK_MS = 7 * DAY_MS


class Neighbourhood(NamedTuple):
    """Items that were clicked together with the user's last ones, (n,) each, and their scores."""

    items: Items
    slow: Floats  # 1 / root of clicks, which all scores are to be multiplied by
    rules: Floats
    knn: Floats
    together: Floats
    because: Items  # the item of the history that speaks for it most,
    strongest: Floats  # and how much


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def nearest(
    keys: Floats,
    items: Items,
    asks: Asks,
    row: int,
    near: Items,
    signals: SignalArrays,
    catalogue: CatalogueArrays,
    model: ModelArrays,
) -> int:
    """`near` (A,) int32, -1 padded, by the student's score with the prior."""
    barred, available = signals.marks[1], catalogue.available
    popularity, clicks, bias, vectors = signals.popularity, signals.clicks, model.bias, model.vectors
    short, prior_weight, user_vector = model.popular_now, model.prior_weight, asks.user_vector
    factor = decayed_by(asks.now_ms[row], signals.half_lives[short], signals.reference[short])
    n = 0
    for a in range(near.shape[0]):
        j = near[a]
        if j >= 0 and barred[j] == -1 and available[j]:
            prior = prior_weight * math.log(min(popularity[j, short] * factor, clicks[j]) + EPSILON)
            keys[n] = dot(user_vector, row, vectors, j) + bias[j] + np.float32(prior)
            items[n] = j
            n += 1
    return n


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def neighbourhood(
    history: Items, signals: SignalArrays, catalogue: CatalogueArrays, pairs: PairArrays
) -> Neighbourhood:
    """All items in the neighbours' rows of the last items, as a `Neighbourhood`; `history` newest first.

    Leaves in `marks[0]` each item's place among them.
    """
    place, barred, available, clicks = signals.marks[0], signals.marks[1], catalogue.available, signals.clicks
    before, before_item, weight = pairs.before, pairs.before_item, pairs.weight
    after, after_item, after_slot = pairs.after, pairs.after_item, pairs.after_slot
    last = history[:LAST]
    room = 0
    for q in last:
        room += before[q, 1] + min(after[q, 1], HEAD)
    items, because = np.empty(room, np.int32), np.empty(room, np.int32)
    rules, knn, together = np.zeros(room, np.float32), np.zeros(room, np.float32), np.zeros(room, np.float32)
    strongest, slow = np.zeros(room, np.float32), np.empty(room, np.float32)
    n = 0
    for d in range(last.shape[0]):
        q = last[d]
        share = np.float32(1.0 / math.sqrt(clicks[q] + 1.0))
        near = np.float32(1.0 / (d + 1))
        earlier = before[q, 1]
        for k in range(earlier + min(after[q, 1], HEAD)):  # what came before q, then what came after it
            follows = k >= earlier
            p = after[q, 0] + k - earlier if follows else before[q, 0] + k
            j = after_item[p] if follows else before_item[p]
            e = place[j]
            if e < 0:
                if barred[j] != -1 or not available[j]:
                    continue
                e = place[j] = n
                items[e], slow[e] = j, np.float32(1.0 / math.sqrt(clicks[j] + 5.0))
                n += 1
            if follows:
                p = before[j, 0] + after_slot[p]
            evidence = share * weight[p, 0]
            knn[e] += evidence
            if d == 0:
                together[e] += weight[p, 1] + (np.float32(2.0) * weight[p, 3] if follows else np.float32(0.0))
            if follows:
                rules[e] += near * weight[p, 2]
                evidence += near * share * weight[p, 2]
            if evidence > strongest[e]:
                strongest[e], because[e] = evidence, q
    return Neighbourhood(items[:n], slow[:n], rules[:n], knn[:n], together[:n], because[:n], strongest[:n])


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def scored(keys: Floats, items: Items, neighbours: Items, scores: Floats, slow: Floats) -> int:
    """`neighbours` (n,) int32 by their scores (n,) times `slow`, those above 0.

    Without a branch to mispredict: there must be room for one more.
    """
    n = 0
    for e in range(neighbours.shape[0]):
        keys[n], items[n] = scores[e] * slow[e], neighbours[e]
        n += scores[e] > 0
    return n


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def fresh(
    keys: Floats,
    items: Items,
    few: bool,
    history: Items,
    now: int,
    signals: SignalArrays,
    catalogue: CatalogueArrays,
    model: ModelArrays,
) -> int:
    """Items nobody has clicked, or those with a `few` clicks, by content and age."""
    barred, available, published = signals.marks[1], catalogue.available, catalogue.published
    clicks, first_ms, newest, content = signals.clicks, signals.first_ms, signals.newest, model.content
    begin, most, came_ms = (NEWEST, FEW_CLICKS, first_ms) if few else (0, 0, signals.born_ms)
    profile = np.empty((1, content.shape[1]), np.float32)
    content_profile(history[:TASTE], content, profile)
    n = 0
    for k in range(begin, begin + signals.newest_count[int(few)]):
        j = newest[k]
        if clicks[j] > most or barred[j] != -1 or not available[j]:
            continue
        since = float(came_ms[j])
        if not math.isnan(published[j]):
            since = max((published[j] - 1970.0) * YEAR_MS, float(first_ms[j]))
        weeks = max(now - since, 0.0) / _WEEK_MS
        keys[n] = dot(profile, 0, content, j) - AGEING * math.log1p(weeks)
        items[n] = j
        n += 1
    return n


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def own(keys: Floats, items: Items, history: Items, barred: Items, available: NDArray[np.bool_]) -> int:
    """What the user had, often and lately first: 1 / distance for each time."""
    n = 0
    for d in range(history.shape[0]):
        j = history[d]
        if barred[j] != -1 or not available[j]:  # all of them, unless items may be had again
            continue
        e = 0
        while e < n and items[e] != j:
            e += 1
        if e == n:
            keys[e], items[e] = 0.0, j
            n += 1
        keys[e] += np.float32(1.0 / (d + 1))
    return n


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def in_order(items: Items, top: Items, count: int) -> int:
    """The `count` items of a list that is kept in order, also those that may not be listed."""
    for k in range(count):
        items[k] = top[k]
    return count


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def everything(
    keys: Doubles, items: Items, popular: int, signals: SignalArrays, catalogue: CatalogueArrays
) -> int:
    """The whole catalogue, most popular first by the half-life `popular`, then the least clicked last."""
    barred, available = signals.marks[1], catalogue.available
    popularity, clicks = signals.popularity, signals.clicks
    n = 0
    for j in range(catalogue.size):
        if available[j] and barred[j] == -1:
            keys[n] = popularity[j, popular] if popularity[j, popular] > 0 else -1.0 / (1.0 + clicks[j])
            items[n] = j
            n += 1
    return n
