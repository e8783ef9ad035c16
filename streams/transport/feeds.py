"""Reads a topic that every process needs whole (items, signals, releases) from its beginning.

No consumer group: each reader sees all partitions. `caught_up` is set when everything has been read
that was there at the start. Knows nothing of what the records mean.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from mode import Service

from streams.transport.clients import follow_moves

_FETCHED = 1024  # records
# Longest a stretch of records is applied without a turn for others: a round of lists waits for the lock.
_STRETCH_SECONDS = 0.002
_STRETCH_BEFORE_SECONDS = 0.05  # before the feed has caught up, when nobody waits for anything else
_FETCH_BYTES = 4 * 1024 * 1024
# Where a feed may lag a little the broker gathers this much, or waits this long: a request for each click
# would cost reader and broker more than the click.
_GATHERED_BYTES = 256 * 1024
_GATHER_MS = 50
_NEW_PARTITIONS_MS = 20_000  # until partitions that were added are read; the client's own is five minutes


def gathering(interval_ms: int) -> int:
    """How long a feed may gather records where signals go out every `interval_ms`: a quarter of it."""
    return min(_GATHER_MS, interval_ms // 4)


def new_reader(connection: Mapping[str, Any], *topics: str, gather_ms: int = 0) -> AIOKafkaConsumer:
    """A consumer without a group, not started: reads all partitions of `topics` from their beginning.

    Without topics it reads what it is assigned. With `gather_ms` a record may come that much later, together
    with others.
    """
    consumer = AIOKafkaConsumer(
        *topics,
        enable_auto_commit=False,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=_FETCH_BYTES,
        fetch_min_bytes=_GATHERED_BYTES if gather_ms else 1,
        fetch_max_wait_ms=gather_ms or 500,
        metadata_max_age_ms=_NEW_PARTITIONS_MS,
        **connection,
    )
    follow_moves(consumer._client)
    _keep_places(consumer._subscription)
    return consumer


def _keep_places(subscription: Any) -> None:
    """Makes a consumer go on where it was when partitions are added, or its topic is unknown for a moment.

    By itself it would read everything again: each such change gives it all partitions anew.
    """
    assign = subscription.assign_from_subscribed
    places: dict[TopicPartition, int] = {}

    def assigned(partitions: Any) -> None:
        before = subscription.subscription.assignment
        for tp in () if before is None else before.tps:
            if (state := before.state_value(tp)).has_valid_position:
                places[tp] = state.position
        assign(partitions)
        now = subscription.subscription.assignment
        for tp in now.tps & places.keys():
            now.state_value(tp).seek(places[tp])

    subscription.assign_from_subscribed = assigned


def partitions(consumer: AIOKafkaConsumer, topic: str) -> list[TopicPartition]:
    """The partitions of a topic that a started reader of it has. Raises LookupError where it has none."""
    assigned = sorted(tp for tp in consumer.assignment() if tp.topic == topic)
    if not assigned:
        raise LookupError(f"there is no topic {topic}; create it with `nextclick topics create`")
    return assigned


class Feed(Service):  # type: ignore[misc]
    """A service that calls `on_record` for every record of `topic`, in order within a partition.

    `on_record(record)` gets an aiokafka record: key, value (None: a tombstone), partition, offset,
    timestamp (CreateTime, ms), headers. What it raises crashes the service, and with
    `beacon=app.beacon` the app: a callback handles bad records itself. With `lock` each stretch of
    records, 2 ms at most, is applied while holding it, so that a worker which holds it during a round is
    not surprised in the middle of one. `on_stretch()`, still under the lock, follows each
    stretch: for work worth doing once for many records. With `gather_ms` records may come that much later,
    more at a time.
    """

    def __init__(
        self,
        topic: str,
        connection: Mapping[str, Any],
        on_record: Callable[[ConsumerRecord], None],
        *,
        lock: asyncio.Lock | None = None,
        gather_ms: int = 0,
        on_stretch: Callable[[], None] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.topic = topic
        self.connection = connection
        self.caught_up = asyncio.Event()
        self.records = 0  # applied so far
        self.ends: dict[int, int] = {}  # end offsets seen at the start, by partition
        self.positions: dict[int, int] = {}  # next offset to apply, by partition
        self._on_record = on_record
        self._on_stretch = on_stretch
        self._lock = lock or asyncio.Lock()
        self._gather_ms = gather_ms

    def __repr__(self) -> str:
        return f"<Feed {self.topic}>"

    @property
    def label(self) -> str:
        """The name in Faust's logs."""
        return f"Feed: {self.topic}"

    @Service.task  # type: ignore[untyped-decorator]
    async def _read(self) -> None:
        consumer = new_reader(self.connection, self.topic, gather_ms=self._gather_ms)
        await consumer.start()
        try:
            ends = await consumer.end_offsets(partitions(consumer, self.topic))
            self.ends = {tp.partition: end for tp, end in ends.items()}
            await self._note_positions(consumer)
            while not self.should_stop:
                fetched = await consumer.getmany(timeout_ms=100, max_records=_FETCHED)
                await self._apply(record for records in fetched.values() for record in records)
                if fetched or not self.caught_up.is_set():
                    await self._note_positions(consumer)
        finally:
            await consumer.stop()

    async def _apply(self, records: Iterator[ConsumerRecord]) -> None:
        record = next(records, None)
        while record is not None:
            async with self._lock:
                limit = _STRETCH_SECONDS if self.caught_up.is_set() else _STRETCH_BEFORE_SECONDS
                end = time.perf_counter() + limit
                while record is not None:
                    self._on_record(record)
                    self.records += 1
                    record = next(records, None)
                    if time.perf_counter() > end:
                        break
                if self._on_stretch is not None:
                    self._on_stretch()
            await asyncio.sleep(0)

    async def _note_positions(self, consumer: AIOKafkaConsumer) -> None:
        for tp in partitions(consumer, self.topic):
            self.positions[tp.partition] = await consumer.position(tp)
        if all(self.positions[partition] >= end for partition, end in self.ends.items()):
            self.caught_up.set()
