"""JSON Lines: one object a line, its values as the text that CSV would have.

Owns the way from JSON's values to text. Knows nothing of what columns mean.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
import pyarrow as pa

from learner.data.faulty import DataError, shown
from learner.data.text_file import TextFile

_LOOKED_AT = 1000  # objects whose names make the header


class JsonLines:
    """A file of objects: `header` has the names of the first thousand and those that are always asked for."""

    def __init__(self, text: TextFile, always: Iterable[str]) -> None:
        self.path, self._text = text.path, text
        self.header: list[str] = []
        known: dict[str, None] = {}
        for number, (_, record) in enumerate(self._objects()):
            if number == _LOOKED_AT:
                break
            known.update(dict.fromkeys(record))
        seen = {name.strip() for name in known}
        rare = self._rare([name for name in always if name not in seen]) if known else []
        self.header = [*known, *rare]

    def columns(self, places: list[int]) -> tuple[list[Any], int]:
        """The columns at `places` of the header as Arrow strings, "" where there is nothing; and the rows."""
        names = [self.header[place] for place in places]
        columns: list[list[str]] = [[] for _ in names]
        rows = 0
        for _, record in self._objects():
            rows += 1
            for name, column in zip(names, columns, strict=True):
                column.append(_as_text(record.get(name)))
        return [pa.array(column, pa.string()) for column in columns], rows

    def line_of(self, row: int) -> int:
        """The line of a row, counted from 0."""
        line = 0
        for number, (begun, _) in enumerate(self._objects()):
            line = begun
            if number == row:
                break
        return line

    def _rare(self, names: list[str]) -> list[str]:
        """Which of `names` only later objects have."""
        if not names:
            return []
        found: set[str] = set()
        for number, (_, record) in enumerate(self._objects()):
            if number >= _LOOKED_AT:
                found.update(name for name in names if name in record)
        return sorted(found)

    def _objects(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Each object, with its line; blank lines are passed over."""
        decode = msgspec.json.Decoder(dict[str, Any]).decode
        with self._text.opened() as file:
            for line, content in enumerate(file, 1):
                if not content.strip():
                    continue
                try:
                    yield line, decode(content)
                except (msgspec.DecodeError, UnicodeEncodeError):
                    mend = "write one whole object a line"
                    if content.lstrip().startswith("["):
                        mend += f": jq -c '.[]' {self.path} > NEW.jsonl"
                    elif content.strip() == "{":
                        mend += f": jq -c . {self.path} > NEW.jsonl"
                    raise DataError(
                        f"{self.path}, line {line}: expected a JSON object, got {shown(content)}; {mend}"
                    ) from None


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    if isinstance(value, int | float):
        return repr(value)
    return msgspec.json.encode(value).decode()
