"""What a process does about its memory."""

import gc
import weakref
from pathlib import Path

import pytest

from streams.runtime.event_loop import COMPILER, freeze_heap, release_code


class Node:
    """Holds another one: two that hold each other are garbage that only a collection finds."""

    def __init__(self, other: "Node | None" = None) -> None:
        self.other = other


def test_what_lives_at_the_end_of_a_start_is_left_out_of_collections() -> None:
    kept = [[number] for number in range(1000)]
    freeze_heap()
    later = [[number] for number in range(1000)]
    looked_at = {id(each) for each in gc.get_objects()}
    assert not looked_at & {id(each) for each in kept}
    assert {id(each) for each in later} <= looked_at


def test_what_was_left_out_and_is_garbage_goes_at_the_next_start() -> None:
    early, late = Node(), Node()
    gone = weakref.ref(early), weakref.ref(late)
    freeze_heap()
    late.other = Node(late)
    early.other = Node(early)
    del early, late
    freeze_heap()
    assert [each() for each in gone] == [None, None]


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="the system tells no mappings")
def test_a_compiler_that_has_done_its_work_leaves_memory_and_comes_back_when_it_is_called() -> None:
    import numba

    def resident() -> int:
        found, here = 0, False
        for line in Path("/proc/self/smaps").read_text().splitlines():
            first, *rest = line.split()
            if "-" in first and not first.endswith(":"):
                here = rest[0] == "r-xp" and line.endswith(COMPILER)
            elif here and first == "Rss:":
                found += int(rest[0])
        return found

    first = numba.njit(lambda x: x + 1)
    assert first(1) == 2
    before = resident()
    assert release_code(COMPILER) > 1024 * before > 0
    assert resident() < before / 10
    assert numba.njit(lambda x: x + 2)(1) == 3
    assert first(2) == 3


def test_where_there_is_no_such_library_nothing_is_let_go(tmp_path: Path) -> None:
    assert release_code("libnobody.so") == 0
    assert release_code(COMPILER, tmp_path / "none") == 0
