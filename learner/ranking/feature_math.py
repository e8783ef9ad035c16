"""Arithmetic of the kernels: products, mean directions, logarithms and decay.

Owns how these are computed fast; knows no column and no source.

Vectors are given as an array and the number of a row, since numba counts references to each view of a row,
which takes longer than the product.
"""

import math

import numba
import numpy as np

from learner.ranking.arrays import Floats
from learner.signals.kernels import Items, decay

EPSILON = 0.05  # clicks added to a decayed popularity before its logarithm
_ROOT_HALF = 0x3F3504F3  # sqrt(1/2) as the bits of a float32


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})  # type: ignore[untyped-decorator]
def dot(a: Floats, i: int, b: Floats, j: int) -> np.float32:
    """Inner product of a[i] and b[j], float32, in whatever order is fastest."""
    total = np.float32(0.0)
    for k in range(a.shape[1]):
        total += a[i, k] * b[j, k]
    return total


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def length_of(a: Floats, i: int) -> float:
    """Length of the vector a[i], never 0."""
    return math.sqrt(dot(a, i, a, i)) + 1e-9


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def direction(items: Items, vectors: Floats, out: Floats, row: int) -> None:
    """Unit mean of the items' unit vectors, weights .9**d, into out[row] (D,); or 0."""
    for k in range(out.shape[1]):
        out[row, k] = 0.0
    weight = 1.0
    for item in items:
        scale = np.float32(weight / length_of(vectors, item))
        for k in range(out.shape[1]):
            out[row, k] += scale * vectors[item, k]
        weight *= 0.9
    scale = np.float32(1.0 / length_of(out, row))
    for k in range(out.shape[1]):
        out[row, k] *= scale


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def content_profile(items: Items, content: Floats, profile: Floats) -> None:
    """Unit mean of the items' content, weights .9**d, into `profile` (1, T); or 0."""
    for k in range(profile.shape[1]):
        profile[0, k] = 0.0
    weight = 1.0
    for q in items:
        for k in range(profile.shape[1]):
            profile[0, k] += np.float32(weight) * content[q, k]
        weight *= 0.9
    norm = math.sqrt(dot(profile, 0, profile, 0))
    if norm > 1e-9:
        for k in range(profile.shape[1]):
            profile[0, k] /= np.float32(norm)


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def decayed_by(now_ms: int, half_life_ms: float, reference: int) -> float:
    """`decay`, finite also for one who asks about times long past.

    Clicks later than `now_ms` would then count more than once: bound what it is multiplied with by the
    number of clicks.
    """
    finite: float = min(decay(now_ms, half_life_ms, reference), 1e200)
    return finite


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def age(now: int, then: int) -> float:
    """log(1 + seconds); what lies in the future happens now."""
    passed: float = log(1.0 + max(now - then, 0) / 1000.0)
    return passed


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def log(x: float) -> float:
    """log in single precision: features need no more, and it is faster. (For many at once: `take_logs`.)"""
    return math.log(np.float32(x))


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def take_logs(numbers: Floats) -> None:
    """Logarithms of positive numbers, contiguous float32 in any shape, in place.

    log(2**e m) = e log 2 + log m with m near 1, by the polynomial of Cephes' logf (error below 1e-7 of the
    result): no call and no branch, so that the compiler takes many at a time.
    """
    x = numbers.reshape(-1)
    for k in range(x.shape[0]):
        bits = np.float32(x[k]).view(np.int32)
        exponent = np.int32((bits - np.int32(_ROOT_HALF)) >> np.int32(23))
        t = np.int32(bits - (exponent << np.int32(23))).view(np.float32) - np.float32(1.0)
        y = np.float32(7.0376836292e-2)
        y = y * t - np.float32(1.1514610310e-1)
        y = y * t + np.float32(1.1676998740e-1)
        y = y * t - np.float32(1.2420140846e-1)
        y = y * t + np.float32(1.4249322787e-1)
        y = y * t - np.float32(1.6668057665e-1)
        y = y * t + np.float32(2.0000714765e-1)
        y = y * t - np.float32(2.4999993993e-1)
        y = y * t + np.float32(3.3333331174e-1)
        e = np.float32(exponent)
        y = y * t * t * t - np.float32(2.12194440e-4) * e - np.float32(0.5) * t * t
        x[k] = t + y + np.float32(0.693359375) * e  # the two halves of log 2


_LOG_RANK = np.log1p(np.arange(4097, dtype=np.float32))


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def log_rank(rank: int) -> np.float32:
    """log(1 + rank) of a rank from 0; no lists are so long that what it leaves out would matter."""
    return np.float32(_LOG_RANK[min(rank, _LOG_RANK.shape[0] - 1)])


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def copy_columns(source: Floats, target: Floats, begin: int, end: int) -> None:
    """Columns [begin, end) of one table (n, k) into the same of another; numba is slow at slices of both."""
    for c in range(target.shape[0]):
        for k in range(begin, end):
            target[c, k] = source[c, k]
