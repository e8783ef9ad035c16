"""Reading a topic up to its end, or on from there, outside any consumer group.

Owns how a command sees what a topic holds now: by the position of the consumer, since compaction leaves
gaps between offsets, and transactions leave markers. What is deleted while it is read is said. Knows no
message.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import structlog
from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError, OffsetOutOfRangeError
from kafka.structs import TopicPartition as Partition

from streams.settings import Settings
from streams.transport import clients
from streams.transport.absence import Absence, hush

Record = (
    Any  # kafka.consumer.fetcher.ConsumerRecord: topic, partition, offset, timestamp, key, value, headers
)

log = structlog.get_logger()

# One answer of the broker holds about as many records of 1 KB as this; polling for less only costs calls.
POLL_RECORDS = 5000
# How far before its end a partition is looked through for its newest record, until there is one: behind it
# may stand what transactions have left, a marker each and what was taken back.
_LOOKED_BACK = (2, 1000)
_ASK_SECONDS = 3.0  # without a record, until the brokers are asked whether they are there
_ANSWER_MS = 1000


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
    `partitions` limits the reading. What is deleted before it could be read (retention, or by hand) is
    said in the log with its number, and the reading goes on behind it. Raises TopicMissing, and ReadTimeout
    after `timeout_s` without news.
    """
    # Without a policy of its own: the client's would go on at the newest record and leave out all between.
    with clients.consumer(settings, max_poll_records=POLL_RECORDS, auto_offset_reset="none") as consumer:
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
            try:
                fetched = consumer.poll(timeout_ms=500)
            except OffsetOutOfRangeError:
                _pass_over(consumer, places, ends)
                fetched = {}
            for place, records in fetched.items():
                news = time.monotonic()
                yield from (record for record in records if record.offset < ends[place])
            pending = {place for place in pending if consumer.position(place) < ends[place]}
            if time.monotonic() - news > timeout_s:
                raise ReadTimeout(f"{topic}: nothing came for {timeout_s:.0f} s; see `nextclick doctor`")


def follow(settings: Settings, starts: Mapping[str, str]) -> Iterator[Record | None]:
    """Records of several topics as they come, for ever; None whenever half a second brought nothing.

    `starts` names the topics, each with "beginning" or "end". Records of one partition come in order; of
    what arrived together, those of the topics named first come first. Where brokers go away it is said, and
    waited for.
    """
    heard = time.monotonic()
    absence = Absence(settings.bootstrap_servers, lambda: time.monotonic() - heard)
    hush()
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
            if fetched or (time.monotonic() - heard > _ASK_SECONDS and _answers(consumer)):
                heard = time.monotonic()
            absence.look()
            if not fetched:
                yield None
            for place in (place for some in places.values() for place in some if place in fetched):
                yield from fetched[place]


def _answers(consumer: KafkaConsumer) -> bool:
    """Whether the brokers do, where nothing has come: there may be nothing."""
    try:
        consumer.end_offsets(list(consumer.assignment())[:1], timeout_ms=_ANSWER_MS)
    except KafkaError:
        return False
    return True


def newest_ms(settings: Settings, topic: str) -> int | None:
    """CreateTime of the newest record of the topic, ms; None where it is empty."""
    ends = ends_of(settings, topic)
    found: dict[int, int] = {}
    # The newest record of a partition is never compacted away, but markers of transactions may follow it.
    for back in (*_LOOKED_BACK, max(ends.values(), default=0)):
        last = {number: max(0, end - back) for number, end in ends.items() if number not in found and end}
        for record in read_to_end(settings, topic, start=last, partitions=last) if last else ():
            found[record.partition] = max(record.timestamp, found.get(record.partition, 0))
    return max(found.values(), default=None)


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


def _pass_over(consumer: KafkaConsumer, places: list[Partition], ends: Mapping[Partition, int]) -> None:
    """Moves on to the first record that there is, where the next one to be read is gone; says the loss."""
    for place, first in consumer.beginning_offsets(places).items():
        position = consumer.position(place)
        if position < first:
            consumer.seek(place, first)
            if lost := min(first, ends[place]) - position:
                log.warning(
                    "records were deleted before they could be read", topic=place.topic,
                    partition=place.partition, lost=lost, offset=position,
                    mend="keep them for longer: retention.ms and retention.bytes of the topic",
                )  # fmt: skip


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
