"""What a long run needs beside its traffic: things that happen at their time, memory, and the last lists.

Shared by the soak and the drill in which everything happens. Knows no Kafka.
"""

import time
from collections.abc import Callable, Sequence

import numpy as np

from streams.operate.processes import rss_mb
from streams.runtime.fleet import Fleet

STARTS_SECONDS = 300  # of a process at most, where kernels are to be compiled first
LOST_SECONDS = 60  # without any news: what has not come then is lost

Work = Callable[[], None]
Sample = tuple[float, float]  # seconds of the monotonic clock, MB


def play(seconds: float, once: Sequence[tuple[float, Work]], again: Sequence[tuple[float, Work]]) -> None:
    """Does what happens `once` at its time, and `again` after each so many seconds, until the time is over.

    One at a time: what takes long holds up the others, which then follow at once.
    """
    began = time.monotonic()
    waiting = sorted(once, key=lambda each: each[0])
    due = [every for every, _ in again]
    while (now := time.monotonic() - began) < seconds:
        while waiting and now >= waiting[0][0]:
            waiting.pop(0)[1]()
        for place, (every, work) in enumerate(again):
            if now >= due[place]:
                due[place] += every
                work()
        time.sleep(0.05)


class Memory:
    """Of a fleet's processes, looked at again and again.

    samples: by name and process id, since one that is started again begins anew
    """

    def __init__(self, fleet: Fleet) -> None:
        self.samples: dict[tuple[str, int], list[Sample]] = {}
        self._fleet = fleet

    def look(self) -> None:
        """Takes a sample of each process that runs now."""
        now = time.monotonic()
        for name, child in self._fleet.children.items():
            if child.code is None:
                self.samples.setdefault((name, child.pid), []).append((now, rss_mb([child.pid]) or 0.0))


def ends(values: Sequence[float], stretch: int) -> list[float]:
    """The medians of the first and of the last `stretch` values."""
    return [round(float(np.median(part)), 1) for part in (values[:stretch], values[-stretch:])]


def wait_for_the_last(missing: Callable[[], int], seconds: float = LOST_SECONDS) -> int:
    """Waits until nothing is missing, or nothing has come for a while: late is not lost. Returns the rest."""
    fewest, since = missing(), time.monotonic()
    while fewest and time.monotonic() < since + seconds:
        time.sleep(0.2)
        if (now := missing()) < fewest:
            fewest, since = now, time.monotonic()
    return fewest
