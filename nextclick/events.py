"""Server-sent events: from bytes, however they are cut, to events; and coming back where a line breaks.

Owns the parsing (WHATWG's), `Last-Event-ID`, how long is waited before coming back, and when to give up.
Opens nothing itself.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Generic, NamedTuple, NoReturn, TypeVar

import msgspec

from nextclick.errors import BadAnswer, Problem, Unreachable, problem_of

T = TypeVar("T")

# The server says something every 15 s, so a line that is silent for three times that is dead.
SILENT_SECONDS = 45.0
MOST_BYTES = 16 << 20  # of one event; the largest list has 1,000 items and 1 MiB of fields
_LINE_END = re.compile(rb"\r\n|\n|\r(?!\Z)")
_BOM = b"\xef\xbb\xbf"


class Event(NamedTuple):
    """An event: its kind, its id ("" where none was ever given), and its data."""

    kind: str
    id: str
    data: bytes


class Parser:
    """Takes bytes and gives events. `retry_ms`: what the server last said; None before that."""

    def __init__(self) -> None:
        self.retry_ms: int | None = None
        self.id = ""
        self._rest, self._begun = b"", False
        self._kind, self._data, self._bytes = "", list[bytes](), 0

    def feed(self, some: bytes) -> Iterator[Event]:
        """The events that end within `some`. Raises BadAnswer where one does not end."""
        lines = _LINE_END.split(self._rest + some)
        self._rest = lines.pop()
        for line in lines:
            event = self._line(line)
            if event is not None:
                yield event
        if len(self._rest) + self._bytes > MOST_BYTES:
            raise BadAnswer(f"an event of more than {MOST_BYTES} bytes")

    def _line(self, line: bytes) -> Event | None:
        if not self._begun:
            self._begun, line = True, line.removeprefix(_BOM)
        if not line:
            kind, data = self._kind or "message", self._data
            self._kind, self._data, self._bytes = "", [], 0
            return Event(kind, self.id, b"\n".join(data)) if data else None
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
            self._bytes += len(value)
        elif name == b"event":
            self._kind = value.decode("utf-8", "replace")
        elif name == b"id" and b"\0" not in value:
            self.id = value.decode("utf-8", "replace")
        elif name == b"retry" and value.isdigit():
            self.retry_ms = int(value)
        return None


class Following(Generic[T]):
    """One stream over as many lines as it takes.

    kind: of events that are told; user_id: whom it names
    give_up_s: so long without a line that it ends with Unreachable
    """

    def __init__(
        self, path: str, answer: type[T], kind: str, query: dict[str, Any], user_id: str | None = None,
        last_event_id: str = "", give_up_s: float = 300.0,
    ) -> None:  # fmt: skip
        self.path, self.query, self.user_id = path, query, user_id
        self._decode, self._kind, self._give_up_s = msgspec.json.Decoder(answer).decode, kind, give_up_s
        self._parser, self._wait_s = Parser(), 0.0
        self._lost_since: float | None = None
        self._last, self._retry_s = last_event_id, 2.0

    @property
    def headers(self) -> dict[str, str]:
        """What to open the next line with."""
        asked = {"Accept": "text/event-stream", "Cache-Control": "no-cache"}
        return asked | ({"Last-Event-ID": self._last} if self._last else {})

    def opened(self) -> None:
        """The server has accepted a line."""
        self._parser, self._lost_since = Parser(), None

    def feed(self, some: bytes) -> Iterator[T]:
        """What has come in whole. An event that the caller has got already is passed over."""
        for event in self._parser.feed(some):
            if event.kind != self._kind or (event.id and event.id == self._last):
                continue
            self._last = event.id or self._last
            try:
                told = self._decode(event.data)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise BadAnswer(f"an event that cannot be read: {error}") from error
            yield told
        if self._parser.retry_ms is not None:
            self._retry_s = self._parser.retry_ms / 1000

    def refused(self, status: int, headers: Mapping[str, str], body: bytes, now: float) -> float:
        """The server said no; seconds until it may be asked again. Raises the Problem where it may not."""
        problem = problem_of(status, headers, body)
        if status not in (429, 502, 503, 504):
            raise problem
        return self._again(problem, now, problem.retry_after_s or 0.0)

    def lost(self, error: Exception | None, now: float) -> float:
        """The line broke, or the server ended it; seconds until the next one. Raises Unreachable."""
        return self._again(error, now, 0.0)

    def _again(self, error: Exception | None, now: float, least_s: float) -> float:
        if self._lost_since is None:
            self._lost_since = now
        elif now - self._lost_since > self._give_up_s:
            _give_up(error, now - self._lost_since)
        return max(least_s, self._retry_s)


def _give_up(error: Exception | None, seconds: float) -> NoReturn:
    if isinstance(error, Problem):
        raise error
    raise Unreachable(f"the stream could not be opened again for {seconds:.0f} s: {error}") from error
