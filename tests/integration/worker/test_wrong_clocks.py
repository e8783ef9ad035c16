"""Workers whose wall clocks are off by a minute, either way, beside a learner whose clock is right."""

import time
from pathlib import Path

import numpy as np
import pytest

from learner.data.catalogue import Item
from learner.release.files import write_release
from tests.worlds.places import ROOT
from tests.worlds.served import POPULAR, served_bundle
from tests.worlds.system import System, wait_answered

pytestmark = pytest.mark.broker
MINUTE_MS = 60_000
OFF = """
import os, time
_seconds, _time, _time_ns = float(os.environ["OFF_BY"]), time.time, time.time_ns
time.time = lambda: _time() + _seconds
time.time_ns = lambda: _time_ns() + int(_seconds * 1e9)
"""


@pytest.fixture
def release(tmp_path: Path) -> Path:
    items = [Item(item_id=f"i{number}") for number in range(60)]
    return write_release(tmp_path / "made", served_bundle("r-1", items, POPULAR))


@pytest.mark.usefixtures("topics")
def test_a_minute_off_is_served_as_any_other(system: System, tmp_path: Path) -> None:
    off = tmp_path / "off"
    off.mkdir()
    (off / "sitecustomize.py").write_text(OFF)
    system.start("learner", "--clock", "wall", "--set", "learn=none")
    for name, seconds in (("behind", -60), ("ahead", 60)):
        path = {"PYTHONPATH": f"{off}:{ROOT}", "OFF_BY": str(seconds)}
        system.start("worker", "--clock", "wall", name=name, env=path)
    for name in ("behind", "ahead"):
        system.wait_for(lambda name=name: "partitions=[" in system.said(name), f"{name} has partitions")
    system.wait_for(lambda: "partitions=[0, 1, 2, 3, 4, 5, 6, 7]" not in _last(system), "both have some")

    def click(number: int, time_ms: int) -> str:
        return system.click(f"u{number % 24}", f"i{number % 7}", time_ms)

    sent = {}
    for number in range(96):  # now, and what a producer says whose own clock is ahead or behind
        now_ms = int(time.time() * 1000)
        sent[click(number, now_ms + (number % 3 - 1) * MINUTE_MS)] = now_ms
    lists = wait_answered(system, list(sent))
    late = [lists[event_id]["created_at"] - now_ms for event_id, now_ms in sent.items()]
    # Each list says when its worker thinks that it made it: both have answered.
    assert sum(-MINUTE_MS - 30_000 < each < -30_000 for each in late) > 10
    assert sum(30_000 < each < MINUTE_MS + 30_000 for each in late) > 10
    for made in lists.values():
        assert len(made["items"]) == 10
        assert np.isfinite([item["score"] for item in made["items"]]).all()
    # What is popular now is so to all: nobody takes a click of this minute for one of the far past or future.
    system.wait_for(lambda: {"i0", "i1", "i2"} <= _popular(system, "nobody"), "popular items")
    system.wait_for(lambda: {"i0", "i1", "i2"} <= _popular(system, "somebody-else"), "popular items")
    assert not system.read("dead-letters")
    # A clock that is a minute behind leaves a producer four minutes of five.
    ahead = [
        system.click(user, "i1", int(time.time() * 1000) + 4 * MINUTE_MS - 5000) for user in ("a", "b", "c")
    ]
    wait_answered(system, ahead)
    assert [system.stop(name) for name in ("behind", "ahead")] == [0, 0]


def _last(system: System) -> str:
    """Of each worker the last line that names its partitions."""
    return "".join(
        [line for line in system.said(name).splitlines() if "partitions=[" in line][-1]
        for name in ("behind", "ahead")
    )


def _popular(system: System, user: str) -> set[str]:
    return {item["item_id"] for item in system.request(user)["items"]}
