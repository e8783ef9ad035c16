"""Kernels that turn remembered pairs into scores, and that try many settings in one pass.

Owns sum over rows, normalisation, ties by popularity and what is eligible. Scores are sparse: an item that
no remembered pair points to has score 0 and stands behind the others, by popularity.
"""

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from learner.evaluation.baselines.pairs import BLOCK, PairTable
from learner.evaluation.system import DEPTH, Ints, Ranking
from learner.judging.metrics import LIST

Doubles = npt.NDArray[np.float64]


class Sums:
    """Scores in the making: (columns, V) sums, all zero between asks, and the items that were touched."""

    def __init__(self, items: int, columns: int) -> None:
        self.sums = np.zeros((columns, items))
        self.seen = np.full(items, -1, np.int64)
        self.touched = np.empty(items, np.int32)
        self.items = np.empty(items, np.int32)
        self.scores = np.empty(items)
        self.ties = np.empty(items)


def pair_ranking(
    table: PairTable,
    column: int,
    recent: Ints,
    scale: Doubles,
    sums: Sums,
    mark: npt.NDArray[np.int64],
    stamp: int,
    known: npt.NDArray[np.bool_],
    factor: Doubles,
    tie: Doubles,
) -> Ranking:
    """Ranks by `factor`[j] times the sum over recent q of scale[q] * weight(q, j).

    `recent` and `scale` (L,); items with `mark` equal to `stamp` are left out; `tie` (V,) orders what is
    equal. Items without any weight are listed only where the others do not fill DEPTH places.
    """
    _, rows, blocks, items, weights, _ = table.arrays
    found = _emit(
        rows, blocks, items, weights, column, recent, scale, sums.sums[0], sums.seen, sums.touched,
        mark, stamp, known, factor, tie, sums.items, sums.scores, sums.ties,
    )  # fmt: skip
    return Ranking(sums.items[:found].copy(), sums.scores[:found].copy(), sums.ties[:found].copy())


def popularity_ranking(
    sums: Sums,
    mark: npt.NDArray[np.int64],
    stamp: int,
    known: npt.NDArray[np.bool_],
    tie: Doubles,
) -> Ranking:
    """Ranks what is eligible by `tie` alone."""
    found = _eligible(mark, stamp, known, tie, sums.items, sums.ties)
    return Ranking(sums.items[:found].copy(), sums.ties[:found].copy())


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _eligible(
    mark: npt.NDArray[np.int64], stamp: int, known: npt.NDArray[np.bool_], tie: Doubles,
    out_items: Ints, out_ties: Doubles,
) -> int:  # fmt: skip
    found = 0
    for j in range(len(known)):
        if known[j] and mark[j] != stamp:
            out_items[found], out_ties[found] = j, tie[j]
            found += 1
    return found


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def walk_row(
    rows: Ints,
    blocks: Ints,
    items: Ints,
    weights: Any,
    columns: Ints,
    first: int,
    scale: float,
    sums: Doubles,
    seen: npt.NDArray[np.int64],
    stamp: int,
    touched: Ints,
    count: int,
) -> int:
    """Adds a row's weights, times `scale`, to `sums` (columns, V); returns how many items are touched."""
    block = rows[0, first]
    while block >= 0:
        filled = rows[2, first] if block == rows[1, first] else BLOCK
        for slot in range(block * BLOCK, block * BLOCK + filled):
            j = items[slot]
            if seen[j] != stamp:
                seen[j] = stamp
                touched[count] = j
                count += 1
                for c in range(len(columns)):
                    sums[c, j] = 0.0
            for c in range(len(columns)):
                sums[c, j] += scale * weights[slot, columns[c]]
        block = blocks[0, block]
    return count


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _emit(
    rows: Ints, blocks: Ints, items: Ints, weights: Any, column: int, recent: Ints, scale: Doubles,
    sums: Doubles, seen: npt.NDArray[np.int64], touched: Ints, mark: npt.NDArray[np.int64], stamp: int,
    known: npt.NDArray[np.bool_], factor: Doubles, tie: Doubles,
    out_items: Ints, out_scores: Doubles, out_ties: Doubles,
) -> int:  # fmt: skip
    columns = np.full(1, column, np.int32)
    count = 0
    for d in range(len(recent)):
        count = walk_row(
            rows, blocks, items, weights, columns, recent[d], scale[d],
            sums.reshape(1, -1), seen, stamp, touched, count,
        )  # fmt: skip
    found = 0
    for a in range(count):
        j = touched[a]
        if mark[j] != stamp and known[j] and sums[j] > 0:
            out_items[found], out_ties[found] = j, tie[j]
            out_scores[found] = sums[j] * factor[j]
            found += 1
    if found < DEPTH:
        for j in range(len(tie)):
            if mark[j] != stamp and known[j] and not (seen[j] == stamp and sums[j] > 0):
                out_items[found], out_scores[found], out_ties[found] = j, 0.0, tie[j]
                found += 1
    return found


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _gains_of(
    answer: int, scores: Doubles, factors: Doubles, touched: Ints, count: int,
    seen: npt.NDArray[np.int64], mark: npt.NDArray[np.int64], stamp: int,
    known: npt.NDArray[np.bool_], tie: Doubles, gains: Doubles,
) -> None:  # fmt: skip
    """Adds the NDCG of one answer to `gains` (Z,) for scores times each column of `factors` (V, Z).

    Items that are not among the first `count` of `touched` have score 0. The loop runs over items with
    all normalisers at once and ends when none of them can reach the list any more.
    """
    normalisers = factors.shape[1]
    value = np.zeros(normalisers)
    if seen[answer] == stamp:
        for z in range(normalisers):
            value[z] = scores[answer] * factors[answer, z]
    better = np.zeros(normalisers)  # counts as floats: one type throughout lets the loop vectorise
    tied = np.zeros(normalisers)
    for a in range(count):
        j = touched[a]
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
    rows: Ints, blocks: Ints, items: Ints, weights: Any, columns: Ints, answer: int, recent: Ints,
    scale: Doubles, lasts: Ints, factors: Doubles, sums: Doubles, seen: npt.NDArray[np.int64],
    touched: Ints, mark: npt.NDArray[np.int64], stamp: int, known: npt.NDArray[np.bool_], tie: Doubles,
    gains: Doubles,
) -> None:  # fmt: skip
    """Adds the NDCG of one answer to `gains` (lasts, columns, normalisers), one cell a setting.

    `lasts` ascending: how many recent items count; `factors` (V, normalisers).
    """
    if not known[answer]:
        return
    count, done = 0, 0
    gains_now = np.zeros((len(columns), factors.shape[1]))
    for n in range(len(lasts)):
        if n > 0 and done == len(recent):  # nothing to add: the same as with fewer items
            gains[n] += gains_now
            continue
        while done < min(lasts[n], len(recent)):
            count = walk_row(
                rows, blocks, items, weights, columns, recent[done], scale[done],
                sums, seen, stamp, touched, count,
            )  # fmt: skip
            done += 1
        gains_now[:] = 0.0
        for c in range(len(columns)):
            _gains_of(answer, sums[c], factors, touched, count, seen, mark, stamp, known, tie, gains_now[c])
        gains[n] += gains_now


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def try_half_lives(
    answer: int, popularity: Doubles, mark: npt.NDArray[np.int64], stamp: int,
    known: npt.NDArray[np.bool_], gains: Doubles,
) -> None:  # fmt: skip
    """Adds the NDCG of one answer to `gains` (H,), one cell a half-life of `popularity` (H, V)."""
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
