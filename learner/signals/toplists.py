"""Short lists of the most popular and of the newest items, kept exact click by click.

Owns the order of such lists; knows neither users nor models. Equal items order by `tie`, a hash of
the item's id, so that processes that number items differently keep the same lists.

Within one half-life the order of decayed popularity changes by clicks alone, not by time: a click
moves one item up. So a list is corrected, never sorted again.
"""

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

TOP = 512  # items a half-life: 200 candidates beside a few hundred consumed or withdrawn ones
NEWEST = 2048  # never-clicked items that wait for their first click
BORN = 1024  # items whose first click was the latest


def top_of(values: NDArray[np.float64], tie: NDArray[np.uint32], length: int) -> NDArray[np.int32]:
    """Numbers (<= length,) int32 of the items with the highest positive values (n,), best first."""
    items = np.flatnonzero(values > 0)
    if len(items) > length:
        least = np.partition(values[items], len(items) - length)[len(items) - length]
        items = items[values[items] >= least]
    order = np.lexsort((items, tie[items], -values[items]))[:length]
    return items[order].astype(np.int32)


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def is_better(a: int, b: int, values: NDArray[Any], tie: NDArray[np.uint32]) -> bool:
    """Whether item a stands before item b."""
    if values[a] != values[b]:
        return bool(values[a] > values[b])
    if tie[a] != tie[b]:
        return bool(tie[a] < tie[b])
    return a < b


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def move_up(
    item: int, values: NDArray[Any], tie: NDArray[np.uint32], items: NDArray[np.int32], count: int
) -> int:
    """Puts `item`, whose value (n,) has risen, at its place in `items`, best first; returns the count.

    `items` (length,) int32 holds `count` items; the last falls out of a full list.
    """
    if values[item] <= 0:
        return count
    length = items.shape[0]
    if count == length and items[count - 1] != item and is_better(items[count - 1], item, values, tie):
        return count
    place = -1
    for other in range(count):
        if items[other] == item:
            place = other
            break
    if place < 0:
        if count < length:
            count += 1
        place = count - 1
    low, high = 0, place
    while low < high:
        middle = (low + high) // 2
        if is_better(item, items[middle], values, tie):
            high = middle
        else:
            low = middle + 1
    for other in range(place, low, -1):
        items[other] = items[other - 1]
    items[low] = item
    return count
