"""Which worker of this machine am I? A slot's number, kept by a lock file for the life of the process.

Two identical commands side by side get slots 0 and 1; a worker restarted after kill -9 takes its old
slot again (the kernel frees the lock of a dead process), and with it its old place in the group.
"""

import contextlib
import fcntl
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import IO


class SlotError(Exception):
    """The slot asked for is taken by a living worker."""


class Slot:
    """A held slot. `instance` names it across machines: Kafka's `group.instance.id`."""

    def __init__(self, number: int, machine: str, lock: IO[str]) -> None:
        self.number = number
        self.instance = f"{machine}-{number}"
        self._lock = lock

    def release(self) -> None:
        """Gives the slot back; the end of the process does the same."""
        self._lock.close()


def take_slot(data_dir: Path, group: str, wanted: int | None = None) -> Slot:
    """Takes slot `wanted`, or the lowest that is free, of the group on this machine.

    Raises SlotError if `wanted` is taken.
    """
    folder = data_dir / "slots"
    folder.mkdir(parents=True, exist_ok=True)
    machine = _machine(data_dir)
    for number in range(10_000) if wanted is None else (wanted,):
        lock = (folder / f"{group}{number}.lock").open("a")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            continue
        return Slot(number, machine, lock)
    raise SlotError(
        f"slot {wanted} of {group} is taken by a running worker with the data folder {data_dir}; "
        "leave --slot out to take the lowest free one, or stop that worker"
    )


def _machine(data_dir: Path) -> str:
    """A name for this data folder that no other machine shares.

    The file is there whole or not at all: two machines of one name would take each other's place in the
    group, in turns. An empty one is what an earlier version left that was interrupted.
    """
    path = data_dir / "machine-id"
    with _locked(data_dir / "slots" / "machine-id.lock"):
        name = path.read_text().strip() if path.exists() else ""
        if not name:
            name = secrets.token_hex(6)
            partial = path.with_suffix(".partial")
            with partial.open("w") as file:
                file.write(name)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
    return name


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
