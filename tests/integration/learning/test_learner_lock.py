import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from streams.learning.lock import SESSION_SECONDS, LearnerLock, LearnerRunning
from streams.settings import Settings
from streams.transport.fence import Fenced
from streams.transport.topics import Names
from tests.worlds.places import ROOT

HOLD = """
import asyncio, sys
from pathlib import Path
from streams.transport.fence import Fenced
from streams.learning.lock import LearnerLock
from streams.settings import load_settings
async def hold():
    settings = load_settings(bootstrap_servers=sys.argv[1], prefix=sys.argv[2], data_dir=Path(sys.argv[3]))
    async with LearnerLock(settings) as lock:
        print("held", flush=True)
        try:
            while True:
                await asyncio.sleep(0.2)
                lock.check()
        except Fenced:
            print("fenced", flush=True)
asyncio.run(hold())
"""


def hold(settings: Settings, folder: Path) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [
            sys.executable,
            "-W",
            "ignore",
            "-c",
            HOLD,
            settings.bootstrap_servers,
            settings.prefix,
            str(folder),
        ],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def enter(settings: Settings, folder: Path) -> None:
    async def run() -> None:
        async with LearnerLock(settings.model_copy(update={"data_dir": folder})) as lock:
            lock.check()

    asyncio.run(run())


@pytest.mark.usefixtures("topics")
def test_a_second_learner_is_refused_and_the_first_goes_on(settings: Settings, tmp_path: Path) -> None:
    first = hold(settings, tmp_path / "first")
    for folder in ("first", "second"):
        started = time.monotonic()
        with pytest.raises(LearnerRunning, match="runs already"):
            enter(settings, tmp_path / folder)
        assert time.monotonic() - started < SESSION_SECONDS + 4
    assert first.poll() is None
    first.kill()
    first.wait()
    enter(settings, tmp_path / "second")  # waits for the session of the dead one to end
    enter(settings, tmp_path / "third")  # one that has stopped is not waited for


@pytest.mark.usefixtures("topics")
def test_a_restart_in_the_same_folder_takes_over_at_once(settings: Settings, tmp_path: Path) -> None:
    first = hold(settings, tmp_path)
    first.kill()
    first.wait()
    started = time.monotonic()
    enter(settings, tmp_path)
    print(f"took over after {time.monotonic() - started:.1f} s")


def test_a_learner_paused_past_its_session_is_fenced(
    settings: Settings, topics: Names, tmp_path: Path
) -> None:
    first = hold(settings, tmp_path / "first")
    first.send_signal(signal.SIGSTOP)
    second = hold(settings, tmp_path / "second")
    first.send_signal(signal.SIGCONT)
    assert first.stdout is not None
    assert first.stdout.readline() == "fenced\n"
    time.sleep(2)
    assert second.poll() is None
    for process in (first, second):
        process.kill()
        process.wait()


def test_fenced_is_an_error_that_says_what_to_do() -> None:
    from streams.transport.fence import Fence

    fence = Fence(5)
    fence.check()
    fence.last_heartbeat -= 6
    with pytest.raises(Fenced, match="Restart"):
        fence.check()
