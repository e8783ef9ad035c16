"""Figures of merit for ranked lists, and intervals for them from resampled users.

Owns what NDCG@10, HR@10, MRR@10, recall@20, coverage and novelty mean here. Everything is computed from
the position of the one right answer, 1 at the top, infinite where it was not found. Knows no system.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]

LIST = 10  # the length of a served list: NDCG, HR, MRR, coverage and novelty look at this many
WIDE = 20  # recall looks twice as deep
RESAMPLES = 2_000  # of users, for 95 % intervals: their ends move by under 2 % of the width from 1,000 on


def expected_position(better: Floats, tied: Floats) -> Floats:
    """Position of an answer with `better` items above it and `tied` others at its very score.

    Ties are broken at random in the mind: the answer stands in the middle of those it ties with. A rank
    that ignores ties counts every user without history as a hit.
    """
    return np.asarray(1.0 + better + 0.5 * tied, np.float64)


def ndcg(positions: Floats, k: int = LIST) -> Floats:
    """Normalised discounted cumulative gain of one right answer: 1 / log2(1 + position), 0 beyond k."""
    with np.errstate(divide="ignore"):
        return np.where(positions <= k, 1.0 / np.log2(1.0 + np.asarray(positions, np.float64)), 0.0)


def hit(positions: Floats, k: int = LIST) -> Floats:
    """1 where the answer stands within the first k; with one right answer this is recall@k too."""
    return np.asarray(np.asarray(positions) <= k, np.float64)


def reciprocal_rank(positions: Floats, k: int = LIST) -> Floats:
    """1 / position, 0 beyond k; its mean is MRR@k."""
    return np.where(positions <= k, 1.0 / np.asarray(positions, np.float64), 0.0)


def novelty(clicks: npt.NDArray[Any], total: float, known: int) -> float:
    """Mean surprise of listed items in bits: -log2 of their share of all clicks so far.

    `clicks` (n,) of each listed item so far, `total` of all items, `known` items; one click is added to
    each item, so that an item nobody has clicked is a finite surprise. nan for an empty list.
    """
    if len(clicks) == 0:
        return float("nan")
    share = (np.asarray(clicks, np.float64) + 1.0) / (total + max(known, 1))
    return float(-np.log2(share).mean())


def per_group(groups: npt.NDArray[np.integer], values: Floats, size: int) -> Floats:
    """Sums of the columns of `values` (n, C) within each of `size` groups: (size, C) float64."""
    return np.stack([np.bincount(groups, column, size) for column in np.atleast_2d(values.T)], axis=1)


def resampled(sums: Floats, rng: np.random.Generator, resamples: int = RESAMPLES) -> npt.NDArray[np.float64]:
    """Totals of `sums` (U, C) over users drawn with replacement, U at a time: (resamples, C) float64.

    Every column sees the same draws, so that the ratio of two columns' totals is a paired comparison.
    """
    users = len(sums)
    totals = np.zeros((resamples, sums.shape[1]))
    if users == 0:
        return totals
    row = 0
    for weights in _weights(users, rng, resamples):
        totals[row : row + len(weights)] = weights @ sums
        row += len(weights)
    return totals


def interval(samples: Floats) -> list[float] | None:
    """The central 95 % of `samples`, ignoring those that are not finite; None where nothing is left."""
    finite = np.asarray(samples)[np.isfinite(samples)]
    if len(finite) == 0:
        return None
    low, high = np.quantile(finite, [0.025, 0.975])
    return [float(low), float(high)]


def _weights(users: int, rng: np.random.Generator, resamples: int) -> Iterator[npt.NDArray[np.float64]]:
    """How often each user was drawn, in blocks of resamples small enough for 32 MB."""
    block = max(1, min(resamples, 4_000_000 // users))
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        drawn = rng.integers(0, users, (rows, users)) + np.arange(rows)[:, None] * users
        yield np.bincount(drawn.ravel(), minlength=rows * users).reshape(rows, users).astype(np.float64)
