"""How many of the nearest items an index finds: the figure, and a cheap watch over a live index.

Owns the comparison with an exact search, aware of ties. Knows no FAISS.
"""

import time
from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from indexer.rows import Floats, Found, Ints

# Relative difference that two ways to sum one inner product may show; ties are as wide.
ROUNDING = 1e-5


# Vectors looked at between two moments in which other threads get a turn.
_AT_ONCE = 2000

VectorsOf = Callable[[Ints], Floats]  # items (n,) -> their exact vectors (n, D)


class Searched(Protocol):
    """What is watched: `item_index.ItemIndex`, and in tests one that forgets."""

    def items(self) -> Ints:
        """All items (n,)."""

    def search(self, queries: Floats, k: int) -> Found:
        """Items and scores (B, k) nearest to queries (B, D)."""


def recall_at_k(items: Ints, vectors: Floats, queries: Floats, found: Ints) -> NDArray[np.float64]:
    """Share (B,) of the k nearest items that are found, for queries (B, D) and lists found (B, k).

    items (n,) with vectors (n, D) are the whole catalogue. A found item counts if its exact score
    reaches the exact k-th score, so that of equal items any will do; an item listed twice counts once,
    one outside the catalogue never. 1 where nothing could be found; faiss contrib/evaluation.py does
    the same.
    """
    shares = [_share(items, vectors @ query, found[b]) for b, query in enumerate(queries)]
    return np.array(shares, np.float64)


def _share(items: Ints, scores: Floats, found: Ints) -> float:
    """The share of one list found (k,), with the exact scores (n,) of all items (n,)."""
    places = min(len(found), len(items))
    if places == 0:
        return 1.0
    row_of = np.full(int(max(items.max(initial=-1), found.max(initial=-1))) + 1, -1)
    row_of[items] = np.arange(len(items))
    kth = np.partition(scores, len(items) - places)[len(items) - places]
    rows = np.unique(row_of[found[found >= 0]])
    slack = ROUNDING * float(np.abs(scores).max())
    hits = int((scores[rows[rows >= 0]] >= kth - slack).sum())
    return min(hits, places) / places


class RecallMonitor:
    """Recall@k of a live index, from a sample of what it is asked.

    Whoever searches calls `observe`, which keeps the newest query and costs a copy of it. Another thread
    calls `measure` now and then: it searches again, and exactly, so that what has changed since the query was
    asked is no error of the index. `recall` is a mean in which the last `memory` queries weigh most, NaN
    before the first; `seconds` is what the last comparison took, for the caller to rest in proportion.
    """

    def __init__(self, k: int, *, memory: int = 200) -> None:
        self.k = k
        self.measured = 0
        self.recall = float("nan")
        self.seconds = 0.0
        self._memory = memory
        self._asked: Floats | None = None

    def observe(self, queries: Floats) -> None:
        """Keeps one of queries (B, D) until the next `measure`; another one of them each time."""
        if len(queries):
            self._asked = queries[self.measured % len(queries)].copy()

    def forget(self) -> None:
        """Drops the query that waits: it was nobody's."""
        self._asked = None

    def measure(self, index: Searched, vectors_of: VectorsOf) -> float:
        """Compares the index with an exact search over its items; without a new query nothing changes.

        Looks at some thousand vectors at a time: a million at once would be copied, and held up others.
        """
        asked, self._asked = self._asked, None
        if asked is None:
            return self.recall
        started = time.perf_counter()
        items = index.items()
        found = index.search(asked[None], self.k)[0][0]
        scores = np.zeros(len(items), np.float32)
        for start in range(0, len(items), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            scores[part] = vectors_of(items[part]) @ asked
        share = _share(items, scores, found)
        self.measured += 1
        weight = 1 / min(self.measured, self._memory)
        self.recall = share if self.measured == 1 else self.recall + weight * (share - self.recall)
        self.seconds = time.perf_counter() - started
        return self.recall
