"""Reading a topic up to its end, or on from there, outside any consumer group.

Owns how a command sees what a topic holds now: by the position of the consumer, since compaction leaves
gaps between offsets. Knows no message.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.structs import TopicPartition as Partition

from streams.settings import Settings
from streams.transport import clients

Record = (
    Any  # kafka.consumer.fetcher.ConsumerRecord: topic, partition, offset, timestamp, key, value, headers
)

# One answer of the broker holds about as many records of 1 KB as this; polling for less only costs calls.
POLL_RECORDS = 5000


class TopicMissing(Exception):  # noqa: N818 (it names what is the matter)
    """A topic that should be read does not exist: says how to create it."""


class ReadTimeout(Exception):  # noqa: N818
    """The brokers stopped answering while a topic was read."""


def read_to_end(
    settings: Settings,
    topic: str,
    *,
    start: Mapping[int, int] | None = None,
    partitions: Iterable[int] | None = None,
    timeout_s: float = 60.0,
) -> Iterator[Record]:
    """Every record of `topic` up to its end as of this call.

    `start` gives the first offset to read for some partitions (others are read from their beginning);
    `partitions` limits the reading. Raises TopicMissing, and ReadTimeout after `timeout_s` without news.
    """
    with clients.consumer(settings, max_poll_records=POLL_RECORDS) as consumer:
        places = _assign(consumer, settings, topic, partitions)
        first, ends = consumer.beginning_offsets(places), consumer.end_offsets(places)
        pending = set()
        for place in places:
            position = max(first[place], (start or {}).get(place.partition, 0))
            consumer.seek(place, position)
            if position < ends[place]:
                pending.add(place)
        news = time.monotonic()
        while pending:
            fetched = consumer.poll(timeout_ms=500)
            for place, records in fetched.items():
                news = time.monotonic()
                yield from (record for record in records if record.offset < ends[place])
            pending = {place for place in pending if consumer.position(place) < ends[place]}
            if time.monotonic() - news > timeout_s:
                raise ReadTimeout(f"{topic}: nothing came for {timeout_s:.0f} s; see `nextclick doctor`")


def follow(settings: Settings, starts: Mapping[str, str]) -> Iterator[Record | None]:
    """Records of several topics as they come, for ever; None whenever half a second brought nothing.

    `starts` names the topics, each with "beginning" or "end". Records of one partition come in order; of
    what arrived together, those of the topics named first come first.
    """
    with clients.consumer(settings, max_poll_records=POLL_RECORDS) as consumer:
        places = {topic: _places(consumer, settings, topic) for topic in starts}
        consumer.assign([place for some in places.values() for place in some])
        for topic, start in starts.items():
            if start == "beginning":
                consumer.seek_to_beginning(*places[topic])
            else:
                # Asked for now, not at the first poll: what is written after this call is seen.
                for place, offset in consumer.end_offsets(places[topic]).items():
                    consumer.seek(place, offset)
        while True:
            fetched = consumer.poll(timeout_ms=500)
            if not fetched:
                yield None
            for place in (place for some in places.values() for place in some if place in fetched):
                yield from fetched[place]


def newest_ms(settings: Settings, topic: str) -> int | None:
    """CreateTime of the newest record of the topic, ms; None where it is empty."""
    ends = ends_of(settings, topic)
    # The newest record of a partition is never compacted away, but a transaction marker may follow it.
    last = {partition: max(0, end - 2) for partition, end in ends.items()}
    stamps = [record.timestamp for record in read_to_end(settings, topic, start=last)]
    return max(stamps, default=None)


def ends_of(settings: Settings, topic: str) -> dict[int, int]:
    """For each partition of the topic the offset its next record will get."""
    with clients.consumer(settings) as consumer:
        ends = consumer.end_offsets(_places(consumer, settings, topic))
        return {place.partition: offset for place, offset in ends.items()}


def bounds_of(settings: Settings, topic: str) -> dict[int, tuple[int, int]]:
    """For each partition of the topic the offset of its first record, and the one its next will get."""
    with clients.consumer(settings) as consumer:
        places = _places(consumer, settings, topic)
        first, ends = consumer.beginning_offsets(places), consumer.end_offsets(places)
        return {place.partition: (first[place], ends[place]) for place in places}


def _assign(
    consumer: KafkaConsumer, settings: Settings, topic: str, partitions: Iterable[int] | None
) -> list[Partition]:
    places = _places(consumer, settings, topic)
    if partitions is not None:
        wanted = set(partitions)
        places = [place for place in places if place.partition in wanted]
    consumer.assign(places)
    return places


def _places(consumer: KafkaConsumer, settings: Settings, topic: str) -> list[Partition]:
    numbers = consumer.partitions_for_topic(topic)
    if not numbers:
        raise TopicMissing(
            f"there is no topic {topic} at {settings.bootstrap_servers}; create the topics with "
            f"`nextclick topics create --prefix {settings.prefix}`, or check --prefix"
        )
    return [TopicPartition(topic, number) for number in sorted(numbers)]
