"""States of users who have been away for long: on disk, so that memory is for those who are here.

Owns the file, and nothing that could be lost with it: states are kept in the changelog, and a worker that
starts makes the file anew as it reads them. Knows neither what a state holds nor when a user is away.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


class SpillError(Exception):
    """The file cannot be read any more: a worker that starts makes it anew, from the changelog."""


class Spill:
    """Encoded states by user. For one thread."""

    def __init__(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.unlink(missing_ok=True)
        self._file = file
        self._count = 0
        self._taken: dict[str, int] = {}  # by user, the partition of a state that the disk did not let go
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
        again = [user for user, _, _ in states if user in self._taken]
        self._rows.execute("BEGIN")
        try:
            self._rows.executemany("DELETE FROM states WHERE user = ?", [(user,) for user in again])
            self._rows.executemany("INSERT INTO states VALUES (?, ?, ?)", states)
            self._rows.execute("COMMIT")
        except BaseException:
            self._rows.execute("ROLLBACK")
            raise
        for user in again:
            del self._taken[user]
        self._count += len(states)

    def take(self, user: str) -> bytes | None:
        """The user's state, which leaves; None where there is none. Raises SpillError."""
        if user in self._taken:
            return None
        with self._telling():
            found = self._rows.execute(
                "SELECT value, partition FROM states WHERE user = ?", (user,)
            ).fetchone()
        if found is None:
            return None
        try:
            self._rows.execute("DELETE FROM states WHERE user = ?", (user,))
        except sqlite3.Error:  # a full disk, say: the state is in memory now, which is all that counts
            self._taken[user] = found[1]
        self._count -= 1
        return bytes(found[0])

    def forget(self, partitions: Iterable[int]) -> None:
        """The partitions went to another worker. Raises SpillError."""
        for each in partitions:
            with self._telling():
                gone = self._rows.execute("DELETE FROM states WHERE partition = ?", (each,)).rowcount
            taken = [user for user, partition in self._taken.items() if partition == each]
            self._count -= gone - len(taken)
            for user in taken:
                del self._taken[user]

    def clear(self) -> None:
        """Forgets everything. Raises SpillError."""
        with self._telling():
            self._rows.execute("DELETE FROM states")
        self._taken.clear()
        self._count = 0

    @contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise SpillError(
                f"{self._file}, which holds states of idle users, cannot be used any more: {error}; is the "
                "disk in order? Nothing is lost: a worker that starts anew reads them from the changelog"
            ) from error
