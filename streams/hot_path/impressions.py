"""What a user was shown and has not clicked since: how often, and when last.

Owns the count and its bound: of a user the 64 items that were shown last. Rules ask it which items to leave
alone for a while. Knows no users and no rules; `user_states` keeps one of these a user.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

MOST = 64  # items of a user
_MOST_TIMES = int(np.iinfo(np.uint16).max)
NO_ITEMS: NDArray[np.int32] = np.zeros(0, np.int32)


class Shown(NamedTuple):
    """Items (n,) without a click since they were shown, the last shown last. Never changed in place."""

    items: NDArray[np.int32]
    counts: NDArray[np.uint16]  # impressions of each
    last_ms: NDArray[np.int64]  # time of the last one, 0 where nobody knows

    def without(self, item: int) -> "Shown | None":
        """The same, but the item's count begins anew; None where nothing is left."""
        kept = self.items != item
        if kept.all():
            return self
        return Shown(self.items[kept], self.counts[kept], self.last_ms[kept]) if kept.any() else None


def unsaid(items: Sequence[int]) -> Shown:
    """Items of which nobody knows how often or when they were shown."""
    return Shown(np.array(items, np.int32), np.ones(len(items), np.uint16), np.zeros(len(items), np.int64))


def seen(before: Shown | None, items: Sequence[int], time_ms: int) -> Shown | None:
    """With one more impression of each of the items, the one at the top of its list first.

    An item that was shown at that very moment already is not counted again: the record was sent twice.
    """
    if not items:
        return before
    known = {}
    if before is not None:
        columns = (before.items.tolist(), before.counts.tolist(), before.last_ms.tolist())
        known = {item: (count, last_ms) for item, count, last_ms in zip(*columns, strict=True)}
    for item in reversed(dict.fromkeys(items[:MOST])):
        count, last_ms = known.pop(item, (0, -1))
        again = last_ms == time_ms
        known[item] = min(count + (not again), _MOST_TIMES), max(last_ms, time_ms)
    kept = list(known.items())[-MOST:]
    return Shown(
        np.array([item for item, _ in kept], np.int32),
        np.array([count for _, (count, _) in kept], np.uint16),
        np.array([last_ms for _, (_, last_ms) in kept], np.int64),
    )


def together(one: Shown | None, other: Shown) -> Shown:
    """What two users were shown, as if they had been one."""
    if one is None:
        return other
    items, places = np.unique(np.concatenate([one.items, other.items]), return_inverse=True)
    counts = np.bincount(places, np.concatenate([one.counts, other.counts]))
    last_ms = np.zeros(len(items), np.int64)
    np.maximum.at(last_ms, places, np.concatenate([one.last_ms, other.last_ms]))
    order = np.argsort(last_ms, kind="stable")[-MOST:]
    return Shown(items[order], np.minimum(counts, _MOST_TIMES).astype(np.uint16)[order], last_ms[order])


def too_often(shown: Shown | None, times: int, within_ms: float, now_ms: float) -> NDArray[np.int32]:
    """Items (n,) shown `times` times or more without a click since, the last time less than so long ago."""
    if shown is None:
        return NO_ITEMS
    return shown.items[(shown.counts >= times) & (shown.last_ms > now_ms - within_ms)]
