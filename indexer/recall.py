"""How many of the nearest items an index finds: the figure, and a cheap watch over a live index.

Owns the comparison with an exact search, aware of ties. Knows no FAISS.
"""

import threading
from collections import deque

import numpy as np
from numpy.typing import NDArray

from indexer.rows import Floats, Ints

# Relative difference that two ways to sum one inner product may show; ties are as wide.
ROUNDING = 1e-5


def recall_at_k(items: Ints, vectors: Floats, queries: Floats, found: Ints) -> NDArray[np.float64]:
    """Share (B,) of the k nearest items that are found, for queries (B, D) and lists found (B, k).

    items (n,) with vectors (n, D) are the whole catalogue. A found item counts if its exact score
    reaches the exact k-th score, so that of equal items any will do; an item listed twice counts once,
    one outside the catalogue never. 1 where nothing could be found; faiss contrib/evaluation.py does
    the same.
    """
    places = min(found.shape[1], len(items))
    if places == 0:
        return np.ones(len(queries))
    row_of = np.full(int(max(items.max(initial=-1), found.max(initial=-1))) + 1, -1)
    row_of[items] = np.arange(len(items))
    shares = np.empty(len(queries))
    for b, query in enumerate(queries):
        scores = vectors @ query
        kth = np.partition(scores, len(items) - places)[len(items) - places]
        rows = np.unique(row_of[found[b][found[b] >= 0]])
        slack = ROUNDING * float(np.abs(scores).max())
        hits = int((scores[rows[rows >= 0]] >= kth - slack).sum())
        shares[b] = min(hits, places) / places
    return shares


class RecallMonitor:
    """Recall@k of a live index, from a sample of its searches.

    The searching thread calls `observe`, which copies one query in many; any other calls `measure` now
    and then, which compares the copies with an exact search (at a million items of 65 dimensions some
    70 ms each) and holds no lock while it does. `recall` is a mean in which the last `memory` queries
    weigh most; NaN before the first.
    """

    def __init__(
        self, rng: np.random.Generator, *, share: float = 0.001, waiting: int = 32, memory: int = 200
    ) -> None:
        self._rng = rng
        self._share = share
        self._memory = memory
        self._samples: deque[tuple[Floats, Ints]] = deque(maxlen=waiting)
        self._lock = threading.Lock()
        self.measured = 0
        self.recall = float("nan")

    def observe(self, queries: Floats, found: Ints) -> None:
        """Keeps each of queries (B, D), answered by found (B, k), with a probability of `share`."""
        for b in np.flatnonzero(self._rng.random(len(queries)) < self._share):
            with self._lock:
                self._samples.append((queries[b].copy(), found[b].copy()))

    def measure(self, items: Ints, vectors: Floats) -> float:
        """Compares the kept searches with the catalogue, items (n,) with vectors (n, D), as it is now."""
        with self._lock:
            samples = list(self._samples)
            self._samples.clear()
        for query, found in samples:
            share = float(recall_at_k(items, vectors, query[None], found[None])[0])
            self.measured += 1
            weight = 1 / min(self.measured, self._memory)
            self.recall = share if self.measured == 1 else self.recall + weight * (share - self.recall)
        return self.recall
