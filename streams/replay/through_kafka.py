"""Nextclick in a replay, asked through Kafka: a real broker, worker and learner, in lock step.

Owns how a replay's events and asks become records, and when the processes have taken them in: each click
waits until the learner has told of it and the worker has stored its user's state, each ask until it is
answered. What the lists say must be what the offline replay says; only the wire is another.
"""

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from kafka import TopicPartition

from learner.data.catalogue import Item
from learner.evaluation.system import DEPTH, Ask, Event, FirstPart, Ints, Ranking, System
from learner.release.files import read_release
from learner.signals.record import FRONTIER
from streams.broker.node import EmbeddedBroker
from streams.replay.systems import Train, click_of
from streams.runtime.fleet import Fleet
from streams.settings import Settings
from streams.transport import clients, topics
from streams.transport.topics import Names
from streams.wire.contract import Recommendation, Request, encode

# What no reader can read. The worker passes it on to the dead letters once it has applied all that stands
# before it in the topic: the only sign it gives of how far it has read.
PROBE = b"how far have you read?"
ANSWER_S = 120.0  # the learner reads its first text with a language model that takes this long to load

FIRST_PART_S = 3600.0


class ThroughKafka:
    """Worker and learner on topics of one partition, so that their order is the stream's.

    `settings` name the broker. The first part goes as history, at once; lists that its last clicks would
    have triggered are not made. Close it when done.
    """

    name = "nextclick"

    def __init__(self, train: Train, settings: Settings, folder: Path) -> None:
        self.settings = settings.model_copy(
            update={"prefix": f"replay-{uuid.uuid4().hex[:8]}.", "partitions": 1, "clock": "stream"}
        )
        self._fleet = Fleet(folder)
        self._train = train
        self._names = Names(self.settings.prefix)
        self._lists: dict[str, list[str]] = {}  # by trigger
        self._applied: dict[str, int] = {}  # by user: offset in clicks
        self._sent: dict[str, int] = {}
        self._vectors: set[str] = set()  # items that the learner has sent a vector for
        self._letters: set[tuple[str, int]] = set()  # topic and offset of what has gone there
        self._told = -1  # offset up to which the learner has told of clicks
        self._waiting: list[tuple[str, Any]] = []  # users and acknowledgements of the first part
        self._last = -1

    def fit(self, first: FirstPart) -> None:
        """Trains, starts worker and learner, and withholds what a release knows too early."""
        self._first = first
        self._index = {item_id: number for number, item_id in enumerate(first.item_ids)}
        release = Path(self._train(first))
        self._released = {item.item_id for item in read_release(release).items}
        with clients.admin(self.settings) as admin:
            topics.create_missing(admin, self.settings)
        self._producer = clients.producer(self.settings)
        self._consumer = clients.consumer(self.settings)
        names = self._names
        read = (names.recommendations, names.signals, names.user_states, names.dead_letters)
        self._consumer.assign([TopicPartition(topic, 0) for topic in read])
        self._consumer.seek_to_beginning()
        entered = {first.item_ids[n] for part in (first.entries_before, first.entries_after)
                   for items in part.values() for n in items}  # fmt: skip
        for item_id in self._released - entered:
            self._producer.send(self._names.items, key=item_id.encode(), value=None)
        self._producer.flush()
        self._start("learner", "--signals-interval-ms", "0", "--set", "learn=none", release=release)
        self._start(
            "worker",
            "--set",
            "item_idle_days=1e6",  # a replay's catalogue is what its protocol says
            "--exploration",
            "0",
            "--pin",
            "--diversity",
            str(self.settings.diversity),
            release=release,
        )

    def announce(self, item: int, record: Item | None, time_ms: int) -> None:  # noqa: ARG002
        """An item enters: its record is sent, and its vector waited for where the release has none."""
        item_id = self._first.item_ids[item]
        if self._last < self._first.size - 1 or (record is None and item_id not in self._released):
            return  # known from the release, or by the click that follows
        self._producer.send(
            self._names.items, key=item_id.encode(), value=encode(record or Item(item_id=item_id))
        ).get(30)
        if item_id not in self._released:
            self._wait(lambda: item_id in self._vectors, f"the vector of item {item_id}")
            self._probe(self._names.signals)
        self._probe(self._names.items)

    def rank(self, ask: Ask) -> Ranking:
        """The list that the worker sends, as an order without scores."""
        self._catch_up()
        user = self._first.user_ids[ask.user]
        request = Request(
            request_id=uuid.uuid4().hex, user_id=user, timestamp=ask.time_ms, scenario=ask.scenario, k=DEPTH
        )
        self._producer.send(self._names.requests, key=user.encode(), value=encode(request))
        self._wait(lambda: request.request_id in self._lists, "the answer to an ask")
        return Ranking.ordered(self._numbers(self._lists.pop(request.request_id)))

    def learn(self, event: Event, listed: bool) -> Ints | None:
        """Sends a click; of the later part, each waits until it has arrived everywhere."""
        self._last = event.number
        late = event.number >= self._first.size
        click = click_of(self._first, event, listed and late)
        acknowledged = self._producer.send(
            self._names.clicks, key=click.user_id.encode(), value=encode(click)
        )
        if not late:
            self._waiting.append((click.user_id, acknowledged))
            return None
        self._catch_up()
        offset = self._sent[click.user_id] = acknowledged.get(30).offset
        self._wait(lambda: self._in_step(offset), f"click {event.number} to be taken in")
        self._probe(self._names.signals)
        if not listed:
            return None
        self._wait(lambda: click.event_id in self._lists, f"the list of click {event.number}")
        return self._numbers(self._lists.pop(click.event_id))

    def describe(self) -> dict[str, Any]:
        """Which way the asks went."""
        return {"through": "kafka", "prefix": self.settings.prefix}

    def close(self) -> None:
        """Ends the processes."""
        self._fleet.close()
        if hasattr(self, "_producer"):
            self._producer.close(5)
            self._consumer.close()

    def _start(self, command: str, *flags: str, release: Path) -> None:
        settings = self.settings
        self._fleet.start(
            command, "--bootstrap-servers", settings.bootstrap_servers, "--prefix", settings.prefix,
            "--clock", "stream", "--data-dir", str(self._fleet.folder), "--release", str(release), *flags,
        )  # fmt: skip

    def _catch_up(self) -> None:
        """Waits, once, until all of the first part has been taken in."""
        if not self._waiting:
            return
        self._producer.flush()
        for user, acknowledged in self._waiting:
            self._sent[user] = acknowledged.get(30).offset
        self._waiting.clear()
        last = max(self._sent.values())
        self._wait(lambda: self._in_step(last), "the first part to be taken in", FIRST_PART_S)
        self._probe(self._names.signals)

    def _probe(self, topic: str) -> None:
        """Waits until the worker has applied everything that stands in the topic now."""
        offset = self._producer.send(topic, key=PROBE, value=PROBE).get(30).offset
        self._wait(lambda: (topic, offset) in self._letters, f"the worker to read {topic}")

    def _in_step(self, offset: int) -> bool:
        """Whether learner and worker know all clicks up to this one."""
        behind = (user for user, sent in self._sent.items() if self._applied.get(user, -1) < sent)
        return self._told >= offset and next(behind, None) is None

    def _wait(self, until: Callable[[], bool], what: str, seconds: float = ANSWER_S) -> None:
        def read_on() -> bool:
            found = until()
            if not found:
                self._read()
            return found

        self._fleet.wait_for(read_on, what, seconds, every=0.0)

    def _read(self) -> None:
        for records in self._consumer.poll(200).values():
            for record in records:
                if record.value is None:
                    continue
                if record.topic == self._names.dead_letters:
                    headers = {name: value.decode() for name, value in record.headers}
                    self._letters.add((headers["topic"], int(headers["offset"])))
                elif record.value == PROBE:
                    continue
                elif record.topic == self._names.recommendations:
                    answer = _decode_list(record.value)
                    self._lists.setdefault(answer.trigger.id, [item.item_id for item in answer.items])
                elif record.topic == self._names.user_states:
                    self._applied[record.key.decode()] = _decode_state(record.value).applied
                elif record.key.decode() == FRONTIER:
                    self._told = max(self._told, _decode_signal(record.value).offsets.get("0", -1))
                elif _decode_signal(record.value).vector:
                    self._vectors.add(record.key.decode())

    def _numbers(self, items: list[str]) -> Ints:
        return np.array([self._index[item_id] for item_id in items], np.int32)


class _State(msgspec.Struct):
    applied: int


class _Signal(msgspec.Struct):
    offsets: dict[str, int]
    vector: Any = None


@contextmanager
def through_kafka(settings: Settings, train: Train, folder: Path) -> Iterator[Callable[[], System]]:
    """The maker of Nextclick behind a broker of its own, which ends with the block."""
    made: list[ThroughKafka] = []
    with EmbeddedBroker(folder / "broker", port=0, cache=settings.cache_dir) as broker:
        reached = settings.model_copy(update={"bootstrap_servers": broker.bootstrap_servers})

        def make() -> System:
            for earlier in made:  # one seed after the other
                earlier.close()
            made.append(ThroughKafka(train, reached, folder / f"kafka-{len(made)}"))
            return made[-1]

        try:
            yield make
        finally:
            for each in made:
                each.close()


_decode_list = msgspec.json.Decoder(Recommendation).decode
_decode_state = msgspec.json.Decoder(_State).decode
_decode_signal = msgspec.json.Decoder(_Signal).decode
