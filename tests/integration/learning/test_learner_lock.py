"""One learner at a time: a second is refused, a dead one's session is waited for, a paused one is fenced."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from streams.learning import lock
from streams.learning.lock import LearnerLock, LearnerRunning
from streams.settings import Settings
from streams.transport import clients
from streams.transport.fence import Fence, Fenced, Unsure
from streams.transport.topics import Names
from tests.worlds.places import ROOT

SESSION_S = 6.0  # the least that the broker allows
HOLD = """
import asyncio, sys
from pathlib import Path
from streams.learning import lock
from streams.learning.lock import LearnerLock
from streams.settings import load_settings
from streams.transport.fence import Fenced
lock.SESSION_SECONDS = float(sys.argv[4])
async def hold():
    settings = load_settings(bootstrap_servers=sys.argv[1], prefix=sys.argv[2], data_dir=Path(sys.argv[3]))
    async with LearnerLock(settings) as held:
        print("held", flush=True)
        try:
            while True:
                await asyncio.sleep(0.2)
                held.check()
        except Fenced:
            print("fenced", flush=True)
asyncio.run(hold())
"""


def hold(settings: Settings, folder: Path, session_s: float = SESSION_S) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [
            sys.executable, "-W", "ignore", "-c", HOLD, settings.bootstrap_servers, settings.prefix,
            str(folder), str(session_s),
        ],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def enter(settings: Settings, folder: Path) -> None:
    async def run() -> None:
        async with LearnerLock(settings.model_copy(update={"data_dir": folder})) as held:
            held.check()

    asyncio.run(run())


def settled(settings: Settings) -> None:
    """Waits until the group has got over who came and went: it keeps whoever dies in the middle of that."""
    group, end = f"{settings.prefix}learner", time.monotonic() + 60
    with clients.admin(settings) as admin:
        while (found := admin.describe_groups([group])[group])["group_state"] != "Stable":
            assert time.monotonic() < end, found
            time.sleep(0.1)


@pytest.fixture(autouse=True)
def _short_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "SESSION_SECONDS", SESSION_S)


@pytest.mark.usefixtures("topics")
def test_a_second_learner_is_refused_and_the_first_goes_on(settings: Settings, tmp_path: Path) -> None:
    first = hold(settings, tmp_path / "first")
    for folder, where in (("first", "with the data folder"), ("second", "elsewhere")):
        with pytest.raises(LearnerRunning, match=f"runs already, {where}"):
            enter(settings, tmp_path / folder)
    assert first.poll() is None
    settled(settings)
    first.kill()
    first.wait()
    enter(settings, tmp_path / "second")  # waits for the session of the dead one to end
    enter(settings, tmp_path / "third")  # one that has stopped is not waited for


@pytest.mark.usefixtures("topics")
def test_a_restart_in_the_same_folder_does_not_wait_for_the_session_of_the_dead_one(
    settings: Settings, tmp_path: Path
) -> None:
    first = hold(settings, tmp_path, session_s=600)  # nobody waits that long for a place in the group
    first.kill()
    first.wait()
    second = hold(settings, tmp_path)
    assert second.poll() is None
    second.kill()
    second.wait()


def test_a_learner_paused_past_its_session_is_fenced(
    settings: Settings, topics: Names, tmp_path: Path
) -> None:
    first = hold(settings, tmp_path / "first")
    first.send_signal(signal.SIGSTOP)
    second = hold(settings, tmp_path / "second")
    first.send_signal(signal.SIGCONT)
    assert first.stdout is not None
    assert first.stdout.readline() == "fenced\n"
    first.wait(90)
    settled(settings)
    assert second.poll() is None
    second.kill()
    second.wait()


def test_what_is_to_be_written_waits_while_nobody_knows_and_fails_once_the_place_is_lost() -> None:
    fence = Fence(5)
    fence.hold()
    fence.last_heartbeat -= 6
    fence.check()
    with pytest.raises(Unsure, match="no heartbeat for 6") as raised:
        fence.hold()
    assert raised.value.retriable
    fence.renew()
    fence.hold()
    fence.lost = True
    for asked in (fence.check, fence.hold):
        with pytest.raises(Fenced, match="the place in the group is lost") as raised:
            asked()
        assert not raised.value.retriable
    assert raised.value.exit_code == 75
