"""Values of one kind by item number: any number of them for each item, replaced one item at a time.

Owns where they lie. Knows neither fields nor what the values mean.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learner.data.arrays import filled, grown

_MOST_HOLES = (
    4096  # places that no item has any more; beyond, and with more than half of all, they are closed
)
Items = NDArray[np.int64] | slice


class Lane:
    """One array; while no item has more than one value, a value by item number, else ranges in it.

    none: what stands where an item has no value; it is no value itself
    present: items that have a value
    """

    def __init__(self, none: float, dtype: Any) -> None:
        self.none = none
        self.present = 0
        self._values: NDArray[Any] = np.zeros(0, dtype)
        self._start: NDArray[np.int64] | None = None  # (rows,), None while each has at most one
        self._count: NDArray[np.int32] = np.zeros(0, np.int32)
        self._used = 0  # places in `_values`, where there are ranges
        self._holes = 0

    @property
    def nbytes(self) -> int:
        """Memory that it takes, in bytes."""
        starts = 0 if self._start is None else self._start.nbytes
        return self._values.nbytes + self._count.nbytes + starts

    def put(
        self, items: NDArray[np.int64], counts: NDArray[np.int32], values: NDArray[Any], rows: int
    ) -> None:
        """Replaces the values of items (n,), each once: counts (n,), and theirs one after the other.

        All items have numbers below `rows`.
        """
        if not len(items):
            return
        if self._start is None and counts.max() > 1:
            self._spread()
        if self._start is None:
            if rows > len(self._values):
                self._values = grown(self._values, rows, self.none)
            some = counts > 0
            self.present += len(values) - int(self._is_value(self._values[items]).sum())
            self._values[items[~some]] = self.none
            self._values[items[some]] = values
            return
        if rows > len(self._start):
            self._start = grown(self._start, rows)
            self._count = grown(self._count, rows)
        before = self._count[items]
        self.present += int(np.count_nonzero(counts)) - int(np.count_nonzero(before))
        self._holes += int(before.sum())
        end = self._used + len(values)
        if end > len(self._values):
            self._values = grown(self._values, max(end, self._used + self._used // 2))
        self._values[self._used : end] = values
        self._start[items] = self._used + np.cumsum(counts, dtype=np.int64) - counts
        self._count[items] = counts
        self._used = end
        if self._holes > _MOST_HOLES and 2 * self._holes > self._used:
            self._close()

    def of(self, items: Items) -> tuple[NDArray[np.int32], NDArray[Any]]:
        """How many values each of the items has (n,), and these one after the other."""
        if self._start is None:
            found = self._look(self._values, items, self.none)
            some = self._is_value(found)
            return some.astype(np.int32), found[some]
        counts = self._look(self._count, items, 0)
        starts = self._look(self._start, items, 0)
        offsets = np.cumsum(counts, dtype=np.int64) - counts
        places = np.repeat(starts - offsets, counts)
        places += np.arange(len(places))
        return counts, self._values[places]

    def any(self, items: Items, test: Callable[[NDArray[Any]], NDArray[np.bool_]]) -> NDArray[np.bool_]:
        """Whether any value of each of the items passes, (n,) bool. `none` must not pass."""
        if self._start is None:
            return test(self._look(self._values, items, self.none))
        counts, values = self.of(items)
        hit = np.zeros(len(counts), np.bool_)
        hit[np.repeat(np.arange(len(counts)), counts)[test(values)]] = True
        return hit

    def has(self, items: Items) -> NDArray[np.bool_]:
        """Whether each of the items has a value, (n,) bool."""
        if self._start is None:
            return self._is_value(self._look(self._values, items, self.none))
        return self._look(self._count, items, 0) > 0

    def _is_value(self, values: NDArray[Any]) -> NDArray[np.bool_]:
        some: NDArray[np.bool_] = values == values if np.isnan(self.none) else values != self.none
        return some

    def _look(self, array: NDArray[Any], items: Items, none: float) -> NDArray[Any]:
        """Rows of an array that may be shorter than the items' numbers are large."""
        if isinstance(items, slice):
            found = array[items]
            missing = items.stop - items.start - len(found)
            return np.concatenate([found, filled((missing,), none, array.dtype)]) if missing else found
        try:
            return array[items]
        except IndexError:
            found = filled((len(items),), none, array.dtype)
            inside = items < len(array)
            found[inside] = array[items[inside]]
            return found

    def _spread(self) -> None:
        """From a value by number to ranges."""
        some = self._is_value(self._values)
        self._count = some.astype(np.int32)
        self._start = np.cumsum(self._count, dtype=np.int64) - self._count
        self._values = self._values[some]
        self._used, self._holes = len(self._values), 0

    def _close(self) -> None:
        """Moves all values together, in the order of items."""
        _, self._values = self.of(slice(0, len(self._count)))
        self._start = np.cumsum(self._count, dtype=np.int64) - self._count
        self._used, self._holes = len(self._values), 0
