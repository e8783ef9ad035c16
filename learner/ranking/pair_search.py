"""The pairs of many candidates with many own items: where they stand, and what they weigh.

Owns how pairs are found without looking up each. Knows neither how they are counted nor what is made of them.
"""

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from learner.ranking.arrays import Floats, PairArrays, SignalArrays
from learner.ranking.asker import LAST
from learner.ranking.columns import OWN_ITEMS
from learner.signals.kernels import Doubles, Items, Wholes
from learner.signals.pair_weights import WINDOW


class Found(NamedTuple):
    """Where the pairs of each candidate with each own item stand in the pool.

    ahead, back (C, WINDOW): the candidate after the own item, and before it; valid where bit d of
    `ahead_bits` or `back_bits` (C,) is set.
    """

    ahead: Items
    back: Items
    ahead_bits: Wholes
    back_bits: Wholes


class Met(NamedTuple):
    """The pairs that there are, one candidate's after the other's, those with nearer own items first.

    begin (C + 1,): where a candidate's pairs begin; below_3, below_last, below_places (C,): how many of them
    are with own items below distance 3, `LAST` and `OWN_ITEMS`. By pair, (pairs,): the own item's `distance`;
    how often both came `together`, and `recently` so; how often the candidate was `following` (1 / distance
    each time), and `lately` so; and the first with users who click much counting less, `thin`.
    """

    begin: Wholes
    below_3: Wholes
    below_last: Wholes
    below_places: Wholes
    distance: Items
    together: Doubles
    recently: Doubles
    following: Doubles
    lately: Doubles
    thin: Doubles


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def hits_of(items: Items, marks: NDArray[np.signedinteger], hits: Items) -> int:
    """Places of the items that are marked, into `hits`; returns how many. Without a branch to mispredict.

    Every item must have a mark: a -1 among them would be read out of bounds.
    """
    found = 0
    for k in range(items.shape[0]):
        hits[found] = k
        found += marks[np.uint32(items[k])] >= 0
    return found


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def filled(row: Items) -> Items:
    """A row (n,) without the -1 at its end."""
    n = row.shape[0]
    while n > 0 and row[n - 1] < 0:
        n -= 1
    return row[:n]


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def chained(history: Items, newest: NDArray[np.int8], earlier: Items) -> None:
    """Chains the distances of equal items of a history (n,): `newest` by item, then `earlier` by distance.

    `newest` (cap,) is all -1 before, and again after `newest[history] = -1`.
    """
    for d in range(history.shape[0] - 1, -1, -1):
        earlier[d] = newest[history[d]]
        newest[history[d]] = d


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def find_pairs(history: Items, listed: Items, signals: SignalArrays, pairs: PairArrays) -> Found:
    """Finds the pairs of candidates, whose places in the list stand in `marks[0]`, with a history (n,).

    A pair of an item of the history and a candidate after it stands in the candidate's row and is listed
    in the item's row after it. Whichever rows are fewer and shorter are looked through.
    """
    n, size = history.shape[0], listed.shape[0]
    ahead, back = np.empty((size, WINDOW), np.int32), np.empty((size, WINDOW), np.int32)
    ahead_bits, back_bits = np.zeros(size, np.int64), np.zeros(size, np.int64)
    in_history, in_list, earlier = signals.places, signals.marks[0], np.empty(WINDOW, np.int32)
    before, before_item = pairs.before, pairs.before_item
    after, after_item, after_slot = pairs.after, pairs.after_item, pairs.after_slot
    chained(history, in_history, earlier)
    longest, kept, following = 0, 0, 0
    for j in listed:
        longest = max(longest, before[j, 1])
        kept += before[j, 1]
    for d in range(n):
        q = history[d]
        longest = max(longest, before[q, 1], after[q, 1])
        if in_history[q] == d:
            following += after[q, 1]
    hits = np.empty(longest + 1, np.int32)
    if kept < following:
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
        if kept < following:
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
    return Found(ahead, back, ahead_bits, back_bits)


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def met_pairs(found: Found, n: int, weight: Floats, factor: float) -> Met:
    """The pairs found with the nearest n own items; decayed weights are to be multiplied by `factor`.

    A pair that is missing is read too and counts nothing: that is cheaper than branches that nobody can
    predict.
    """
    ahead, back, ahead_bits, back_bits = found
    size = ahead_bits.shape[0]
    begin, below_3 = np.zeros(size + 1, np.int64), np.zeros(size, np.int64)
    below_last, below_places = np.zeros(size, np.int64), np.zeros(size, np.int64)
    distance = np.empty(size * n + 1, np.int32)
    m = 0
    for c in range(size):
        either = ahead_bits[c] | back_bits[c]
        for d in range(n):
            distance[m] = d
            there = (either >> d) & 1
            m += there
            below_places[c] += there if d < OWN_ITEMS else 0
            below_last[c] += there if d < LAST else 0
            below_3[c] += there if d < 3 else 0
        begin[c + 1] = m
    together, recently, thin = np.empty(m), np.empty(m), np.empty(m)
    following, lately = np.empty(m), np.empty(m)
    for c in range(size):
        for h in range(begin[c], begin[c + 1]):
            d = distance[h]
            after, before = (ahead_bits[c] >> d) & 1, (back_bits[c] >> d) & 1
            k, e = ahead[c, d] * after, back[c, d] * before
            often, often_before = after * weight[k, 0], before * weight[e, 0]
            together[h] = often + often_before
            recently[h] = min(factor * weight[k, 1], often) + min(factor * weight[e, 1], often_before)
            following[h] = after * weight[k, 2]
            lately[h] = min(factor * weight[k, 3], often)
            thin[h] = after * weight[k, 4] + before * weight[e, 4]
    return Met(
        begin, below_3, below_last, below_places, distance[:m], together, recently, following, lately, thin
    )
