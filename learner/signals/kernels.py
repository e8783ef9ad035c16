"""Kernels of the signals: decayed sums, the classes of users by depth, and one click's counting.

Owns the arithmetic of one item's numbers; the arrays and the time's reference are `state`'s, the pairs
`neighbours`'.
"""

import math

import numba
import numpy as np

from learner.signals.settings import DEPTH_HALF_LIVES, DEPTHS
from learner.signals.toplists import move_up


@numba.njit(cache=True, nogil=True)
def growth(time_ms, half_life_ms, reference):  # type: ignore[no-untyped-def]
    """2**(time / half_life - reference), the same to the last bit but for the exponent at any reference."""
    at = time_ms / half_life_ms
    whole = math.floor(at)
    return math.ldexp(2.0 ** (at - whole), int(whole) - reference)


@numba.njit(cache=True, nogil=True)
def decay(now_ms, half_life_ms, reference):  # type: ignore[no-untyped-def]
    """2**(reference - now / half_life): what a sum relative to the reference is to be multiplied by."""
    at = now_ms / half_life_ms
    whole = math.floor(at)
    return math.ldexp(2.0 ** (whole - at), reference - int(whole))


@numba.njit(cache=True, nogil=True)
def depth_of(events):  # type: ignore[no-untyped-def]
    """The class of a user who had so many events of interest before."""
    depth = 0
    while depth + 1 < len(DEPTHS) and events >= DEPTHS[depth + 1]:
        depth += 1
    return depth


@numba.njit(cache=True, nogil=True)
def rank_depths(item, rose, by_depth, tie, top, top_count):  # type: ignore[no-untyped-def]
    """Moves the item up where `rose` (3, 7) bool says so."""
    for at in range(rose.shape[0]):
        for depth in range(rose.shape[1]):
            if rose[at, depth]:
                top_count[at, depth] = move_up(
                    item, by_depth[:, at, depth], tie, top[at, depth], top_count[at, depth]
                )


@numba.njit(cache=True, nogil=True)
def rank(item, popularity, tie, top, top_count):  # type: ignore[no-untyped-def]
    """Moves the item, whose sums have risen, up in the list of each half-life."""
    for h in range(top.shape[0]):
        top_count[h] = move_up(item, popularity[:, h], tie, top[h], top_count[h])


@numba.njit(cache=True, nogil=True)
def rank_born(item, first_ms, tie, born, newest_count):  # type: ignore[no-untyped-def]
    """Puts an item that has its first click among those clicked for the first time."""
    newest_count[1] = move_up(item, first_ms, tie, born, newest_count[1])


@numba.njit(cache=True, nogil=True)
def count_click(  # type: ignore[no-untyped-def]
    item, time_ms, value, half_lives, reference, popularity, count, value_sum, first_ms, last_ms,
    tie, top, top_count, born, newest_count, depth, by_depth, depth_top, depth_top_count,
):  # fmt: skip
    """Counts a click on an item but for its pairs; returns what a click now adds to a decayed pair."""
    for h in range(popularity.shape[1]):
        popularity[item, h] += growth(time_ms, half_lives[h], reference[h])
    rank(item, popularity, tie, top, top_count)
    rose = np.zeros(by_depth.shape[1:], np.bool_)
    for at in range(len(DEPTH_HALF_LIVES)):
        h = DEPTH_HALF_LIVES[at]
        by_depth[item, at, depth] += growth(time_ms, half_lives[h], reference[h])
        rose[at, depth] = True
    rank_depths(item, rose, by_depth, tie, depth_top, depth_top_count)
    if count[item] == 0:
        first_ms[item] = last_ms[item] = time_ms
        rank_born(item, first_ms, tie, born, newest_count)
    count[item] += 1
    last_ms[item] = max(last_ms[item], time_ms)
    value_sum[item] += value
    return growth(time_ms, half_lives[-1], reference[-1])
