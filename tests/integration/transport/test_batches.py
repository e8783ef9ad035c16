"""Batches, rounds, delivery and changelog in real processes against a real broker.

After each fault every click must have been counted exactly once in the states, in each user's order,
and led to at least one record on `recommendations`.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from streams.settings import Settings
from streams.transport import clients
from streams.transport.topics import Names
from tests.worlds.places import ROOT
from tests.worlds.system import Topic

SCRIPT = ROOT / "tests" / "worlds" / "counting_worker.py"
USERS = 40


class CountingWorker:
    """One process of counting_worker.py; its events are read as they come."""

    def __init__(self, settings: Settings, slot: str, boom: int = -1, late: float = 0.0) -> None:
        self.events: list[dict[str, Any]] = []
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(SCRIPT), settings.bootstrap_servers, settings.prefix, slot,
             str(settings.data_dir), str(boom), str(late)],
            env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.events.append(json.loads(line))

    def assigned(self) -> list[dict[str, Any]]:
        return [event for event in self.events if event["event"] == "assigned"]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(90)


@pytest.fixture
def start(settings: Settings, topics: Names) -> Iterator[Callable[..., CountingWorker]]:
    workers: list[CountingWorker] = []

    def new(slot: str, boom: int = -1, late: float = 0.0) -> CountingWorker:
        workers.append(CountingWorker(settings, slot, boom, late))
        return workers[-1]

    yield new
    for worker in workers:
        if worker.process.poll() is None:
            worker.kill()
    for reader in READERS.values():
        reader.close()
    READERS.clear()


def produce(settings: Settings, topic: str, numbers: range, per_second: int = 0) -> None:
    with clients.producer(settings) as producer:
        for n in numbers:
            producer.send(topic, key=f"u{n % USERS}".encode(), value=json.dumps({"n": n}).encode())
            if per_second and n % 20 == 0:
                time.sleep(20 / per_second)
        producer.flush()


READERS: dict[str, Topic] = {}  # of a test's topics


def read(settings: Settings, topic: str) -> list[Any]:
    """All records of a topic to its present end; what was read before is not read again."""
    if topic not in READERS:
        READERS[topic] = Topic(settings.bootstrap_servers, topic)
    return READERS[topic].read()


def counts(settings: Settings, topics: Names) -> dict[str, int]:
    states = read(settings, topics.user_states)
    return {record.key.decode(): int(record.value.split()[1]) for record in states}


def shared(settings: Settings, *workers: CountingWorker) -> bool:
    """Whether each has some of the partitions, and all of them together each once."""
    shares = [worker.assigned()[-1]["partitions"] for worker in workers if worker.assigned()]
    whole = sorted(partition for share in shares for partition in share) == list(range(settings.partitions))
    return len(shares) == len(workers) and all(shares) and whole


def wait_for(condition: Callable[[], bool], seconds: float = 90.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "not reached in time"
        time.sleep(0.1)


def check(settings: Settings, topics: Names, clicks: int) -> dict[str, int]:
    """Waits until all clicks are counted; returns how often lists were sent again."""
    wait_for(lambda: sum(counts(settings, topics).values()) >= clicks)
    expected = {f"u{user}": len(range(user, clicks, USERS)) for user in range(USERS)}
    assert counts(settings, topics) == expected
    of_user: dict[str, dict[int, int]] = defaultdict(dict)
    lists = [json.loads(record.value) for record in read(settings, topics.recommendations)]
    for entry in lists:
        # A repeated list tells the same count of the same click: the state had not covered it.
        assert of_user[entry["user"]].setdefault(entry["count"], entry["n"]) == entry["n"]
    for user, answered in of_user.items():
        assert answered == {place + 1: n for place, n in enumerate(range(int(user[1:]), clicks, USERS))}
    return {"repeated": len(lists) - clicks}


def test_nothing_is_lost_or_counted_twice_through_kill_9(
    settings: Settings, topics: Names, start: Callable[..., CountingWorker]
) -> None:
    clicks = 8_000
    worker = start("0")
    wait_for(lambda: bool(worker.assigned()))
    loading = threading.Thread(target=produce, args=(settings, topics.clicks, range(clicks), 1_500))
    loading.start()
    time.sleep(1)
    for seconds in (0.15, 0.4):  # after the start, in the middle of the backlog
        worker.kill()
        worker = start("0")
        wait_for(lambda worker=worker: bool(worker.assigned()))  # type: ignore[misc]
        time.sleep(seconds)
    worker.kill()
    last = start("0")
    loading.join()
    check(settings, topics, clicks)
    wait_for(lambda: bool(last.assigned()))
    assert last.stop() == 0


def test_a_second_worker_takes_its_share_and_gives_it_back(
    settings: Settings, topics: Names, start: Callable[..., CountingWorker]
) -> None:
    clicks = 6_000
    first = start("0")
    wait_for(lambda: bool(first.assigned()))
    loading = threading.Thread(target=produce, args=(settings, topics.clicks, range(clicks), 1_000))
    loading.start()
    time.sleep(0.5)
    second = start("1")
    wait_for(lambda: shared(settings, first, second))
    time.sleep(1)
    second.kill()  # its session of 6 s ends, then the first gets everything
    loading.join()
    check(settings, topics, clicks)


def test_partitions_of_a_worker_that_died_before_its_first_commit_are_read_from_their_beginning(
    settings: Settings, topics: Names, start: Callable[..., CountingWorker]
) -> None:
    clicks = 400
    first = start("0", late=2.0)
    wait_for(lambda: bool(first.assigned()))
    second = start("1")
    wait_for(lambda: shared(settings, first, second))
    second.kill()
    produce(settings, topics.clicks, range(clicks))
    check(settings, topics, clicks)


def test_a_handler_that_raises_stops_the_worker_and_the_next_start_goes_on(
    settings: Settings, topics: Names, start: Callable[..., CountingWorker]
) -> None:
    clicks = 1_000
    produce(settings, topics.clicks, range(clicks))
    failing = start("0", boom=500)
    assert failing.process.wait(60) == 1
    assert sum(counts(settings, topics).values()) < clicks
    start("0")
    check(settings, topics, clicks)


def test_a_worker_paused_past_its_session_writes_nothing_more(
    settings: Settings, topics: Names, start: Callable[..., CountingWorker]
) -> None:
    clicks = 3_000
    first = start("0")
    wait_for(lambda: bool(first.assigned()))
    loading = threading.Thread(target=produce, args=(settings, topics.clicks, range(clicks), 1_500))
    loading.start()
    time.sleep(0.7)
    first.process.send_signal(signal.SIGSTOP)
    second = start("1")
    loading.join()
    wait_for(lambda: any(event["partitions"] for event in second.assigned()))
    wait_for(lambda: sum(counts(settings, topics).values()) >= clicks)
    before = len(read(settings, topics.user_states))
    first.process.send_signal(signal.SIGCONT)
    time.sleep(3)
    check(settings, topics, clicks)
    assert len(read(settings, topics.user_states)) == before


def test_requests_wait_for_the_clicks_that_stood_before_them_when_a_worker_came(
    settings: Settings, topics: Names, start: Callable[..., CountingWorker]
) -> None:
    clicks = 30_000
    produce(settings, topics.clicks, range(clicks))
    with clients.producer(settings, transactional_id=topics.prefix) as producer:
        producer.init_transactions()
        producer.begin_transaction()
        for partition in producer.partitions_for(topics.clicks):  # the log ends in markers: nobody sees them
            producer.send(topics.clicks, key=b"u0", value=b'{"n": -1}', partition=partition)
        producer.abort_transaction()
    produce(settings, topics.requests, range(USERS))
    start("0")

    def asked() -> list[int]:
        answers = [json.loads(record.value) for record in read(settings, topics.recommendations)]
        return [answer["asked"] for answer in answers if "asked" in answer]

    wait_for(lambda: len(asked()) >= USERS)
    assert min(asked()) >= clicks // USERS
