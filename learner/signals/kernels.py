"""Kernels of the signals: decayed sums, the classes of users by depth, and one click's counting.

Owns the arithmetic of one item's numbers; the arrays and the time's reference are `state`'s, the pairs
`neighbours`'.
"""

import math
from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from learner.signals.settings import DEPTH_HALF_LIVES, DEPTHS
from learner.signals.toplists import move_up

Doubles = NDArray[np.float64]
Wholes = NDArray[np.int64]
Items = NDArray[np.int32]
Ties = NDArray[np.uint32]


class Sums(NamedTuple):
    """What signals keep of each item, and what decayed sums are relative to; shapes: see `Signals`."""

    half_lives: Doubles
    reference: Wholes
    popularity: Doubles
    by_depth: Doubles
    clicks: Doubles
    value_sum: Doubles
    first_ms: Wholes
    last_ms: Wholes
    tie: Ties


class TopLists(NamedTuple):
    """The lists of popular items, and of those clicked for the first time; shapes: see `Signals`."""

    top: Items
    top_count: Wholes
    depth_top: Items
    depth_top_count: Wholes
    born: Items
    newest_count: Wholes


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def growth(time_ms: int, half_life_ms: float, reference: int) -> float:
    """2**(time / half_life - reference), the same to the last bit but for the exponent at any reference."""
    at = time_ms / half_life_ms
    whole = math.floor(at)
    return math.ldexp(2.0 ** (at - whole), int(whole) - reference)


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def decay(now_ms: int, half_life_ms: float, reference: int) -> float:
    """2**(reference - now / half_life): what a sum relative to the reference is to be multiplied by."""
    at = now_ms / half_life_ms
    whole = math.floor(at)
    return math.ldexp(2.0 ** (whole - at), reference - int(whole))


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def depth_of(events: int) -> int:
    """The class of a user who had so many events of interest before."""
    depth = 0
    while depth + 1 < len(DEPTHS) and events >= DEPTHS[depth + 1]:
        depth += 1
    return depth


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def rank(item: int, popularity: Doubles, tie: Ties, top: Items, top_count: Wholes) -> None:
    """Moves the item, whose sums have risen, up in the list of each half-life."""
    for h in range(top.shape[0]):
        top_count[h] = move_up(item, popularity[:, h], tie, top[h], top_count[h])


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def rank_depth(
    item: int, at: int, depth: int, by_depth: Doubles, tie: Ties, top: Items, top_count: Wholes
) -> None:
    """Moves the item, whose sum has risen, up in the list of one half-life and depth."""
    top_count[at, depth] = move_up(item, by_depth[:, at, depth], tie, top[at, depth], top_count[at, depth])


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def rank_depths(
    item: int, rose: NDArray[np.bool_], by_depth: Doubles, tie: Ties, top: Items, top_count: Wholes
) -> None:
    """Moves the item up in the lists by depth where `rose` (3, 7) says so."""
    for at in range(rose.shape[0]):
        for depth in range(rose.shape[1]):
            if rose[at, depth]:
                rank_depth(item, at, depth, by_depth, tie, top, top_count)


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def rank_born(item: int, first_ms: Wholes, tie: Ties, born: Items, newest_count: Wholes) -> None:
    """Puts an item that has its first click among those clicked for the first time."""
    newest_count[1] = move_up(item, first_ms, tie, born, newest_count[1])


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def count_click(
    sums: tuple[Any, ...], lists: tuple[Any, ...], item: int, time_ms: int, value: float, events: int,
    weight: float,
) -> float:  # fmt: skip
    """Counts a click on an item but for its pairs; returns what one of weight 1 now adds to a decayed pair.

    `events`: the user's before it; `weight` > 0: how many clicks it counts for. `sums` and `lists` are `Sums`
    and `TopLists` as plain tuples, which numba takes half a microsecond faster.
    """
    s, found = Sums(*sums), TopLists(*lists)
    depth = depth_of(events)
    for h in range(s.popularity.shape[1]):
        added = weight * growth(time_ms, s.half_lives[h], s.reference[h])
        s.popularity[item, h] += added
        for at in range(len(DEPTH_HALF_LIVES)):
            if DEPTH_HALF_LIVES[at] == h:
                s.by_depth[item, at, depth] += added
    rank(item, s.popularity, s.tie, found.top, found.top_count)
    for at in range(len(DEPTH_HALF_LIVES)):
        rank_depth(item, at, depth, s.by_depth, s.tie, found.depth_top, found.depth_top_count)
    if s.clicks[item] == 0:
        s.first_ms[item] = s.last_ms[item] = time_ms
        rank_born(item, s.first_ms, s.tie, found.born, found.newest_count)
    s.clicks[item] += weight
    s.last_ms[item] = max(s.last_ms[item], time_ms)
    s.value_sum[item] += weight * value
    return float(growth(time_ms, s.half_lives[-1], s.reference[-1]))
