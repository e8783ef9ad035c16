"""The last events of users, in blocks of 16 that users take as they need them.

A user with five events costs one block and not eight. Nine blocks a user, the oldest recycled: at least 128
events stay. Owns the blocks and how they are read; whose a block is, and what becomes of the events that fall
out, is `user_states`'s affair.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from streams.hot_path.columns import Columns, column
from streams.wire.event_ids import DEDUPLICATED

HISTORY = 128  # events that lists are computed from
BLOCK = 16
BLOCKS = HISTORY // BLOCK + 1


class Histories:
    """Histories of a batch of users, as the kernels take them: left-aligned, oldest first.

    Made with nothing in them; `EventBlocks.gather` fills them.
    """

    __slots__ = ("events", "items", "kinds", "length", "times", "values")

    def __init__(self, rows: int) -> None:
        self.items = np.empty((rows, HISTORY), np.int32)  # -1 after the last event
        self.times = np.empty((rows, HISTORY), np.int64)  # 0
        self.kinds = np.empty((rows, HISTORY), np.uint8)  # 0
        self.values = np.empty((rows, HISTORY), np.float32)  # nan
        self.length = np.zeros(rows, np.int32)
        self.events = np.zeros(rows, np.int64)


class Events(NamedTuple):
    """Events of one user (n,), oldest first."""

    items: NDArray[np.int32]
    times: NDArray[np.int64]
    kinds: NDArray[np.uint8]
    values: NDArray[np.float32]
    hashes: NDArray[np.uint64]


class EventBlocks(Columns):
    """Events of all users, 16 to a block. A block belongs to one user, or is free, or held.

    What a user's events are is said by the numbers of the user's blocks (9,), -1 where there is none, and by
    how many events they hold.
    """

    items: NDArray[np.int32] = column(np.int32, BLOCK)
    times: NDArray[np.int64] = column(np.int64, BLOCK)
    kinds: NDArray[np.uint8] = column(np.uint8, BLOCK)
    values: NDArray[np.float32] = column(np.float32, BLOCK)
    hashes: NDArray[np.uint64] = column(np.uint64, BLOCK)  # of event ids

    def __init__(self) -> None:
        super().__init__(128)
        self._free = list(range(len(self.items) - 1, -1, -1))
        self._held: list[int] | None = None  # dropped since `hold`

    def take(self) -> int:
        """A block for a user."""
        if not self._free:
            old = len(self.items)
            self.grow(2 * old)
            self._free.extend(range(2 * old - 1, old - 1, -1))
        return self._free.pop()

    def give_back(self, blocks: Iterable[int]) -> None:
        """Users need these no longer; -1 is no block."""
        self._free.extend(block for block in blocks if block >= 0)

    def drop(self, block: int) -> None:
        """A user needs this one no longer, unless an undo brings it back."""
        (self._free if self._held is None else self._held).append(block)

    def hold(self) -> None:
        """From now on dropped blocks stay as they are."""
        self._held = []

    def end_hold(self) -> list[int]:
        """The blocks dropped since `hold`; they are to be given back where they are needed no more."""
        held, self._held = self._held or [], None
        return held

    def put(
        self, block: int, place: int, item: int, time_ms: int, kind: int, value: float, digest: int
    ) -> None:
        """Writes an event."""
        at = block, place
        self.items[at] = item
        self.times[at] = time_ms
        self.kinds[at] = kind
        self.values[at] = value
        self.hashes[at] = digest

    def read(self, blocks: NDArray[np.int32], length: int) -> Events:
        """The first `length` events in a user's blocks (9,)."""
        places = np.arange(length)
        at = blocks[places // BLOCK].astype(np.int64), places % BLOCK
        return Events(self.items[at], self.times[at], self.kinds[at], self.values[at], self.hashes[at])

    def repeats(self, blocks: NDArray[np.int32], length: int, digest: int) -> bool:
        """Whether one of a user's last 64 events has an id of this hash."""
        return bool(_contains(blocks, length, self.hashes, np.uint64(digest)))

    def gather(
        self,
        slots: NDArray[np.int64],
        length: NDArray[np.int32],
        blocks: NDArray[np.int32],
        events: NDArray[np.int64],
    ) -> Histories:
        """The last 128 events of each slot; of -1 none.

        By slot: events kept, `length` (users,), and the `blocks` (users, 9) they lie in; `events` (users,)
        ever.
        """
        batch = Histories(len(slots))
        _gather(
            slots, length, blocks, self.items, self.times, self.kinds, self.values,
            events, batch.items, batch.times, batch.kinds, batch.values, batch.length, batch.events,
        )  # fmt: skip
        return batch


@numba.njit(cache=True, nogil=True)
def _contains(blocks, length, hashes, digest):  # type: ignore[no-untyped-def]
    for place in range(max(0, length - DEDUPLICATED), length):
        if hashes[blocks[place // BLOCK], place % BLOCK] == digest:
            return True
    return False


# 14 arrays one by one: each group of arrays costs about half a microsecond a call, and each list makes one.
@numba.njit(cache=True, nogil=True)
def _gather(  # type: ignore[no-untyped-def]
    slots, lengths, blocks, items, times, kinds, values, events,
    out_items, out_times, out_kinds, out_values, out_length, out_events,
):  # fmt: skip
    for row in range(slots.shape[0]):
        slot = slots[row]
        length = lengths[slot] if slot >= 0 else 0
        first = max(0, length - HISTORY)
        if slot >= 0:
            out_length[row], out_events[row] = length - first, events[slot]
        for to in range(length - first, HISTORY):
            out_items[row, to], out_times[row, to] = -1, 0
            out_kinds[row, to], out_values[row, to] = 0, np.nan
        for place in range(first, length):
            block, at, to = blocks[slot, place // BLOCK], place % BLOCK, place - first
            out_items[row, to] = items[block, at]
            out_times[row, to] = times[block, at]
            out_kinds[row, to] = kinds[block, at]
            out_values[row, to] = values[block, at]
