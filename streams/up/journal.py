"""The one log of everything that `nextclick up` runs: a line of a part each, with the part's name before it.

Owns its size, and what a part said last, which tells why it ended. Knows no parts.
"""

import logging
import re
import threading
from collections import deque
from collections.abc import Callable
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import IO

MOST_BYTES = 5_000_000  # of the log, then it becomes an old one
OLD_LOGS = 3
_LINE_BYTES = 16_384  # what is longer goes on in the next line
_REMEMBERED = 40  # lines of each part

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_FAULT = re.compile(r"^error: |\[(error|critical) *\]|^\w+(\.\w+)*(Error|Exception)\b")

Hear = Callable[[str, str], None]
"""Takes a part's name and a line of it."""


class _Rotated(RotatingFileHandler):
    """Loses what cannot be written: nothing that runs may stop for its log, as on a full disk."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (logging's name)
        """Says nothing: where it could be said is what has failed."""


class Journal:
    """`file` takes what parts say, `hear` is told of each line; from several threads."""

    def __init__(self, file: Path, hear: Hear = lambda _name, _line: None) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self.file = file
        self._hear = hear
        self._log = logging.Logger("up")  # of this journal's own: no other gets its lines
        handler = _Rotated(
            file, maxBytes=MOST_BYTES, backupCount=OLD_LOGS, encoding="utf-8", errors="replace"
        )
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        self._log.addHandler(handler)
        self._said: dict[str, deque[str]] = {}

    def note(self, name: str, line: str) -> None:
        """Writes a line of the part `name`."""
        self._said.setdefault(name, deque(maxlen=_REMEMBERED)).append(line)
        self._log.info("%-9s %s", name, line)
        self._hear(name, line)

    def follow(self, name: str, output: IO[bytes]) -> None:
        """Writes down all that comes, in a thread, until the other end is closed."""

        def read() -> None:
            with output:
                while line := output.readline(_LINE_BYTES):
                    if text := _COLOURS.sub("", line.decode(errors="replace")).rstrip():
                        self.note(name, text)

        threading.Thread(target=read, name=f"log of {name}", daemon=True).start()

    def why(self, name: str) -> str:
        """What the part said last that explains its end: an error, else its last line."""
        said = list(self._said.get(name, ()))
        faults = [line for line in said if _FAULT.search(line)]
        return (faults or said or ["it said nothing"])[-1].removeprefix("error: ")

    def forget(self, name: str) -> None:
        """What a part said before it was started again explains nothing."""
        self._said.pop(name, None)

    def close(self) -> None:
        """Closes the file."""
        for handler in self._log.handlers:
            handler.close()
