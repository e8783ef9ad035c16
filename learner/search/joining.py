"""Answers of several searches joined into one order.

Owns how: by their ranks (reciprocal rank fusion; Cormack et al. 2009), which needs no common scale. Measured
beside standardised scores in docs/texts.md. Knows no texts.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

DEEP = 200  # best items of each search that count
_FIRST = 10  # how slowly an item's share falls with its rank: as 1 / (10 + rank)


class Found(NamedTuple):
    """Items (n,) int32 and how much each answers to what was asked (n,) float32."""

    items: NDArray[np.int32]
    relevance: NDArray[np.float32]

    def in_order(self) -> "Found":
        """The same, the best first."""
        order = np.argsort(-self.relevance, kind="stable")
        return Found(self.items[order], self.relevance[order])


def best_of(items: NDArray[np.int32], scores: NDArray[np.float32], count: int = DEEP) -> Found:
    """Of items (n,) the `count` with the highest scores (V,) by number, the best first."""
    own = scores[items]
    if len(items) > count:
        best = np.argpartition(-own, count)[:count]
        items, own = items[best], own[best]
    return Found(items, own).in_order()


def joined(searches: Sequence[Found]) -> Found:
    """The items that any of the searches found, with their relevance from 0 to 1, the best first.

    Searches have their best items first; 1 has an item that stands first in all of them.
    """
    if not searches:
        return Found(np.zeros(0, np.int32), np.zeros(0, np.float32))
    every, place = np.unique(np.concatenate([each.items for each in searches]), return_inverse=True)
    shares = np.concatenate([1.0 / (_FIRST + _ranks(each.relevance)) for each in searches])
    relevance = np.zeros(len(every))
    np.add.at(relevance, place, shares * _FIRST / len(searches))
    return Found(every.astype(np.int32), relevance.astype(np.float32)).in_order()


def _ranks(falling: NDArray[np.float32]) -> NDArray[np.float64]:
    """Ranks from 0 of falling scores (n,); equal ones share the mean of theirs."""
    if not len(falling):
        return np.zeros(0)
    first = np.flatnonzero(np.concatenate([[True], falling[1:] != falling[:-1]]))
    counts = np.diff(np.append(first, len(falling)))
    ranks: NDArray[np.float64] = np.repeat(first + (counts - 1) / 2.0, counts)
    return ranks
