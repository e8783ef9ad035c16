"""The trainer's process with a real broker and real models: from clicks to a verdict through kill -9."""

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from learner.data.catalogue import Catalogue, Item
from learner.data.dataset import Interactions, load_interactions, load_items
from learner.release.bundle import Window
from learner.release.files import read_manifest, read_release, verify_release, write_release
from learner.release.live import LiveRelease
from learner.signals.settings import SignalSettings
from learner.signals.state import Signals
from learner.text import encoder as encoders
from learner.text.card import DEFAULT_MODEL, EncoderChoice
from learner.text.content import text_of
from learner.text.encoder import open_encoder
from learner.text.pretrained import find
from streams.learning.new_items import NewItems
from streams.operate.encoders import listed as encoders_listed
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
CLICKS = 20_000  # a quarter of them teaches an encoder, and a tenth of these has to judge it
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
def start(settings: Settings, tmp_path: Path) -> Iterator[Callable[..., Parent]]:
    started: list[Parent] = []

    def begin(**changes: Any) -> Parent:
        changed = settings.model_copy(update=changes)
        started.append(Parent(changed, tmp_path / f"trainer-{len(started)}.log"))
        return started[-1]

    yield begin
    for parent in started:
        if parent.process.poll() is None:
            parent.process.send_signal(signal.SIGKILL)
            parent.process.wait()


def _live_and_clicked(
    settings: Settings, topics: Names, clicks: Interactions, recorded: Path, folder: Path
) -> None:
    with clients.producer(settings) as producer:
        for number in range(len(clicks)):
            click = click_of(clicks, number)
            producer.send(topics.clicks, key=click.user_id.encode(), value=encode(click))
        producer.flush()
    clicked = {clicks.item_ids[number] for number in clicks.item.tolist()}
    items = [item for item in load_items(recorded / "items.csv.gz") if item.item_id in clicked]
    window = Window(first_ms=0, last_ms=int(clicks.time_ms[999]), events=1000, users=1)
    live = served_bundle("r-0", items, {"popularity_6": 1.0}, data=window, created_at=1)
    add(settings, write_release(folder / "live", live), "live")


@pytest.mark.drill
def test_from_clicks_to_a_verdict_through_kill_9(
    settings: Settings, topics: Names, clicks: Interactions, recorded: Path, tmp_path: Path,
    start: Callable[..., Parent],
) -> None:  # fmt: skip
    _live_and_clicked(settings, topics, clicks, recorded, tmp_path)
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


@pytest.mark.drill
@pytest.mark.timeout(1800)  # a minute, but at the lowest priority it waits for whatever else runs
@pytest.mark.skipif(not encoders.installed(), reason="needs: pip install 'nextclick[learner]'")
def test_an_encoder_is_adapted_through_kill_9_and_reads_what_comes_later(
    settings: Settings, topics: Names, clicks: Interactions, recorded: Path, tmp_path: Path,
    start: Callable[..., Parent],
) -> None:  # fmt: skip
    _live_and_clicked(settings, topics, clicks, recorded, tmp_path)
    changes = {"encoder_model": DEFAULT_MODEL, "adapt_every_days": 30.0, "adapt_minutes": 2.0}
    first = start(**changes)
    first.wait_for(lambda: "an encoder is adapted" in first.said())
    time.sleep(3)  # somewhere in it
    first.kill()
    second = start(**changes)
    second.wait_for(lambda: len(list(records(settings))) >= 3 and not roles_now(settings).candidates, 1200)
    assert "reason='it was cut short'" in second.said()
    assert second.said().count("an encoder was adapted") == 1

    judged = list(records(settings))[-1]
    assert judged.decision in ("passed", "refused")
    assert judged.evidence["answers"] > 200
    folder = Path(judged.url)
    card = verify_release(folder).encoder
    plain = find(EncoderChoice()).card
    assert (card.adapted_from, card.base_identity) == (DEFAULT_MODEL, plain.identity)
    assert card.identity not in ("", plain.identity)
    assert (Path(card.model).parent, Path(card.model).name) == (
        settings.data_dir.resolve() / "trainer" / "adapted", card.name,
    )  # fmt: skip
    assert read_manifest(folder).training["adapted"]["steps"] > 0
    listed = {each.where: each.state for each in encoders_listed(settings)}
    assert listed[judged.release] == f"a release that carries it, adapted from {DEFAULT_MODEL}"

    later = Item(item_id="later", title="A heist in Paris goes wrong", categories=["Crime"])
    catalogue = Catalogue()
    release = LiveRelease(read_release(folder), catalogue, folder=folder)
    made = {}
    for reader in ("the model", "the release's copy"):
        catalogue.announce(later)
        signals = Signals(SignalSettings(), catalogue)
        new = NewItems(catalogue, lambda: None)
        new.compare_with(release)
        asyncio.run(new.begin(signals))
        made[reader] = new._encoder.reader()
        assert made[reader].card.identity == card.identity
        assert new.encoded == 1
        shutil.rmtree(card.model, ignore_errors=True)  # as when another machine's learner takes over
    (one,), (other,) = (reader.read([text_of(later)]) for reader in made.values())
    (of_plain,) = open_encoder(EncoderChoice()).read([text_of(later)])
    assert one @ other > 0.99  # 8 bits
    assert one @ of_plain < one @ other
