"""Sends bad records, unchanged, to `dead-letters`: each once, also through crashes and rebalances.

Owns the form of a dead letter (key and value as they came; headers error, topic, partition, offset,
at) and the memory of what has been sent, which is the topic itself. Does not judge records.
"""

from collections.abc import Callable

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from streams.delivery import Acknowledgement, Delivery, Outgoing

# What a crashed worker sent without marking it done stands among the last letters of each partition.
LOOK_BACK = 10_000
Source = tuple[str, int, int]  # topic, partition, offset of the bad record


class DeadLetters:
    """Letters to topic `topic`. Call `refresh()` before the first `send` and after each rebalance."""

    def __init__(self, topic: str, delivery: Delivery, consumer: Callable[[], AIOKafkaConsumer]) -> None:
        self.topic = topic
        self.sent = 0
        self._delivery = delivery
        self._consumer = consumer
        self._known: set[Source] = set()
        self._read: dict[int, int] = {}  # next offset to look at, by partition

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
                earliest = max(starts[tp], ends[tp] - LOOK_BACK)
                consumer.seek(tp, max(self._read.get(tp.partition, 0), earliest))
            for tp in letters:
                while await consumer.position(tp) < ends[tp]:
                    fetched = await consumer.getmany(timeout_ms=200)
                    self._known.update(
                        source
                        for records in fetched.values()
                        for record in records
                        if (source := source_of(record)) is not None
                    )
                self._read[tp.partition] = await consumer.position(tp)
        finally:
            await consumer.stop()

    async def send(self, record: ConsumerRecord, error: str, at_ms: int) -> list[Acknowledgement]:
        """Sends a record that could not be used, unless that has been done; [] then.

        `error` says what was expected and what came; `at_ms` is the wall clock's time.
        """
        source = (record.topic, record.partition, record.offset)
        if source in self._known:
            return []
        self._known.add(source)
        headers = [
            ("error", error.encode()),
            ("topic", record.topic.encode()),
            ("partition", str(record.partition).encode()),
            ("offset", str(record.offset).encode()),
            ("at", str(at_ms).encode()),
        ]
        futures = await self._delivery.send(
            self.topic,
            [Outgoing(record.key, record.value, headers=headers)],
        )
        self.sent += 1
        return futures


def source_of(letter: ConsumerRecord) -> Source | None:
    """Where the bad record of a dead letter stands; None for what is no dead letter."""
    headers = dict(letter.headers)
    try:
        return headers["topic"].decode(), int(headers["partition"]), int(headers["offset"])
    except (KeyError, ValueError):
        return None
