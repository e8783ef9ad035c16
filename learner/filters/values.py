"""What an item's record says in a field, as numbers that can be compared in whole arrays.

Owns what counts as a value. Knows neither items nor filters.

A record's cell gives any number of values: null and nan none; a list, or an object {"values": [...]}, those
of its parts; anything else one. Numbers are float64. Texts and truths are keys, int64: of a text Python's own
hash, which is keyed for each process, so that nobody can make two texts meet; by chance two of a million
do in one of 37 million catalogues. Objects and lists within lists are there, and equal to nothing.
"""

import math
from collections.abc import Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

NO_KEY = 0
YES_KEY, FALSE_KEY, OTHER_KEY = 2, 3, 4
_Counts = NDArray[np.int32]


class Read(NamedTuple):
    """Values of n cells: how many each has, (n,) int32, and these one after the other; None for none."""

    numbers: tuple[_Counts, NDArray[np.float64]] | None
    keys: tuple[_Counts, NDArray[np.int64]] | None


def text_key(text: str) -> int:
    """The key of a text."""
    return hash(text) or 1


def truth_key(truth: bool) -> int:
    """The key of true or false."""
    return YES_KEY if truth else FALSE_KEY


def number_keys(numbers: NDArray[np.float64]) -> NDArray[np.int64]:
    """Keys of numbers, for who only asks whether two are the same."""
    return (numbers + 0.0).view(np.int64)  # -0 is 0


def read(cells: Sequence[Any]) -> Read:
    """Values of n cells; columns of one kind are read at once."""
    kinds = set(map(type, cells))
    kinds.discard(type(None))
    if not kinds:
        return Read(None, None)
    if kinds <= {float, int}:
        numbers = np.array([math.nan if cell is None else cell for cell in cells], np.float64)
        some = ~np.isnan(numbers)
        return Read((some.astype(np.int32), numbers[some]), None)
    if kinds == {str}:
        keys = np.array([NO_KEY if cell is None else hash(cell) or 1 for cell in cells], np.int64)
        some = keys != NO_KEY
        return Read(None, (some.astype(np.int32), keys[some]))
    if kinds == {list} and set(map(type, chain.from_iterable(filter(None, cells)))) <= {str}:
        lists = [() if not cell else cell if len(cell) == 1 else list(dict.fromkeys(cell)) for cell in cells]
        counts = np.array(list(map(len, lists)), np.int32)
        flat = np.array(list(map(hash, chain.from_iterable(lists))), np.int64)
        flat[flat == 0] = 1
        return Read(None, (counts, flat)) if len(flat) else Read(None, None)
    return _read_any(cells)


def _read_any(cells: Sequence[Any]) -> Read:
    numbers: list[float] = []
    keys: list[int] = []
    counts = np.zeros((2, len(cells)), np.int32)
    for row, cell in enumerate(cells):
        parts = _parts(cell)
        own = dict.fromkeys(float(part) for part in parts if type(part) in (int, float))
        others = dict.fromkeys(_key(part) for part in parts if type(part) not in (int, float))
        numbers.extend(own)
        keys.extend(others)
        counts[:, row] = len(own), len(others)
    return Read(
        (counts[0], np.array(numbers, np.float64)) if numbers else None,
        (counts[1], np.array(keys, np.int64)) if keys else None,
    )


def _parts(cell: Any) -> list[Any]:
    if isinstance(cell, dict) and list(cell) == ["values"] and isinstance(cell["values"], list | tuple):
        cell = cell["values"]
    parts = cell if isinstance(cell, list | tuple) else [cell]
    return [part for part in parts if part is not None and part == part]


def _key(part: Any) -> int:
    if isinstance(part, str):
        return text_key(part)
    return truth_key(part) if isinstance(part, bool) else OTHER_KEY
