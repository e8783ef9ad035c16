"""Free memory goes back where it was not used any more."""

import platform

import numpy as np
import psutil
import pytest

from learner.data.heap import trim_heap


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library gives memory back by itself")
def test_free_memory_goes_back_to_the_system() -> None:
    def resident() -> int:
        return psutil.Process().memory_info().rss

    trim_heap()
    # Small pieces come from the heap itself, and the last one keeps glibc from giving any back by itself.
    pieces = [np.ones(10_000, np.uint8) for _ in range(4000)]
    last = pieces.pop()
    del pieces
    full = resident()
    trim_heap()
    assert full - resident() > 20_000_000
    assert last.any()
