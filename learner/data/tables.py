"""Tables from files: delimited text, JSON Lines and Parquet, packed or not, read into columns.

Owns which reader a file needs, conversion of text to numbers and times, and the wording of what is wrong
with a row. Which column is meant is `learner.data.naming`'s, what columns mean `learner.data.dataset`'s.
"""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from learner.data import cells, moments
from learner.data.arrow_columns import (
    filled,
    first_that_fails,
    is_binary,
    is_text,
    milliseconds,
    plain,
    whole,
)
from learner.data.delimited import Delimited
from learner.data.faulty import DataError, shown
from learner.data.json_lines import JsonLines
from learner.data.naming import Chosen, chosen, stripped
from learner.data.parquet_file import ParquetFile
from learner.data.sources import Source, source_of, stamp

__all__ = ["DataError", "Table", "read_table"]

log = logging.getLogger(__name__)

_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")


@dataclass(frozen=True)
class Table:
    """Columns of a file by name; of text files all text, of Parquet as the file has them.

    own: the file's own name of each column that is not called as we call it
    unfit: of columns with lists, objects or broken numbers, which text alone would hide, the first such row
    """

    path: Path
    columns: dict[str, Any]  # pyarrow arrays of one length
    rows: int
    source: Source
    own: dict[str, str] = field(default_factory=dict)
    unfit: dict[str, int] = field(default_factory=dict)

    def __contains__(self, name: str) -> bool:
        return name in self.columns

    def text(self, name: str) -> Any:
        """The column as a pyarrow string array, with "" where there is nothing."""
        column = plain(self.columns[name])
        kind = column.type
        if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
            column = whole(column)
            if isinstance(column, int):
                value = self.columns[name][column].as_py()
                mend = f"store the column as text (the value is {value})"
                self.fail(name, column, "text or whole numbers", str(kind), mend)
        elif is_binary(kind):
            bad = first_that_fails(column, pa.string()) or 0
            self.fail(name, bad, "text in UTF-8", "other bytes", "store the column as text")
        elif not is_text(kind):
            if not (
                pa.types.is_integer(kind) or pa.types.is_boolean(kind) or column.null_count == len(column)
            ):
                self.fail(name, 0, "text or whole numbers", str(kind), "store the column as text")
            column = column.cast(pa.string())
        return pc.fill_null(column, "")

    def ids(self, name: str) -> tuple[NDArray[np.int32], list[str]]:
        """Numbers (n,) int32 in order of first appearance, and the id of each number."""
        if name in self.unfit:
            row = self.unfit[name]
            self.fail(name, row, "text or a whole number", self._cell(name, row), "give each id as text")
        encoded = self.text(name).dictionary_encode()
        values = encoded.dictionary.to_pylist()
        numbers: NDArray[np.int32] = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int32)
        for number, value in enumerate(values):
            if not 1 <= len(value) <= 256 or len(value.encode()) > 256:
                row = int(np.argmax(numbers == number))
                mend = "shorten it" if value else "give every row an id"
                self.fail(name, row, "an id of 1 to 256 bytes", value, mend)
            if "\0" in value:
                row = int(np.argmax(numbers == number))
                self.fail(name, row, "an id without NUL bytes", value.replace("\0", "\\0"), "take them out")
        return numbers, values

    def words(self, name: str) -> tuple[NDArray[np.int32], list[str]]:
        """As `ids`, for columns with few distinct values that may be empty; white space is cut off."""
        encoded = pc.utf8_trim_whitespace(self.text(name)).dictionary_encode()
        return encoded.indices.to_numpy(zero_copy_only=False).astype(np.int32), encoded.dictionary.to_pylist()

    def said(self, name: str) -> tuple[NDArray[np.int32], list[str]]:
        """As `words`, with "" for words for nothing, such as NULL; that they are there is told."""
        codes, texts = self.words(name)
        nothing = [number for number, text in enumerate(texts) if text.lower() in cells.NOTHING]
        if nothing:
            self._emptied(name, int(np.isin(codes, nothing).sum()), texts[nothing[0]])
        return codes, ["" if text.lower() in cells.NOTHING else text for text in texts]

    def numbers(self, name: str, mend: str) -> NDArray[np.float64]:
        """The column as (n,) float64, nan where there is nothing."""
        column = plain(self.columns[name])
        if is_text(column.type):
            column = filled(column, lambda count, word: self._emptied(name, count, word))
        if (bad := first_that_fails(column, pa.float64())) is not None:
            value = column[bad].as_py()
            comma = isinstance(value, str) and _DECIMAL_COMMA.fullmatch(value)
            self.fail(
                name, bad, "a number", value, f"{mend}{', with a point for the comma' if comma else ''}"
            )
        values: NDArray[np.float64] = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        values = values.astype(np.float64)
        if (infinite := np.isinf(values)).any():
            row = int(np.argmax(infinite))
            self.fail(name, row, "a finite number", values[row], mend)
        return values

    def times_ms(self, name: str, *, strict: bool) -> NDArray[np.float64]:
        """Times (n,) float64 in whole Unix milliseconds, nan where there is nothing.

        Text may be numbers or ISO 8601, as its first value is; of numbers the median decides whether they are
        seconds or milliseconds. `strict` (for events) refuses times before 1970, from 2100 on, of another
        unit than most, and before 1973 where most are of 1980 or later; else those out of range are left out,
        and single years are taken. What is odd is said in a warning.
        """
        kind = plain(self.columns[name]).type
        try:
            if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
                values = milliseconds(plain(self.columns[name]))
            elif is_text(kind) and (texts := self._iso_texts(name, strict=strict)) is not None:
                values = moments.of_texts(*texts, strict=strict)
            else:
                numbers = self.numbers(name, moments.ADVICE)
                values = moments.of_numbers(numbers, strict=strict)
                if odd := moments.oddities(numbers, values, kind):
                    log.warning("%s: column %s: %s", self.path, self._own(name), odd)
            outside = moments.outside(values, strict=strict)
        except moments.Wrong as wrong:
            self.fail(name, wrong.row, wrong.expected, self._cell(name, wrong.row), wrong.mend)
        if outside.any():
            row = int(np.argmax(outside))
            log.warning(
                "%s: %d of %d times in column %s are before 1970 or after 2099 and are left out "
                "(the first: %s, %s)",
                self.path, outside.sum(), self.rows, self._own(name), self._place(row), self._cell(name, row),
            )  # fmt: skip
            values = np.where(outside, np.nan, values)
        return values

    def fail(self, column: str, row: int, expected: str, got: object, mend: str) -> NoReturn:
        """Raises a `DataError` for a row, counted from 0."""
        place = f"{self.path}, {self._place(row)}, column {self._own(column)}"
        raise DataError(f"{place}: expected {expected}, got {shown(got)}; {mend}")

    def _iso_texts(self, name: str, *, strict: bool) -> tuple[NDArray[np.int32], list[str]] | None:
        """The column as `words`, None where it holds numbers: if `strict` its first value tells."""
        texts = [text for text in self.words(name)[1] if text and text.lower() not in cells.NOTHING]
        return None if all(map(cells.is_number, texts[:1] if strict else texts)) else self.said(name)

    def _cell(self, name: str, row: int) -> str:
        column = plain(self.columns[name])
        if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
            moment = np.datetime64(int(milliseconds(column[row : row + 1])[0]), "ms")
            return str(moment).replace("T", " ").removesuffix(".000")  # whatever year: datetime ends in 9999
        value = column[row].as_py()
        return f"{value:.0f}" if isinstance(value, float) else str(value)

    def _emptied(self, name: str, count: int, word: str) -> None:
        log.warning(
            "%s: %d of %d cells in column %s hold words for nothing, such as %s: they are taken as empty",
            self.path, count, self.rows, self._own(name), shown(word),
        )  # fmt: skip

    def _own(self, name: str) -> str:
        return self.own.get(name, name)

    def _place(self, row: int) -> str:
        if isinstance(self.source, ParquetFile):
            return f"row {row + 1}"
        return f"line {self.source.line_of(row)}"


def read_table(
    path: Path,
    required: Sequence[str],
    optional: Sequence[str],
    others: Mapping[str, Sequence[str]] | None = None,
    given: Mapping[str, str] | None = None,
) -> Table:
    """Reads the named columns of a file and leaves all others out.

    `others` are names by which columns are found too, `given` the file's names as the user says, both by our
    name. What is not called by our name is told in one line. Raises DataError where the file is missing, is
    damaged or lacks a required column.
    """

    def found_in(header: list[str]) -> Chosen:
        return chosen(stripped(header), required, optional, others or {}, given or {})

    before = stamp(path)
    source = source_of(path, found_in, [*required, *optional])
    found, header = found_in(source.header), stripped(source.header)
    where = f"{path}, line {source.header_line}" if isinstance(source, Delimited) else f"{path}"
    if unknown := [name for name in found.absent if name != "item_id"]:
        raise DataError(
            f"{where}: expected the column {found.absent[unknown[0]]} as --columns says, got "
            f"{shown(', '.join(header))}; write --columns {unknown[0]}=NAME with one of these"
        )
    if not source.header and isinstance(source, JsonLines) and source.size:
        raise DataError(
            f"{path}: expected objects with {', '.join(required)}, got none with fields; check how it "
            "was written"
        )
    if not source.header:
        raise DataError(
            f"{path}: expected a line of columns' names, the file is empty; check how it was written"
        )
    if found.missing:
        raise DataError(
            f"{where}: expected the columns {', '.join(required)}, got {shown(', '.join(header))}; "
            f"rename or add {', '.join(found.missing)}{_advice(source, found.missing, header)}"
        )
    if found.doubled:
        raise DataError(
            f"{where}: expected each column once, got {', '.join(found.doubled)} twice; rename one of them"
        )
    _tell(path, found)
    arrays, rows = source.columns(list(found.places.values()))
    if stamp(path) != before:
        raise DataError(
            f"{path}: expected a file at rest, it changed while it was read; load it when it is whole"
        )
    unfit = source.unfit if isinstance(source, JsonLines) else {}
    odd = {name: unfit[place] for name, place in found.places.items() if place in unfit}
    return Table(path, dict(zip(found.places, arrays, strict=True)), rows, source, found.taken, odd)


def _tell(path: Path, found: Chosen) -> None:
    if found.taken:
        said = ", ".join(f"{_on_a_line(own)} as {name}" for name, own in found.taken.items())
        log.warning("%s: took the columns %s (--columns NAME=COLUMN says otherwise)", path, said)
    for name, source in found.absent.items():  # of two files one may call its items otherwise
        log.warning(
            "%s: has no column %s; %s is taken from %s", path, source, name, found.taken.get(name, name)
        )


def _on_a_line(name: str) -> str:
    return name if name.isprintable() else shown(name)


def _advice(source: Source, missing: list[str], header: list[str]) -> str:
    if isinstance(source, Delimited) and (advice := source.advice()):
        return f"; {advice}"
    if header and header != [""]:
        return f", or say which are meant: --columns {','.join(f'{name}=COLUMN' for name in missing)}"
    return ""
