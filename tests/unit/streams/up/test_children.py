"""No process outlives who started it, and what is left all the same is ended by the next."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from streams.runtime.fleet import environment
from streams.up.children import Children, sweep
from streams.up.journal import Journal

SLEEPS = "import time; print('lives', flush=True); time.sleep(600)"
SECONDS = 60.0


def until(holds: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < end, what
        time.sleep(0.02)


def is_gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def sleeper() -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", SLEEPS], stdout=subprocess.DEVNULL)


def test_what_a_child_says_is_in_the_journal_and_its_end_has_a_code(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "up.log")
    child = Children(tmp_path / "children.json", journal).start("cli", "--version", env={})
    until(lambda: child.code is not None, "it ends")
    assert child.code == 0
    until(lambda: journal.why("cli").startswith("nextclick "), "its words are written down")


def test_a_child_has_a_session_of_its_own_and_can_be_killed(tmp_path: Path) -> None:
    child = Children(tmp_path / "children.json", Journal(tmp_path / "up.log")).start("api", env={})
    try:
        assert os.getsid(child.pid) == child.pid
    finally:
        child.kill()
    assert child.code == -signal.SIGKILL


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel of Linux does that")
def test_a_killed_parent_takes_its_children_along(tmp_path: Path) -> None:
    program = (
        "import pathlib, sys, time\n"
        "from streams.up.children import Children\n"
        "from streams.up.journal import Journal\n"
        f"folder = pathlib.Path({str(tmp_path)!r})\n"
        "children = Children(folder / 'children.json', Journal(folder / 'up.log'))\n"
        "child = children.start('x', 'schema', env={})\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    # `schema` ends by itself; stopped at once, it can only go by being killed
    parent = subprocess.Popen(
        [sys.executable, "-c", program], env=environment({}), stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    os.kill(child, signal.SIGSTOP)
    assert not is_gone(child)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    until(lambda: is_gone(child), "the child is gone")


def test_what_is_left_is_ended(tmp_path: Path) -> None:
    file = tmp_path / "children.json"
    left = sleeper()
    Children(file, Journal(tmp_path / "up.log")).note(left.pid)
    assert sweep(file) == 1
    assert is_gone(left.pid)
    assert sweep(file) == 0
    left.wait(SECONDS)


def test_a_process_of_others_under_the_same_number_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "children.json"
    other = sleeper()
    try:
        file.write_text(json.dumps({str(other.pid): psutil.Process(other.pid).create_time() - 100}))
        assert sweep(file) == 0
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


@pytest.mark.parametrize("noted", ["", "[]", "{", '{"x": 1}', '{"1": null}'])
def test_damaged_notes_are_none(tmp_path: Path, noted: str) -> None:
    file = tmp_path / "children.json"
    assert sweep(file) == 0
    file.write_text(noted)
    assert sweep(file) == 0
