"""What a language model has made of texts, kept: reading ten thousand titles takes half a minute.

Owns the rows by the texts' keys, in memory or, given a folder, in a file there for other processes too. Rows
are rounded to float16 before anyone uses them, so that results do not depend on what the cache already had.
Whatever is the matter with the file costs time, not results.
"""

import contextlib
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

FILE = "texts.sqlite"
MOST_IN_FILE = (
    200_000  # rows of up to 384 numbers, some 200 MB, fewer of wider ones; those that came first go
)
_USUAL = 384  # numbers of a row
MOST_IN_MEMORY = 60_000
_MADE_AT_ONCE = 2_000  # texts that are read between two looks at the file: what was paid for is kept
ASKED_AT_ONCE = 500  # keys in one question: SQLite takes some thousands
LOCKED_SECONDS = 10.0  # that another process may take to write

Floats = NDArray[np.float32]
T = TypeVar("T")


class TextCache:
    """Rows by key, for several threads and processes. One sent to another process takes no rows along."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self._rows: dict[bytes, bytes] = {}  # where there is no folder

    def __reduce__(self) -> tuple[Any, ...]:
        return TextCache, (self.folder,)

    def rows(self, keys: Sequence[bytes], size: int, make: Callable[[list[int]], Floats]) -> Floats:
        """Rows (n, size) float32 of 16-byte keys; `make` is asked, by their places, for those not known."""
        if not keys:
            return np.zeros((0, size), np.float32)
        known = {key: row for key, row in self._known(keys) if len(row) == 2 * size}
        missing = list({key: place for place, key in enumerate(keys) if key not in known}.values())
        for begin in range(0, len(missing), _MADE_AT_ONCE):
            some = missing[begin : begin + _MADE_AT_ONCE]
            made = make(some).astype(np.float16)
            new = {keys[place]: row.tobytes() for place, row in zip(some, made, strict=True)}
            self._keep(new, MOST_IN_FILE * _USUAL // max(size, _USUAL))
            known |= new
        joined = np.frombuffer(b"".join(known[key] for key in keys), np.float16)
        return joined.reshape(len(keys), size).astype(np.float32)

    def known(self, keys: Sequence[bytes]) -> set[bytes]:
        """Which of the keys have a row."""
        return {key for key, _ in self._known(keys)}

    def count(self) -> int:
        """Rows that are kept."""
        if self.folder is None:
            return len(self._rows)
        if not (self.folder / FILE).is_file():
            return 0

        def ask(file: sqlite3.Connection) -> int:
            return int(file.execute("SELECT count(*) FROM texts").fetchone()[0])

        return self._in_file(ask, 0)

    def _known(self, keys: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
        if self.folder is None:
            return [(key, self._rows[key]) for key in keys if key in self._rows]

        def ask(file: sqlite3.Connection) -> list[tuple[bytes, bytes]]:
            found: list[tuple[bytes, bytes]] = []
            for begin in range(0, len(keys), ASKED_AT_ONCE):
                some = keys[begin : begin + ASKED_AT_ONCE]
                marks = ", ".join("?" * len(some))
                found += file.execute(f"SELECT key, row FROM texts WHERE key IN ({marks})", some)  # noqa: S608
            return found

        return self._in_file(ask, [])

    def _keep(self, new: Mapping[bytes, bytes], most: int) -> None:
        if self.folder is None:
            self._rows |= new
            for key in list(self._rows)[: max(len(self._rows) - MOST_IN_MEMORY, 0)]:
                self._rows.pop(key, None)
            return

        def write(file: sqlite3.Connection) -> None:
            file.executemany("INSERT OR REPLACE INTO texts VALUES (?, ?)", new.items())
            last = "(SELECT max(rowid) FROM texts)"
            file.execute(f"DELETE FROM texts WHERE rowid <= {last} - ?", (most,))  # noqa: S608

        self._in_file(write, None)

    def _in_file(self, work: Callable[[sqlite3.Connection], T], otherwise: T) -> T:
        """What `work` says, done as one transaction, or `otherwise`. A damaged file begins anew."""
        assert self.folder is not None
        path = self.folder / FILE
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                for old in self.folder.glob("*.safetensors"):  # of versions that kept rows in those
                    old.unlink(missing_ok=True)
            with contextlib.closing(sqlite3.connect(path, timeout=LOCKED_SECONDS)) as file, file:
                file.execute("PRAGMA synchronous = OFF")  # what a crash damages is made again
                file.execute("CREATE TABLE IF NOT EXISTS texts (key BLOB PRIMARY KEY, row BLOB NOT NULL)")
                return work(file)
        except (OSError, sqlite3.OperationalError):  # no rights, a full disk, locked for long
            return otherwise
        except sqlite3.DatabaseError:  # damaged
            for name in (f"{FILE}-journal", FILE):  # a journal of another file would spoil the next one
                with contextlib.suppress(OSError):
                    (self.folder / name).unlink()
            return otherwise
