"""Kernels that turn remembered pairs into scores, and that try many settings in one pass.

Owns sum over rows, normalisation and ties by popularity. Scores are sparse: an item that no remembered pair
points to has score 0 and stands behind the others, by popularity.
"""

from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from learner.evaluation.baselines.memory import Doubles, Eligible
from learner.evaluation.baselines.pairs import BLOCK, Pairs
from learner.evaluation.system import DEPTH, Ints, Ranking
from learner.judging.metrics import LIST


class Sums(NamedTuple):
    """Scores in the making, V items: an item's sums count where `seen` is the stamp of now."""

    sums: Doubles  # (columns, V)
    seen: npt.NDArray[np.int64]  # (V,) stamp
    touched: Ints  # (V,) items that have sums
    items: Ints  # (V,) and what is ranked: items,
    scores: Doubles  # (V,) their scores,
    ties: Doubles  # (V,) and what decides between equal ones

    @staticmethod
    def of(items: int, columns: int = 1) -> "Sums":
        """Buffers for so many items and columns of weights."""
        return Sums(
            np.zeros((columns, items)), np.full(items, -1, np.int64), np.empty(items, np.int32),
            np.empty(items, np.int32), np.empty(items), np.empty(items),
        )  # fmt: skip


class Grid(NamedTuple):
    """Settings to try, all with all: how many last items (ascending), columns of weights, normalisers.

    lasts (N,), columns (C,); factors (V, Z): what each item's sum is multiplied by.
    """

    lasts: Ints
    columns: Ints
    factors: Doubles


def pair_ranking(
    pairs: Pairs, column: int, recent: Ints, scale: Doubles, factor: Doubles, sums: Sums, eligible: Eligible
) -> Ranking:
    """Ranks by `factor`[j] times the sum over recent q of scale[q] * weight(q, j).

    `recent` and `scale` (L,); `factor` (V,). Items without any weight are listed only where the others do not
    fill DEPTH places.
    """
    found = _ranked(pairs, column, recent, scale, factor, sums, eligible)
    return Ranking(sums.items[:found].copy(), sums.scores[:found].copy(), sums.ties[:found].copy())


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def walk_row(
    pairs: Pairs, columns: Ints, first: int, scale: float, sums: Sums, stamp: int, count: int
) -> int:
    """Adds a row's weights, times `scale`, to the sums; returns how many items are touched then.

    `columns` (C,) of the weights become the first C columns of the sums; `count` items were touched before.
    """
    rows, weights, seen, totals = pairs.rows, pairs.weights, sums.seen, sums.sums
    block = rows[0, first]
    while block >= 0:
        filled = rows[2, first] if block == rows[1, first] else BLOCK
        for slot in range(block * BLOCK, block * BLOCK + filled):
            j = pairs.items[slot]
            if seen[j] != stamp:
                seen[j] = stamp
                sums.touched[count] = j
                count += 1
                for c in range(len(columns)):
                    totals[c, j] = 0.0
            for c in range(len(columns)):
                totals[c, j] += scale * weights[slot, columns[c]]
        block = pairs.blocks[0, block]
    return count


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _ranked(
    pairs: Pairs, column: int, recent: Ints, scale: Doubles, factor: Doubles, sums: Sums, eligible: Eligible
) -> int:
    """Fills `items`, `scores` and `ties` of the sums; returns how many there are."""
    mark, stamp, known, tie = eligible.mark, eligible.stamp, eligible.known, eligible.tie
    totals, seen = sums.sums[0], sums.seen
    columns = np.full(1, column, np.int32)
    count = 0
    for d in range(len(recent)):
        count = walk_row(pairs, columns, recent[d], scale[d], sums, stamp, count)
    found = 0
    for a in range(count):
        j = sums.touched[a]
        if mark[j] != stamp and known[j] and totals[j] > 0:
            sums.items[found], sums.ties[found] = j, tie[j]
            sums.scores[found] = totals[j] * factor[j]
            found += 1
    if found < DEPTH:
        for j in range(len(tie)):
            if mark[j] != stamp and known[j] and not (seen[j] == stamp and totals[j] > 0):
                sums.items[found], sums.scores[found], sums.ties[found] = j, 0.0, tie[j]
                found += 1
    return found


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _gains_of(
    answer: int, scores: Doubles, count: int, factors: Doubles, sums: Sums, eligible: Eligible, gains: Doubles
) -> None:
    """Adds the NDCG of one answer to `gains` (Z,) for scores times each column of `factors` (V, Z).

    Items that are not among the first `count` of `touched` have score 0. The loop runs over items with
    all normalisers at once and ends when none of them can reach the list any more.
    """
    mark, stamp, known, tie = eligible.mark, eligible.stamp, eligible.known, eligible.tie
    seen = sums.seen
    normalisers = factors.shape[1]
    value = np.zeros(normalisers)
    if seen[answer] == stamp:
        for z in range(normalisers):
            value[z] = scores[answer] * factors[answer, z]
    better = np.zeros(normalisers)  # counts as floats: one type throughout lets the loop vectorise
    tied = np.zeros(normalisers)
    for a in range(count):
        j = sums.touched[a]
        if mark[j] == stamp or j == answer or not known[j]:
            continue
        wins = 1.0 if tie[j] > tie[answer] else 0.0
        even = 1.0 if tie[j] == tie[answer] else 0.0
        score = scores[j]
        for z in range(normalisers):
            other = score * factors[j, z]
            same = 1.0 if other == value[z] else 0.0
            better[z] += (1.0 if other > value[z] else 0.0) + same * wins
            tied[z] += same * even
        if a % 32 == 31 and better.min() >= LIST:
            return
    for z in range(normalisers):
        if value[z] <= 0.0 and better[z] < LIST:
            for j in range(len(known)):
                if known[j] and seen[j] != stamp and mark[j] != stamp and j != answer:
                    if tie[j] > tie[answer]:
                        better[z] += 1
                        if better[z] >= LIST:
                            break
                    elif tie[j] == tie[answer]:
                        tied[z] += 1
        position = 1.0 + better[z] + 0.5 * tied[z]
        if position <= LIST:
            gains[z] += 1.0 / np.log2(1.0 + position)


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def try_settings(
    pairs: Pairs, answer: int, recent: Ints, scale: Doubles, grid: Grid, sums: Sums, eligible: Eligible,
    gains: Doubles,
) -> None:  # fmt: skip
    """Adds the NDCG of one answer to `gains` (lasts, columns, normalisers), one cell a setting."""
    if not eligible.known[answer]:
        return
    lasts, columns, stamp = grid.lasts, grid.columns, eligible.stamp
    count, done = 0, 0
    gains_now = np.zeros((len(columns), grid.factors.shape[1]))
    for n in range(len(lasts)):
        if n > 0 and done == len(recent):  # nothing to add: the same as with fewer items
            gains[n] += gains_now
            continue
        while done < min(lasts[n], len(recent)):
            count = walk_row(pairs, columns, recent[done], scale[done], sums, stamp, count)
            done += 1
        gains_now[:] = 0.0
        for c in range(len(columns)):
            _gains_of(answer, sums.sums[c], count, grid.factors, sums, eligible, gains_now[c])
        gains[n] += gains_now


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def try_half_lives(answer: int, popularity: Doubles, eligible: Eligible, gains: Doubles) -> None:
    """Adds the NDCG of one answer to `gains` (H,), one cell a half-life of `popularity` (H, V)."""
    mark, stamp, known = eligible.mark, eligible.stamp, eligible.known
    if not known[answer]:
        return
    for h in range(len(popularity)):
        value, better, tied = popularity[h, answer], 0, 0
        for j in range(len(known)):
            if popularity[h, j] >= value and j != answer and known[j] and mark[j] != stamp:
                if popularity[h, j] > value:
                    better += 1
                    if better >= LIST:
                        break
                else:
                    tied += 1
        position = 1.0 + better + 0.5 * tied
        if position <= LIST:
            gains[h] += 1.0 / np.log2(1.0 + position)
