"""JSON Lines: one object a line, its values as the text that CSV would have.

Owns the way from JSON's values to text. Knows nothing of what columns mean.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
import pyarrow as pa

from learner.data.faulty import DataError, shown
from learner.data.text_file import TextFile

_LOOKED_AT = 1000  # objects whose names make the header


class JsonLines:
    """A file of objects: `header` has the names of the first thousand and those that are always asked for.

    size: in bytes
    unfit: by place in the header the first row whose value is a list, an object or a number that is not whole
    """

    def __init__(self, text: TextFile, always: Iterable[str]) -> None:
        self.path, self.size, self._text = text.path, text.size, text
        self.unfit: dict[int, int] = {}
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
            for place, name, column in zip(places, names, columns, strict=True):
                value = record.get(name)
                column.append(_as_text(value))
                if isinstance(value, dict | list | float) and not _is_whole(value):
                    self.unfit.setdefault(place, rows)
            rows += 1
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
                except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as wrong:
                    raise DataError(
                        f"{self.path}, line {line}: expected a JSON object, got {shown(content)}; "
                        f"{self._mend(content.strip(), str(wrong))}"
                    ) from None

    def _mend(self, content: str, wrong: str) -> str:
        """What to do about a line that is no object."""
        whole = "write one whole object a line"
        if content.startswith("["):
            return f"{whole}: jq -c '.[]' {self.path} > NEW.jsonl"
        if content == "{":
            return f"{whole}: jq -c . {self.path} > NEW.jsonl"
        if content.startswith(("{'", "{u'")):
            return "this is how Python prints a dict: write json.dumps(dict)"
        if re.search(r":\s*-?(NaN|Infinity)\b", content):
            return "JSON has neither NaN nor Infinity: write null"
        return f"{whole} ({wrong})" if content.startswith("{") else whole


def _is_whole(value: object) -> bool:
    """Whether a value is a float that stands for one whole number; larger ones have lost digits."""
    return isinstance(value, float) and value.is_integer() and abs(value) < 2**53


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and _is_whole(value):
        return str(int(value))
    if isinstance(value, int | float):
        return repr(value)
    return msgspec.json.encode(value).decode()
