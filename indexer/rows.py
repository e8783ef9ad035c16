"""What every kind of index offers to `ItemIndex`, and which row holds which item.

Owns the types of the package. Knows no FAISS.
"""

from typing import Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

Kind = Literal["flat", "hnsw", "ivf", "ivfpq", "gpu"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Ints = NDArray[np.int32]
Floats = NDArray[np.float32]
Found = tuple[Ints, Floats]  # items and scores (B, k), best first, -1 and -inf padded


class Rows(Protocol):
    """Rows of vectors by item. Callers hold the lock and pass valid, distinct items."""

    kind: Kind
    dimension: int

    def __len__(self) -> int:
        """Items held."""

    def put(self, items: Ints, vectors: Floats) -> None:
        """Items (n,) get vectors (n, D), new or in place of their old ones."""

    def drop(self, items: Ints) -> None:
        """Removes items (n,) that are held."""

    def holds(self, items: Ints) -> NDArray[np.bool_]:
        """Which of items (n,) are held."""

    def search(self, queries: Floats, k: int) -> Found:
        """The best k of each query (B, D)."""

    def items(self) -> Ints:
        """All items held, in the order of rows."""

    def vectors(self, items: Ints) -> Floats:
        """Vectors (n, D) of items (n,) that are held, as good as they are kept."""

    @property
    def waste(self) -> float:
        """Work that a rebuild would save, as a share of the items: 0 for as good as new, 1 asks for one."""

    @property
    def memory_bytes(self) -> int:
        """Bytes of vectors, structure and tables."""

    def faiss_index(self) -> Any:
        """The FAISS index on the CPU, whose ids are rows; to store it."""

    def stored_items(self) -> Ints:
        """The item of each id of `faiss_index`, -1 for none; empty where ids are items."""

    def renumber(self, numbers: Ints) -> None:
        """Item i becomes numbers[i] (m,), all different; those that become -1 go."""


class Slots:
    """Which row holds which item, both ways, in arrays."""

    def __init__(self) -> None:
        self.count = 0  # rows ever used; those without an item hold -1
        self.live = 0
        self._item_of = np.full(64, -1, np.int32)
        self._row_of = np.full(64, -1, np.int32)

    @property
    def item_of(self) -> Ints:
        """Item (count,) of each row, -1 for none."""
        return self._item_of[: self.count]

    def rows(self, items: Ints) -> Ints:
        """Row (n,) of each item (n,), -1 where it is not held."""
        known = items < len(self._row_of)
        rows: Ints = np.where(known, self._row_of[np.where(known, items, 0)], np.int32(-1))
        return rows

    def append(self, items: Ints) -> Ints:
        """New rows (n,) at the end for items (n,), -1 for a row without one."""
        rows = np.arange(self.count, self.count + len(items), dtype=np.int32)
        self._item_of = _grown(self._item_of, self.count + len(items))
        self.count += len(items)
        named = items >= 0
        self.assign(rows[named], items[named])
        return rows

    def renumbered(self, numbers: Ints) -> "Slots":
        """The same rows with item numbers[i] in place of item i."""
        named = self.item_of >= 0
        slots = Slots()
        slots.append(np.where(named, numbers[np.where(named, self.item_of, 0)], np.int32(-1)))
        return slots

    def assign(self, rows: Ints, items: Ints) -> None:
        """Rows (n,) without an item get items (n,) without a row."""
        if len(items):
            self._row_of = _grown(self._row_of, int(items.max()) + 1)
        self._item_of[rows] = items
        self._row_of[items] = rows
        self.live += len(items)

    def release(self, items: Ints) -> Ints:
        """Takes the rows from items (n,) that have one; the rows stay, empty. Returns them (n,)."""
        rows = self.rows(items)
        self._item_of[rows] = -1
        self._row_of[items] = -1
        self.live -= len(items)
        return rows

    def truncate(self, count: int) -> None:
        """Forgets the rows from `count` on, which are empty."""
        self.count = count

    @property
    def memory_bytes(self) -> int:
        """Bytes of both tables."""
        return self._item_of.nbytes + self._row_of.nbytes


def _grown(table: Ints, size: int) -> Ints:
    """The table with room for `size` entries; doubling keeps growth linear overall."""
    if size <= len(table):
        return table
    larger = np.full(max(size, 2 * len(table)), -1, np.int32)
    larger[: len(table)] = table
    return larger
