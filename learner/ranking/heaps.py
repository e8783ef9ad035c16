"""Heaps of scored items: the best on top, equal ones in the order of `tie`, a hash of the item's id.

Owns that order and how the best of many are found; knows neither users nor sources. A heap is two arrays,
keys (n,) and items (n,).
"""

import numba
import numpy as np

from learner.ranking.arrays import Floats
from learner.signals.kernels import Items, Ties

_BUCKETS = 512


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _first(i: int, j: int, keys: Floats, items: Items, tie: Ties) -> bool:
    if keys[i] != keys[j]:
        return bool(keys[i] > keys[j])
    return bool(tie[items[i]] < tie[items[j]])


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _sift(keys: Floats, items: Items, i: int, n: int, tie: Ties) -> None:
    while True:
        child = 2 * i + 1
        if child >= n:
            return
        if child + 1 < n and _first(child + 1, child, keys, items, tie):
            child += 1
        if not _first(child, i, keys, items, tie):
            return
        keys[i], keys[child] = keys[child], keys[i]
        items[i], items[child] = items[child], items[i]
        i = child


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def heapify(keys: Floats, items: Items, n: int, tie: Ties) -> None:
    """Makes a heap of n items."""
    for i in range(n // 2 - 1, -1, -1):
        _sift(keys, items, i, n, tie)


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def pop(keys: Floats, items: Items, n: int, tie: Ties) -> int:
    """Best item of a heap of n > 0; the heap then holds n - 1."""
    best = int(items[0])
    keys[0], items[0] = keys[n - 1], items[n - 1]
    _sift(keys, items, 0, n - 1, tie)
    return best


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _bucket(key: float, least: float, scale: float) -> int:
    """Where a key counts; one that is no number counts lowest: as an index it would lie anywhere."""
    place = (key - least) * scale
    return min(int(place), _BUCKETS - 1) if place >= 0 else 0


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def shorten(keys: Floats, items: Items, n: int, wanted: int) -> int:
    """Drops from n items those that at least `wanted` others surpass; returns how many stay.

    A list takes at most `wanted` items from a source, and two passes over a histogram cost a third of
    the heap of them all.
    """
    if n <= 2 * wanted:
        return n
    least, most = keys[0], keys[0]
    for k in range(1, n):
        least = min(least, keys[k])
        most = max(most, keys[k])
    if most <= least:
        return n
    scale = np.float32((_BUCKETS - 1) / (most - least))
    buckets = np.zeros(_BUCKETS, np.int32)
    for k in range(n):
        buckets[_bucket(keys[k], least, scale)] += 1
    above, lowest = 0, _BUCKETS
    while above < wanted:
        lowest -= 1
        above += buckets[lowest]
    kept = 0
    for k in range(n):
        keys[kept], items[kept] = keys[k], items[k]
        kept += _bucket(keys[k], least, scale) >= lowest
    return kept
