"""The block "follows": which columns the user's own newest items could have been found by.

Owns the looking back: columns `FOLLOWED` of own items, as candidates of the moment before each, and where
they would have stood among today's candidates. `tests/worlds/plain_signals.py` says the same slowly.
"""

import math

import numba
import numpy as np

from learner.ranking.asker import LAST
from learner.ranking.columns import FOLLOWED, FOLLOWED_DEPTH, FOLLOWED_HALF_LIVES, RAW
from learner.ranking.feature_items import DEPTH_PRIOR
from learner.ranking.feature_math import EPSILON, age, content_profile, direction, dot, length_of, log
from learner.ranking.feature_pairs import chained, filled, hits_of
from learner.signals.kernels import depth_of
from learner.signals.pair_weights import WINDOW
from learner.signals.settings import DEPTH_HALF_LIVES

LOOKED_BACK = 12  # own items that are looked up, each as far as `LAST` items before it
PRIOR = 0.8  # a guess at where answers stand, for whoever has followed nothing yet
_FADING = 0.85  # of what an own item weighs, to the next older one
_TIED = 3e-5  # values so near count as equal: rounding must not decide
_COLUMNS = np.array([RAW.index(name) for name in FOLLOWED])


@numba.njit(cache=True, nogil=True)
def _own_pairs(history, counted, newest, signals, pairs):  # type: ignore[no-untyped-def]
    """What the user's own items say of each other: (2, n, n + LAST) float64.

    [0, d, e]: how often the item at d and the older one at e came together; [1, d, e]: how often the former
    came after the latter (1 / distance each time); both without this user's own click at d (once), where
    signals have `counted` it. For the `newest` n items and the `LAST` before each. `history` (m,) int32,
    newest first; `counted` (n,) float64, 1 or 0.
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


@numba.njit(cache=True, nogil=True)
def _own_ease(history, newest, signals, ease_item, ease_weight):  # type: ignore[no-untyped-def]
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


@numba.njit(cache=True, nogil=True)
def _look_back(asker, looked_back, signals, catalogue, pairs, model):  # type: ignore[no-untyped-def]
    """Columns `FOLLOWED` of the newest own items, newest first: (looked_back, len(FOLLOWED)) float32."""
    history, found, times, values = asker.items, asker.found, asker.times, asker.values
    clicks, popularity, by_depth, factor = signals.clicks, signals.popularity, signals.by_depth, asker.factor
    published, first_ms, half_lives = catalogue.published, signals.first_ms, signals.half_lives
    vectors, content, depth = model.vectors, model.content, asker.depth
    followed = np.empty((looked_back, len(FOLLOWED)), np.float32)
    counted = np.empty(looked_back)
    for d in range(looked_back):
        # A worker may hear of a click before the learner does, and lists to learn from are made for many
        # clicks before they are counted: what is not in the sums must not be taken out of them.
        counted[d] = 1.0 if signals.last_ms[history[d]] >= times[d] else 0.0
    nearest = history[: min(found, looked_back + LAST)]
    own = _own_pairs(nearest, counted, looked_back, signals, pairs)
    own_ease = _own_ease(nearest, looked_back, signals, model.ease_item, model.ease_weight)
    profile = np.empty((1, content.shape[1]), np.float32)
    way = np.empty((1, vectors.shape[1]), np.float32)
    for d in range(looked_back):
        q, x, mine = history[d], followed[d], counted[d]
        older = history[d + 1 : min(d + 1 + LAST, found)]
        latest = older[0]
        ago = max(asker.now - times[d], 0)
        of_others = max(clicks[q] - mine, 0.0)

        # student_cosine, student_profile
        norm = length_of(vectors, q)
        x[0] = dot(vectors, latest, vectors, q) / (norm * length_of(vectors, latest))
        direction(older, vectors, way, 0)
        x[1] = dot(way, 0, vectors, q) / norm

        # popularity, among all and by depth; age, year
        for k in range(len(FOLLOWED_HALF_LIVES)):
            h = FOLLOWED_HALF_LIVES[k]
            share = mine * 0.5 ** (ago / half_lives[h])
            x[2 + k] = log(max(min(popularity[q, h] * factor[h] - share, of_others), 0.0) + EPSILON)
        x[5] = log(of_others + 1.0)
        h = DEPTH_HALF_LIVES[FOLLOWED_DEPTH]
        share = mine * 0.5 ** (ago / half_lives[h])
        same = by_depth[q, FOLLOWED_DEPTH, depth] * factor[h]
        if depth_of(history.shape[0] - 1 - d) == depth:
            same -= share
        among_all = max(min(popularity[q, h] * factor[h] - share, of_others), 0.0)
        x[6] = log(max(min(same, of_others), 0.0) + DEPTH_PRIOR * among_all + EPSILON)
        x[7] = age(asker.now, first_ms[q]) if of_others > 0 else -1.0
        x[8] = asker.year - published[q] if not math.isnan(published[q]) else -5.0

        # knn_1, knn_10, rules, rule_1, and ease_10
        slow = 1.0 / math.sqrt(of_others + 5.0)
        evidence, rules, ease = 0.0, 0.0, np.float32(0.0)
        for e in range(d + 1, d + 1 + older.shape[0]):
            evidence += own[0, d, e] / math.sqrt(clicks[history[e]] + 1.0)
            rules += own[1, d, e] / (e - d)
            ease += own_ease[d, e]
        x[9] = log(own[0, d, d + 1] / math.sqrt(clicks[latest] + 1.0) * slow + 1e-3)
        x[10] = log(evidence * slow + 1e-3)
        x[11] = log(rules * slow + 1e-3)
        x[12] = log(own[1, d, d + 1] + 0.05)
        x[16] = ease

        # content_1, content_profile, content_max, value_item
        content_profile(history[d + 1 :], content, profile)
        closest = -2.0
        for e in range(min(older.shape[0], 5)):
            closest = max(closest, dot(content, older[e], content, q))
        x[13] = dot(content, latest, content, q)
        x[14] = dot(profile, 0, content, q)
        x[15] = closest
        x[17] = (signals.value_sum[q] - mine * values[d]) / (of_others + 3.0)
    return followed


@numba.njit(cache=True, nogil=True)
def _share_below(column, followed):  # type: ignore[no-untyped-def]
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


@numba.njit(cache=True, nogil=True)
def write_follows(x, raw, asker, signals, catalogue, pairs, model):  # type: ignore[no-untyped-def]
    """The block's columns of C candidates into x (C, 18), by the other blocks' in `raw` (C, columns)."""
    looked_back = max(min(asker.found - 1, LOOKED_BACK), 0)
    followed = _look_back(asker, looked_back, signals, catalogue, pairs, model)
    column = np.empty(x.shape[0], np.float32)
    for k in range(x.shape[1]):
        for c in range(column.shape[0]):
            column[c] = raw[c, _COLUMNS[k]]
        share = _share_below(column, followed[:, k])
        for c in range(column.shape[0]):
            x[c, k] = share
