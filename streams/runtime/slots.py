"""Which worker of this machine am I? A slot's number, kept by a lock file for the life of the process.

Two identical commands side by side get slots 0 and 1; a worker restarted after kill -9 takes its old
slot again (the kernel frees the lock of a dead process), and with it its old place in the group.
"""

import contextlib
import errno
import fcntl
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import structlog

log = structlog.get_logger()

_TAKEN = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)  # what flock says of a lock that another holds
_MOST = 10_000


class SlotError(Exception):
    """The slot asked for is taken by a living worker."""


class LocksUnsupported(Exception):  # noqa: N818 (it names what is the matter)
    """The file system of the data folder knows no locks: names both."""

    exit_code = os.EX_CONFIG  # 78: another data folder is needed


class Slot:
    """A held slot. `instance` names it across machines: Kafka's `group.instance.id`."""

    def __init__(self, number: int, machine: str, lock: IO[str]) -> None:
        self.number = number
        self.instance = f"{machine}-{number}"
        self._lock = lock

    def release(self) -> None:
        """Gives the slot back; the end of the process does the same."""
        self._lock.close()


def take_slot(data_dir: Path, group: str, wanted: int | None = None, machine: str | None = None) -> Slot:
    """Takes slot `wanted`, or the lowest that is free, of the group on this machine.

    `machine` names it where the data folder does not outlive the process, as in a pod; then `wanted` is what
    tells one worker from the others, who all go by that name.

    Raises SlotError if `wanted` is taken or needed, LocksUnsupported where files cannot be locked.
    """
    if machine is not None and wanted is None:
        raise SlotError(
            f"machine = {machine}: workers of one name need a slot each, such as a pod's ordinal; name it "
            "with --slot, or leave the name out"
        )
    folder = data_dir / "slots"
    folder.mkdir(parents=True, exist_ok=True)
    machine = machine or _machine(data_dir)
    for number in range(_MOST) if wanted is None else (wanted,):
        lock = (folder / f"{group}{number}.lock").open("a")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.close()
            if error.errno not in _TAKEN:
                raise _no_locks(folder, error) from None
            continue
        return Slot(number, machine, lock)
    if wanted is None:
        raise SlotError(
            f"all {_MOST:,} slots of {group} are taken by workers with the data folder {data_dir}"
        )
    raise SlotError(
        f"slot {wanted} of {group} is taken by a running worker with the data folder {data_dir}; "
        "leave --slot out to take the lowest free one, or stop that worker"
    )


def _machine(data_dir: Path) -> str:
    """A name for this data folder that no other machine shares.

    The file is there whole or not at all: two machines of one name would take each other's place in the
    group, in turns. An empty one is what an earlier version left that was interrupted. It also holds the
    number of its own inode, which a copy of the folder has another of: the copy takes a name of its own.
    """
    path = data_dir / "machine-id"
    with _locked(data_dir / "slots" / "machine-id.lock"):
        name, _, inode = (path.read_text().strip() if path.exists() else "").partition(" ")
        if name and inode == str(path.stat().st_ino):
            return name
        if name and inode:
            log.warning("this data folder is a copy of another and goes by a new name", folder=str(data_dir))
            name = ""
        name = name or secrets.token_hex(6)
        partial = path.with_suffix(".partial")
        with partial.open("w") as file:
            file.write(f"{name} {os.fstat(file.fileno()).st_ino}")
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    return name


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError as error:
            raise _no_locks(path.parent, error) from None
        yield


def _no_locks(folder: Path, error: OSError) -> LocksUnsupported:
    return LocksUnsupported(
        f"{folder} is on a file system ({_file_system(folder)}) that cannot lock files: {error.strerror}; "
        "name a data folder on a local disk with --data-dir"
    )


def _file_system(folder: Path, mounts: Path = Path("/proc/self/mounts")) -> str:
    """Kind and place of the mount that a folder is in, as far as the system tells."""
    try:
        lines = [line.split() for line in mounts.read_text().splitlines()]
    except OSError:
        return "of unknown kind"
    above = {str(each) for each in (folder.resolve(), *folder.resolve().parents)}
    found = [(len(line[1]), line[2], line[1]) for line in lines if len(line) > 2 and line[1] in above]
    return f"{max(found)[1]} at {max(found)[2]}" if found else "of unknown kind"
