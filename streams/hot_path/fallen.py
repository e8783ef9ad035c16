"""Items that a user met before the history begins, and may still have to be kept from lists.

Owns how many are kept and how cheaply one more joins them. Which rule holds now is asked when a list is made:
what is kept says how an item was met and when. Knows no users and no ids.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import msgspec
import numpy as np
from numpy.typing import NDArray

from learner.data.events import AVERSION, CONSUMPTION, Kind
from learner.data.times import DAY_MS

# Kept of a user, the newest ones; what is older may come back in lists. A crawler's or a guests' common id
# has more: 50,000 ids of 36 characters are 2 MB at each of its clicks.
MOST = 50_000
# Viewed ones beside consumed ones: where a shop has both a view bars nothing, and the next release will
# hardly say otherwise, but each of them makes every record of its user longer.
MOST_VIEWED = 1_000
_LOOSE, _SHARE = 64, 16  # as many, or that share of the others, may wait for the next merge
_BAR, _ITEM = 2, 32  # bits of a mark; the day comes before them
_ITEMS = (1 << _ITEM) - 1


class Bar(IntEnum):
    """How an item was met, the stronger the higher; the codes stand in records."""

    VIEWED = 1  # bars it where a view makes an item consumed and consumed ones do not come again
    CONSUMED = 2  # bars it where consumed ones do not come again
    REFUSED = 3  # bars it


BAR_OF_KIND = np.array(
    [
        Bar.REFUSED if kind in AVERSION
        else Bar.CONSUMED if kind in CONSUMPTION
        else Bar.VIEWED if kind is Kind.VIEW
        else 0
        for kind in Kind
    ],
    np.uint8,
)  # fmt: skip


# By bar (4, kinds): which kinds of event meet an item with that bar or a stronger one.
BARRING = np.arange(len(Bar) + 1)[:, None] <= BAR_OF_KIND


def least_bar(*, consumed: bool, views: bool) -> Bar:
    """From which bar on an item is kept from lists: `consumed` ones stay away, and `views` consume."""
    if not consumed:
        return Bar.REFUSED
    return Bar.VIEWED if views else Bar.CONSUMED


@dataclass(frozen=True, slots=True, eq=False)
class Fallen:
    """Marks (n,) int64 of items that fell out of one history. Never changed in place: see `Columns`.

    settled: each item once, oldest first
    loose: what fell out since; an item may be there several times, and in `settled` too
    """

    settled: NDArray[np.int64]
    loose: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.settled) + len(self.loose)

    @property
    def every(self) -> NDArray[np.int64]:
        """All of them."""
        return np.concatenate([self.settled, self.loose]) if len(self.loose) else self.settled

    def and_these(
        self, items: NDArray[np.int32], times_ms: NDArray[np.int64], bars: NDArray[np.uint8]
    ) -> "Fallen":
        """With further ones (n,), merged now and then: a merge costs as much as all there are."""
        days = np.clip(times_ms // DAY_MS, 0, np.iinfo(np.uint16).max)
        loose = np.concatenate([self.loose, marks(items, days, bars)])
        if len(loose) <= max(_LOOSE, len(self.settled) // _SHARE):
            return Fallen(self.settled, loose)
        return Fallen(_merged(Fallen(self.settled, loose).every), NOTHING)

    def without(self, item: int, bar: Bar) -> "Fallen | None":
        """Without an item that was met with this bar and no stronger one; None where it was not.

        All that is known of the item goes: what it was met with beside that may have been merged with it.
        """
        here = self.every[items_of(self.every) == item]
        if not len(here) or bars_of(here).max() != bar:
            return None
        kept = items_of(self.settled) != item
        return Fallen(
            self.settled if kept.all() else self.settled[kept], self.loose[items_of(self.loose) != item]
        )

    def barred(self, least: Bar, back_before_ms: int | None = None) -> NDArray[np.int64]:
        """Items (n,) with that bar or a stronger one.

        `back_before_ms`: those that were met last on a day that had ended by then are not among them, unless
        they were refused.
        """
        every = self.every
        if not len(every):
            return NOTHING
        bars = bars_of(every)
        met = bars >= least
        if back_before_ms is not None:
            ended_ms = (days_of(every).astype(np.int64) + 1) * DAY_MS
            met &= (bars == Bar.REFUSED) | (ended_ms > back_before_ms)
        return items_of(every[met])


NOTHING = np.zeros(0, np.int64)
NONE = Fallen(NOTHING, NOTHING)


def as_read(items: Sequence[int], days: NDArray[np.uint16], bars: NDArray[np.uint8]) -> Fallen:
    """What a record says, oldest first."""
    read = marks(np.array(items, np.int64), days, bars)
    return Fallen(_merged(read) if len(read) > MOST + MOST // _SHARE else read, NOTHING)


def marks(
    items: NDArray[np.integer], days: NDArray[np.integer], bars: NDArray[np.uint8]
) -> NDArray[np.int64]:
    """Day, item and bar of each (n,) as one number."""
    return (days.astype(np.int64) << _ITEM | items.astype(np.int64)) << _BAR | bars.astype(np.int64)


def bars_of(marks: NDArray[np.int64]) -> NDArray[np.uint8]:
    """The bars (n,) of marks (n,)."""
    return (marks & (1 << _BAR) - 1).astype(np.uint8)


def items_of(marks: NDArray[np.int64]) -> NDArray[np.int64]:
    """The items (n,) of marks (n,)."""
    return marks >> _BAR & _ITEMS


def days_of(marks: NDArray[np.int64]) -> NDArray[np.uint16]:
    """The days (n,) of marks (n,)."""
    return (marks >> _BAR + _ITEM).astype(np.uint16)


def _merged(met: NDArray[np.int64]) -> NDArray[np.int64]:
    """Each item once, with its last day and its strongest bar; of too many the newest, oldest first."""
    order = np.argsort(items_of(met), kind="stable")
    items, days, bars = items_of(met)[order], days_of(met)[order], bars_of(met)[order]
    starts = np.flatnonzero(np.diff(items, prepend=-1))
    items, days, bars = items[starts], np.maximum.reduceat(days, starts), np.maximum.reduceat(bars, starts)
    once = marks(items, days, bars)[np.argsort(days, kind="stable")]
    viewed = bars_of(once) == Bar.VIEWED
    if not viewed.all():
        once = np.delete(once, np.flatnonzero(viewed)[:-MOST_VIEWED])
    return once[-MOST:]


class Texts:
    """Ids of many items as JSON, kept from one record of their user to the next.

    Of the users who wrote last, up to `limit` bytes in all; what was dropped is made again.
    """

    def __init__(self, limit: int = 64 << 20) -> None:
        self._limit = limit
        self._bytes = 0
        self._texts: dict[int, tuple[NDArray[np.int64], bytes]] = {}  # by slot, the last used last

    def of(self, slot: int, settled: NDArray[np.int64], ids: Sequence[str]) -> bytes:
        """The ids of the items, with commas between; `settled` as it is in the user's `Fallen`."""
        known, text = self._texts.pop(slot, (None, b""))
        if known is not settled:
            self._bytes -= len(text)
            text = text_of(settled, ids)
            self._bytes += len(text)
        self._texts[slot] = settled, text
        while self._bytes > self._limit and len(self._texts) > 1:
            self.drop(next(iter(self._texts)))
        return text

    def drop(self, slot: int) -> None:
        """The user has gone."""
        self._bytes -= len(self._texts.pop(slot, (None, b""))[1])


def text_of(marks: NDArray[np.int64], ids: Sequence[str]) -> bytes:
    """The ids of the marks' items as JSON, with commas between."""
    return bytes(_encode([ids[item] for item in items_of(marks).tolist()])[1:-1])


_encode = msgspec.json.Encoder().encode
