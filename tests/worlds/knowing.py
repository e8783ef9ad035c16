"""What a worker knows, without Kafka: a topic as a list of records."""

import asyncio
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from aiokafka import ConsumerRecord, TopicPartition
from mode import Service

from streams.hot_path.serving import Serving
from streams.hot_path.world import World
from streams.releases.events import Event
from streams.settings import Settings
from streams.transport.last_good import LastGood
from streams.wire.clock import Clock
from streams.wire.contract import ReleaseRecord
from streams.worker.followed import Followed
from streams.worker.knowledge import Knowledge
from streams.worker.release_loader import Loader
from streams.worker.silence import Silence


def record(topic: str, value: bytes | None, key: bytes | None = b"k", offset: int = 0) -> ConsumerRecord:
    size = 0 if value is None else len(value)
    return ConsumerRecord(topic, 0, offset, 0, 0, key, value, None, 0, size, ())


class Reader:
    """A topic of one partition that holds some records."""

    def __init__(self, topic: str, records: Iterable[ConsumerRecord]) -> None:
        self._place = TopicPartition(topic, 0)
        self._records = list(records)
        self._at = 0
        self.stopped = False

    async def start(self) -> None: ...

    async def stop(self) -> None:
        self.stopped = True

    def assignment(self) -> set[TopicPartition]:
        return {self._place}

    async def end_offsets(self, places: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(places, len(self._records))

    async def position(self, _: TopicPartition) -> int:
        return self._at

    async def getmany(self, **_: int) -> dict[TopicPartition, list[ConsumerRecord]]:
        await asyncio.sleep(0.001)
        new, self._at = self._records[self._at :], len(self._records)
        return {self._place: new} if new else {}


class Told:
    """Stands for `Reports`: what a worker has to say, and nobody to say it."""

    def __init__(self) -> None:
        self.refused: list[tuple[ConsumerRecord, str]] = []
        self.decided: list[tuple[list[ReleaseRecord], bool]] = []
        self.noted: list[Event] = []
        self.restored: list[LastGood] = []

    def refuse(self, record: ConsumerRecord, error: str) -> None:
        self.refused.append((record, error))

    def decide(self, records: Sequence[ReleaseRecord], shared: bool) -> None:
        self.decided.append((list(records), shared))

    def restore(self, topic: LastGood) -> None:
        self.restored.append(topic)

    def note(self, event: Event) -> None:
        self.noted.append(event)


def knowing(service: Service) -> tuple[Knowledge, Told]:
    """What a worker knows at its start: nothing."""
    told: Any = Told()
    return Knowledge(Settings(), {}, Clock("wall"), ThreadPoolExecutor(1), told, service), told


def following(known: World, idle_days: float = 10) -> tuple[Followed, Told]:
    """What keeps a world in step with the topics of items and signals."""
    told = Told()
    loader = Loader(Settings(), known.catalogue, ThreadPoolExecutor(1), asyncio.Lock())
    serving = Serving(known, lambda *_: None)
    return Followed("items", serving, Clock("wall"), idle_days, told.refuse, loader, Silence()), told
