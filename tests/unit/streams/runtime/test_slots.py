"""Slots: the lowest free one, kept for the life of a process, under a name that no other machine has."""

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from streams.runtime import slots
from streams.runtime.slots import SlotError, take_slot
from tests.worlds.places import ROOT

HOLD = """
import sys
from pathlib import Path
from streams.runtime.slots import take_slot
slot = take_slot(Path(sys.argv[1]), "workers")
print(slot.instance, flush=True)
sys.stdin.read()
"""


def test_each_takes_the_lowest_that_is_free(tmp_path: Path) -> None:
    slots = [take_slot(tmp_path, "workers") for _ in range(3)]
    assert [slot.number for slot in slots] == [0, 1, 2]
    slots[1].release()
    slots += [take_slot(tmp_path, "workers") for _ in range(2)]
    assert [slot.number for slot in slots[3:]] == [1, 3]


def test_a_slot_that_is_taken_can_be_had_once_it_is_given_back(tmp_path: Path) -> None:
    slot = take_slot(tmp_path, "workers", 7)
    assert slot.number == 7
    with pytest.raises(SlotError, match=rf"slot 7 of workers is taken .*{tmp_path}; leave --slot out"):
        take_slot(tmp_path, "workers", 7)
    slot.release()
    assert take_slot(tmp_path, "workers", 7).number == 7


def test_groups_do_not_share_slots(tmp_path: Path) -> None:
    worker, learner = take_slot(tmp_path, "a.worker"), take_slot(tmp_path, "a.learner")
    assert worker.number == learner.number == 0
    assert worker.instance == learner.instance  # within its group it is a name of its own


def test_a_name_stays_and_no_other_data_folder_has_it(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    first = take_slot(here, "workers")
    first.release()
    assert take_slot(here, "workers").instance == first.instance
    assert take_slot(there, "workers").instance != first.instance
    assert take_slot(here, "workers", 4).instance == first.instance.removesuffix("-0") + "-4"


def test_a_worker_killed_leaves_its_slot_to_the_next(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], cwd=ROOT, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    instance = process.stdout.readline().strip()
    beside = take_slot(tmp_path, "workers")
    assert beside.number == 1
    process.kill()
    process.communicate()
    again = take_slot(tmp_path, "workers")
    assert (again.number, again.instance) == (0, instance)


def test_an_empty_file_of_a_start_that_was_interrupted_is_no_name(tmp_path: Path) -> None:
    names = set()
    for host in ("one", "another"):
        (tmp_path / host).mkdir()
        (tmp_path / host / "machine-id").touch()
        slot = take_slot(tmp_path / host, "workers")
        slot.release()
        assert take_slot(tmp_path / host, "workers").instance == slot.instance
        names.add(slot.instance)
    assert len(names) == 2


def test_a_start_that_cannot_write_its_name_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as full:
        full.setattr(slots.os, "fsync", _no_space)
        with pytest.raises(OSError, match="No space left"):
            take_slot(tmp_path, "workers")
    assert not (tmp_path / "machine-id").exists()
    assert len(take_slot(tmp_path, "workers").instance) == len("0123456789ab-0")


def _no_space(_: int) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_worker_whose_folder_does_not_last_keeps_its_name(tmp_path: Path) -> None:
    first = take_slot(tmp_path / "a", "workers", 2, "shop-worker")
    assert first.instance == "shop-worker-2"
    assert take_slot(tmp_path / "b", "workers", 2, "shop-worker").instance == first.instance
    with pytest.raises(SlotError, match=r"shop-worker: workers of one name need a slot each.*--slot"):
        take_slot(tmp_path / "c", "workers", machine="shop-worker")
