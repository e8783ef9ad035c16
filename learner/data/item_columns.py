"""What columns of an items file hold: texts, lists, attributes, prices, dates, availability.

Owns the way from a column to a value for each row. Which columns there are is `learner.data.dataset`'s.
"""

import logging
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from learner.data import cells
from learner.data.arrow_columns import is_list
from learner.data.faulty import shown
from learner.data.tables import Table

log = logging.getLogger(__name__)
T = TypeVar("T")


def texts(table: Table, name: str) -> list[str | None]:
    """Texts of a column, None where there is none."""
    return [text or None for text in table.text(name).to_pylist()] if name in table else [None] * table.rows


def lists(table: Table, name: str) -> list[list[str]]:
    """Lists of a column: text as `cells.parts` reads it; of Parquet also true lists."""
    if name not in table:
        return [[] for _ in range(table.rows)]
    if is_list(table.columns[name].type):
        return [cells.parts(row or []) for row in table.columns[name].to_pylist()]
    lists = [cells.parts(text) for text in table.text(name).to_pylist()]
    _tell_of_other_marks(table, name, lists)
    return lists


def _tell_of_other_marks(table: Table, name: str, lists: list[list[str]]) -> None:
    """Where no list has two parts, and many parts look like lists with another mark: that is said."""
    filled = [parts[0] for parts in lists if parts]
    if len(filled) < 2 or any(len(parts) > 1 for parts in lists):
        return
    for mark in (";", ",", " > "):
        marked = [part for part in filled if mark in part]
        if 2 * len(marked) >= len(filled):
            log.warning(
                "%s: %d of %d cells in column %s hold %r, such as %s, and none holds |: each is one; "
                "if they are lists, write a|b",
                table.path, len(marked), table.rows, table.own.get(name, name), mark.strip(),
                shown(marked[0]),
            )  # fmt: skip
            return


def attributes(table: Table) -> list[dict[str, Any]]:
    """Of each row what `_entries_of` finds. Refuses numbers that nothing here can keep."""
    rows = _entries_of(table)
    bad = next((row for row, entries in enumerate(rows) if cells.has_huge_number(entries)), None)
    if bad is not None:
        got = cells.as_text(rows[bad])
        table.fail("attributes", bad, "whole numbers of at most 64 bits", got, "write longer ones as text")
    return rows


def _entries_of(table: Table) -> list[dict[str, Any]]:
    """A list becomes {"values": [...]}; structs and maps of Parquet, and objects in text, stay so."""
    if "attributes" not in table:
        return [{} for _ in range(table.rows)]
    column = table.columns["attributes"]
    if pa.types.is_struct(column.type) or pa.types.is_map(column.type):
        return [cells.entries(dict(row or {})) for row in column.to_pylist()]
    if is_list(column.type):
        return [{"values": values} if values else {} for values in lists(table, "attributes")]
    return [cells.attributes(text) for text in table.text("attributes").to_pylist()]


def prices(table: Table) -> list[float | None]:
    """Prices, None where there is none."""
    if "price" not in table:
        return [None] * table.rows
    return _or_none(table.numbers("price", "write a number without currency, or leave it empty"), float)


def dates(table: Table) -> list[int | None]:
    """Times of publication in Unix milliseconds, None where there is none."""
    if "published_at" not in table:
        return [None] * table.rows
    return _or_none(table.times_ms("published_at", strict=False), int)


def _or_none(values: NDArray[np.float64], convert: Callable[[float], T]) -> list[T | None]:
    return [None if value != value else convert(value) for value in values.tolist()]


def available(table: Table) -> list[bool]:
    """Whether each item may be recommended: yes where nothing is said."""
    if "available" not in table:
        return [True] * table.rows
    codes, words = table.said("available")
    verdicts = []
    for code, word in enumerate(words):
        verdict = cells.yes_or_no(word) if word else True
        if verdict is None:
            mend = "write one of them, or leave it empty"
            table.fail("available", int(np.argmax(codes == code)), "true or false", word, mend)
        verdicts.append(verdict)
    return [verdicts[code] for code in codes.tolist()]
