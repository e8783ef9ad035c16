"""Free memory that the C library keeps. Knows nothing of what it was for."""

import contextlib
import ctypes


def trim_heap() -> None:
    """Gives free memory back to the system; some 5 ms, in which other threads wait for memory.

    Loading a release leaves 10 to 40 MB that glibc would keep. Does nothing where there is another C library.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
