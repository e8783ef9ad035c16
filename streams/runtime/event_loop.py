"""How a process runs: its event loops (uvloop takes half of asyncio's time for a callback), its memory."""

import asyncio
import contextlib
import ctypes
import gc
from pathlib import Path

from learner.data.heap import trim_heap

_M_ARENA_MAX = -8  # of mallopt(3)
_MADV_DONTNEED = 4  # of madvise(2)
COMPILER = "libllvmlite.so"


def fast_loops() -> None:
    """Makes every event loop of this process, in whichever thread, uvloop's; of no effect on Windows."""
    try:
        import uvloop
    except ImportError:
        return
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())


def few_arenas() -> None:
    """Lets glibc take memory for two threads, not for each: what a thread gives back, others can use then.

    Releases are loaded and dropped in a thread of their own, which kept 50 MB of eight of them. Does nothing
    where there is another C library.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 2)


def freeze_heap() -> None:
    """What lives by now is left out of later collections of garbage; for the end of a start.

    With all libraries loaded a full collection holds the interpreter for a tenth of a second, and no list is
    made meanwhile; loading a release, which allocates for each item, used to set one off. May be called
    again: what was left out and is garbage by then goes.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    trim_heap()
    release_code(COMPILER)


def release_code(library: str, maps: Path = Path("/proc/self/maps")) -> int:
    """The pages of a library's machine code leave this process's memory; returns how many bytes it has of it.

    For one that has done its work: numba reads each kernel by LLVM, once, and 65 to 90 MB of it would stay
    resident. Only code, which nobody writes to: what is called again comes back from the file. Does nothing
    where the system tells no mappings.
    """
    size = 0
    with contextlib.suppress(OSError, AttributeError, TypeError, ValueError):
        madvise = ctypes.CDLL(None).madvise
        madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
        for line in maps.read_text().splitlines():
            place, rights, *rest = line.split(maxsplit=5)
            if rights == "r-xp" and rest[-1].endswith(f"/{library}"):
                start, end = (int(each, 16) for each in place.split("-"))
                madvise(start, end - start, _MADV_DONTNEED)
                size += end - start
    return size
