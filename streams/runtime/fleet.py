"""Child processes of one system: started by name, each with a log of its own, watched, and ended in order.

Owns how `nextclick COMMAND` is run below this process, and what is said of one that ends before its time.
Knows no Kafka, and nothing of what a command does.
"""

import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar

NEXTCLICK = (sys.executable, "-m", "streams")
LAST_LINES = 15  # of a log that an error shows
_ROOT = Path(__file__).parents[2]

Found = TypeVar("Found")


class FleetError(Exception):
    """A child ended before its time, or nothing came of a wait: shows the end of the logs concerned."""


@dataclass(frozen=True)
class Child:
    """A process that was started; `begins` is where its part of the log does, in bytes.

    `ends`: it is a command that ends by itself; of others that is a failure.
    """

    name: str
    title: str
    process: subprocess.Popen[bytes]
    log: Path
    begins: int
    ends: bool

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    @property
    def code(self) -> int | None:
        """Its exit code (minus a signal's number), None while it runs."""
        return self.process.poll()

    def said(self) -> str:
        """What it has logged."""
        with self.log.open("rb") as log:
            log.seek(self.begins)
            return log.read().decode(errors="replace")

    def wait(self, seconds: float) -> int:
        """Its exit code, waited for; killed where it does not end within `seconds`."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


class Fleet:
    """Children by name; what is still running at the end of the block is ended.

    `program` is what runs a command, `folder` where the logs lie: NAME.log, begun anew by the first child of
    that name and gone on with by later ones. `lines` is how much of a log an error shows.
    """

    def __init__(self, folder: Path, program: Sequence[str] = NEXTCLICK, *, lines: int = LAST_LINES) -> None:
        self.folder, self.program, self.lines = folder, program, lines
        self.children: dict[str, Child] = {}  # those not ended by this fleet, in the order of their starts
        self._logged: set[str] = set()

    def start(
        self,
        name: str,
        *flags: str,
        command: str | None = None,
        env: Mapping[str, str] | None = None,
        ends: bool = False,
    ) -> Child:
        """Starts `nextclick COMMAND FLAGS`, where the command is the name unless it is given.

        `env` adds to this process's environment. Wherever this was started, the child finds these modules.
        With `ends`, it may end by itself, if that is with exit code 0.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        command, path = command or name, self.log(name)
        with path.open("ab" if name in self._logged else "wb") as log:
            begins = log.tell()
            process = subprocess.Popen(
                [*self.program, command, *flags],
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=environment(env or {}),
            )  # fmt: skip
        self._logged.add(name)
        title = f"`nextclick {command}`" if self.program == NEXTCLICK else name
        self.children.pop(name, None)  # a new one comes last, also under an old name
        self.children[name] = child = Child(name, title, process, path, begins, ends)
        return child

    def log(self, name: str) -> Path:
        """The log of the children of that name."""
        return self.folder / f"{name}.log"

    def said(self, name: str) -> str:
        """What all children of that name have logged."""
        path = self.log(name)
        return path.read_text(errors="replace") if path.exists() else ""

    def check(self) -> None:
        """Raises FleetError if a child has ended that should not have, or has failed."""
        for child in self.children.values():
            if child.code is not None and not (child.ends and child.code == 0):
                raise FleetError(
                    f"{child.title} ended with exit code {child.code}; its log is {child.log}, and ends:\n"
                    + self._end_of(child)
                )

    def wait_for(
        self, holds: Callable[[], Found], what: str, seconds: float = math.inf, *, every: float = 0.1
    ) -> Found:
        """Waits until `holds` returns something true, and returns it; asks once in `every` seconds.

        Raises FleetError as `check` does, and after `seconds`.
        """
        end = time.monotonic() + seconds
        while not (found := holds()):
            self.check()
            if time.monotonic() > end:
                logs = "".join(
                    f"\n{child.title} goes on; its log is {child.log}, and ends:\n{self._end_of(child)}"
                    for child in self.children.values()
                )
                raise FleetError(f"waited for {what}: not within {seconds:g} s{logs}")
            time.sleep(every)
        return found

    def wait_said(self, child: Child, words: str, seconds: float = math.inf) -> None:
        """Waits until a child has logged these words."""
        self.wait_for(lambda: words in child.said(), f"{child.title} to say {words!r}", seconds)

    def finish(self, child: Child) -> None:
        """Waits for a child that ends by itself. Raises FleetError as `check` does."""
        self.wait_for(lambda: child.code == 0, f"the end of {child.title}")
        self._forget(child)

    def stop(self, name: str, seconds: float = 40.0) -> int:
        """Asks a child to end (SIGTERM) and returns its exit code, -9 where it was killed after `seconds`."""
        child = self.children[name]
        child.process.terminate()
        self._forget(child)
        return child.wait(seconds)

    def kill(self, name: str) -> None:
        """kill -9."""
        child = self.children[name]
        child.process.kill()
        self._forget(child)
        child.process.wait()

    def close(self, seconds: float = 20.0) -> None:
        """Asks all children to end, the last started first, and kills what takes longer than `seconds`."""
        ending = list(reversed(self.children.values()))
        self.children.clear()
        for child in ending:
            child.process.terminate()
        for child in ending:
            child.wait(seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _forget(self, child: Child) -> None:
        if self.children.get(child.name) is child:
            del self.children[child.name]

    def _end_of(self, child: Child) -> str:
        return "\n".join(f"  {line}" for line in child.said().splitlines()[-self.lines :])


def environment(added: Mapping[str, str]) -> dict[str, str]:
    """That of a child: this process's and `added`; it finds these modules wherever it runs."""
    paths = [str(_ROOT), *filter(None, [added.get("PYTHONPATH", os.environ.get("PYTHONPATH"))])]
    return {**os.environ, **added, "PYTHONPATH": os.pathsep.join(paths)}
