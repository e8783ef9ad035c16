"""Approximate search in a graph of neighbours (HNSW, Malkov and Yashunin 2018) through FAISS.

A graph over inner products finds little, since a few long vectors attract all edges: recall@100 of 0.85
at 10,000 vectors where 0.98 is possible. So every row gets one dimension more that makes all rows equally
long, and nearest by distance is then largest by inner product (Bachrach et al. 2014, section 3). Rows that
come later and are longer still cannot be placed so, and are compared with every query. Scores are computed
afresh from the rows.
"""

from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from indexer.rows import Floats, Found, Ints, Kind, Slots
from indexer.select import best, merged

NEIGHBOURS = 32  # edges of a row, twice as many in the lowest layer; 16 lose .01-.02 recall@100
BUILD_EFFORT = 100  # candidates kept while a row finds its edges
SEARCH_EFFORT = 200  # candidates kept while searching, at least k
DEAD_SHARE = 0.2  # removed rows stay as way marks; at this share of the living they are worth a rebuild
LONG_ROWS = 1000  # overlong rows cost some 20 µs a query then, and are worth a rebuild too
ROUNDING = 1e-4  # relative difference of squared lengths that are the same


class GraphRows:
    """Rows in a graph. A removed row stays as a way mark that is never listed."""

    kind: Kind = "hnsw"

    def __init__(self, dimension: int, index: Any, items: Ints, radius2: float | None = None) -> None:
        """A graph over rows (n, D + 1) of items (n,), -1 for removed; `radius2` is a row's squared length."""
        self.dimension = dimension
        self._index = index
        self._slots = Slots()
        self._slots.append(items)
        self._selector: Any = None
        length2 = (self._rows() ** 2).sum(1)
        self._radius2 = float(np.median(length2)) if radius2 is None else radius2  # of all but overlong ones
        self._long = np.flatnonzero(length2 > self._radius2 * (1 + ROUNDING))

    @classmethod
    def build(cls, items: Ints, vectors: Floats) -> "GraphRows":
        """A graph over items (n,) with vectors (n, D)."""
        dimension = vectors.shape[1]
        index = faiss.IndexHNSWFlat(dimension + 1, NEIGHBOURS, faiss.METRIC_L2)
        index.hnsw.efConstruction = BUILD_EFFORT
        radius2 = float((vectors.astype(np.float64) ** 2).sum(1).max())
        graph = cls(dimension, index, np.zeros(0, np.int32), radius2)
        graph.put(items, vectors)
        return graph

    def __len__(self) -> int:
        return self._slots.live

    def put(self, items: Ints, vectors: Floats) -> None:
        """New rows; the old ones of known items become way marks."""
        known = items[self.holds(items)]
        if len(known):
            self.drop(known)
        length2 = (vectors**2).sum(1)
        rest = np.sqrt(np.maximum(self._radius2 - length2, 0.0))
        self._index.add(np.concatenate([vectors, rest[:, None]], axis=1, dtype=np.float32))
        rows = self._slots.append(items)
        self._long = np.append(self._long, rows[length2 > self._radius2 * (1 + ROUNDING)])
        self._selector = None

    def drop(self, items: Ints) -> None:
        """Rows become way marks."""
        self._slots.release(items)
        self._long = self._long[self._slots.item_of[self._long] >= 0]
        self._selector = None

    def holds(self, items: Ints) -> NDArray[np.bool_]:
        """Which of items (n,) have a row."""
        return self._slots.rows(items) >= 0

    def search(self, queries: Floats, k: int) -> Found:
        """The best k the graph leads to; all rows are searched for a query that it leads to too few."""
        longer = np.concatenate([queries, np.zeros((len(queries), 1))], axis=1, dtype=np.float32)
        effort = faiss.SearchParametersHNSW(efSearch=max(SEARCH_EFFORT, k))
        if self._slots.live < self._slots.count:
            if self._selector is None:
                alive = np.packbits(self._slots.item_of >= 0, bitorder="little")
                self._selector = (faiss.IDSelectorBitmap(alive), alive)
            effort.sel = self._selector[0]
        _, rows = self._index.search(longer, k, params=effort)
        items = np.where(rows >= 0, self._slots.item_of[rows], np.int32(-1))
        scores = np.einsum("bkd,bd->bk", self._vectors()[rows], queries)
        if len(self._long):
            items[np.isin(rows, self._long)] = -1
            own = np.broadcast_to(self._slots.item_of[self._long], (len(queries), len(self._long)))
            items = np.concatenate([items, own], axis=1)
            scores = np.concatenate([scores, queries @ self._vectors()[self._long].T], axis=1)
        found = merged(items, scores, k)
        short = np.flatnonzero((found[0] >= 0).sum(1) < min(k, len(self)))
        if len(short):
            found[0][short], found[1][short] = self._search_all(queries[short], k)
        return found

    def _search_all(self, queries: Floats, k: int) -> Found:
        alive = np.flatnonzero(self._slots.item_of >= 0)
        return best(queries @ self._vectors()[alive].T, self._slots.item_of[alive], k)

    def items(self) -> Ints:
        """Items (n,) in the order of rows."""
        item_of = self._slots.item_of
        held: Ints = item_of[item_of >= 0]
        return held

    def vectors(self, items: Ints) -> Floats:
        """Vectors (n, D) as they were put."""
        taken: Floats = self._vectors()[self._slots.rows(items)]
        return taken

    @property
    def waste(self) -> float:
        """1 when removed rows are a fifth of the living, or overlong rows too many.

        Removed rows cost time and memory in proportion.
        """
        dead = self._slots.count - self._slots.live
        return max(dead / max(DEAD_SHARE * self._slots.live, 1.0), len(self._long) / LONG_ROWS)

    @property
    def memory_bytes(self) -> int:
        """Bytes of rows, edges and tables."""
        hnsw = self._index.hnsw
        edges = 4 * hnsw.neighbors.size() + 8 * hnsw.offsets.size() + 4 * hnsw.levels.size()
        rows = 4 * int(self._index.ntotal) * (self.dimension + 1)
        return int(edges) + rows + self._slots.memory_bytes

    def faiss_index(self) -> Any:
        """The index itself, whose rows have one dimension more."""
        return self._index

    def stored_items(self) -> Ints:
        """The item of each row, -1 for way marks."""
        return self._slots.item_of.copy()

    def renumber(self, numbers: Ints) -> None:
        """Item i becomes numbers[i] (m,), all different; those that become -1 go."""
        held = self.items()
        self.drop(held[numbers[held] < 0])
        self._slots = self._slots.renumbered(numbers)

    def _vectors(self) -> Floats:
        """The rows (n, D) without their last dimension; valid until FAISS appends."""
        return self._rows()[:, : self.dimension]

    def _rows(self) -> Floats:
        """The rows (n, D + 1) in the graph's own memory; valid until FAISS appends."""
        size = int(self._index.ntotal)
        if size == 0:
            return np.zeros((0, self.dimension + 1), np.float32)
        storage = faiss.downcast_index(self._index.storage)
        view: Floats = faiss.rev_swig_ptr(storage.get_xb(), size * (self.dimension + 1))
        return view.reshape(size, self.dimension + 1)
