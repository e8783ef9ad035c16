"""The block "pairs": what was clicked together with the user's own items, or after them.

Owns the sums over pairs, of the newest own items, the last ones and all near ones. Knows neither how pairs
are counted nor how they are found.
"""

import math
from typing import NamedTuple

import numba
import numpy as np

from learner.data.times import DAY_MS
from learner.ranking.arrays import Floats, SignalArrays
from learner.ranking.asker import Asker
from learner.ranking.columns import OWN_ITEMS, PAIRS
from learner.ranking.feature_math import copy_columns, take_logs
from learner.ranking.pair_search import Found, Met, met_pairs
from learner.signals.kernels import Doubles, Items


class Counts(NamedTuple):
    """Clicks of candidates and own items, and their roots, over which pairs are counted."""

    candidates: Doubles  # (C,)
    slow: Doubles  # (C,) 1 / root
    own: Doubles  # (n,) by distance
    root: Doubles  # (n,) 1 / root


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _counts(listed: Items, history: Items, clicks: Doubles) -> Counts:
    """Clicks of the candidates and of a history, and their roots."""
    size, n = listed.shape[0], history.shape[0]
    candidates, slow, own, root = np.empty(size), np.empty(size), np.empty(n), np.empty(n)
    for c in range(size):
        candidates[c] = clicks[listed[c]]
        slow[c] = 1.0 / math.sqrt(candidates[c] + 5.0)
    for d in range(n):
        own[d] = clicks[history[d]]
        root[d] = 1.0 / math.sqrt(own[d] + 1.0)
    return Counts(candidates, slow, own, root)


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _sum_newest(logs: Floats, met: Met, counts: Counts, total: float) -> None:
    """Columns about the newest own item and the newest three, as arguments of logarithms."""
    begin, below, distance = met.begin, met.below_3, met.distance
    together, following, thin = met.together, met.following, met.thin
    slow, own, root = counts.slow, counts.own, counts.root
    for c in range(logs.shape[0]):
        first, mine = begin[c], counts.candidates[c]
        knn, inverse = 0.0, 0.0
        for k in range(3):
            logs[c, PAIRS.rule_1 + k] = 0.05
        for h in range(first, first + below[c]):
            d = distance[h]
            knn += together[h] * root[d]
            inverse += thin[h] * root[d]
            logs[c, PAIRS.rule_1 + d] = following[h] + 0.05
        logs[c, PAIRS.knn_3] = knn * slow[c] + 1e-3
        logs[c, PAIRS.inverse_3] = inverse * slow[c] + 1e-3
        there = below[c] > 0 and distance[first] == 0
        logs[c, PAIRS.decayed_1] = (met.recently[first] if there else 0.0) + 0.02
        logs[c, PAIRS.decayed_rule_1] = (met.lately[first] if there else 0.0) + 0.02
        often = together[first] if there else 0.0
        if own.shape[0] > 0:
            either = own[0] + mine - min(often, own[0], mine)
            logs[c, PAIRS.knn_1] = often / math.sqrt(own[0] + 1.0) * slow[c] + 1e-3
            logs[c, PAIRS.jaccard_1] = often / (either + 3.0) + 1e-3
            logs[c, PAIRS.conditional_1] = often / (own[0] + 5.0) + 1e-3
            logs[c, PAIRS.lift_1] = (often + 0.05) / ((own[0] + 1.0) * (mine + 1.0)) * (total + 1.0)
        else:
            logs[c, PAIRS.knn_1] = logs[c, PAIRS.jaccard_1] = logs[c, PAIRS.conditional_1] = 1e-3
            logs[c, PAIRS.lift_1] = 1.0


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _sum_last(x: Floats, logs: Floats, met: Met, counts: Counts, values: Floats) -> None:
    """Columns about the `LAST` own items into x, or into `logs` as arguments of logarithms."""
    begin, below, distance, thin, recently, lately = (
        met.begin, met.below_last, met.distance, met.thin, met.recently, met.lately
    )  # fmt: skip
    together, following, slow, root = met.together, met.following, counts.slow, counts.root
    for c in range(logs.shape[0]):
        mine, nearest = counts.candidates[c], 10.0
        knn, inverse, jaccard, conditional, valued = 0.0, 0.0, 0.0, 0.0, 0.0
        decayed, rules, decayed_rules = 0.0, 0.0, 0.0
        for h in range(begin[c], begin[c] + below[c]):
            d = distance[h]
            own, evidence = counts.own[d], together[h] * root[d]
            knn += evidence
            inverse += thin[h] * root[d]
            conditional += together[h] / (own + 5.0)
            valued += evidence * values[d]
            jaccard += together[h] / (own + mine - min(together[h], own, mine) + 3.0)
            if together[h] > 2.0 and nearest == 10.0:
                nearest = float(d)
            decayed += recently[h]
            rules += following[h] / (d + 1)
            decayed_rules += lately[h] / (d + 1)
        logs[c, PAIRS.knn_10] = knn * slow[c] + 1e-3
        logs[c, PAIRS.jaccard_10] = jaccard + 1e-3
        logs[c, PAIRS.decayed_10] = decayed + 0.02
        logs[c, PAIRS.rules] = rules * slow[c] + 1e-3
        logs[c, PAIRS.rules_raw] = rules + 0.02
        logs[c, PAIRS.decayed_rules] = decayed_rules + 0.02
        logs[c, PAIRS.inverse_10] = inverse * slow[c] + 1e-3
        logs[c, PAIRS.conditional_10] = conditional + 1e-3
        x[c, PAIRS.nearest_companion] = nearest
        x[c, PAIRS.companions] = below[c]
        x[c, PAIRS.value_near] = valued / (knn + 0.05)


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _sum_all(logs: Floats, met: Met, counts: Counts, freshness: Doubles) -> None:
    """Columns about all near own items, as arguments of logarithms."""
    begin, distance, together, thin = met.begin, met.distance, met.together, met.thin
    slow, root = counts.slow, counts.root
    for c in range(logs.shape[0]):
        knn, inverse, strongest, today = 0.0, 0.0, 0.0, 0.0
        for h in range(begin[c], begin[c + 1]):
            d = distance[h]
            evidence = together[h] * root[d]
            knn += evidence
            inverse += thin[h] * root[d]
            strongest = max(strongest, evidence)
            today += evidence * freshness[d]
        logs[c, PAIRS.knn_50] = knn * slow[c] + 1e-3
        logs[c, PAIRS.inverse_50] = inverse * slow[c] + 1e-3
        logs[c, PAIRS.knn_max] = strongest * slow[c] + 1e-3
        logs[c, PAIRS.knn_day] = today * slow[c] + 1e-3


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _write_by_place(near: Floats, met: Met, counts: Counts) -> None:
    """`cosine`, then `rule_cosine`, with each of the newest own items, as arguments of logarithms."""
    begin, below, distance, together, following = (
        met.begin, met.below_places, met.distance, met.together, met.following
    )  # fmt: skip
    slow, root = counts.slow, counts.root
    for c in range(near.shape[0]):
        for k in range(near.shape[1]):
            near[c, k] = 1e-2
        for h in range(begin[c], begin[c] + below[c]):
            d = distance[h]
            near[c, d] = together[h] * root[d] * slow[c] + 1e-2
            near[c, OWN_ITEMS + d] = following[h] * root[d] * slow[c] + 1e-2


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def write_pairs(
    x: Floats, near: Floats, listed: Items, asker: Asker, signals: SignalArrays, weight: Floats, found: Found
) -> None:
    """The block's columns of C candidates into x (C, 26), and those by own item into `near` (C, 2 · 20)."""
    n = asker.found
    met = met_pairs(found, n, weight, asker.factor[-1])
    counts = _counts(listed, asker.items[:n], signals.clicks)
    freshness = np.empty(n)
    for d in range(n):
        freshness[d] = 0.5 ** (max(asker.now - asker.times[d], 0) / DAY_MS)
    logs = np.ones((listed.shape[0], x.shape[1]), np.float32)
    _sum_newest(logs, met, counts, signals.total)
    _sum_last(x, logs, met, counts, asker.values)
    _sum_all(logs, met, counts, freshness)
    _write_by_place(near, met, counts)
    take_logs(logs)
    take_logs(near)
    copy_columns(logs, x, 0, PAIRS.nearest_companion)
    copy_columns(logs, x, PAIRS.inverse_3, PAIRS.value_near)
