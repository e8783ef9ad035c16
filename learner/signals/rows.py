"""Rows of pairs by item, one side of all pairs: where they lie in memory.

Owns the blocks that rows lie in and who uses them; memory follows the number of pairs. Knows neither what
pairs mean nor which of them are kept.
"""

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from learner.data.arrays import grown

_CLASSES = 32  # of blocks: those of class n have 2**n places
_FIRST_PLACES = 1 << 14


class Side(NamedTuple):
    """The rows of all items on one side, before or after them, in one pool of blocks of 2**n places.

    rows (cap, 3) int64 by item: start in the pool, pairs, room. By place in the pool: item int32, the other
    item of the pair; place int32, where the pair stands in that item's row on the other side; weight (·, W)
    float32. free (32,) int64: the first free block of 2**n places, which names the next in `item`; -1 for
    none. used (1,) int64: places of the pool that have ever been given to a row.
    """

    rows: NDArray[np.int64]
    item: NDArray[np.int32]
    place: NDArray[np.int32]
    weight: NDArray[np.float32]
    free: NDArray[np.int64]
    used: NDArray[np.int64]


def new_side(items: int, weights: int) -> Side:
    """No pairs yet, for so many items, with so many weights a pair."""
    return Side(
        rows=np.zeros((items, 3), np.int64),
        item=np.zeros(_FIRST_PLACES, np.int32),
        place=np.zeros(_FIRST_PLACES, np.int32),
        weight=np.zeros((_FIRST_PLACES, weights), np.float32),
        free=np.full(_CLASSES, -1, np.int64),
        used=np.zeros(1, np.int64),
    )


def with_twice_the_places(side: Side) -> Side:
    """The same rows in a pool twice as long."""
    places = 2 * len(side.item)
    return side._replace(
        item=grown(side.item, places), place=grown(side.place, places), weight=grown(side.weight, places)
    )


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def fits(side: Side, places: int) -> bool:
    """Whether the pool has so many places that no row has ever had."""
    return bool(side.used[0] + places <= side.item.shape[0])


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def make_room(side: Side, item: int, places: int) -> None:
    """Moves the item's row to a block of at least so many places if its own has fewer."""
    if side.rows[item, 2] >= places:
        return
    size = _class_of(places)
    old, start = side.rows[item, 0], _take_block(side, size)
    for k in range(side.rows[item, 1]):
        side.item[start + k] = side.item[old + k]
        side.place[start + k] = side.place[old + k]
        for w in range(side.weight.shape[1]):
            side.weight[start + k, w] = side.weight[old + k, w]
    _free_block(side, old, side.rows[item, 2])
    side.rows[item, 0] = start
    side.rows[item, 2] = 1 << size


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _class_of(places: int) -> int:
    size = 2
    while (1 << size) < places:
        size += 1
    return size


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _take_block(side: Side, size: int) -> int:
    start: int = side.free[size]
    if start >= 0:
        side.free[size] = side.item[start]
        return start
    start = side.used[0]
    side.used[0] += 1 << size
    return start


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _free_block(side: Side, start: int, room: int) -> None:
    if room > 0:
        size = _class_of(room)
        side.item[start] = side.free[size]
        side.free[size] = start
