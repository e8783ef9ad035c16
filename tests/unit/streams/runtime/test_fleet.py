"""Children of one process: started, waited for, ended; and what is said when one does not do as it should."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.runtime.fleet import Child, Fleet, FleetError

LIVES = "import time; print('ready', flush=True); time.sleep(60)"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {LIVES}"


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """Children that are Python programs."""
    with Fleet(tmp_path / "logs", [sys.executable]) as running:
        yield running


def begin(fleet: Fleet, name: str, program: str, *, ends: bool = False, **env: str) -> Child:
    return fleet.start(name, program, command="-c", ends=ends, env=env)


def test_a_child_says_and_ends_when_told(fleet: Fleet) -> None:
    child = begin(fleet, "one", LIVES)
    fleet.wait_said(child, "ready", 20)
    assert child.code is None
    fleet.check()
    assert fleet.stop("one") == -15
    fleet.check()  # it was told to
    assert fleet.said("one") == "ready\n"
    assert fleet.said("nobody") == ""


def test_a_child_gets_flags_environment_and_these_modules(
    fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    program = "import os, sys, streams; print(sys.argv[1:], os.environ['OWN'], os.environ['HOME'])"
    fleet.finish(fleet.start("one", program, "--flag", "1", command="-c", env={"OWN": "so"}, ends=True))
    assert fleet.said("one") == f"['--flag', '1'] so {os.environ['HOME']}\n"


def test_who_ends_before_its_time_is_told_of_with_its_last_words(fleet: Fleet) -> None:
    begin(fleet, "lives", LIVES)
    begin(fleet, "dies", "print('\\n'.join(f'line {n}.' for n in range(99))); exit(3)")
    with pytest.raises(FleetError, match=r"dies ended with exit code 3; its log is .*dies\.log") as raised:
        fleet.wait_for(lambda: None, "nothing")
    assert str(raised.value).endswith("  line 97.\n  line 98.")
    assert "line 84." in str(raised.value)
    assert "line 83." not in str(raised.value)


def test_a_command_may_end_but_not_fail(fleet: Fleet) -> None:
    fleet.finish(begin(fleet, "good", "print('done')", ends=True))
    assert fleet.children == {}
    with pytest.raises(FleetError, match="bad ended with exit code 1"):
        fleet.finish(begin(fleet, "bad", "exit(1)", ends=True))


def test_a_server_that_ends_with_0_has_failed_too(fleet: Fleet) -> None:
    child = begin(fleet, "server", "exit(0)")
    child.process.wait(20)
    with pytest.raises(FleetError, match="server ended with exit code 0"):
        fleet.check()


def test_a_wait_returns_what_was_found_or_shows_all_logs(fleet: Fleet) -> None:
    assert fleet.wait_for(lambda: "found", "it", 0) == "found"
    fleet.wait_said(begin(fleet, "one", LIVES), "ready", 20)
    with pytest.raises(FleetError, match=r"waited for rain: not within 0\.1 s\none goes on") as raised:
        fleet.wait_for(lambda: False, "rain", 0.1, every=0.01)
    assert str(raised.value).endswith("  ready")


def test_children_of_one_name_write_one_log_that_a_later_fleet_begins_anew(fleet: Fleet) -> None:
    fleet.finish(begin(fleet, "one", "print('first')", ends=True))
    second = begin(fleet, "one", "print('second')", ends=True)
    fleet.finish(second)
    assert fleet.said("one") == "first\nsecond\n"
    assert second.said() == "second\n"
    again = Fleet(fleet.folder, [sys.executable])
    again.finish(begin(again, "one", "print('third')", ends=True))
    assert again.said("one") == "third\n"


def test_kill_does_not_ask(fleet: Fleet) -> None:
    child = begin(fleet, "one", STUBBORN)
    fleet.wait_said(child, "ready", 20)
    fleet.kill("one")
    assert child.code == -9
    assert fleet.children == {}


def test_the_last_started_is_asked_to_end_first_and_the_stubborn_are_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    terminate = subprocess.Popen.terminate
    monkeypatch.setattr(
        subprocess.Popen, "terminate", lambda process: (asked.append(process.pid), terminate(process))
    )
    with Fleet(tmp_path, [sys.executable]) as fleet:
        programs = {"one": LIVES, "two": STUBBORN, "three": LIVES}
        children = [begin(fleet, name, program) for name, program in programs.items()]
        for child in children:
            fleet.wait_said(child, "ready", 20)
        fleet.close(1.0)
    assert asked == [child.pid for child in reversed(children)]
    assert [child.code for child in children] == [-15, -9, -15]
