"""How well texts alone tell what somebody takes next: the measure by which encoders are compared.

Owns the measure of docs/log.md's table "Content": of pairs of a user's consecutive items, how often the next
one is among the first 6 of 101, it and 100 others drawn by clicks, in order of the cosine with the last item.
Knows no encoder.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from learner.data.dataset import Interactions

PAIRS = 20_000
_OTHERS, _FIRST = 100, 6
_AT_ONCE = 1_000  # pairs


@dataclass(frozen=True)
class NextByText:
    """Shares over pairs of a user's items: of the others `below` the next one, and `first` among 6 of 101.

    `error`: standard error of `first`, users being the sample
    """

    below: float
    first: float
    error: float
    pairs: int


@dataclass(frozen=True)
class Pairs:
    """Pairs to judge by: items (n,) `last` and `next`, `users` (n,), and others (n, 100)."""

    last: NDArray[np.int32]
    next: NDArray[np.int32]
    users: NDArray[np.int32]
    others: NDArray[np.int32]


def pairs_of(data: Interactions, seed: int, most: int = PAIRS, *, after_ms: int | None = None) -> Pairs:
    """Up to `most` pairs of different consecutive items, drawn by `seed`; the same for every encoder.

    The later click of each comes after `after_ms`, where that is said.
    """
    ordered = data.in_order(seed)
    by_user = np.argsort(ordered.user, kind="stable")
    user, item = ordered.user[by_user], ordered.item[by_user]
    follows = np.flatnonzero((user[1:] == user[:-1]) & (item[1:] != item[:-1]))
    if after_ms is not None:
        follows = follows[ordered.time_ms[by_user][follows + 1] > after_ms]
    rng = np.random.default_rng(seed)
    if len(follows) > most:
        follows = np.sort(rng.choice(follows, most, replace=False))
    others = rng.choice(item, (len(follows), _OTHERS)).astype(np.int32)
    return Pairs(item[follows], item[follows + 1], user[follows], others)


def next_by_text(rows: NDArray[np.float32], pairs: Pairs) -> NextByText:
    """The measure for vectors of items (V, W), of length 1 or 0 where there is no text.

    Ties, as between items without a text, count half.
    """
    count = len(pairs.last)
    rank, below = np.empty(count), np.empty(count)
    for begin in range(0, count, _AT_ONCE):
        part = slice(begin, begin + _AT_ONCE)
        last = rows[pairs.last[part]]
        own = (last * rows[pairs.next[part]]).sum(1)
        other = np.einsum("nw,now->no", last, rows[pairs.others[part]])
        same = pairs.others[part] == pairs.next[part][:, None]
        better = ((other > own[:, None] + 1e-6) & ~same).sum(1)
        tied = ((np.abs(other - own[:, None]) <= 1e-6) & ~same).sum(1)
        rank[part] = better + tied / 2
        below[part] = 1 - (better + tied / 2) / np.maximum((~same).sum(1), 1)
    first = (rank < _FIRST).astype(np.float64)
    _, place = np.unique(pairs.users, return_inverse=True)
    of_user, sums = np.bincount(place), np.bincount(place, first - first.mean())
    error = float(np.sqrt((sums**2).sum()) / max(of_user.sum(), 1))
    return NextByText(float(below.mean()), float(first.mean()), error, count)


def neighbours_in_common(
    rows: NDArray[np.float32], others: NDArray[np.float32], seed: int, items: int = 500, nearest: int = 10
) -> float:
    """How far two encoders agree: the share of each item's nearest ten that both see, over items drawn."""
    said = np.flatnonzero(rows.any(axis=1) & others.any(axis=1))
    if len(said) <= nearest + 1:
        return float("nan")
    chosen = np.random.default_rng(seed).choice(said, min(items, len(said)), replace=False)
    found = []
    for each in (rows, others):
        near = each[chosen] @ each[said].T
        near[np.arange(len(chosen)), np.searchsorted(said, chosen)] = -2.0  # not itself
        found.append(np.argpartition(-near, nearest, axis=1)[:, :nearest])
    return float(
        np.mean([len(set(a) & set(b)) / nearest for a, b in zip(*(f.tolist() for f in found), strict=True)])
    )
