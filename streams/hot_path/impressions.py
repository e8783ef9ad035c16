"""What a user was shown and has not clicked since: how often, and when the last times.

Owns the counts and their bounds: of a user the 64 items that were shown last, of each the newest 8 times.
Rules ask it which items to leave alone for a while. Knows no users and no rules; `user_states` keeps one of
these a user.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

MOST = 64  # items of a user
TIMES = 8  # of an item
_MOST_COUNT = int(np.iinfo(np.uint16).max)
NO_ITEMS: NDArray[np.int32] = np.zeros(0, np.int32)


class Shown(NamedTuple):
    """Items (n,) without a click since they were shown, the last shown last. Never changed in place."""

    items: NDArray[np.int32]
    counts: NDArray[np.uint16]  # impressions of each
    last_ms: NDArray[np.int64]  # time of the last one, 0 where nobody knows
    # Times of up to 7 before the last one, oldest first, one item's behind another's: `times_before` of each.
    before_ms: NDArray[np.int64]

    def without(self, item: int) -> "Shown | None":
        """The same, but the item's count begins anew; None where nothing is left."""
        kept = self.items != item
        if kept.all():
            return self
        if not kept.any():
            return None
        before_ms = self.before_ms[np.repeat(kept, times_before(self.counts))]
        return Shown(self.items[kept], self.counts[kept], self.last_ms[kept], before_ms)

    @property
    def tells_before(self) -> bool:
        """Whether the times before the last ones say more than those."""
        return not np.array_equal(self.before_ms, np.repeat(self.last_ms, times_before(self.counts)))

    def times(self) -> dict[int, tuple[int, list[int]]]:
        """By item the count and the times, oldest first."""
        found, at, before_ms = {}, 0, self.before_ms.tolist()
        columns = (self.items.tolist(), self.counts.tolist(), self.last_ms.tolist())
        for item, count, last_ms, before in zip(*columns, times_before(self.counts).tolist(), strict=True):
            found[item] = count, [*before_ms[at : at + before], last_ms]
            at += before
        return found


def times_before(counts: NDArray[np.uint16]) -> NDArray[np.int64]:
    """Of how many impressions before the last one the times are kept (n,), by the items' counts."""
    return np.clip(counts, 1, TIMES).astype(np.int64) - 1


def as_read(
    items: Sequence[int], counts: NDArray[np.uint16], last_ms: NDArray[np.int64],
    before_ms: NDArray[np.int64] | None,
) -> Shown:  # fmt: skip
    """As a record has it. Where it does not say when an item was shown before, all was at the last time."""
    if before_ms is None:
        before_ms = np.repeat(last_ms, times_before(counts))
    return Shown(np.array(items, np.int32), counts, last_ms, before_ms)


def unsaid(items: Sequence[int]) -> Shown:
    """Items of which nobody knows how often or when they were shown."""
    return as_read(items, np.ones(len(items), np.uint16), np.zeros(len(items), np.int64), None)


def seen(before: Shown | None, items: Sequence[int], time_ms: int) -> Shown | None:
    """With one more impression of each of the items, the one at the top of its list first.

    An item that was shown at that very moment already is not counted again: the record was sent twice. Nor is
    one whose kept times are all later: nobody can tell any more.
    """
    if not items:
        return before
    known = {} if before is None else before.times()
    for item in reversed(dict.fromkeys(items[:MOST])):
        count, times = known.pop(item, (0, []))
        if time_ms not in times and (len(times) < TIMES or time_ms > times[0]):
            count, times = min(count + 1, _MOST_COUNT), sorted([*times, time_ms])[-TIMES:]
        known[item] = count, times
    return _shown(dict(list(known.items())[-MOST:]))


def together(one: Shown | None, other: Shown) -> Shown:
    """What two users were shown, as if they had been one."""
    if one is None:
        return other
    known = one.times()
    for item, (count, times) in other.times().items():
        mine, old = known.get(item, (0, []))
        known[item] = min(mine + count, _MOST_COUNT), sorted(old + times)[-TIMES:]
    return _shown(dict(sorted(known.items(), key=_last_ms)[-MOST:]))


def too_often(shown: Shown | None, times: int, within_ms: float, now_ms: float) -> NDArray[np.int32]:
    """Items (n,) shown `times` times or more without a click since, so often less than so long ago.

    Of more than 8 times the newest 8 are looked at; those before them may lie longer ago.
    """
    if shown is None:
        return NO_ITEMS
    late = (shown.counts >= times) & (shown.last_ms > now_ms - within_ms)
    back = min(times, TIMES) - 1  # how many impressions before the last one
    if back and late.any():
        ends = np.cumsum(times_before(shown.counts))
        late[late] = shown.before_ms[ends[late] - back] > now_ms - within_ms
    return shown.items[late]


def _last_ms(known: tuple[int, tuple[int, list[int]]]) -> int:
    return known[1][1][-1]


def _shown(known: dict[int, tuple[int, list[int]]]) -> Shown:
    columns: Any = known.values()
    return Shown(
        np.array(list(known), np.int32),
        np.array([count for count, _ in columns], np.uint16),
        np.array([times[-1] for _, times in columns], np.int64),
        np.array([time_ms for _, times in columns for time_ms in times[:-1]], np.int64),
    )
