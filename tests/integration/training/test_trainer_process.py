"""The trainer's process with a real broker and real models: from clicks to a verdict through kill -9."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from learner.data.dataset import Interactions, load_interactions, load_items
from learner.release.bundle import Window
from learner.release.files import verify_release, write_release
from streams.operate.releases import add
from streams.recorded.collecting import click_of
from streams.releases.store import ReleaseStore
from streams.releases.topic import records, roles_now
from streams.settings import Settings
from streams.transport import clients
from streams.transport.topics import Names
from streams.wire.contract import encode
from tests.worlds.places import ROOT
from tests.worlds.served import served_bundle

pytestmark = [pytest.mark.broker, pytest.mark.learner, pytest.mark.timeout(900)]
CLICKS = 5000
PARENT = """
import asyncio, sys, pickle
from streams.settings import Settings
from streams.training.process import keep_trainer
if __name__ == "__main__":
    values = pickle.loads(bytes.fromhex(sys.argv[1]))
    asyncio.run(keep_trainer(Settings(**values), poll_seconds=0.5))
"""


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(
        update={"train_after_clicks": 2000, "train_minutes": 0.15, "gate_clicks": 800, "gate_margin": 0.9}
    )


@pytest.fixture
def clicks(recorded: Path) -> Interactions:
    """The first clicks of ml-100k, mixed: as recorded, 800 of them are ten users' and prove nothing."""
    first = load_interactions(recorded / "interactions.csv.gz").in_order(0).at(slice(0, CLICKS))
    mixed = first.at(np.random.default_rng(0).permutation(CLICKS))
    return replace(mixed, time_ms=first.time_ms[0] + 1000 * np.arange(CLICKS))


class Parent:
    """A process that keeps a trainer, as the learner does."""

    def __init__(self, settings: Settings, log: Path) -> None:
        import pickle

        values = {name: getattr(settings, name) for name in type(settings).model_fields}
        self.log = log
        script = log.with_suffix(".py")
        script.write_text(PARENT)
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-W", "ignore", str(script), pickle.dumps(values).hex()],
                stdout=out, stderr=out, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)},
            )  # fmt: skip

    def said(self) -> str:
        return re.sub(r"\x1b\[[0-9;]*m", "", self.log.read_text(errors="replace"))

    def wait_for(self, what: Callable[[], bool], seconds: float = 240) -> None:
        end = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < end, self.said()[-5000:]
            assert self.process.poll() is None, self.said()[-5000:]
            time.sleep(0.1)

    def child(self) -> int:
        found = re.findall(r"trainer started\s+pid=(\d+)", self.said())
        return int(found[-1])

    def kill(self) -> None:
        """kill -9; the trainer must end by itself."""
        child = self.child()
        self.process.kill()
        self.process.wait()
        end = time.monotonic() + 20
        while _lives(child):
            assert time.monotonic() < end, "the trainer outlives its parent"
            time.sleep(0.1)


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
def start(settings: Settings, tmp_path: Path) -> Iterator[Callable[[], Parent]]:
    started: list[Parent] = []

    def begin() -> Parent:
        started.append(Parent(settings, tmp_path / f"trainer-{len(started)}.log"))
        return started[-1]

    yield begin
    for parent in started:
        if parent.process.poll() is None:
            parent.process.send_signal(signal.SIGKILL)
            parent.process.wait()


@pytest.mark.drill
def test_from_clicks_to_a_verdict_through_kill_9(
    settings: Settings, topics: Names, clicks: Interactions, recorded: Path, tmp_path: Path,
    start: Callable[[], Parent],
) -> None:  # fmt: skip
    with clients.producer(settings) as producer:
        for number in range(len(clicks)):
            click = click_of(clicks, number)
            producer.send(topics.clicks, key=click.user_id.encode(), value=encode(click))
        producer.flush()
    clicked = {clicks.item_ids[number] for number in clicks.item.tolist()}
    items = [item for item in load_items(recorded / "items.csv.gz") if item.item_id in clicked]
    window = Window(first_ms=0, last_ms=int(clicks.time_ms[999]), events=1000, users=1)
    live = served_bundle("r-0", items, {"popularity_6": 1.0}, data=window, created_at=1)
    add(settings, write_release(tmp_path / "live", live), "live")

    first = start()
    first.wait_for(lambda: "training begins" in first.said())
    time.sleep(3)  # somewhere in it
    first.kill()
    assert [record.release for record in records(settings)] == ["r-0"]
    assert ReleaseStore(settings.store_url).releases() == ["r-0"]

    second = start()
    second.wait_for(lambda: "training done" in second.said())
    second.kill()  # published or not, announced or not

    third = start()
    third.wait_for(lambda: len(list(records(settings))) >= 3 and not roles_now(settings).candidates)
    decisions = [(record.decision, record.role) for record in records(settings)]
    assert decisions in (
        [("added", "live"), ("trained", "candidate"), ("passed", "canary")],
        [("added", "live"), ("trained", "candidate"), ("refused", "retired")],
    )
    judged = list(records(settings))[-1]
    assert judged.evidence["answers"] > 200
    assert judged.evidence["ndcg@10"][0] > 0
    assert judged.reason
    assert "training begins" not in third.said()
    assert verify_release(Path(judged.url)).parents == ["r-0"]
    assert verify_release(Path(judged.url)).data.events == len(clicks) - 800
