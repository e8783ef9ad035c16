"""The items whose content comes nearest to a query in plain words, of many items through an index.

Owns that index: it is made once somebody has asked, in a thread beside the rounds, and kept in step. Until
then, and where there are few items, all of them are looked at. Knows no queries as text and no lists.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from indexer.item_index import ItemIndex
from learner.data.catalogue import Catalogue
from learner.release.live import LiveRelease

FEW = 20_000  # items that are looked at one by one: some milliseconds
DEEPER = 4  # times as many as are wanted are taken from the index: some are not allowed


class ByContent:
    """Changed and asked by one thread, between two rounds; `build` may run in another."""

    def __init__(self, release: LiveRelease, catalogue: Catalogue, memory_bytes: int | None = None) -> None:
        self._release, self._catalogue = release, catalogue
        self._memory_bytes = memory_bytes
        self._asked = False
        self._index: ItemIndex | None = None
        self._built: ItemIndex | None = None  # ready to take over
        self._late: set[int] | None = None  # items that have changed since the building began

    def nearness(self, items: NDArray[np.int32], wish: NDArray[np.float32]) -> NDArray[np.float32]:
        """How near items (n,) are to the wish (T,): cosines (n,) float32, 0 of items without text."""
        near: NDArray[np.float32] = self._release.model.content[items] @ wish
        return near

    def nearest(self, wish: NDArray[np.float32], allowed: NDArray[np.bool_], count: int) -> NDArray[np.int32]:
        """Up to `count` of the allowed items (V,) that have anything to do with the wish, in no order."""
        self._asked = True
        self._take_over()
        if self._index is None:
            near = self._release.model.content[: len(allowed)] @ wish
            possible = np.flatnonzero(allowed & (near > 0))
            near = near[possible]
        else:
            items, scores = self._index.search(wish[None], min(DEEPER * count, len(self._index)))
            fit = (items[0] >= 0) & (scores[0] > 0)
            possible, near = items[0][fit], scores[0][fit]
            fit = allowed[possible]
            possible, near = possible[fit], near[fit]
        if len(possible) > count:
            possible = possible[np.argpartition(-near, count)[:count]]
        return possible.astype(np.int32)

    def follow(self, changed: Iterable[int]) -> None:
        """Items that have joined, left or got another content."""
        self._take_over()
        if self._late is not None:
            self._late.update(changed)
        elif self._index is not None:
            self._write(changed)

    @property
    def wants_building(self) -> bool:
        """Whether `build` has something to do."""
        if self._index is not None:
            return self._index.wants_compaction
        return self._asked and self._late is None and self._catalogue.size > FEW

    def build(self) -> None:
        """Makes the index, or makes it anew where churn has made that worthwhile."""
        if self._index is not None:
            self._index.compact(self._rows)
            return
        self._late = set()  # before the items are read: what changes from now on is written afterwards
        try:
            items = np.flatnonzero(self._catalogue.available[: self._catalogue.size])
            self._built = ItemIndex.build(items, self._rows(items), memory_budget_bytes=self._memory_bytes)
        except BaseException:
            self._late = None
            raise

    def _take_over(self) -> None:
        if self._built is None:
            return
        late, self._late = self._late, None
        self._index, self._built = self._built, None
        self._write(late or ())

    def _write(self, changed: Iterable[int]) -> None:
        assert self._index is not None
        items = np.array(sorted(changed), np.int64)
        available = self._catalogue.available[items]
        self._index.remove(items[~available])
        if available.any():
            self._index.update(items[available], self._rows(items[available]))

    def _rows(self, items: NDArray[np.integer]) -> NDArray[np.float32]:
        rows: NDArray[np.float32] = self._release.model.content[items]
        return rows
