"""Filters kept as masks over the catalogue, which follow it: what a list with a filter looks up.

Owns the rows, how many there are and which go. Knows what no filter means. Not safe for two threads at once.

A round: `follow()`, then `rows(filters)` or `row(filter)` for all of its lists, then `pool` is read. Where
a filter's first use must not hold up a round, it waits until `ready`: call `build_some` between rounds.
"""

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from learner.data.catalogue import CHANGES_KEPT, Catalogue
from learner.filters.fields import Fields
from learner.filters.language import Filter
from learner.filters.matching import matching

MEMORY_BYTES = 64 << 20
MOST_ROWS = 1024  # each has to follow the catalogue
NARROW = 500  # matches of a filter of which all are made candidates
_AT_ONCE = 20_000  # items looked at in one go


class _Row:
    """What is known of a row of the pool.

    at: the first so many items have been looked at, as they were when the catalogue had had `mark` changes;
        behind them stands what an earlier filter has left
    whole: all items there were have been looked at once
    round: the last one that it was asked for in
    """

    def __init__(self, slot: int, mark: int) -> None:
        self.slot = slot
        self.mark = mark
        self.at = 0
        self.whole = False
        self.count = 0
        self.round = -1
        self.items: NDArray[np.int64] | None = None  # None where nobody has asked since they changed


class Masks:
    """The most recently used filters as rows of one array.

    pool (slots, capacity) bool: item by number matches and is available; replaced when the catalogue grows
        and when one round needs more rows than there are, so read it after a round's last `row` or `rows`
    fields: the columns, for rules that read them too

    There are as many rows as `memory_bytes` has room for, at most 1,024, and at least as many as one round
    has needed: what a round has asked for stays until the next `follow()`.
    """

    def __init__(
        self, catalogue: Catalogue, memory_bytes: int = MEMORY_BYTES, fields: Fields | None = None
    ) -> None:
        self.catalogue = catalogue
        self.fields = fields or Fields(catalogue)
        self.pool: NDArray[np.bool_] = np.zeros((0, 0), np.bool_)
        self._memory = memory_bytes
        self._rows: OrderedDict[Filter, _Row] = OrderedDict()  # the last used one last
        self._of_slot: dict[int, _Row] = {}
        self._free: list[int] = []
        self._round = 0
        self._next_look = CHANGES_KEPT // 2
        self._fit()

    def follow(self) -> None:
        """Begins a round; all that was asked for in the last one may go from now on.

        Rows catch up with the catalogue when they are asked for. Here one that nobody has asked for does, if
        it would soon be too far behind.
        """
        self._round += 1
        self._fit()
        self.fields.follow()
        if self.catalogue.changes < self._next_look:
            return
        late = self.catalogue.changes - CHANGES_KEPT // 2
        for filter_, row in self._rows.items():
            if row.mark < late and self.ready(filter_):
                self._catch_up(filter_, row)
                return
        self._next_look = self.catalogue.changes + CHANGES_KEPT // 8

    def ready(self, filter_: Filter) -> bool:
        """Whether `row` would cost next to nothing: all but the newest changes are in the mask."""
        row = self._rows.get(filter_)
        if row is None or self._in_step(row):
            return row is not None
        return (
            row.whole
            and row.at >= self.catalogue.size - _AT_ONCE
            and self.catalogue.remembers(row.mark)
            and self.fields.ready(filter_.fields, _AT_ONCE)
        )

    def row(self, filter_: Filter) -> int:
        """The row of `pool` with this filter's mask, in step with the catalogue; built at once if need be.

        It stays until the next `follow()`.
        """
        row = self._begin(filter_)
        row.round = self._round
        self._catch_up(filter_, row)
        return row.slot

    def rows(self, filters: Sequence[Filter]) -> NDArray[np.int32]:
        """The rows of a round's filters, (n,) int32, as `row` gives them."""
        return np.array([self.row(filter_) for filter_ in filters], np.int32)

    def build_some(self, filter_: Filter, items: int = _AT_ONCE) -> bool:
        """Builds the next part of a mask, of at most `items` items; True once it is ready.

        It may go again as soon as others need its place, unless this round has asked for it.
        """
        row = self._begin(filter_)
        if not self.fields.read(filter_.fields, items):
            return False
        self._catch_up(filter_, row, items)
        return row.at == self.catalogue.size

    def count(self, slot: int) -> int:
        """How many items a row had when it was last asked for."""
        return self._of_slot[slot].count

    def items(self, slot: int) -> NDArray[np.int64] | None:
        """Their numbers in order, (n,) int64, where there are at most 500, else None; not to be changed."""
        row = self._of_slot[slot]
        if row.count > NARROW:
            return None
        if row.items is None:
            row.items = np.flatnonzero(self.pool[slot])
        return row.items

    def _begin(self, filter_: Filter) -> _Row:
        """The filter's row, new where there is none or where nobody knows what has changed since."""
        self._fit()
        row = self._rows.get(filter_)
        if row is None or not self.catalogue.remembers(row.mark):
            slot = self._take_slot() if row is None else row.slot
            row = self._rows[filter_] = self._of_slot[slot] = _Row(slot, self.catalogue.changes)
        self._rows.move_to_end(filter_)
        return row

    def _catch_up(self, filter_: Filter, row: _Row, most: int | None = None) -> None:
        """Looks at what has changed, and at items that no one has looked at: all, or `most` of them."""
        if self._in_step(row):
            return
        size = self.catalogue.size
        if most is None:
            self.fields.read(filter_.fields)
        mark, changed = self.catalogue.changes_since(row.mark)
        mask, available = self.pool[row.slot], self.catalogue.available
        if changed is not None and len(changed):
            changed = changed[changed < row.at]
            before = int(np.count_nonzero(mask[changed]))
            mask[changed] = matching(filter_, self.fields, changed) & available[changed]
            row.count += int(np.count_nonzero(mask[changed])) - before
        row.mark, row.items = mark, None
        end = size if most is None else min(size, row.at + most)
        while row.at < end:
            part = slice(row.at, min(end, row.at + _AT_ONCE))
            np.logical_and(matching(filter_, self.fields, part), available[part], out=mask[part])
            row.count += int(np.count_nonzero(mask[part]))
            row.at = part.stop
        row.whole |= row.at == size

    def _in_step(self, row: _Row) -> bool:
        return row.mark == self.catalogue.changes and row.at == self.catalogue.size

    def _take_slot(self) -> int:
        if not self._free:
            oldest = next((each for each, row in self._rows.items() if row.round != self._round), None)
            if oldest is None:
                self._resize(2 * len(self.pool))
            else:
                self._drop(oldest)
        return self._free.pop()

    def _drop(self, filter_: Filter) -> None:
        slot = self._rows.pop(filter_).slot
        del self._of_slot[slot]
        self._free.append(slot)

    def _fit(self) -> None:
        """Gives the pool the catalogue's capacity, and as many rows as there is room for."""
        capacity = self.catalogue.capacity
        if self.pool.shape[1] == capacity:
            return
        slots = min(max(self._memory // capacity, 2), MOST_ROWS)
        now = sum(row.round == self._round for row in self._rows.values())
        slots = max(slots, now)
        for filter_ in list(self._rows)[: max(len(self._rows) - slots, 0)]:
            self._drop(filter_)
        self._resize(slots)

    def _resize(self, slots: int) -> None:
        """A new pool with `slots` rows at least and the rows in use where they were."""
        slots = max([slots, *(row.slot + 1 for row in self._rows.values())])
        pool = np.zeros(
            (slots, self.catalogue.capacity), np.bool_
        )  # takes memory row by row, when written to
        size = min(pool.shape[1], self.pool.shape[1])
        for row in self._rows.values():
            pool[row.slot, :size] = self.pool[row.slot, :size]
        self.pool = pool
        self._free = sorted(set(range(slots)) - {row.slot for row in self._rows.values()}, reverse=True)
