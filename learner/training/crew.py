"""Jobs of one training, in this process or in several beside each other.

Owns the processes, what they share and how their progress comes back. A job is a function of the shared
context, of the time it may take and of its own arguments. Knows nothing of what jobs do.
"""

import gc
import multiprocessing
import os
import pickle
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from multiprocessing.connection import wait as wait_for_any
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, TypeVar

from learner.data.heap import trim_heap
from learner.models.run import Clock

Context = TypeVar("Context")
Tell = Callable[[str, float, str], None]
"""Called with a step's name, its finished share (0 to 1) and a short text."""

QUOTA = Path("/sys/fs/cgroup/cpu.max")
TICK_SECONDS = 0.2  # between two looks at what the processes tell


@dataclass(frozen=True)
class Job(Generic[Context]):
    """`work(context, tell, clock, *arguments)`, a function at the top level of its module."""

    work: Callable[..., Any]
    arguments: tuple[Any, ...]
    cost: float = 1.0  # of time, beside others'; the longest begin first where several run at once


class Crew(Generic[Context]):
    """Runs jobs over one `context`, `processes` at a time. With one, they run here, one after the other.

    Processes are started when jobs first come, as fresh interpreters (torch's threads do not survive a
    fork); the context is sent to each once. `clock` counts where jobs run here; elsewhere wall time does.
    """

    def __init__(self, context: Context, processes: int, tell: Tell, clock: Clock) -> None:
        self.context, self.processes = context, max(processes, 1)
        self._tell, self._clock = tell, clock
        self._pool: ProcessPoolExecutor | None = None
        self._told: SimpleQueue[tuple[str, float, str]] | None = None

    def __enter__(self) -> "Crew[Context]":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is None:
            return
        if kind is not None:  # nobody waits for what still runs
            for process in list((self._pool._processes or {}).values()):
                process.terminate()
        self._pool.shutdown(cancel_futures=True)

    def run(self, jobs: Sequence[Job[Context]]) -> list[Any]:
        """Does all jobs; returns their results in order. Raises what a job raises."""
        if self.processes == 1 or len(jobs) < 2:
            return [job.work(self.context, self._tell, self._clock, *job.arguments) for job in jobs]
        trim()  # before others need memory too
        pool = self._started()
        futures: dict[int, Future[Any]] = {
            number: pool.submit(_do, jobs[number].work, jobs[number].arguments)
            for number in sorted(range(len(jobs)), key=lambda number: -jobs[number].cost)
        }
        waiting = set(futures.values())
        while waiting:
            done, waiting = wait(waiting, TICK_SECONDS, FIRST_COMPLETED)
            self._listen()
            for future in done:
                future.result()
        return [pickle.loads(futures[number].result()) for number in range(len(jobs))]  # noqa: S301 (our own)

    def _started(self) -> ProcessPoolExecutor:
        if self._pool is None:
            fresh = multiprocessing.get_context("spawn")
            self._told = fresh.SimpleQueue()
            self._pool = ProcessPoolExecutor(
                self.processes, mp_context=fresh, initializer=_begin, initargs=(self.context, self._told)
            )
        return self._pool

    def _listen(self) -> None:
        while self._told is not None and not self._told.empty():
            self._tell(*self._told.get())


def cores() -> int:
    """Processor cores that this process may use, by affinity and by the control group's quota; at least 1."""
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = QUOTA.read_text().split()
        return max(min(found, int(quota) // int(period)), 1)
    except (OSError, ValueError):  # no control groups, or "max": no quota
        return found


_shared: Any = None
_told: "SimpleQueue[tuple[str, float, str]] | None" = None


def _begin(context: Any, told: "SimpleQueue[tuple[str, float, str]]") -> None:
    global _shared, _told
    _shared, _told = context, told
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A parent that is killed tells its processes nothing: they would finish their jobs for nobody."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait_for_any([parent.sentinel])
        os._exit(1)


def _do(work: Callable[..., Any], arguments: tuple[Any, ...]) -> bytes:
    """The job's result, pickled here: left to itself torch would send tensors through shared memory, of which
    containers have little.
    """
    assert _told is not None
    told = _told
    try:
        return pickle.dumps(work(_shared, lambda *what: told.put(what), time.perf_counter, *arguments))
    finally:
        trim()


def trim() -> None:
    """Gives back what a job, or a part of one, leaves: hundreds of MB that the C library would keep."""
    gc.collect()
    trim_heap()
