"""Tables from files: delimited text, JSON Lines and Parquet, packed or not, read into columns.

Owns which reader a file needs, conversion of text to numbers and times, and the wording of what is wrong
with a row. Which column is meant is `learner.data.naming`'s, what columns mean `learner.data.dataset`'s.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from learner.data import moments
from learner.data.delimited import Delimited
from learner.data.faulty import DataError, shown
from learner.data.json_lines import JsonLines
from learner.data.naming import Chosen, chosen, stripped
from learner.data.parquet_file import ParquetFile
from learner.data.text_file import TextFile

__all__ = ["DataError", "Table", "read_table"]

log = logging.getLogger(__name__)

_ROWS = (".csv", ".tsv", ".psv", ".txt", ".dat", ".inter", ".item")
_OBJECTS = (".jsonl", ".ndjson", ".json")
_PARQUET = (".parquet", ".pq")


Source = Delimited | JsonLines | ParquetFile


@dataclass(frozen=True)
class Table:
    """Columns of a file by name; of text files all text, of Parquet as the file has them.

    own: the file's own name of each column that is not called as we call it
    """

    path: Path
    columns: dict[str, Any]  # pyarrow arrays of one length
    rows: int
    source: Source
    own: dict[str, str] = field(default_factory=dict)

    def __contains__(self, name: str) -> bool:
        return name in self.columns

    def text(self, name: str) -> Any:
        """The column as a pyarrow string array, with "" where there is nothing."""
        column = _plain(self.columns[name])
        if pa.types.is_floating(column.type):
            column = self._whole(name, column)
        elif pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
            try:
                column = column.cast(pa.string())
            except pa.ArrowInvalid:
                self.fail(name, 0, "text in UTF-8", "other bytes", "store the column as text")
        elif not _is_text(column.type):
            if not (
                pa.types.is_integer(column.type)
                or pa.types.is_boolean(column.type)
                or column.null_count == len(column)
            ):
                self.fail(name, 0, "text or whole numbers", str(column.type), "store the column as text")
            column = column.cast(pa.string())
        return pc.fill_null(column, "")

    def ids(self, name: str) -> tuple[NDArray[np.int32], list[str]]:
        """Numbers (n,) int32 in order of first appearance, and the id of each number."""
        encoded = self.text(name).dictionary_encode()
        values = encoded.dictionary.to_pylist()
        numbers: NDArray[np.int32] = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int32)
        for number, value in enumerate(values):
            if not 1 <= len(value) <= 256 or len(value.encode()) > 256:
                row = int(np.argmax(numbers == number))
                self.fail(name, row, "an id of 1 to 256 bytes", value, "give every row an id")
            if "\0" in value:
                row = int(np.argmax(numbers == number))
                self.fail(name, row, "an id without NUL bytes", value.replace("\0", "\\0"), "take them out")
        return numbers, values

    def words(self, name: str) -> tuple[NDArray[np.int32], list[str]]:
        """As `ids`, for columns with few distinct values that may be empty; white space is cut off."""
        encoded = pc.utf8_trim_whitespace(self.text(name)).dictionary_encode()
        return encoded.indices.to_numpy(zero_copy_only=False).astype(np.int32), encoded.dictionary.to_pylist()

    def numbers(self, name: str, mend: str) -> NDArray[np.float64]:
        """The column as (n,) float64, nan where there is nothing."""
        column = _plain(self.columns[name])
        if pa.types.is_temporal(column.type):
            column = column.cast(pa.timestamp("ms"), safe=False).cast(pa.int64())
        if _is_text(column.type):
            column = pc.utf8_trim_whitespace(column)
            column = pc.if_else(pc.equal(column, ""), pa.scalar(None, column.type), column)
        if (bad := _first_that_fails(column)) is not None:
            self.fail(name, bad, "a number", column[bad].as_py(), mend)
        values: NDArray[np.float64] = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        values = values.astype(np.float64)
        if (infinite := np.isinf(values)).any():
            row = int(np.argmax(infinite))
            self.fail(name, row, "a finite number", values[row], mend)
        return values

    def times_ms(self, name: str, *, strict: bool) -> NDArray[np.float64]:
        """Times (n,) float64 in whole Unix milliseconds, nan where there is nothing.

        Text may be numbers or ISO 8601, as its first value is; of numbers the median decides whether they are
        seconds or milliseconds. `strict` (for events) refuses times before 1970, from 2100 on, and of another
        unit than most; else those out of that range are left out, with a warning.
        """
        kind = _plain(self.columns[name]).type
        try:
            if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
                values = self.numbers(name, moments.ADVICE)
            elif _is_text(kind) and (texts := self._iso_texts(name)) is not None:
                values = moments.of_texts(*texts)
            else:
                values = moments.of_numbers(self.numbers(name, moments.ADVICE), strict=strict)
        except moments.Wrong as wrong:
            self.fail(name, wrong.row, wrong.expected, self._cell(name, wrong.row), wrong.mend)
        outside = (values < 0) | (values >= moments.END_MS)
        if outside.any():
            row = int(np.argmax(outside))
            early = bool(values[row] < 0)
            expected = "a time from 1970 on" if early else "a time before the year 2100"
            if strict:
                self.fail(
                    name, row, expected, self._cell(name, row), "leave the row out, or give it its time"
                )
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

    def _whole(self, name: str, column: Any) -> Any:
        """Floats that are whole, as pandas stores whole numbers beside missing ones; nan is nothing."""
        values = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
        odd = ~np.isnan(values) & ((values != np.rint(values)) | (np.abs(values) >= 2**53))
        if odd.any():
            row = int(np.argmax(odd))
            mend = f"store the column as text (the value is {values[row]:g})"
            self.fail(name, row, "text or whole numbers", str(column.type), mend)
        whole = pa.array(np.where(np.isnan(values), 0, values).astype(np.int64)).cast(pa.string())
        return pc.if_else(pa.array(np.isnan(values)), "", whole)

    def _iso_texts(self, name: str) -> tuple[NDArray[np.int32], list[str]] | None:
        """The column as `words`, None where its first value is a number."""
        codes, texts = self.words(name)
        first = next((text for text in texts if text), "0")
        try:
            float(first)
        except ValueError:
            return codes, texts
        return None

    def _cell(self, name: str, row: int) -> str:
        value = _plain(self.columns[name])[row].as_py()
        return f"{value:.0f}" if isinstance(value, float) else str(value)

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

    source = _source(path, found_in, [*required, *optional])
    found, header = found_in(source.header), stripped(source.header)
    where = f"{path}, line {source.header_line}" if isinstance(source, Delimited) else f"{path}"
    if unknown := [name for name in found.absent if name != "item_id"]:
        raise DataError(
            f"{where}: expected the column {found.absent[unknown[0]]} as --columns says, got "
            f"{shown(', '.join(header))}; write --columns {unknown[0]}=NAME with one of these"
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
    return Table(path, dict(zip(found.places, arrays, strict=True)), rows, source, found.taken)


def _source(path: Path, found_in: Any, always: Sequence[str]) -> Source:
    if not path.is_file():
        raise DataError(
            f"{path}: expected a file, found {'a folder' if path.is_dir() else 'none'}; check the path"
        )
    name = path.name.lower().removesuffix(".gz")
    if name.endswith(_PARQUET):
        return ParquetFile(path)
    if not name.endswith(_ROWS + _OBJECTS):
        raise DataError(
            f"{path}: expected a name that ends in .csv, .csv.gz or .parquet (or .tsv, .txt, .jsonl, .gz); "
            "rename or convert the file"
        )
    if name.endswith(_OBJECTS):
        return JsonLines(TextFile.of(path), always)
    return Delimited(TextFile.of(path), lambda header: not found_in(header).missing)


def _tell(path: Path, found: Chosen) -> None:
    if found.taken:
        said = ", ".join(f"{own} as {name}" for name, own in found.taken.items())
        log.warning("%s: took the columns %s (--columns NAME=COLUMN says otherwise)", path, said)
    for name, source in found.absent.items():  # of two files one may call its items otherwise
        log.warning(
            "%s: has no column %s; %s is taken from %s", path, source, name, found.taken.get(name, name)
        )


def _advice(source: Source, missing: list[str], header: list[str]) -> str:
    if isinstance(source, Delimited) and any(name.replace(".", "", 1).isdigit() for name in header):
        return "; the first line seems to be data: put a line with the columns' names above it"
    if header and header != [""]:
        return f", or say which are meant: --columns {','.join(f'{name}=COLUMN' for name in missing)}"
    return ""


def _plain(column: Any) -> Any:
    """The column without dictionaries and views, and decimals as floats."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_decimal(column.type):
        column = column.cast(pa.float64())
    if pa.types.is_string_view(column.type):
        column = column.cast(pa.string())
    return column


def _is_text(kind: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _first_that_fails(column: Any) -> int | None:
    """Index of the first value that is no number, None where all are, found by halving."""

    def casts(part: Any) -> bool:
        try:
            part.cast(pa.float64(), safe=False)
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
