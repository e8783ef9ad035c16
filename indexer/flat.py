"""Exact search over dense rows: the vectors lie in a FAISS flat index, without gaps.

Two ways to search the same memory. FAISS passes every score through a heap of k; for few rows one BLAS
product and `select.best` are faster. One thread of an EPYC, D = 65, k = 100 / 400, µs FAISS | BLAS (with a
bound for any number of rows), `tests/bench/bench_index.py --flat`:

    rows      B = 1                      B = 64
    10,000       93 / 173 |    85 / 124   6,100 / 10,600 |  2,800 /  4,800
    30,000      246 / 314 |   211 / 324  14,100 / 19,900 | 10,100 / 11,500
    100,000   1,220 / 1,180 | 2,480 / 2,260  (the scores no longer fit the cache)
"""

from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from indexer.rows import Floats, Found, Ints, Kind, Slots
from indexer.select import best, nothing, ordered

BLAS_ROWS = 25_000  # up to here BLAS and `best` are faster than FAISS's heap, see above
# From this many queries on one matrix product is faster than a product for each (it must first copy the
# rows into panels: 2 queries at 10,000 rows take 415 µs as a matrix, 135 one by one).
MATRIX_QUERIES = 8
SCORES = 1 << 20  # scores computed at once, 4 MiB: about a core's cache


class FlatRows:
    """Dense rows; a removed row is filled with the last one, so nothing ever needs a rebuild."""

    kind: Kind = "flat"

    def __init__(self, dimension: int, index: Any = None, items: Ints | None = None) -> None:
        self.dimension = dimension
        self._index = faiss.IndexFlatIP(dimension) if index is None else index
        self._slots = Slots()
        if items is not None:
            self._slots.append(items)
        self._view = self._map()

    def __len__(self) -> int:
        return self._slots.live

    def put(self, items: Ints, vectors: Floats) -> None:
        """Overwrites known rows in place, appends the others."""
        rows = self._slots.rows(items)
        known = rows >= 0
        self._view[rows[known]] = vectors[known]
        if not known.all():
            self._index.add(np.ascontiguousarray(vectors[~known]))
            self._slots.append(items[~known])
            self._view = self._map()

    def drop(self, items: Ints) -> None:
        """Moves the last rows into the gaps."""
        gaps = self._slots.release(items)
        left = len(self)
        tail = np.arange(left, self._slots.count, dtype=np.int32)
        moving = tail[self._slots.item_of[tail] >= 0]
        gaps = gaps[gaps < left]
        moved = self._slots.item_of[moving].copy()
        self._slots.release(moved)
        self._slots.assign(gaps, moved)
        self._view[gaps] = self._view[moving]
        self._slots.truncate(left)
        self._index.ntotal = left  # FAISS searches ntotal rows and appends after them
        self._view = self._map()

    def holds(self, items: Ints) -> NDArray[np.bool_]:
        """Which of items (n,) have a row."""
        return self._slots.rows(items) >= 0

    def search(self, queries: Floats, k: int) -> Found:
        """Exact lists (B, k)."""
        if len(self) <= BLAS_ROWS:
            return self._search_blas(queries, k)
        places = min(k, len(self))
        scores, rows = self._index.search(queries, places)
        items, padded = nothing(len(queries), k)
        items[:, :places], padded[:, :places] = self._slots.item_of[rows], scores
        return ordered(items, padded)

    def _search_blas(self, queries: Floats, k: int) -> Found:
        found = nothing(len(queries), k)
        if not len(self):
            return found
        step = max(1, SCORES // len(self)) if len(queries) >= MATRIX_QUERIES else 1
        for start in range(0, len(queries), step):
            part = queries[start : start + step]
            # the same product as part @ view.T, but for one query BLAS reads the rows in place
            scores = (self._view @ part[0])[None] if len(part) == 1 else part @ self._view.T
            listed = best(scores, self._slots.item_of, k)
            found[0][start : start + step], found[1][start : start + step] = listed
        return found

    def items(self) -> Ints:
        """Items (n,) in the order of rows."""
        return self._slots.item_of.copy()

    def vectors(self, items: Ints) -> Floats:
        """Vectors (n, D) as they were put."""
        taken: Floats = self._view[self._slots.rows(items)]
        return taken

    @property
    def waste(self) -> float:
        """Always 0: there are no gaps."""
        return 0.0

    @property
    def memory_bytes(self) -> int:
        """Bytes of vectors and tables."""
        return int(self._index.codes.size()) + self._slots.memory_bytes

    def faiss_index(self) -> Any:
        """The index itself, or a copy where FAISS still keeps the memory of removed rows, which it
        would write out and then refuse to read.
        """
        if int(self._index.codes.size()) == self._view.nbytes:
            return self._index
        copy = faiss.IndexFlatIP(self.dimension)
        copy.add(self._view)
        return copy

    def stored_items(self) -> Ints:
        """The item of each row."""
        return self.items()

    def renumber(self, numbers: Ints) -> None:
        """Item i becomes numbers[i] (m,), all different; those that become -1 go."""
        held = self.items()
        self.drop(held[numbers[held] < 0])
        self._slots = self._slots.renumbered(numbers)

    def _map(self) -> Floats:
        """The index's own memory as an array (n, D); valid until FAISS appends."""
        size = int(self._index.ntotal)
        if size == 0:
            return np.zeros((0, self.dimension), np.float32)
        view: Floats = faiss.rev_swig_ptr(self._index.get_xb(), size * self.dimension)
        return view.reshape(size, self.dimension)
