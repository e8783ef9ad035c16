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
_LONG = 16  # values of a cell; more are compared in order, not each with each
_NUMBERS = frozenset((int, float))
_Counts = NDArray[np.int32]


class Read(NamedTuple):
    """Values of n cells: how many each has, (n,) int32, and these one after the other; None for none."""

    numbers: tuple[_Counts, NDArray[np.float64]] | None
    keys: tuple[_Counts, NDArray[np.int64]] | None


def joined(reads: Sequence[Read], sizes: Sequence[int]) -> Read:
    """What several reads of so many cells say, one after the other."""

    def all_of(parts: Sequence[tuple[_Counts, NDArray[Any]] | None]) -> tuple[_Counts, NDArray[Any]] | None:
        some = [part for part in parts if part is not None]
        if not some:
            return None
        counts = [
            np.zeros(size, np.int32) if part is None else part[0]
            for part, size in zip(parts, sizes, strict=True)
        ]
        return np.concatenate(counts), np.concatenate([part[1] for part in some])

    return Read(all_of([each.numbers for each in reads]), all_of([each.keys for each in reads]))


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
    if kinds == {list}:
        return _read_lists(cells)
    if kinds == {str}:
        return Read(None, (np.ones(len(cells), np.int32), _text_keys(cells)))
    kinds.discard(type(None))
    if not kinds:
        return Read(None, None)
    if kinds == {list}:
        return _read_lists([cell or () for cell in cells])
    if kinds <= _NUMBERS:
        numbers = np.array([math.nan if cell is None else cell for cell in cells], np.float64)
        some = ~np.isnan(numbers)
        return Read((some.astype(np.int32), numbers[some]), None)
    if kinds == {str}:
        keys = np.array([NO_KEY if cell is None else hash(cell) or 1 for cell in cells], np.int64)
        some = keys != NO_KEY
        return Read(None, (some.astype(np.int32), keys[some]))
    return _read_lists([_parts(cell) for cell in cells])


def _read_lists(cells: Sequence[Sequence[Any]]) -> Read:
    """Values of n cells that are all lists."""
    flat = list(chain.from_iterable(cells))
    rows = np.repeat(np.arange(len(cells)), np.fromiter(map(len, cells), np.int64, len(cells)))
    if set(map(type, flat)) <= {str}:
        return Read(None, _once(rows, _text_keys(flat), len(cells)))
    numeric = np.fromiter((type(part) in _NUMBERS for part in flat), np.bool_, len(flat))
    numbers = np.array([part for part in flat if type(part) in _NUMBERS], np.float64)
    keys = np.array([_key(part) for part in flat if type(part) not in _NUMBERS], np.int64)
    is_number, is_key = ~np.isnan(numbers), keys != NO_KEY
    return Read(
        _once(rows[numeric][is_number], numbers[is_number], len(cells)),
        _once(rows[~numeric][is_key], keys[is_key], len(cells)),
    )


def _text_keys(texts: Sequence[str]) -> NDArray[np.int64]:
    keys = np.fromiter(map(hash, texts), np.int64, len(texts))
    keys[keys == NO_KEY] = 1
    return keys


def _once(rows: NDArray[np.int64], values: NDArray[Any], n: int) -> tuple[_Counts, NDArray[Any]] | None:
    """Counts (n,) and values, each once a row; rows (values,) rises. None where there are no values."""
    if not len(values):
        return None
    counts = np.bincount(rows, minlength=n)
    again = np.zeros(len(values), np.bool_)
    if (longest := int(counts.max())) > _LONG:
        order = np.lexsort((values, rows))
        same = (values[order][1:] == values[order][:-1]) & (rows[order][1:] == rows[order][:-1])
        again[order[1:][same]] = True
    else:
        for step in range(1, longest):
            again[step:] |= (values[step:] == values[:-step]) & (rows[step:] == rows[:-step])
    if again.any():
        counts -= np.bincount(rows[again], minlength=n)
        values = values[~again]
    return counts.astype(np.int32), values


def _parts(cell: Any) -> Sequence[Any]:
    if isinstance(cell, dict) and list(cell) == ["values"] and isinstance(cell["values"], list | tuple):
        cell = cell["values"]
    return cell if isinstance(cell, list | tuple) else () if cell is None else (cell,)


def _key(part: Any) -> int:
    if isinstance(part, str):
        return text_key(part)
    if part is None:
        return NO_KEY
    return truth_key(part) if isinstance(part, bool) else OTHER_KEY
