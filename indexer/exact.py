"""The specification of every index: plain NumPy, slow and obvious. Knows no FAISS."""

import numpy as np

from indexer.rows import Floats, Found, Ints


def exact_search(items: Ints, vectors: Floats, queries: Floats, k: int) -> Found:
    """Items and inner products (B, k), best first; equal scores order by item number.

    items (n,) int32, vectors (n, D) float32, queries (B, D) float32; places without an item hold
    -1 and -inf.
    """
    found = np.full((len(queries), k), -1, np.int32), np.full((len(queries), k), -np.inf, np.float32)
    for b, query in enumerate(queries):
        scores = vectors @ query
        order = np.lexsort((items, -scores))[:k]
        found[0][b, : len(order)] = items[order]
        found[1][b, : len(order)] = scores[order]
    return found
