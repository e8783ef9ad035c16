"""What a worker knows, without Kafka: a topic as a list of records."""

import asyncio
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from aiokafka import ConsumerRecord, TopicPartition
from mode import Service

from streams.settings import Settings
from streams.wire.clock import Clock
from streams.worker.knowledge import Knowledge


def record(topic: str, value: bytes | None, key: bytes | None = b"k", offset: int = 0) -> ConsumerRecord:
    size = 0 if value is None else len(value)
    return ConsumerRecord(topic, 0, offset, 0, 0, key, value, None, 0, size, ())


class Reader:
    """A topic of one partition that holds some records."""

    def __init__(self, topic: str, records: Iterable[ConsumerRecord]) -> None:
        self._place = TopicPartition(topic, 0)
        self._records = list(records)
        self._at = 0

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

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


def knowing(service: Service, **more: Any) -> tuple[Knowledge, list[tuple[ConsumerRecord, str]]]:
    refused: list[tuple[ConsumerRecord, str]] = []
    knowledge = Knowledge(
        Settings(), {}, Clock("wall"), ThreadPoolExecutor(1), asyncio.Lock(),
        lambda record, error: refused.append((record, error)), lambda *_: None, lambda _: None, service,
        **more,
    )  # fmt: skip
    return knowledge, refused
