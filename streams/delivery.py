"""Sends many records with as few requests as possible and says when they are acknowledged.

Latency at high rates is bounded by the number of requests to the broker: records of one partition
travel as one aiokafka batch. CreateTime is the time of sending. Knows no messages' contents.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.structs import RecordMetadata

from streams.partitioner import partition_of

Acknowledgement = asyncio.Future[RecordMetadata]  # of a whole batch: its base offset

# Enough for a state record of 128 events with ids of 256 bytes each and a long list of consumed items.
MAX_REQUEST_BYTES = 8 * 1024 * 1024
BATCH_BYTES = 128 * 1024


class Outgoing(NamedTuple):
    """A record to send. Without `partition` the key decides, as with Kafka's Java client."""

    key: bytes | None
    value: bytes | None
    partition: int | None = None
    headers: Sequence[tuple[str, bytes]] = ()


def new_producer(connection: Mapping[str, Any], **settings: Any) -> AIOKafkaProducer:
    """A producer that waits for no further records and whose acknowledgements mean replicated."""
    return AIOKafkaProducer(
        acks="all",
        linger_ms=0,
        max_batch_size=BATCH_BYTES,
        max_request_size=MAX_REQUEST_BYTES,
        **connection,
        **settings,
    )


def _unfenced() -> None:
    """Nobody else writes the same records."""


class Delivery:
    """Sends through one started producer, unless `fence` raises."""

    def __init__(self, producer: AIOKafkaProducer, fence: Callable[[], None] = _unfenced) -> None:
        self._producer = producer
        self._fence = fence
        self.sent = 0  # records handed to the producer

    async def partitions(self, topic: str) -> int:
        """How many partitions the topic has."""
        return len(await self._producer.partitions_for(topic))

    async def send(self, topic: str, records: Iterable[Outgoing]) -> list[Acknowledgement]:
        """Queues the records, in their order within a partition; one future for each batch made.

        Returns when the producer has taken them, which is back-pressure: a partition's batch waits
        until the one before it has left. Raises `Fenced`, and what aiokafka raises for a topic that
        does not exist or a record over its limits.
        """
        partitions: dict[int, list[Outgoing]] = {}
        count = await self.partitions(topic)
        for record in records:
            partition = record.partition
            if partition is None:
                partition = partition_of(record.key or b"", count)
            partitions.setdefault(partition, []).append(record)
        futures: list[Acknowledgement] = []
        for partition, group in partitions.items():
            futures += await self._send_partition(topic, partition, group)
        return futures

    async def _send_partition(
        self, topic: str, partition: int, records: list[Outgoing]
    ) -> list[Acknowledgement]:
        futures: list[Acknowledgement] = []
        batch = self._producer.create_batch()
        for record in records:
            if self._append(batch, record) is None:
                futures.append(await self._hand_over(batch, topic, partition))
                batch = self._producer.create_batch()
                self._append(batch, record)  # the first record of a batch always fits
        futures.append(await self._hand_over(batch, topic, partition))
        self.sent += len(records)
        return futures

    async def _hand_over(self, batch: Any, topic: str, partition: int) -> Acknowledgement:
        self._fence()
        batch.close()
        future: Acknowledgement = await self._producer.send_batch(batch, topic, partition=partition)
        return future

    @staticmethod
    def _append(batch: Any, record: Outgoing) -> Any:
        return batch.append(key=record.key, value=record.value, timestamp=None, headers=list(record.headers))


async def acknowledged(futures: Iterable[Acknowledgement]) -> None:
    """Waits for all of them; raises the first failure."""
    for future in futures:
        await future
