"""What bounds an adaptation from one process to the next: its state on the disk, and its clock.

Owns state.json. Knows no encoder.
"""

from collections.abc import Callable
from pathlib import Path

import msgspec

WALL = 4.0  # times `adapt_minutes` that one may take on a machine with much other work


class State(msgspec.Struct, kw_only=True):
    """What outlives the process.

    ended_ms, base, sketch: of the last adaptation, good or bad: when it ended, from what, with which texts
    began_ms: of the one under way, 0 where there is none
    attempts: at it since its last checkpoint, which was written at `saved_ns`
    pending: the finished encoder that waits for a release; handed: trainings that have begun with it
    """

    ended_ms: int = 0
    base: str = ""
    sketch: list[int] = []
    began_ms: int = 0
    attempts: int = 0
    saved_ns: int = 0
    pending: str = ""
    handed: int = 0


def read(file: Path) -> State:
    """An empty one where there is none that can be read."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=State)
    except (OSError, msgspec.DecodeError):
        return State()


def write(file: Path, state: State) -> None:
    """Whole or not at all. Raises OSError."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    partial.write_bytes(msgspec.json.encode(state))
    partial.replace(file)


def either_clock(processor_s: Callable[[], float], passed_s: Callable[[], float]) -> Callable[[], float]:
    """Seconds of processor time from now on, or a fourth of those that passed, where these are more.

    At the lowest priority the time that passed says little of what an adaptation has had; but what comes
    after it must not wait for ever.
    """
    used, begun = processor_s(), passed_s()
    return lambda: max(processor_s() - used, (passed_s() - begun) / WALL)
