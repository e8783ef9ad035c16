"""Users whose states a worker cannot keep: named in its log, once, and in a file for `nextclick doctor`.

Owns who was named. What it means for a user is `user_states`'s affair.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import structlog

log = structlog.get_logger()

MOST_NAMED = 20  # more are counted: whatever sets thousands aside has one reason


class Aside:
    """One worker's; a file that cannot be written names nobody."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._named: dict[str, str] = {}
        self._beyond = 0
        with contextlib.suppress(OSError):
            file.unlink(missing_ok=True)

    def name(self, user_id: str, why: str) -> None:
        """Says that the user's state is set aside, where it was not said before."""
        if user_id in self._named:
            return
        if len(self._named) >= MOST_NAMED:
            self._beyond += 1
            if self._beyond == 1:
                log.warning("more states are set aside; no further one is named")
            return
        self._named[user_id] = why
        log.warning(
            "a user's state is set aside: lists for this user come from the signals alone",
            user=user_id, why=why, mend="`nextclick forget USER` lets the user begin anew",
        )  # fmt: skip
        with contextlib.suppress(OSError):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with self._file.open("a", encoding="utf-8") as file:
                file.write(f"{user_id}\t{why}\n".replace("\r", " "))


def named(folder: Path) -> Iterator[str]:
    """Users named by the workers that keep their files here."""
    for file in sorted(folder.glob("*.tsv")):
        with contextlib.suppress(OSError):
            for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
                yield line.split("\t")[0]
