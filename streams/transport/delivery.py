"""Sends many records with as few requests as possible and says when they are acknowledged.

Latency at high rates is bounded by the number of requests to the broker: records of one partition
travel as one aiokafka batch. CreateTime is the time of sending. Knows no messages' contents.
"""

import asyncio
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaTimeoutError, UnknownTopicOrPartitionError
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.structs import RecordMetadata

from streams.transport.clients import follow_moves
from streams.wire.partitioner import partition_of

Acknowledgement = asyncio.Future[RecordMetadata]  # with the base offset of the last batch it took

# Enough for a state record of 128 events with ids of 256 bytes each and a long list of consumed items; the
# topics are created to take as much (`streams.transport.topics`).
MAX_REQUEST_BYTES = 8 * 1024 * 1024
BATCH_BYTES = 128 * 1024


class Outgoing(NamedTuple):
    """A record to send. Without `partition` the key decides, as with Kafka's Java client."""

    key: bytes | None
    value: bytes | None
    partition: int | None = None
    headers: Sequence[tuple[str, bytes]] = ()


def new_producer(connection: Mapping[str, Any], **settings: Any) -> AIOKafkaProducer:
    """A producer that waits for no further records and whose acknowledgements mean replicated.

    What it was given it sends, however long brokers are away: callers bound what is not acknowledged.
    """
    producer = AIOKafkaProducer(
        acks="all",
        linger_ms=0,
        max_batch_size=BATCH_BYTES,
        max_request_size=MAX_REQUEST_BYTES,
        **connection,
        **settings,
    )
    producer._message_accumulator._batch_ttl = math.inf  # else as long as a request may take: 40 s
    follow_moves(producer.client)
    return producer


def _unfenced() -> None:
    """Nobody else writes the same records."""


class Delivery:
    """Sends through one started producer, unless `fence` raises.

    `hold` is asked for each request as it is written (else `fence` is): what it raises fails the records, or
    makes them wait where it is retriable.
    """

    def __init__(
        self, producer: AIOKafkaProducer, fence: Callable[[], None] = _unfenced,
        hold: Callable[[], None] | None = None,
    ) -> None:  # fmt: skip
        _guard(producer, hold or fence)
        self._producer = producer
        self._fence = fence
        self._outboxes: dict[tuple[str, int], _Outbox] = {}
        self._partitions: dict[str, int] = {}  # asked once: aiokafka copies a set at each question
        self.sent = 0  # records taken

    async def partitions(self, topic: str) -> int:
        """How many partitions the topic has."""
        count = self._partitions.get(topic)
        while count is None:
            try:
                count = self._partitions[topic] = len(await self._producer.partitions_for(topic))
            except UnknownTopicOrPartitionError as error:
                await _raise_unless_away(self._producer, error)
        return count

    async def send(
        self, topic: str, records: Iterable[Outgoing], *, compressed: bool = False
    ) -> list[Acknowledgement]:
        """Queues the records, in their order within a partition; one future for each partition.

        With `compressed`, the same at each call for a topic, they travel and are kept as gzip.

        Does not wait for the broker: what is queued while a partition's batch is on its way travels in
        the next one. So callers bound what they have not had acknowledged. Raises `Fenced`, and what
        aiokafka raises for a topic that does not exist; futures fail with what sending raises.
        """
        self._fence()
        partitions: dict[int, list[Outgoing]] = {}
        count = await self.partitions(topic)
        for record in records:
            partition = record.partition
            if partition is None:
                partition = partition_of(record.key or b"", count)
            partitions.setdefault(partition, []).append(record)
        futures: list[Acknowledgement] = []
        for partition, group in partitions.items():
            outbox = self._outboxes.get((topic, partition))
            if outbox is None:
                outbox = self._outboxes[topic, partition] = _Outbox(
                    self._producer, topic, partition, compressed=compressed
                )
            futures.append(outbox.put(group))
            self.sent += len(group)
        return futures


class _Outbox:
    """Records on their way to one partition."""

    def __init__(self, producer: AIOKafkaProducer, topic: str, partition: int, *, compressed: bool) -> None:
        self._producer = producer
        self._topic = topic
        self._partition = partition
        self._compressed = compressed
        self._queue: list[tuple[list[Outgoing], Acknowledgement]] = []
        self._task: asyncio.Task[None] | None = None

    def put(self, records: list[Outgoing]) -> Acknowledgement:
        """Queues records; the future is done when the last of them is acknowledged."""
        future: Acknowledgement = asyncio.get_running_loop().create_future()
        self._queue.append((records, future))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._empty())
        return future

    async def _empty(self) -> None:
        while self._queue:
            parcels, self._queue = self._queue, []
            try:
                await self._send(parcels)
            except Exception as error:
                _fail([future for _, future in parcels], error)

    async def _send(self, parcels: list[tuple[list[Outgoing], Acknowledgement]]) -> None:
        batch = self._new_batch()
        carried: list[Acknowledgement] = []  # futures with a record in the batch
        ended: list[Acknowledgement] = []  # of those, the ones whose last record it is
        for records, future in parcels:
            carried.append(future)
            for record in records:
                if self._append(batch, record) is None:
                    await self._hand_over(batch, carried, ended)
                    batch, carried, ended = self._new_batch(), [future], []
                    self._append(batch, record)  # the first record of a batch always fits
            ended.append(future)
        await self._hand_over(batch, carried, ended)

    def _new_batch(self) -> Any:
        if self._compressed:  # a producer has one codec for all that it sends
            return BatchBuilder(BATCH_BYTES, DefaultRecordBatch.CODEC_GZIP)
        return self._producer.create_batch()

    async def _hand_over(
        self, batch: Any, carried: list[Acknowledgement], ended: list[Acknowledgement]
    ) -> None:
        """Waits until the partition's batch before this one has left."""
        batch.close()
        while True:
            try:
                sent = await self._producer.send_batch(batch, self._topic, partition=self._partition)
                break
            except KafkaTimeoutError:  # the one before has not left yet: the broker is away
                continue
            except UnknownTopicOrPartitionError as error:
                await _raise_unless_away(self._producer, error)

        def acknowledge(sent: Acknowledgement) -> None:
            error = asyncio.CancelledError() if sent.cancelled() else sent.exception()
            if error is not None:
                _fail(carried, error)
                return
            for future in ended:
                if not future.done():
                    future.set_result(sent.result())

        sent.add_done_callback(acknowledge)

    @staticmethod
    def _append(batch: Any, record: Outgoing) -> Any:
        return batch.append(key=record.key, value=record.value, timestamp=None, headers=list(record.headers))


async def _raise_unless_away(producer: AIOKafkaProducer, unknown: UnknownTopicOrPartitionError) -> None:
    """A topic is unknown: raises that where brokers say so, and not where none has answered."""
    if await producer.client.force_metadata_update():
        raise unknown


def _guard(producer: AIOKafkaProducer, fence: Callable[[], None]) -> None:
    """Asks the fence for each produce request as it is written.

    A process that was paused finds requests that it had built before: they must not go out when it wakes.
    """
    send = producer.client.send

    async def guarded(node: int, request: Any, **options: Any) -> Any:
        if isinstance(request, ProduceRequest):
            fence()
        return await send(node, request, **options)

    producer.client.send = guarded


def _fail(futures: Iterable[Acknowledgement], error: BaseException) -> None:
    for future in futures:
        if not future.done():
            future.set_exception(error)
            future.exception()  # seen: of several that fail together their caller awaits the first


async def acknowledged(futures: Iterable[Acknowledgement]) -> None:
    """Waits for all of them; raises the first failure."""
    for future in futures:
        await future
