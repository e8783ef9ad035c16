"""`nextclick learner` as a process: every click counted once, whatever happens to it."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kafka import KafkaProducer

from learner.data.catalogue import Catalogue, Item
from learner.release.files import bundle_sha256, write_release
from learner.release.live import load_release
from learner.signals.record import FRONTIER
from learner.signals.settings import SignalSettings
from learner.signals.state import Signals
from learner.text.content import HASHED_CARD, ContentEncoder
from streams.settings import Settings
from streams.transport import clients
from streams.transport.topics import Names
from streams.wire.partitioner import partition_of
from tests.worlds.places import ROOT
from tests.worlds.served import served_bundle
from tests.worlds.system import Topic

START_MS = 1_700_000_000_000


class Process:
    """A running `nextclick learner`."""

    def __init__(self, settings: Settings, folder: Path, *flags: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.log = folder / "learner.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable, "-W", "ignore", "-m", "streams", "learner",
                    "--bootstrap-servers", settings.bootstrap_servers, "--prefix", settings.prefix,
                    "--clock", "stream", "--data-dir", str(folder), "--learn", "none", *flags,
                ],
                stdout=log, stderr=log, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)},
            )  # fmt: skip

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(90)


@pytest.fixture
def start(settings: Settings, topics: Names, tmp_path: Path) -> Iterator[Callable[..., Process]]:
    processes: list[Process] = []

    def new(folder: str = "learner", *flags: str) -> Process:
        processes.append(Process(settings, tmp_path / folder, *flags))
        return processes[-1]

    yield new
    for each in processes:
        if each.process.poll() is None:
            each.kill()
    for reader in READERS.values():
        reader.close()
    READERS.clear()


READERS: dict[str, Topic] = {}  # of a test's topics


def read(settings: Settings, topic: str) -> list[Any]:
    """All records of a topic to its present end; what was read before is not read again."""
    if topic not in READERS:
        READERS[topic] = Topic(settings.bootstrap_servers, topic)
    return READERS[topic].read()


def signals(settings: Settings, topics: Names) -> dict[str, dict[str, Any]]:
    """The last record of each item, and of the frontier under ""."""
    records = {record.key.decode(): record.value for record in read(settings, topics.signals)}
    return {key: json.loads(value) for key, value in records.items() if value not in (None, b"{")}


def frontier(settings: Settings, topics: Names) -> int:
    """Clicks that the signals have passed, in all partitions."""
    record = signals(settings, topics).get(FRONTIER, {"offsets": {}})
    return sum(offset + 1 for offset in record["offsets"].values())


def wait_for(condition: Callable[[], bool], process: Process, seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not reached in time:\n{process.said()[-3000:]}"
        assert process.process.poll() is None, process.said()[-3000:]
        time.sleep(0.1)


def send(producer: KafkaProducer, topics: Names, n: int, event: str = "click") -> None:
    click = {
        "event_id": f"e{n}", "user_id": f"u{n % 37}", "item_id": f"i{n % 101}", "event": event,
        "timestamp": START_MS + n * 1000,
    }  # fmt: skip
    producer.send(topics.clicks, key=click["user_id"].encode(), value=json.dumps(click).encode())


@pytest.fixture
def producer(settings: Settings) -> Iterator[KafkaProducer]:
    with clients.producer(settings) as sending:
        yield sending


def test_each_click_counts_once_through_kill_9(
    settings: Settings, topics: Names, start: Callable[..., Process], producer: KafkaProducer
) -> None:
    part, parts = 1_500, 3  # each part has its own learner, and all but the last are killed in its middle

    def load(first: int) -> None:
        for n in range(first, first + part):
            send(producer, topics, n)
            time.sleep(0.002)
        producer.flush()

    clicks, learner = part * parts, start()
    for number in range(parts):
        wait_for(lambda n=number, now=learner: now.said().count("learner ready") > n, learner)  # type: ignore[misc]
        loading = threading.Thread(target=load, args=(number * part,))
        loading.start()
        if number < parts - 1:
            # In the middle: there are always some clicks whose records are not sent yet.
            some = number * part + part // 5
            wait_for(lambda some=some: frontier(settings, topics) > some, learner)  # type: ignore[misc]
            learner.kill()
            learner = start()
        loading.join()
    wait_for(lambda: frontier(settings, topics) == clicks, learner)
    found = signals(settings, topics)
    found.pop(FRONTIER)
    assert {name: record["count"] for name, record in found.items()} == Counter(
        f"i{n % 101}" for n in range(clicks)
    )
    assert learner.said().count("learner ready") == parts
    assert learner.stop() == 0


def test_with_interval_0_each_click_is_reported_also_where_nothing_changed(
    settings: Settings, topics: Names, start: Callable[..., Process], producer: KafkaProducer
) -> None:
    learner = start("learner", "--signals-interval-ms", "0")
    for n, event in enumerate(["click", "impression", "dislike", "click"]):
        send(producer, topics, n, event)
        producer.flush()
        home = partition_of(f"u{n}".encode(), settings.partitions)
        wait_for(lambda n=n: frontier(settings, topics) == n + 1, learner)  # type: ignore[misc]
        assert str(home) in signals(settings, topics)[FRONTIER]["offsets"]
    assert set(signals(settings, topics)) == {FRONTIER, "i0", "i3"}
    assert learner.stop() == 0


def test_weights_that_change_count_the_kept_clicks_again(
    settings: Settings, topics: Names, start: Callable[..., Process], producer: KafkaProducer
) -> None:
    kinds = ["view", "purchase", "click"]
    for n in range(300):
        send(producer, topics, n, kinds[n % 3])
    producer.flush()
    learner = start()
    wait_for(lambda: frontier(settings, topics) == 300, learner)
    before = signals(settings, topics)
    gone = before["i0"] | {"item_id": "gone", "count": 7}  # nothing that is kept tells of it any more
    producer.send(topics.signals, key=b"gone", value=json.dumps(gone).encode())
    producer.flush()
    assert learner.stop() == 0
    learner = start("learner", "--set", "event_weights=purchase=5,view=0.5")
    wait_for(lambda: "learner ready" in learner.said(), learner)
    wait_for(lambda: "event_weights" in signals(settings, topics)[FRONTIER], learner)
    found = signals(settings, topics)
    assert all(record["event_weights"] == {"purchase": 5.0, "view": 0.5} for record in found.values())
    expected: Counter[str] = Counter()
    for n in range(300):
        expected[f"i{n % 101}"] += {"view": 0.5, "purchase": 5, "click": 1}[kinds[n % 3]]  # type: ignore[assignment]
    assert {name: each.get("count", 0) for name, each in found.items()} == dict(expected) | {
        "gone": 0,
        FRONTIER: 0,
    }
    assert "event_weights have changed" in learner.said()
    assert "2023-11-14T22:13:20+00:00" in learner.said()  # the oldest click
    assert learner.stop() == 0
    learner = start("learner", "--set", "event_weights=purchase=5,view=0.5")
    wait_for(lambda: "known=300" in learner.said(), learner)
    assert learner.said().count("event_weights have changed") == 1
    assert learner.stop() == 0


def test_a_second_learner_is_refused(
    settings: Settings, topics: Names, start: Callable[..., Process], producer: KafkaProducer
) -> None:
    first = start()
    wait_for(lambda: "learner ready" in first.said(), first)
    for folder in ("learner", "elsewhere"):
        second = start(folder)
        assert second.process.wait(120) == 1
        assert "runs already" in second.said()
        assert "Traceback" not in second.said().partition("runs already")[0]
    send(producer, topics, 0)
    producer.flush()
    wait_for(lambda: frontier(settings, topics) == 1, first)
    assert first.stop() == 0


def test_clicks_made_anew_under_old_signals_are_refused(
    settings: Settings, topics: Names, start: Callable[..., Process], producer: KafkaProducer
) -> None:
    record = {"item_id": "", "offsets": {"0": 5}, "now_ms": START_MS, "reference": [0] * 9}
    producer.send(topics.signals, key=b"", value=json.dumps(record).encode())
    producer.flush()
    learner = start()
    assert learner.process.wait(120) == 78
    assert "was made anew" in learner.said()


def test_bad_items_and_signals_are_passed_over(
    settings: Settings, topics: Names, start: Callable[..., Process], producer: KafkaProducer
) -> None:
    for topic in (topics.items, topics.signals, topics.releases):
        for value in (b"{", b'{"item_id": 5}', None):
            producer.send(topic, key=b"i1", value=value)
    huge, share = (
        10**25,
        b'{"release":"r","url":"/r","sha256":"0","role":"canary","at":1,"evidence":{"share":"x"}}',
    )
    producer.send(topics.items, key=b"i1", value=b'{"item_id": "i1", "attributes": {"n": %d}}' % huge)
    producer.send(topics.items, key=b"i1", value=b'{"item_id": "i1", "published_at": %d}' % huge)
    producer.send(topics.items, key=b"\xff", value=None)
    producer.send(topics.signals, key=b"i1", value=b'{"item_id": "i1", "now_ms": %d, "offsets": {}}' % huge)
    offsets = b'{"item_id": "i1", "now_ms": 1, "reference": [0,0,0,0,0,0,0,0,0], "offsets": {"zero": 1}}'
    producer.send(topics.signals, key=b"i1", value=offsets)
    producer.send(topics.releases, key=b"r", value=share)
    early = {"event_id": "e", "user_id": "u", "item_id": "i1", "event": "click", "timestamp": 10**400}
    producer.send(topics.clicks, key=b"u", value=json.dumps(early).encode())
    producer.send(topics.items, key=b"i0", value=b'{"item_id": "i0", "categories": ["drama"]}')
    send(producer, topics, 0)
    producer.flush()
    learner = start()
    wait_for(lambda: frontier(settings, topics) == 2, learner)
    assert signals(settings, topics)["i0"]["count"] == 1
    assert learner.stop() == 0


def made(folder: Path, release: str, items: list[Item]) -> Path:
    return write_release(folder, served_bundle(release, items))


def test_the_given_release_goes_live_and_new_items_get_vectors(
    settings: Settings, topics: Names, start: Callable[..., Process], producer: KafkaProducer, tmp_path: Path
) -> None:
    released = [Item(item_id="a", title="Heat", categories=["crime"]), Item(item_id="b", title="Ran")]
    first = made(tmp_path / "r1", "r-1", released)
    learner = start("learner", "--release", str(first))
    wait_for(lambda: bool(read(settings, topics.releases)), learner)
    announced = json.loads(read(settings, topics.releases)[0].value)
    assert announced["release"] == "r-1"
    assert announced["role"] == "live"
    assert announced["url"] == str(first)
    assert announced["sha256"] == bundle_sha256(first)

    new = Item(item_id="n", title="A heist goes wrong", categories=["crime"])
    for item in (released[0], new):
        value = json.dumps({"item_id": item.item_id, "title": item.title, "categories": item.categories})
        producer.send(topics.items, key=item.item_id.encode(), value=value.encode())
    producer.flush()
    wait_for(lambda: "n" in signals(settings, topics), learner)
    assert "a" not in signals(settings, topics)

    catalogue = Catalogue()
    release = load_release(first, catalogue)
    given: dict[str, Any] = {}
    reader = Signals(
        SignalSettings(), catalogue, on_vector=lambda n, v, c, _: given.update({catalogue.ids[n]: (v, c)})
    )
    for record in read(settings, topics.signals):
        reader.apply(record.key.decode(), record.value)
    encoder = ContentEncoder.load(HASHED_CARD, release.encoder)
    content = encoder.encode([new])[0]
    np.testing.assert_allclose(given["n"][1], content, rtol=1e-5)
    np.testing.assert_allclose(given["n"][0], release.embed(content, new.categories), rtol=1e-5)

    second = made(tmp_path / "r2", "r-2", [*released, new])
    live = announced | {"release": "r-2", "url": str(second), "at": announced["at"] + 1}
    live["sha256"] = bundle_sha256(second)
    producer.send(topics.releases, key=b"r-2", value=json.dumps(live).encode())
    producer.flush()
    wait_for(lambda: "release taken up" in learner.said(), learner)
    sent = len(read(settings, topics.releases))
    assert learner.stop() == 0

    again = start("learner", "--release", str(first))  # r-2 is live: nothing is announced
    wait_for(lambda: again.said().count("learner ready") == 2, again)
    assert len(read(settings, topics.releases)) == sent
    assert again.stop() == 0


def test_a_damaged_release_is_refused_by_the_name_of_the_file(
    start: Callable[..., Process], tmp_path: Path
) -> None:
    folder = made(tmp_path / "r1", "r-1", [Item(item_id="a")])
    (folder / "vectors.safetensors").write_bytes(b"damaged")
    learner = start("learner", "--release", str(folder))
    assert learner.process.wait(120) == 1
    assert "vectors.safetensors" in learner.said().replace("\n", "")
