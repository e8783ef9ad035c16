"""Sends bad records, unchanged, to `dead-letters`: each once, also through crashes and rebalances.

Owns the form of a dead letter (key and value as they came; headers error, topic, partition, offset,
at), the memory of what has been sent, which is the topic itself, and the bad records that all workers read,
of which one worker writes the letters. Does not judge records.
"""

import asyncio
from collections.abc import Callable

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import MessageSizeTooLargeError, RecordListTooLargeError

from streams.transport.delivery import Acknowledgement, Delivery, Outgoing, acknowledged

log = structlog.get_logger()

# What a crashed worker sent without marking it done stands among the last letters of each partition.
LOOK_BACK = 10_000
# Letters remembered, the newest; a record is read again by the one who has sent its letter only where it came
# among the last that were fetched. One forgotten too early has a second letter.
MOST_KNOWN = 20_000
# Bad records that wait for a worker to own partition 0: as many as it would find among the letters, and no
# more bytes than a process can spare for them.
MOST_WAITING = LOOK_BACK
MOST_WAITING_BYTES = 32 * 1024 * 1024
Source = tuple[str, int, int]  # topic, partition, offset of the bad record


class DeadLetters:
    """Letters to topic `topic`, of one assignment. Call `refresh()` before the first `send`."""

    def __init__(self, topic: str, delivery: Delivery, consumer: Callable[[], AIOKafkaConsumer]) -> None:
        self.topic = topic
        self.sent = 0
        self.too_large = 0  # records of which the brokers took no letter
        self._delivery = delivery
        self._consumer = consumer
        self._known: dict[Source, None] = {}  # the newest last

    async def refresh(self) -> None:
        """Learns which letters other workers, or this one before a crash, have sent."""
        consumer = self._consumer()
        await consumer.start()
        try:
            count = await self._delivery.partitions(self.topic)
            letters = [TopicPartition(self.topic, number) for number in range(count)]
            consumer.assign(letters)
            starts, ends = await consumer.beginning_offsets(letters), await consumer.end_offsets(letters)
            for tp in letters:
                consumer.seek(tp, max(starts[tp], ends[tp] - LOOK_BACK))
            for tp in letters:
                while await consumer.position(tp) < ends[tp]:
                    fetched = await consumer.getmany(timeout_ms=200)
                    for records in fetched.values():
                        for record in records:
                            if (source := source_of(record)) is not None:
                                self._remember(source)
        finally:
            await consumer.stop()

    async def send(self, record: ConsumerRecord, error: str, at_ms: int) -> "list[asyncio.Task[None]]":
        """Sends a record that could not be used, unless that has been done; [] then.

        What comes back is done when the letter is kept, or is larger than the brokers take: such a record is
        counted and passed over, for it would be so again at each start. It raises what else sending raises,
        and the letter counts as not sent then. `error` says what was expected and what came; `at_ms` is the
        wall clock's time.
        """
        source = (record.topic, record.partition, record.offset)
        if source in self._known:
            return []
        self._remember(source)
        headers = [
            ("error", error.encode()),
            ("topic", record.topic.encode()),
            ("partition", str(record.partition).encode()),
            ("offset", str(record.offset).encode()),
            ("at", str(at_ms).encode()),
        ]
        try:
            futures = await self._delivery.send(
                self.topic,
                [Outgoing(record.key, record.value, headers=headers)],
                compressed=True,  # the bad record may have come so, and be far larger than a batch may be
            )
        except BaseException:
            self._known.pop(source, None)
            raise
        return [asyncio.create_task(self._settled(source, futures))]

    def _remember(self, source: Source) -> None:
        self._known[source] = None
        if len(self._known) > MOST_KNOWN:
            del self._known[next(iter(self._known))]

    async def _settled(self, source: Source, futures: list[Acknowledgement]) -> None:
        try:
            await acknowledged(futures)
        except (MessageSizeTooLargeError, RecordListTooLargeError):
            self.too_large += 1
            if str(self.too_large).rstrip("0") == "1":  # 1, 10, 100: they may come in floods
                log.error(
                    "a bad record is too large for a dead letter and is passed over", topic=source[0],
                    partition=source[1], offset=source[2], so_far=self.too_large,
                    mend=f"raise max.message.bytes of {self.topic} with your Kafka's tools",
                )  # fmt: skip
        except BaseException:
            self._known.pop(source, None)
            raise
        else:
            self.sent += 1


class SharedRefusals:
    """Bad records that every worker reads, until the one that may has written their letters.

    They stand in compacted topics and so are read at each start: one as old as letters get is not sent, for
    its letter may have been there and be gone.
    """

    def __init__(self, kept_ms: float) -> None:
        self._kept_ms = kept_ms
        self._records: dict[Source, tuple[ConsumerRecord, str]] = {}
        self._bytes = 0  # of all of them
        self._sending = asyncio.Lock()

    def __len__(self) -> int:
        return len(self._records)

    def add(self, record: ConsumerRecord, error: str, now_ms: int) -> None:
        """Takes a bad record; of more than there is room for the oldest are given up."""
        if record.timestamp < now_ms - self._kept_ms:
            return
        source = (record.topic, record.partition, record.offset)
        self._drop(source)
        self._records[source] = record, error
        self._bytes += _size(record)
        while len(self._records) > MOST_WAITING or self._bytes > MOST_WAITING_BYTES:
            self._drop(next(iter(self._records)))

    async def send(self, letters: DeadLetters, now_ms: int) -> None:
        """Writes the letters of all that wait; those that cannot be written now go on waiting."""
        async with self._sending:
            for source, (record, error) in list(self._records.items()):
                try:
                    for kept in await letters.send(record, error, now_ms):
                        await kept
                except Exception as failure:
                    log.warning("a dead letter was not sent; it is tried again", error=str(failure))
                    return
                self._drop(source)

    def _drop(self, source: Source) -> None:
        record, _ = self._records.pop(source, (None, ""))
        if record is not None:
            self._bytes -= _size(record)


def _size(record: ConsumerRecord) -> int:
    return len(record.key or b"") + len(record.value or b"")


def source_of(letter: ConsumerRecord) -> Source | None:
    """Where the bad record of a dead letter stands; None for what is no dead letter."""
    headers = dict(letter.headers)
    try:
        return headers["topic"].decode(), int(headers["partition"]), int(headers["offset"])
    except (KeyError, ValueError):
        return None
