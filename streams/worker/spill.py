"""States of users who have been away for long: on disk, so that memory is for those who are here.

Owns the file, and nothing that could be lost with it: states are kept in the changelog, and a worker that
starts makes the file anew as it reads them. Knows neither what a state holds nor when a user is away.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path


class Spill:
    """Encoded states by user. For one thread."""

    def __init__(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.unlink(missing_ok=True)
        self._count = 0
        self._rows = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
        for words in (
            "PRAGMA journal_mode = MEMORY",  # a crash throws the file away anyhow
            "PRAGMA synchronous = OFF",
            "CREATE TABLE states (user TEXT PRIMARY KEY, partition INTEGER, value BLOB)",
            "CREATE INDEX by_partition ON states (partition)",
        ):
            self._rows.execute(words)

    def __len__(self) -> int:
        return self._count

    def put(self, states: Sequence[tuple[str, int, bytes]]) -> None:
        """Keeps states: user, the user's partition, and the encoded state; of users who are not there yet.

        Raises sqlite3.Error, and keeps none, where the disk is full.
        """
        if not states:
            return
        self._rows.execute("BEGIN")
        try:
            self._rows.executemany("INSERT INTO states VALUES (?, ?, ?)", states)
            self._rows.execute("COMMIT")
        except BaseException:
            self._rows.execute("ROLLBACK")
            raise
        self._count += len(states)

    def take(self, user: str) -> bytes | None:
        """The user's state, which leaves; None where there is none."""
        found = self._rows.execute("DELETE FROM states WHERE user = ? RETURNING value", (user,)).fetchall()
        self._count -= len(found)
        return bytes(found[0][0]) if found else None

    def forget(self, partitions: Iterable[int]) -> None:
        """The partitions went to another worker."""
        for each in partitions:
            self._count -= self._rows.execute("DELETE FROM states WHERE partition = ?", (each,)).rowcount

    def clear(self) -> None:
        """Forgets everything."""
        self._rows.execute("DELETE FROM states")
        self._count = 0
