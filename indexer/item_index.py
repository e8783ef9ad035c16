"""The item index: numbers and vectors in, nearest numbers out, changed while it serves.

First version: flat, exact, by FAISS. Knows nothing of items but their numbers.
"""

import faiss
import numpy as np
from numpy.typing import NDArray


def with_bias(vectors: NDArray[np.float32], bias: NDArray[np.float32]) -> NDArray[np.float32]:
    """Vectors (n, D) and their biases (n,) as rows (n, D + 1) whose inner product with `queries` adds both."""
    return np.concatenate([vectors, bias[:, None]], axis=1).astype(np.float32)


def queries(user_vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """User vectors (B, D) as queries (B, D + 1)."""
    ones = np.ones((len(user_vectors), 1), np.float32)
    return np.concatenate([user_vectors, ones], axis=1).astype(np.float32)


class ItemIndex:
    """Maximum inner product over live items. One thread changes it and searches it."""

    def __init__(self, dim: int) -> None:
        self._index = faiss.IndexFlatIP(dim)
        self._items = np.zeros(64, np.int32)  # by row
        self._row: dict[int, int] = {}

    @classmethod
    def build(cls, items: NDArray[np.int64], vectors: NDArray[np.float32]) -> "ItemIndex":
        """An index of items (n,) with their vectors (n, D)."""
        index = cls(vectors.shape[1])
        index.update(items, vectors)
        return index

    def __len__(self) -> int:
        return len(self._row)

    def update(self, items: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        """Adds items, or replaces their vectors."""
        numbers = items.tolist()
        known = [n for n, item in enumerate(numbers) if item in self._row]
        for n in known:
            self._vectors()[self._row[numbers[n]]] = vectors[n]
        new = [n for n, item in enumerate(numbers) if item not in self._row]
        if not new:
            return
        start = len(self._row)
        if start + len(new) > len(self._items):
            self._items = np.resize(self._items, 2 * (start + len(new)))
        for row, n in enumerate(new, start):
            self._row[numbers[n]] = row
            self._items[row] = numbers[n]
        self._index.add(np.ascontiguousarray(vectors[new], np.float32))

    def remove(self, items: NDArray[np.int64]) -> None:
        """Takes items out; unknown ones are passed over."""
        for item in items.tolist():
            row = self._row.pop(item, None)
            if row is None:
                continue
            last = len(self._row)
            if row != last:
                vectors = self._vectors()
                vectors[row] = vectors[last]
                self._items[row] = self._items[last]
                self._row[int(self._items[row])] = row
            self._index.remove_ids(np.array([last], np.int64))

    def search(
        self, queries: NDArray[np.float32], k: int
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """The k items with the highest inner product: numbers (B, k) int32 -1 padded, scores (B, k) float32."""
        scores, rows = self._index.search(np.ascontiguousarray(queries, np.float32), k)
        return np.where(rows >= 0, self._items[rows], -1).astype(np.int32), scores

    def _vectors(self) -> NDArray[np.float32]:
        total = self._index.ntotal
        view: NDArray[np.float32] = faiss.rev_swig_ptr(self._index.get_xb(), total * self._index.d)
        return view.reshape(total, self._index.d)
