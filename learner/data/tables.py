"""Tables from files: CSV, gzipped CSV and Parquet, read into columns, with errors that name the place.

Owns reading, conversion of text to numbers and the wording of what is wrong with a file. Knows nothing
of what the columns mean: that is `learner.data.dataset`'s.
"""

import csv
import gzip
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as arrow_csv
import pyarrow.parquet as parquet
from numpy.typing import NDArray

# Timestamps below are seconds (the year 5138), above milliseconds (March 1973).
_SECONDS_BELOW = 1e11
# Median timestamps from here on are micro- or nanoseconds (milliseconds of the year 5138).
_FINER_FROM = 1e14
_SHOWN = 80  # characters of a bad value that an error shows


class DataError(ValueError):
    """A file that cannot be read: says where, what was expected, what came, and what to do."""


@dataclass(frozen=True)
class Table:
    """Columns of a file by name; of CSV all text, of Parquet as the file has them."""

    path: Path
    columns: dict[str, Any]  # pyarrow arrays of one length
    rows: int

    def __contains__(self, name: str) -> bool:
        return name in self.columns

    def text(self, name: str) -> Any:
        """The column as a pyarrow string array, with "" where there is nothing."""
        column = self.columns[name]
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
            if not (pa.types.is_integer(column.type) or column.null_count == len(column)):
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
        return numbers, values

    def words(self, name: str) -> tuple[NDArray[np.int32], list[str]]:
        """As `ids`, for columns with few distinct values that may be empty; white space is cut off."""
        encoded = pc.utf8_trim_whitespace(self.text(name)).dictionary_encode()
        return encoded.indices.to_numpy(zero_copy_only=False).astype(np.int32), encoded.dictionary.to_pylist()

    def numbers(self, name: str, mend: str) -> NDArray[np.float64]:
        """The column as (n,) float64, nan where there is nothing."""
        column = self.columns[name]
        if pa.types.is_timestamp(column.type):
            column = column.cast(pa.timestamp("ms"), safe=False).cast(pa.int64())
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
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

        Whether the file has seconds or milliseconds is decided by the median of the column. `strict`
        also refuses single seconds within milliseconds (for events, that could hardly be from 1970).
        """
        mend = "write Unix seconds or milliseconds, for instance 1763856000"
        if pa.types.is_timestamp(self.columns[name].type):
            return self.numbers(name, mend)
        values = self.numbers(name, mend)
        known = values[~np.isnan(values)]
        if not known.size:
            return values
        middle = float(np.median(known))
        seconds = middle < _SECONDS_BELOW
        unit, other = ("seconds", "milliseconds") if seconds else ("milliseconds", "seconds")
        stray = values >= _SECONDS_BELOW if seconds else (values >= 1e8) & (values < _SECONDS_BELOW) & strict
        for bad, expected, repair in (
            (values < 0, "a time from 1970 on", "times before 1970 are not taken: leave the row out"),
            (values >= _FINER_FROM, "Unix seconds or milliseconds", "divide micro- or nanoseconds down"),
            (stray, f"Unix {unit} as in most rows", f"the file mixes {unit} and {other}: use one of them"),
        ):
            if bad.any():
                row = int(np.argmax(bad))
                self.fail(name, row, expected, f"{values[row]:.0f}", repair)
        return np.rint(values * 1000.0 if seconds else values)

    def fail(self, column: str, row: int, expected: str, got: object, mend: str) -> NoReturn:
        """Raises a `DataError` for a row, counted from 0."""
        place = f"{self.path}, {self._place(row)}, column {column}"
        raise DataError(f"{place}: expected {expected}, got {_shown(got)}; {mend}")

    def _place(self, row: int) -> str:
        if is_parquet(self.path):
            return f"row {row + 1}"
        with _opened(
            self.path
        ) as file:  # walks the file once more: rows are not lines where values are quoted
            reader = csv.reader(file)
            before = 0
            filled = (n for n, fields in _with_first_line(reader) if fields)
            for number, line in enumerate(filled, -1):
                before = line
                if number == row:
                    break
        return f"line {before}"


def read_table(path: Path, required: Sequence[str], optional: Sequence[str]) -> Table:
    """Reads the named columns of a file and leaves all others out.

    Raises DataError where the file is missing, is damaged or lacks a required column.
    """
    if not path.is_file():
        raise DataError(
            f"{path}: expected a file, found {'a folder' if path.is_dir() else 'none'}; check the path"
        )
    if not (is_parquet(path) or path.name.endswith((".csv", ".csv.gz"))):
        raise DataError(
            f"{path}: expected a name that ends in .csv, .csv.gz or .parquet; rename or convert the file"
        )
    header = _parquet_header(path) if is_parquet(path) else _csv_header(path)
    where = f"{path}" if is_parquet(path) else f"{path}, line 1"
    if missing := [name for name in required if name not in header]:
        raise DataError(
            f"{where}: expected the columns {', '.join(required)}, got {_shown(', '.join(header))}; "
            f"rename or add {', '.join(missing)}" + _other_delimiter(header)
        )
    if twice := sorted({name for name in header if header.count(name) > 1}):
        raise DataError(
            f"{where}: expected each column once, got {', '.join(twice)} twice; rename one of them"
        )
    wanted = [name for name in header if name in required or name in optional]
    table = _read_parquet(path, wanted) if is_parquet(path) else _read_csv(path, wanted, len(header))
    columns = {name: table.column(name).combine_chunks() for name in wanted}
    return Table(path, columns, table.num_rows)


def is_parquet(path: Path) -> bool:
    """Whether the file's name says Parquet."""
    return path.name.endswith(".parquet")


def _read_csv(path: Path, wanted: list[str], width: int) -> Any:
    # Everything as text, never null: an item may well be called NA or 007.
    try:
        return arrow_csv.read_csv(
            str(path),
            parse_options=arrow_csv.ParseOptions(newlines_in_values=True),
            convert_options=arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(wanted, pa.string()),
                include_columns=wanted,
                strings_can_be_null=False,
            ),
        )
    except (pa.ArrowInvalid, OSError) as error:
        _explain(path, width, error)


def _explain(path: Path, width: int, error: Exception) -> NoReturn:
    """Finds the place of what Arrow could not read and raises a DataError that names it."""
    line = 0
    try:
        with _opened(path) as file:
            for line, fields in _with_first_line(csv.reader(file)):
                if fields and len(fields) != width:
                    mend = "quote values that hold commas or quotes, and give every row all columns"
                    raise DataError(
                        f"{path}, line {line}: expected {width} columns, got {len(fields)}; {mend}"
                    ) from None
    except UnicodeDecodeError as wrong:
        byte = wrong.object[wrong.start]
        raise DataError(
            f"{path}, after line {line}: expected UTF-8, got the byte {byte:#04x}; save the file as UTF-8"
        ) from None
    except (EOFError, OSError) as wrong:
        raise DataError(
            f"{path}, after line {line}: expected a whole file, got {_shown(wrong)}; copy or pack it again"
        ) from None
    except csv.Error as wrong:
        raise DataError(
            f"{path}, after line {line}: expected CSV, got {_shown(wrong)}; repair the row"
        ) from None
    raise DataError(f"{path}: expected CSV, got {_shown(error)}; repair the file") from error


def _read_parquet(path: Path, wanted: list[str]) -> Any:
    try:
        return parquet.read_table(path, columns=wanted)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: expected a Parquet file, got {_shown(error)}; write it again") from error


def _parquet_header(path: Path) -> list[str]:
    try:
        return list(parquet.read_schema(path).names)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: expected a Parquet file, got {_shown(error)}; write it again") from error


def _csv_header(path: Path) -> list[str]:
    try:
        with _opened(path) as file:
            return next((fields for fields in csv.reader(file) if fields), [])
    except (EOFError, OSError, UnicodeDecodeError, csv.Error) as error:
        _explain(path, 0, error)


def _opened(path: Path) -> IO[str]:
    if path.name.endswith(".gz"):
        return io.TextIOWrapper(gzip.open(path), "utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _with_first_line(reader: Any) -> Iterator[tuple[int, list[str]]]:
    """Rows of a csv reader, each with the line it begins on."""
    line = 1
    for fields in reader:
        yield line, fields
        line = reader.line_num + 1


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


def _other_delimiter(header: list[str]) -> str:
    for character, name in (("\t", "tabs"), (";", "semicolons")):
        if any(character in field for field in header):
            return f"; the columns seem to be separated by {name}: use commas"
    return ""


def _shown(value: object) -> str:
    text = " ".join(str(value).split())
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "…")
