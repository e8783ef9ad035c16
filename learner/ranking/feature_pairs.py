"""The block "pairs": what was clicked together with the user's own items, or after them.

Owns how the pairs of many candidates with many own items are found and summed. Knows neither how pairs are
counted nor other columns. `tests/worlds/plain_signals.py` says the same slowly.
"""

import math
from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from learner.data.times import DAY_MS
from learner.ranking.asker import LAST
from learner.ranking.columns import OWN_ITEMS, PAIRS
from learner.ranking.feature_math import copy_columns, take_logs
from learner.signals.pair_weights import WINDOW


class Found(NamedTuple):
    """Where the pairs of each candidate with each own item stand in the pool.

    ahead, back (C, WINDOW) int32: the candidate after the own item, and before it; valid where bit d of
    `ahead_bits` or `back_bits` (C,) int64 is set.
    """

    ahead: NDArray[np.int32]
    back: NDArray[np.int32]
    ahead_bits: NDArray[np.int64]
    back_bits: NDArray[np.int64]


class Met(NamedTuple):
    """The pairs of one candidate, (WINDOW,) each, those that there are one after the other, nearest first.

    d: distance of the own item. How often both came `together`, and `recently` so; how often the candidate
    was `following` (1 / distance each time), and `lately` so; and the first with users who click much
    counting less, `thin`.
    """

    d: NDArray[np.int64]
    together: NDArray[np.float64]
    recently: NDArray[np.float64]
    following: NDArray[np.float64]
    lately: NDArray[np.float64]
    thin: NDArray[np.float64]


@numba.njit(cache=True, nogil=True)
def hits_of(items, marks, hits):  # type: ignore[no-untyped-def]
    """Places of the items that are marked, into `hits`; returns how many. Without a branch to mispredict.

    Every item must have a mark: a -1 among them would be read out of bounds.
    """
    found = 0
    for k in range(items.shape[0]):
        hits[found] = k
        found += marks[np.uint32(items[k])] >= 0
    return found


@numba.njit(cache=True, nogil=True)
def filled(row):  # type: ignore[no-untyped-def]
    """A row (n,) without the -1 at its end."""
    n = row.shape[0]
    while n > 0 and row[n - 1] < 0:
        n -= 1
    return row[:n]


@numba.njit(cache=True, nogil=True)
def chained(history, newest, earlier):  # type: ignore[no-untyped-def]
    """Chains the distances of equal items of a history (n,): `newest` by item, then `earlier` by distance.

    `newest` (cap,) int8 is all -1 before, and again after `newest[history] = -1`.
    """
    for d in range(history.shape[0] - 1, -1, -1):
        earlier[d] = newest[history[d]]
        newest[history[d]] = d


@numba.njit(cache=True, nogil=True)
def find_pairs(history, listed, signals, pairs):  # type: ignore[no-untyped-def]
    """Finds the pairs of `listed` (C,) int32, whose places are marked in `marks[0]`, with a history (n,).

    A pair of an item of the history and a candidate after it stands in the candidate's row and is listed
    in the item's row after it. Whichever rows are fewer and shorter are looked through.
    """
    n, size = history.shape[0], listed.shape[0]
    found = Found(
        np.empty((size, WINDOW), np.int32), np.empty((size, WINDOW), np.int32),
        np.zeros(size, np.int64), np.zeros(size, np.int64),
    )  # fmt: skip
    ahead, back, ahead_bits, back_bits = found
    in_history, in_list, earlier = signals.places, signals.marks[0], np.empty(WINDOW, np.int32)
    before, before_item = pairs.before, pairs.before_item
    after, after_item, after_slot = pairs.after, pairs.after_item, pairs.after_slot
    chained(history, in_history, earlier)
    longest, follow, lead = 0, 0, 0
    for j in listed:
        longest = max(longest, before[j, 1])
        lead += before[j, 1]
    for d in range(n):
        q = history[d]
        longest = max(longest, before[q, 1], after[q, 1])
        if in_history[q] == d:
            follow += after[q, 1]
    hits = np.empty(longest + 1, np.int32)
    if lead < follow:
        for c in range(size):
            start, count = before[listed[c], 0], before[listed[c], 1]
            row = before_item[start : start + count]
            for h in range(hits_of(row, in_history, hits)):
                d = in_history[row[hits[h]]]
                while d >= 0:
                    ahead[c, d] = start + hits[h]
                    ahead_bits[c] |= np.int64(1) << d
                    d = earlier[d]
    for first in range(n):
        q = history[first]
        if in_history[q] != first:  # an older event of the same item: done with the newest
            continue
        start, count = before[q, 0], before[q, 1]
        row = before_item[start : start + count]
        for h in range(hits_of(row, in_list, hits)):
            c, d = in_list[row[hits[h]]], first
            while d >= 0:
                back[c, d] = start + hits[h]
                back_bits[c] |= np.int64(1) << d
                d = earlier[d]
        if lead < follow:
            continue
        start, count = after[q, 0], after[q, 1]
        row = after_item[start : start + count]
        for h in range(hits_of(row, in_list, hits)):
            j, d = row[hits[h]], first
            c = in_list[j]
            while d >= 0:
                ahead[c, d] = before[j, 0] + after_slot[start + hits[h]]
                ahead_bits[c] |= np.int64(1) << d
                d = earlier[d]
    for q in history:
        in_history[q] = -1
    return found


@numba.njit(cache=True, nogil=True)
def _gather(c, n, found, weight, factor, met):  # type: ignore[no-untyped-def]
    """The pairs of the candidate c with the nearest n own items, into `met`.

    Returns how many of them lie below distance 3, `LAST` and `OWN_ITEMS`, and how many there are. A pair that
    is missing is read too and counts nothing: that is cheaper than branches that nobody can predict.
    """
    ahead, back = found.ahead, found.back
    ahead_bits, back_bits = found.ahead_bits[c], found.back_bits[c]
    at, together, recently, following, lately, thin = met
    of_3, of_last, of_places, m = 0, 0, 0, 0
    for d in range(n):
        at[m] = d
        there = ((ahead_bits | back_bits) >> d) & 1
        m += there
        of_places += there if d < OWN_ITEMS else 0
        of_last += there if d < LAST else 0
        of_3 += there if d < 3 else 0
    for h in range(m):
        d = at[h]
        after, before = (ahead_bits >> d) & 1, (back_bits >> d) & 1
        k, e = ahead[c, d] * after, back[c, d] * before
        often = after * weight[k, 0]
        often_before = before * weight[e, 0]
        together[h] = often + often_before
        recently[h] = min(factor * weight[k, 1], often)
        recently[h] += min(factor * weight[e, 1], often_before)
        following[h] = after * weight[k, 2]
        lately[h] = min(factor * weight[k, 3], often)
        thin[h] = after * weight[k, 4] + before * weight[e, 4]
    return of_3, of_last, of_places, m


@numba.njit(cache=True, nogil=True)
def write_pairs(x, near, listed, asker, signals, pairs):  # type: ignore[no-untyped-def]
    """The block's columns of C candidates into x (C, 26), and those by own item into `near` (C, 2 · 20)."""
    clicks, total = signals.clicks, signals.total
    n, size, history = asker.found, listed.shape[0], asker.items
    found = find_pairs(history[:n], listed, signals, pairs)
    rows = np.empty((5, WINDOW))
    met = Met(np.empty(WINDOW, np.int64), rows[0], rows[1], rows[2], rows[3], rows[4])
    at, together, recently, following, lately, thin = met
    root, freshness = np.empty(n), np.empty(n)
    for d in range(n):
        root[d] = 1.0 / math.sqrt(clicks[history[d]] + 1.0)
        freshness[d] = 0.5 ** (max(asker.now - asker.times[d], 0) / DAY_MS)
    newest_clicks = clicks[history[0]] if n > 0 else 0.0
    logs = np.ones((size, x.shape[1]), np.float32)
    for c in range(size):
        of_3, of_last, of_places, m = _gather(c, n, found, pairs.weight, asker.factor[-1], met)
        mine = clicks[listed[c]]
        slow = 1.0 / math.sqrt(mine + 5.0)
        for k in range(near.shape[1]):
            near[c, k] = 1e-2
        for h in range(of_places):
            d = at[h]
            near[c, d] = together[h] * root[d] * slow + 1e-2
            near[c, OWN_ITEMS + d] = following[h] * root[d] * slow + 1e-2
        knn_50, inverse_50, strongest, today = 0.0, 0.0, 0.0, 0.0
        for h in range(m):
            d = at[h]
            evidence = together[h] * root[d]
            knn_50 += evidence
            inverse_50 += thin[h] * root[d]
            strongest = max(strongest, evidence)
            today += evidence * freshness[d]
        knn_10, inverse_10, jaccard, conditional, valued = 0.0, 0.0, 0.0, 0.0, 0.0
        decayed, rules, decayed_rules, nearest = 0.0, 0.0, 0.0, 10.0
        for h in range(of_last):
            d = at[h]
            evidence, own = together[h] * root[d], clicks[history[d]]
            knn_10 += evidence
            inverse_10 += thin[h] * root[d]
            conditional += together[h] / (own + 5.0)
            valued += evidence * asker.values[d]
            jaccard += together[h] / (own + mine - min(together[h], own, mine) + 3.0)
            if together[h] > 2.0 and nearest == 10.0:
                nearest = float(d)
            decayed += recently[h]
            rules += following[h] / (d + 1)
            decayed_rules += lately[h] / (d + 1)
        knn_3, inverse_3 = 0.0, 0.0
        for k in range(3):
            logs[c, PAIRS.rule_1 + k] = 0.05
        for h in range(of_3):
            knn_3 += together[h] * root[at[h]]
            inverse_3 += thin[h] * root[at[h]]
            logs[c, PAIRS.rule_1 + at[h]] = following[h] + 0.05
        x[c, PAIRS.nearest_companion] = nearest
        x[c, PAIRS.companions] = of_last
        x[c, PAIRS.value_near] = valued / (knn_10 + 0.05)
        newest = m > 0 and at[0] == 0
        together_1 = together[0] if newest else 0.0
        if n > 0:
            logs[c, PAIRS.knn_1] = together_1 / math.sqrt(newest_clicks + 1.0) * slow + 1e-3
            either = newest_clicks + mine - min(together_1, newest_clicks, mine)
            logs[c, PAIRS.jaccard_1] = together_1 / (either + 3.0) + 1e-3
            logs[c, PAIRS.conditional_1] = together_1 / (newest_clicks + 5.0) + 1e-3
            expected = (newest_clicks + 1.0) * (mine + 1.0)
            logs[c, PAIRS.lift_1] = (together_1 + 0.05) / expected * (total + 1.0)
        else:
            logs[c, PAIRS.knn_1] = logs[c, PAIRS.jaccard_1] = logs[c, PAIRS.conditional_1] = 1e-3
        logs[c, PAIRS.knn_3] = knn_3 * slow + 1e-3
        logs[c, PAIRS.knn_10] = knn_10 * slow + 1e-3
        logs[c, PAIRS.knn_50] = knn_50 * slow + 1e-3
        logs[c, PAIRS.jaccard_10] = jaccard + 1e-3
        logs[c, PAIRS.decayed_1] = (recently[0] if newest else 0.0) + 0.02
        logs[c, PAIRS.decayed_10] = decayed + 0.02
        logs[c, PAIRS.rules] = rules * slow + 1e-3
        logs[c, PAIRS.rules_raw] = rules + 0.02
        logs[c, PAIRS.decayed_rule_1] = (lately[0] if newest else 0.0) + 0.02
        logs[c, PAIRS.decayed_rules] = decayed_rules + 0.02
        logs[c, PAIRS.inverse_3] = inverse_3 * slow + 1e-3
        logs[c, PAIRS.inverse_10] = inverse_10 * slow + 1e-3
        logs[c, PAIRS.inverse_50] = inverse_50 * slow + 1e-3
        logs[c, PAIRS.knn_max] = strongest * slow + 1e-3
        logs[c, PAIRS.conditional_10] = conditional + 1e-3
        logs[c, PAIRS.knn_day] = today * slow + 1e-3
    take_logs(logs)
    take_logs(near)
    copy_columns(logs, x, 0, PAIRS.nearest_companion)
    copy_columns(logs, x, PAIRS.inverse_3, PAIRS.value_near)
