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

import pytest
from kafka import KafkaProducer, TopicPartition

from learner.signals import FRONTIER
from streams import kafka_client
from streams.partitioner import partition_of
from streams.settings import Settings
from streams.topics import Names

ROOT = Path(__file__).parents[2]
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
                    "--clock", "stream", "--data-dir", str(folder), *flags,
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
        return self.process.wait(30)


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


def read(settings: Settings, topic: str) -> list[Any]:
    with kafka_client.consumer(settings, auto_offset_reset="earliest") as consumer:
        place = TopicPartition(topic, 0)
        consumer.assign([place])
        end = consumer.end_offsets([place])[place]
        consumer.seek_to_beginning(place)
        records: list[Any] = []
        while consumer.position(place) < end:
            for fetched in consumer.poll(500).values():
                records += fetched
        return records


def signals(settings: Settings, topics: Names) -> dict[str, dict[str, Any]]:
    """The last record of each item, and of the frontier under ""."""
    records = {record.key.decode(): record.value for record in read(settings, topics.signals)}
    return {key: json.loads(value) for key, value in records.items() if value not in (None, b"{")}


def frontier(settings: Settings, topics: Names) -> int:
    """Clicks that the signals have passed, in all partitions."""
    record = signals(settings, topics).get(FRONTIER, {"offsets": {}})
    return sum(offset + 1 for offset in record["offsets"].values())


def wait_for(condition: Callable[[], bool], process: Process, seconds: float = 60) -> None:
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
    with kafka_client.producer(settings) as sending:
        yield sending


def test_each_click_counts_once_through_kill_9(
    settings: Settings, topics: Names, start: Callable[..., Process], producer: KafkaProducer
) -> None:
    clicks = 6_000

    def load() -> None:
        for n in range(clicks):
            send(producer, topics, n)
            time.sleep(0.002)
        producer.flush()

    learner = start()
    wait_for(lambda: "learner ready" in learner.said(), learner)
    loading = threading.Thread(target=load)
    loading.start()
    for part in (0.1, 0.6):  # of the clicks: there are always some whose records are not sent yet
        wait_for(lambda part=part: frontier(settings, topics) > part * clicks, learner)  # type: ignore[misc]
        learner.kill()
        learner = start()
    loading.join()
    wait_for(lambda: frontier(settings, topics) == clicks, learner)
    found = signals(settings, topics)
    found.pop(FRONTIER)
    assert {name: record["count"] for name, record in found.items()} == Counter(
        f"i{n % 101}" for n in range(clicks)
    )
    wait_for(lambda: learner.said().count("learner ready") == 3, learner)
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


def test_a_second_learner_is_refused(
    settings: Settings, topics: Names, start: Callable[..., Process], producer: KafkaProducer
) -> None:
    first = start()
    wait_for(lambda: "learner ready" in first.said(), first)
    for folder in ("learner", "elsewhere"):
        second = start(folder)
        assert second.process.wait(40) == 1
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
    assert learner.process.wait(40) == 1
    assert "was made anew" in learner.said()


def test_bad_items_and_signals_are_passed_over(
    settings: Settings, topics: Names, start: Callable[..., Process], producer: KafkaProducer
) -> None:
    for topic in (topics.items, topics.signals, topics.releases):
        for value in (b"{", b'{"item_id": 5}', None):
            producer.send(topic, key=b"i1", value=value)
    producer.send(topics.items, key=b"i0", value=b'{"item_id": "i0", "categories": ["drama"]}')
    send(producer, topics, 0)
    producer.flush()
    learner = start()
    wait_for(lambda: frontier(settings, topics) == 1, learner)
    assert signals(settings, topics)["i0"]["count"] == 1
    assert learner.stop() == 0
