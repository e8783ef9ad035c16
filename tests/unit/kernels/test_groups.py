"""Kernels that are called array by array get their groups as if they had been handed over whole."""

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from kernels.groups import one_by_one


class Pair(NamedTuple):
    left: NDArray[np.int64]
    right: NDArray[np.int64]


class Scaled(NamedTuple):
    by: int
    into: NDArray[np.int64]


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _apart(pair: Pair, less: int, scaled: Scaled) -> None:
    for k in range(scaled.into.shape[0]):
        scaled.into[k] = scaled.by * (pair.left[k] - pair.right[k]) - less


_apart_one_by_one = one_by_one(_apart)


def test_fields_take_the_places_of_their_groups() -> None:
    pair = Pair(np.array([5, 7]), np.array([1, 2]))
    whole, single = Scaled(10, np.zeros(2, np.int64)), Scaled(10, np.zeros(2, np.int64))
    _apart(pair, 3, whole)
    _apart_one_by_one(*pair, 3, *single)
    assert whole.into.tolist() == single.into.tolist() == [37, 47]


def test_the_kernel_is_known_by_its_name_and_module() -> None:
    assert _apart_one_by_one.__name__ == "_apart_one_by_one"
    assert _apart_one_by_one.__module__ == __name__
