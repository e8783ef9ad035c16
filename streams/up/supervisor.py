"""Keeps parts running: starts again what ends, later each time, and stops all of them in order.

Owns the pauses, what an exit code means, and the order of the end. Knows neither processes nor the clock.
"""

import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from streams.up.children import Running

FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 60.0
SOUND_SECONDS = 60.0  # of life, after which an end is no longer one of a row
# What takes things in from outside ends first; what works need not wait until that is gone. The broker, which
# both need, waits for both. In seconds since the end began; all of it takes ten at most.
HEAD_START_SECONDS = 0.5
WORK_SECONDS = 5.5
BROKER_SECONDS = 8.5

Say = Callable[[str], None]


class PartFailed(Exception):  # noqa: N818 (it names what is the matter)
    """A part would end in the same way again: says why."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass
class Part:
    """`start` brings it to life, `why` says what ended it.

    ends: it does its work and ends with exit code 0; of others any end is a failure
    stage: when it is stopped, 0 to 2; those of a stage together
    """

    name: str
    start: Callable[[], Running]
    why: Callable[[], str]
    ends: bool = False
    stage: int = 1
    running: Running | None = None
    done: bool = False
    failures: int = 0  # in a row
    started: float = 0.0
    due: float | None = None  # when it is started again


class Supervisor:
    """`now` is a monotonic clock in seconds; `say` is told what ends and why."""

    def __init__(self, say: Say, now: Callable[[], float], sleep: Callable[[float], None]) -> None:
        self.parts: dict[str, Part] = {}
        self._say, self._now, self._sleep = say, now, sleep

    def add(self, part: Part) -> Part:
        """Starts a part, and keeps it running from now on. Raises what its first start raises."""
        self._begin(part)
        self.parts[part.name] = part
        return part

    def drop(self, name: str) -> None:
        """Ends a part at once, for good."""
        part = self.parts.pop(name)
        if part.running is not None:
            part.running.kill()

    def look(self) -> None:
        """Notes what has ended, and starts what is due. Raises PartFailed where a start again is no help."""
        for part in self.parts.values():
            if part.running is not None and (code := part.running.code) is not None:
                part.running.kill()  # gives back what it held
                part.running = None
                self._ended(part, code)
            if part.due is not None and self._now() >= part.due:
                try:
                    self._begin(part)
                except Exception as error:  # the broker's: its port may be free a moment later
                    self._again(part, f"cannot be started: {error}")

    def stop(self) -> None:
        """Asks all to end, stage by stage; what takes too long is killed: that loses nothing either."""
        began = self._now()
        front, work, broker = (
            [part.running for part in self.parts.values() if part.stage == stage and part.running]
            for stage in range(3)
        )
        self._ask(front)
        self._await(front, began + HEAD_START_SECONDS)
        self._ask(work)
        self._end([*front, *work], began + WORK_SECONDS)
        self._ask(broker)
        self._end(broker, began + BROKER_SECONDS)
        self.parts.clear()

    def _ask(self, ending: Sequence[Running]) -> None:
        for each in ending:
            if each.code is None:
                each.ask_to_end()

    def _await(self, ending: Sequence[Running], until: float) -> None:
        while any(each.code is None for each in ending) and self._now() < until:
            self._sleep(0.05)

    def _end(self, ending: Sequence[Running], until: float) -> None:
        self._await(ending, until)
        for each in ending:
            each.kill()

    def _begin(self, part: Part) -> None:
        part.due, part.started = None, self._now()
        part.running = part.start()

    def _ended(self, part: Part, code: int) -> None:
        if part.ends and code == 0:
            part.done = True
            return
        if code == os.EX_CONFIG or (part.ends and code in (1, 2)):
            raise PartFailed(f"{part.name}: {part.why()}", os.EX_CONFIG)
        if self._now() - part.started >= SOUND_SECONDS:
            part.failures = 0
        self._again(part, f"ended ({_told(code)}): {part.why()}")

    def _again(self, part: Part, what: str) -> None:
        pause = min(FIRST_PAUSE_SECONDS * 2.0 ** min(part.failures, 16), LONGEST_PAUSE_SECONDS)
        part.failures += 1
        part.due = self._now() + pause
        self._say(f"{part.name} {what}; it is started again in {pause:.0f} s")


def _told(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
