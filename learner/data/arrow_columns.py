"""Arrow columns of whatever type a file has, made text or numbers.

Owns what of a type can be read as what. Knows neither files nor what columns mean.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from learner.data.cells import NOTHING

# Whole numbers up to these are exact in floats of 16, 32 and 64 bits.
_EXACT = {16: 2**11, 32: 2**24, 64: 2**53}


def plain(column: Any) -> Any:
    """The column without dictionaries and views; bytes that are text in UTF-8 as such (Spark writes them)."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_string_view(column.type):
        return column.cast(pa.string())
    if pa.types.is_binary_view(column.type):
        column = column.cast(pa.binary())
    if is_binary(column.type):
        with suppress(pa.ArrowInvalid):
            return column.cast(pa.string() if pa.types.is_binary(column.type) else pa.large_string())
    return column


def is_text(kind: Any) -> bool:
    """Whether a type is one of text."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def is_binary(kind: Any) -> bool:
    """Whether a type is one of bytes."""
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def is_list(kind: Any) -> bool:
    """Whether a type is one of lists, of whatever length and layout."""
    tests = (
        pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list, pa.types.is_list_view,
        pa.types.is_large_list_view,
    )  # fmt: skip
    return any(test(kind) for test in tests)


def first_that_fails(column: Any, kind: Any) -> int | None:
    """Index of the first value that cannot be cast to a type, None where all can, found by halving."""

    def casts(part: Any) -> bool:
        try:
            part.cast(kind, safe=not pa.types.is_floating(kind))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            return False
        return True

    if casts(column):
        return None
    low, high = 0, len(column)  # the first failure lies in [low, high)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if not casts(column[low:middle]) else (middle, high)
    return low


def filled(column: Any, notice: Callable[[int, str], None]) -> Any:
    """A column of text, trimmed, null where it is blank or holds a word for nothing, such as NULL.

    `notice` is told how many cells hold such words, and what the first one says.
    """
    column = pc.utf8_trim_whitespace(column)
    column = pc.if_else(pc.equal(column, ""), pa.scalar(None, column.type), column)
    nothing = pc.fill_null(pc.is_in(pc.utf8_lower(column), pa.array(sorted(NOTHING), column.type)), False)
    if count := int(pc.sum(nothing).as_py() or 0):
        notice(count, column[int(np.argmax(nothing.to_numpy(zero_copy_only=False)))].as_py())
        column = pc.if_else(nothing, pa.scalar(None, column.type), column)
    return column


def whole(column: Any) -> Any:
    """Floats and decimals that are whole, as text; nan is nothing. Where any is not, the place of the first.

    pandas stores whole numbers beside missing ones as floats, databases store ids as decimals.
    """
    if pa.types.is_decimal(column.type):
        kind = pa.decimal256(76, 0) if pa.types.is_decimal256(column.type) else pa.decimal128(38, 0)
        bad = first_that_fails(column, kind)
        return column.cast(kind).cast(pa.string()) if bad is None else bad
    values = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
    limit = _EXACT[column.type.bit_width]
    odd = ~np.isnan(values) & ((values != np.rint(values)) | (np.abs(values) >= limit))
    if odd.any():
        return int(np.argmax(odd))
    text = pa.array(np.where(np.isnan(values), 0, values).astype(np.int64)).cast(pa.string())
    return pc.if_else(pa.array(np.isnan(values)), "", text)


def milliseconds(column: Any) -> NDArray[np.float64]:
    """Timestamps and days as (n,) float64 in Unix milliseconds, nan where there is nothing."""
    values = column.cast(pa.timestamp("ms"), safe=False).cast(pa.int64()).cast(pa.float64(), safe=False)
    return np.asarray(values.to_numpy(zero_copy_only=False), np.float64)
