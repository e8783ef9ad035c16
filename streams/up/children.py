"""Processes that `nextclick up` starts: none outlives it, and what an earlier one has left is ended.

Owns how they are started and how they are found again. On Linux the kernel kills them with this process;
elsewhere the next start does. Knows nothing of what they do.
"""

import contextlib
import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import psutil

from streams.broker.java import die_with
from streams.broker.node import BrokerError, EmbeddedBroker
from streams.runtime.fleet import NEXTCLICK, environment
from streams.up.journal import Journal

_GONE_SECONDS = 10.0


class Running(Protocol):
    """Something that was started. `pid` is that of its process."""

    @property
    def pid(self) -> int:
        """Of its process."""

    @property
    def code(self) -> int | None:
        """Its exit code, minus a signal's number; None while it runs."""

    def ask_to_end(self) -> None:
        """SIGTERM."""

    def kill(self) -> None:
        """SIGKILL; returns when it is gone."""


@dataclass(frozen=True)
class Process:
    """A process, with all that it starts in its own session: Ctrl-C is for who started it."""

    process: "subprocess.Popen[bytes]"

    @property
    def pid(self) -> int:
        """Of its process."""
        return self.process.pid

    @property
    def code(self) -> int | None:
        """Its exit code, None while it runs."""
        return self.process.poll()

    def ask_to_end(self) -> None:
        """SIGTERM."""
        self.process.terminate()

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait()


@dataclass(frozen=True)
class BrokerProcess:
    """The embedded broker, which was started by `broker.start()`."""

    broker: EmbeddedBroker

    @property
    def pid(self) -> int:
        """Of its process."""
        return self._process.pid

    @property
    def code(self) -> int | None:
        """Its exit code, None while it runs."""
        return self._process.poll()

    def ask_to_end(self) -> None:
        """SIGTERM."""
        self._process.terminate()

    def kill(self) -> None:
        """SIGKILL; gives back the lock of its folder."""
        self.broker.kill()

    @property
    def _process(self) -> "subprocess.Popen[bytes]":
        process = self.broker.process
        if process is None:
            raise BrokerError("the broker was not started")
        return process


class Children:
    """Starts processes, and notes them in `file`: whoever comes next ends those that are left."""

    def __init__(self, file: Path, journal: Journal) -> None:
        self._file, self._journal = file, journal
        self._born: dict[int, float] = {}

    def start(self, name: str, *words: str, env: Mapping[str, str]) -> Process:
        """Starts `nextclick WORDS`; what it says goes into the journal under `name`.

        To be called in the main thread: the kernel ends a process with the thread that started it.
        """
        self._journal.forget(name)
        process = subprocess.Popen(
            [*NEXTCLICK, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env=environment(env), start_new_session=True, preexec_fn=die_with(os.getpid()),
        )  # fmt: skip
        assert process.stdout is not None
        self._journal.follow(name, process.stdout)
        self.note(process.pid)
        return Process(process)

    def note(self, pid: int) -> None:
        """Writes a process down, and forgets those that have ended."""
        with contextlib.suppress(psutil.Error):
            self._born[pid] = psutil.Process(pid).create_time()
        self._born = {each: born for each, born in self._born.items() if psutil.pid_exists(each)}
        draft = self._file.with_suffix(".tmp")
        with contextlib.suppress(OSError):  # a full disk: where the kernel ends them nothing is lost
            draft.write_text(json.dumps({str(each): born for each, born in self._born.items()}))
            draft.replace(self._file)


def sweep(file: Path) -> int:
    """Ends what a process that was killed has left running, by its notes; returns how many there were."""
    try:
        noted = {int(each): float(born) for each, born in json.loads(file.read_text()).items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return 0
    left = []
    for each, born in noted.items():
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(each)
            if abs(process.create_time() - born) < 1.0 and process.status() != psutil.STATUS_ZOMBIE:
                left += [*process.children(recursive=True), process]
    for process in left:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(left, _GONE_SECONDS)
    return len(left)
