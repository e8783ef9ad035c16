"""Rows of text with a delimiter: commas, semicolons, tabs or pipes.

Owns which delimiter a file has, its header, what its quotes enclose, and the places of rows. Knows nothing
of what columns are called or mean.
"""

import csv
import logging
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import IO, Any, NoReturn

import pyarrow as pa
import pyarrow.csv as arrow_csv

from learner.data.faulty import DataError, shown
from learner.data.text_file import TextFile, packed, unpacked

log = logging.getLogger(__name__)

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "pipes"}
_OTHERS = ("::", "^", "\x01", "~", ":", " ")  # what other programs divide values by
_LOOKED_AT = 20  # lines in which a header is looked for
_BLOCK = 1 << 20  # bytes that Arrow reads at a time, and the longest row it takes so
_LONGEST_ROW = (1 << 31) - 1  # bytes: Arrow counts them in 32 bits


class Delimited:
    """A file of rows: `header` as it stands, and the columns asked for as text."""

    def __init__(self, text: TextFile, complete: Callable[[list[str]], bool]) -> None:
        """`complete` says of a header whether it has what is needed: the first delimiter that it likes is
        the file's; where it likes none, the one that makes most columns.
        """
        self.path, self._text = text.path, text
        # One cell may be longer than the csv module expects (131,072 characters).
        csv.field_size_limit((1 << 31) - 1)
        headers = {mark: self._read_header(mark) for mark in DELIMITERS}
        chosen = next((mark for mark in DELIMITERS if complete(headers[mark][1])), None)
        self.delimiter = chosen or max(DELIMITERS, key=lambda mark: len(headers[mark][1]))
        self._blank, self.header, self.header_line = headers[self.delimiter]
        self._complete = complete

    def columns(self, places: list[int]) -> tuple[list[Any], int]:
        """The columns at `places` of the header as Arrow strings, never null; and how many rows there are.

        Raises DataError where rows differ in width, or where a quote is not closed.
        """
        if self._text.quoted:
            self._check_quotes()
        # Numbers for names: a header may repeat names, or leave them out, in columns that nobody reads.
        names = [str(place) for place in range(len(self.header))]
        wanted = [names[place] for place in places]
        table = self._read(names, wanted, _BLOCK)
        return [table.column(name).combine_chunks() for name in wanted], table.num_rows

    def line_of(self, row: int) -> int:
        """The line that a row, counted from 0 below the header, begins on.

        Walks the file once more: rows are not lines where values are quoted.
        """
        line = 0
        with self._text.opened() as file:
            filled = (line for line, fields in self._with_first_line(file) if fields)
            for number, begun in enumerate(filled, -1):
                line = begun
                if number == row:
                    break
        return line

    def advice(self) -> str:
        """What to do where the header lacks columns: it stands further down, has other marks, or is none.

        "" where nothing looks like it.
        """
        packing = "zcat" if packed(self.path) else "cat"
        with self._text.opened() as file:
            lines = list(zip(range(1, _LOOKED_AT + 1), file, strict=False))
        for number, line in lines:
            if number > self.header_line and any(
                self._complete(line.rstrip("\r\n").split(mark)) for mark in DELIMITERS
            ):
                return (
                    f"the columns' names seem to stand on line {number}: take out what is above it: "
                    f"{packing} {self.path} | tail -n +{number} > NEW"
                )
        first = lines[self.header_line - 1][1].strip() if len(lines) >= self.header_line else ""
        if first.startswith("{"):
            return "these are JSON Lines: give the file a name that ends in .jsonl"
        if len(self.header) == 1:
            for mark in _OTHERS:
                if first.count(mark) >= 2:
                    return (
                        f"values seem to be divided by {mark!r}, which is not read: write tabs in its place, "
                        "with a line of the columns' names above"
                    )
        if any(_is_data(cell) for cell in self.header):
            return "the first line seems to be data: put a line with the columns' names above it"
        return ""

    def _read_header(self, delimiter: str) -> tuple[int, list[str], int]:
        """How many lines before it are blank, its fields, and the line it stands on."""
        blank = 0
        with self._text.opened() as file:
            reader = csv.reader(file, delimiter=delimiter)
            for fields in reader:
                if fields:
                    return blank, fields, blank + 1
                blank += 1
        return blank, [], 1

    def _read(self, names: list[str], wanted: list[str], block: int) -> Any:
        options = {
            "read_options": arrow_csv.ReadOptions(
                column_names=names,
                skip_rows_after_names=self._blank + 1,
                block_size=block,
                encoding=self._text.encoding.removesuffix("-sig"),
            ),
            "parse_options": arrow_csv.ParseOptions(newlines_in_values=True, delimiter=self.delimiter),
            # Everything as text, never null: an item may well be called NA or 007.
            "convert_options": arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(wanted, pa.string()),
                include_columns=wanted,
                strings_can_be_null=False,
            ),
        }
        try:
            with unpacked(self.path) as file:
                return arrow_csv.read_csv(file, **options)
        except (pa.ArrowInvalid, OSError) as error:
            if self._holds_no_rows():
                return pa.table({name: pa.array([], pa.string()) for name in wanted})
            whole = min(self._text.size + 1, _LONGEST_ROW)
            if "straddling" in str(error) and block < whole:
                return self._read(names, wanted, whole)
            self._explain(error)

    def _holds_no_rows(self) -> bool:
        """Whether nothing but blank lines comes after the header."""
        with self._text.opened() as file:
            filled = (fields for _, fields in self._with_first_line(file) if fields)
            return next(filled, None) is None or next(filled, None) is None

    def _check_quotes(self) -> None:
        """Refuses quotes that swallow rows, and tells of values that span lines."""
        spans = rows_within = loose = first_span = first_within = first_loose = 0
        with self._text.opened() as file:
            reader = csv.reader(file, delimiter=self.delimiter, strict=True)
            while True:
                begun = reader.line_num + 1
                try:
                    fields = next(reader)
                except StopIteration:
                    break
                except csv.Error as wrong:
                    if reader.line_num > begun or "unexpected end" in str(wrong):
                        self._unclosed(begun, reader.line_num, str(wrong))
                    loose, first_loose = loose + 1, first_loose or begun
                    continue
                if reader.line_num > begun:
                    spans, first_span = spans + 1, first_span or begun
                    if self._holds_rows(fields):
                        rows_within, first_within = rows_within + 1, first_within or begun
        if loose:
            log.warning(
                "%s: in %d rows (the first is line %d) text follows a closing quote: it is taken without the "
                'quotes; write a " within a value twice',
                self.path, loose, first_loose,
            )  # fmt: skip
        if rows_within:
            log.warning(
                "%s: %d rows span lines and hold what look like rows of their own (the first begins on "
                "line %d): if a quote was left open there, close it, or rows are lost",
                self.path, rows_within, first_within,
            )  # fmt: skip
        elif spans:
            log.warning(
                "%s: %d rows have values that span lines; the first begins on line %d",
                self.path, spans, first_span,
            )  # fmt: skip

    def _unclosed(self, begun: int, ended: int, wrong: str) -> NoReturn:
        how = (
            "to the end of the file"
            if "unexpected end" in wrong
            else f"to line {ended}, where text follows it"
        )
        raise DataError(
            f"{self.path}, line {begun}: expected a closing quote, got a quoted value that goes on {how}; "
            'close the quote on that line, or write a " within a value twice'
        )

    def _holds_rows(self, fields: list[str]) -> bool:
        """Whether each line of a row that spans lines would be a row by itself."""
        lines = self.delimiter.join(fields).splitlines()
        return len(self.header) > 1 < len(lines) and all(
            line.count(self.delimiter) + 1 == len(self.header) for line in lines
        )

    def _explain(self, error: Exception) -> NoReturn:
        """Finds the place of what Arrow could not read and raises a DataError that names it."""
        line = 0
        try:
            with self._text.opened() as file:
                for line, fields in self._with_first_line(file):
                    if fields and len(fields) != len(self.header):
                        mark = DELIMITERS[self.delimiter]
                        mend = f"quote values that hold {mark} or quotes, and give every row all columns"
                        raise DataError(
                            f"{self.path}, line {line}: expected {len(self.header)} columns, "
                            f"got {len(fields)}; {mend}"
                        ) from None
        except csv.Error as wrong:
            raise DataError(
                f"{self.path}, after line {line}: expected CSV, got {shown(wrong)}; repair the row"
            ) from None
        raise DataError(f"{self.path}: expected CSV, got {shown(error)}; repair the file") from error

    def _with_first_line(self, file: IO[str]) -> Iterator[tuple[int, list[str]]]:
        """Rows of the file, each with the line it begins on."""
        reader = csv.reader(file, delimiter=self.delimiter)
        line = 1
        for fields in reader:
            yield line, fields
            line = reader.line_num + 1


def _is_data(cell: str) -> bool:
    """Whether a cell is a number or a time, which no column is called."""
    text = cell.strip()
    if text.replace(".", "", 1).isdigit():
        return True
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True
