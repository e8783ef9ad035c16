"""Jobs of one training, in this process or in several beside each other.

Owns the processes, what they share and how their progress comes back. A job is a function of the shared
context, of the time it may take and of its own arguments. Knows nothing of what jobs do.
"""

import gc
import multiprocessing
import os
import pickle
import pkgutil
import sys
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
from learner.models.run import Clock, Note

Context = TypeVar("Context")
Tell = Callable[[str, float, str], None]
"""Called with a step's name, its finished share (0 to 1) and a short text."""
Message = tuple[str, float, str] | tuple[str, float, int]  # of progress, or of a curve: it ends in the step

QUOTA = Path("/sys/fs/cgroup/cpu.max")
TICK_SECONDS = 0.2  # between two looks at what the processes tell


@dataclass(frozen=True)
class Job(Generic[Context]):
    """`work(context, tell, clock, *arguments)`, a function at the top level of its module.

    Or its name, "module:function": then only a process that does it imports the module.
    """

    work: Callable[..., Any] | str
    arguments: tuple[Any, ...]
    cost: float = 1.0  # of time, beside others'; the longest begin first where several run at once


class Telling:
    """What a job tells of itself: progress, as a `Tell`, and points of curves."""

    def __init__(self, send: Callable[[Message], None]) -> None:
        self._send = send

    def __call__(self, step: str, share: float, text: str) -> None:
        """Tells of progress."""
        self._send((step, share, text))

    def note(self, curve: str, value: float, step: int) -> None:
        """Adds a point to a curve."""
        self._send((curve, value, step))


class Crew(Generic[Context]):
    """Runs jobs over one `context`, `processes` at a time. With one, they run here, one after the other.

    With more, a job that comes alone runs elsewhere too: what it loads and leaves is not to stay here.
    Processes are started when jobs first come, as fresh interpreters (torch's threads do not survive a
    fork); the context is sent to each once. `clock` counts where jobs run here; elsewhere wall time does.
    """

    def __init__(
        self, context: Context, processes: int, tell: Tell, clock: Clock, noted: Note | None = None
    ) -> None:
        """`noted` is told of the curves, here, whichever process they come from."""
        self.context, self.processes = context, max(processes, 1)
        self._tell, self._clock, self._noted = tell, clock, noted
        self._pool: ProcessPoolExecutor | None = None
        self._told: SimpleQueue[Message] | None = None

    def __enter__(self) -> "Crew[Context]":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            _end(self._pool, at_once=kind is not None)

    def run(self, jobs: Sequence[Job[Context]]) -> list[Any]:
        """Does all jobs; returns their results in order. Raises what a job raises."""
        if self.processes == 1:
            telling = Telling(self._hear)
            return [_function(job.work)(self.context, telling, self._clock, *job.arguments) for job in jobs]
        return self._run_in(self._started(), jobs)

    def apart(self, job: Job[Context]) -> Any:
        """One job's result, done in a process that ends with it: what it compiles is not to stay."""
        if self.processes == 1:
            return self.run([job])[0]
        pool = self._new_pool(1)
        try:
            return self._run_in(pool, [job])[0]
        finally:
            _end(pool, at_once=sys.exception() is not None)

    def _run_in(self, pool: ProcessPoolExecutor, jobs: Sequence[Job[Context]]) -> list[Any]:
        trim()  # before others need memory too
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
            self._pool = self._new_pool(self.processes)
        return self._pool

    def _new_pool(self, processes: int) -> ProcessPoolExecutor:
        fresh = multiprocessing.get_context("spawn")
        if self._told is None:
            self._told = fresh.SimpleQueue()
        return ProcessPoolExecutor(
            processes, mp_context=fresh, initializer=_begin, initargs=(self.context, self._told)
        )

    def _listen(self) -> None:
        while self._told is not None and not self._told.empty():
            self._hear(self._told.get())

    def _hear(self, message: Message) -> None:
        name, number, last = message
        if isinstance(last, str):
            self._tell(name, number, last)
        elif self._noted is not None:
            self._noted(name, number, last)


def _end(pool: ProcessPoolExecutor, *, at_once: bool) -> None:
    if at_once:  # nobody waits for what still runs
        for process in list((pool._processes or {}).values()):
            process.terminate()
    pool.shutdown(cancel_futures=True)


def cores() -> int:
    """Processor cores that this process may use, by affinity and by the control group's quota; at least 1."""
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = QUOTA.read_text().split()
        return max(min(found, int(quota) // int(period)), 1)
    except (OSError, ValueError):  # no control groups, or "max": no quota
        return found


_shared: Any = None
_told: "SimpleQueue[Message] | None" = None


def _begin(context: Any, told: "SimpleQueue[Message]") -> None:
    global _shared, _told
    _shared, _told = context, told
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A parent that is killed tells its processes nothing: they would finish their jobs for nobody."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait_for_any([parent.sentinel])
        os._exit(1)


def _function(work: Callable[..., Any] | str) -> Callable[..., Any]:
    found: Callable[..., Any] = pkgutil.resolve_name(work) if isinstance(work, str) else work
    return found


def _do(work: Callable[..., Any] | str, arguments: tuple[Any, ...]) -> bytes:
    """The job's result, pickled here: left to itself torch would send tensors through shared memory, of which
    containers have little.
    """
    assert _told is not None
    told = _told
    try:
        return pickle.dumps(_function(work)(_shared, Telling(told.put), time.perf_counter, *arguments))
    finally:
        trim()


def trim() -> None:
    """Gives back what a job, or a part of one, leaves: hundreds of MB that the C library would keep."""
    gc.collect()
    trim_heap()
