"""The block "follows": which columns the user's own newest items could have been found by.

Owns the looking back: columns `FOLLOWED` of own items, as candidates of the moment before each, and where
they would have stood among today's candidates. `tests/worlds/plain_signals.py` says the same slowly.
"""

import math

import numba
import numpy as np

from learner.ranking.arrays import CatalogueArrays, Floats, ModelArrays, PairArrays, SignalArrays
from learner.ranking.asker import LAST, TASTE, Asker
from learner.ranking.columns import FOLLOWED, FOLLOWED_DEPTH, FOLLOWED_HALF_LIVES, RAW, places
from learner.ranking.feature_items import DEPTH_PRIOR
from learner.ranking.feature_math import EPSILON, age, content_profile, direction, dot, length_of, log
from learner.ranking.pair_search import chained, filled, hits_of
from learner.signals.kernels import Doubles, Items, depth_of
from learner.signals.pair_weights import WINDOW
from learner.signals.settings import DEPTH_HALF_LIVES

LOOKED_BACK = 12  # own items that are looked up, each as far as `LAST` items before it
PRIOR = 0.8  # a guess at where answers stand, for whoever has followed nothing yet
_FADING = 0.85  # of what an own item weighs, to the next older one
_TIED = 3e-5  # values so near count as equal: rounding must not decide
AT = places("followed", FOLLOWED)  # the column of each in what is looked back at
_COLUMNS = np.array([RAW.index(name) for name in FOLLOWED])


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _own_pairs(
    history: Items, counted: Doubles, newest: int, signals: SignalArrays, pairs: PairArrays
) -> Doubles:
    """What the user's own items say of each other: (2, n, n + LAST) float64.

    [0, d, e]: how often the item at d and the older one at e came together; [1, d, e]: how often the former
    came after the latter (1 / distance each time); both without this user's own click at d (once), where
    signals have `counted` it. For the `newest` n items and the `LAST` before each. `history` (m,) int32,
    newest first; `counted` (n,) float64: what they have counted of the click.
    """
    before, before_item, weight = pairs.before, pairs.before_item, pairs.weight
    in_history, earlier = signals.places, np.empty(WINDOW, np.int32)
    own = np.zeros((2, newest, newest + LAST))
    chained(history, in_history, earlier)
    longest = 0
    for q in history:
        longest = max(longest, before[q, 1])
    hits = np.empty(longest + 1, np.int32)
    for first in range(history.shape[0]):
        q = history[first]
        if in_history[q] != first:
            continue  # an older event of the same item: done with the newest
        start, count = before[q, 0], before[q, 1]
        for h in range(hits_of(before_item[start : start + count], in_history, hits)):
            k = start + hits[h]
            other = in_history[before_item[k]]
            while other >= 0:
                place = first
                while place >= 0:
                    distance = other - place
                    if distance > 0:
                        if place < newest and distance <= LAST:
                            mine = counted[place]
                            own[0, place, other] += max(weight[k, 0] - mine, 0.0)
                            own[1, place, other] += max(weight[k, 2] - mine / distance, 0.0)
                    elif distance < 0 and other < newest and distance >= -LAST:
                        own[0, other, place] += weight[k, 0]
                    place = earlier[place]
                other = earlier[other]
    for q in history:
        in_history[q] = -1
    return own


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _own_ease(
    history: Items, newest: int, signals: SignalArrays, ease_item: Items, ease_weight: Floats
) -> Floats:
    """What the static model gives the item at d for older ones, up to `LAST` before it: (n,) float32."""
    in_history, earlier = signals.places, np.empty(WINDOW, np.int32)
    of_pair = np.zeros((newest, newest + LAST), np.float32)
    chained(history, in_history, earlier)
    hits = np.empty(ease_item.shape[1] + 1, np.int32)
    for first in range(history.shape[0]):
        q = history[first]
        if in_history[q] != first or q >= ease_item.shape[0]:
            continue
        for h in range(hits_of(filled(ease_item[q]), in_history, hits)):
            other = in_history[ease_item[q, hits[h]]]
            while other >= 0:
                place = first
                while place >= 0:
                    if other < newest and 0 < place - other <= LAST:
                        of_pair[other, place] += ease_weight[q, hits[h]]
                    place = earlier[place]
                other = earlier[other]
    for q in history:
        in_history[q] = -1
    return of_pair


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _look_at_students(x: Floats, history: Items, vectors: Floats) -> None:
    """`student_cosine` and `student_profile` of the items looked back at, of a history (n,)."""
    way = np.empty((1, vectors.shape[1]), np.float32)
    for d in range(x.shape[0]):
        q, older = history[d], history[d + 1 : d + 1 + LAST]
        norm = length_of(vectors, q)
        x[d, AT.student_cosine] = dot(vectors, older[0], vectors, q) / (norm * length_of(vectors, older[0]))
        direction(older, vectors, way, 0)
        x[d, AT.student_profile] = dot(way, 0, vectors, q) / norm


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _look_at_popularity(
    x: Floats, asker: Asker, counted: Doubles, signals: SignalArrays, published: Doubles
) -> None:
    """Popularity, among all and by depth, `age` and `year`."""
    popularity, by_depth, factor, depth = signals.popularity, signals.by_depth, asker.factor, asker.depth
    for d in range(x.shape[0]):
        q, ago = asker.items[d], max(asker.now - asker.times[d], 0)
        clicks = max(signals.clicks[q] - counted[d], 0.0)
        for k in range(len(FOLLOWED_HALF_LIVES)):
            h = FOLLOWED_HALF_LIVES[k]
            mine = counted[d] * 0.5 ** (ago / signals.half_lives[h])
            others = max(min(popularity[q, h] * factor[h] - mine, clicks), 0.0)
            x[d, AT.popularity_1 + k] = log(others + EPSILON)
        x[d, AT.popularity_all] = log(clicks + 1.0)
        h = DEPTH_HALF_LIVES[FOLLOWED_DEPTH]
        mine = counted[d] * 0.5 ** (ago / signals.half_lives[h])
        same = by_depth[q, FOLLOWED_DEPTH, depth] * factor[h]
        if depth_of(asker.items.shape[0] - 1 - d) == depth:
            same -= mine
        among_all = max(min(popularity[q, h] * factor[h] - mine, clicks), 0.0)
        same = max(min(same, clicks), 0.0)
        x[d, AT.popularity_depth_4] = log(same + DEPTH_PRIOR * among_all + EPSILON)
        x[d, AT.age] = age(asker.now, signals.first_ms[q]) if clicks > 0 else -1.0
        x[d, AT.year] = asker.year - published[q] if not math.isnan(published[q]) else -5.0


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _look_at_pairs(
    x: Floats, history: Items, counted: Doubles, signals: SignalArrays, pairs: PairArrays, model: ModelArrays
) -> None:
    """`knn_1`, `knn_10`, `rules`, `rule_1` and `ease_10`, of a history (n,)."""
    newest, clicks = x.shape[0], signals.clicks
    near = history[: newest + LAST]
    own = _own_pairs(near, counted, newest, signals, pairs)
    own_ease = _own_ease(near, newest, signals, model.ease_item, model.ease_weight)
    for d in range(newest):
        latest = history[d + 1]
        slow = 1.0 / math.sqrt(max(clicks[history[d]] - counted[d], 0.0) + 5.0)
        evidence, rules, ease = 0.0, 0.0, np.float32(0.0)
        for e in range(d + 1, min(d + 1 + LAST, history.shape[0])):
            evidence += own[0, d, e] / math.sqrt(clicks[history[e]] + 1.0)
            rules += own[1, d, e] / (e - d)
            ease += own_ease[d, e]
        x[d, AT.knn_1] = log(own[0, d, d + 1] / math.sqrt(clicks[latest] + 1.0) * slow + 1e-3)
        x[d, AT.knn_10] = log(evidence * slow + 1e-3)
        x[d, AT.rules] = log(rules * slow + 1e-3)
        x[d, AT.rule_1] = log(own[1, d, d + 1] + 0.05)
        x[d, AT.ease_10] = ease


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _look_at_content(x: Floats, history: Items, content: Floats) -> None:
    """`content_1`, `content_profile` and `content_max`, of a history (n,)."""
    profile = np.empty((1, content.shape[1]), np.float32)
    for d in range(x.shape[0]):
        q, older = history[d], history[d + 1 :]
        content_profile(older[:TASTE], content, profile)
        closest = -2.0
        for e in range(min(older.shape[0], 5)):
            closest = max(closest, dot(content, older[e], content, q))
        x[d, AT.content_1] = dot(content, older[0], content, q)
        x[d, AT.content_profile] = dot(profile, 0, content, q)
        x[d, AT.content_max] = closest


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def look_back(
    asker: Asker,
    signals: SignalArrays,
    catalogue: CatalogueArrays,
    pairs: PairArrays,
    model: ModelArrays,
) -> Floats:
    """Columns `FOLLOWED` of the newest own items, newest first, that another came before: (n, columns)."""
    n = max(min(asker.found - 1, LOOKED_BACK), 0)
    history = asker.items[: asker.found]
    x, counted = np.empty((n, len(FOLLOWED)), np.float32), np.empty(n)
    for d in range(n):
        q = history[d]
        # A worker may hear of a click before the learner does, and lists to learn from are made for many
        # clicks before they are counted: what is not in the sums must not be taken out of them.
        counted[d] = asker.weights[d] if signals.last_ms[q] >= asker.times[d] else 0.0
        mine, clicks = counted[d] * asker.values[d], max(signals.clicks[q] - counted[d], 0.0)
        x[d, AT.value_item] = (signals.value_sum[q] - mine) / (clicks + 3.0)
    _look_at_students(x, history, model.vectors)
    _look_at_popularity(x, asker, counted, signals, catalogue.published)
    _look_at_pairs(x, history, counted, signals, pairs, model)
    _look_at_content(x, history, model.content)
    return x


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _share_below(column: Floats, followed: Floats) -> float:
    """Mean share of a column (n,) that lies below each of `followed` (m,), newest first; ties count half."""
    n = column.shape[0]
    total, share, weight = 1.0, PRIOR, 1.0
    for d in range(followed.shape[0]):
        below = 0
        for c in range(n):
            below += column[c] < followed[d] - _TIED
            below += column[c] <= followed[d] + _TIED
        share += weight * below / (2 * n)
        total += weight
        weight *= _FADING
    return share / total


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def write_follows(x: Floats, raw: Floats, followed: Floats) -> None:
    """The block's columns of C candidates into x (C, 18), by the other blocks' in `raw` (C, columns)."""
    column = np.empty(x.shape[0], np.float32)
    for k in range(x.shape[1]):
        for c in range(column.shape[0]):
            column[c] = raw[c, _COLUMNS[k]]
        share = _share_below(column, followed[:, k])
        for c in range(column.shape[0]):
            x[c, k] = share
