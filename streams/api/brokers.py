"""The api's line to the brokers: one producer that waits for acknowledgements, one reader without a group.

Owns starting, losing and finding both again, and how old what is read at the start may be. Knows neither HTTP
nor what records mean: each topic has a function that takes its records.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.errors import (
    InvalidProducerEpoch,
    KafkaError,
    OutOfOrderSequenceNumber,
    ProducerFenced,
    UnknownProducerId,
)

from streams.api.tracing import record_headers
from streams.runtime.ending import ended
from streams.settings import Settings, SettingsError
from streams.transport import clients, topics
from streams.transport.absence import Absence
from streams.transport.changed_topics import Look, Seen, look
from streams.transport.feeds import new_reader
from streams.transport.growth import under_way
from streams.transport.topics import Names
from streams.wire.partitioner import partition_of

log = structlog.get_logger()

# As long as a browser's user may be expected to wait for the receipt of a click.
ACK_SECONDS = 5.0
# Of records that wait for their acknowledgement, here; more are refused at once, and memory stays bounded.
MOST_UNACKNOWLEDGED = 20_000
_LOOK_SECONDS = 1.0
_ANSWER_SECONDS = 3.0
_SILENT_SECONDS = 5.0
_PAUSE_SECONDS = 0.5
_FETCHED = 1024  # records
_PREPARED_SECONDS = 0.2
_STRETCH = 128  # records between two turns for requests
_TOPICS_SECONDS = 5.0  # between two looks whether a topic was made anew
_CATCH_UP_SECONDS = 2.0

# After these an idempotent producer goes on counting, and the broker takes nothing more of it.
_BREAKS = (OutOfOrderSequenceNumber, UnknownProducerId, ProducerFenced, InvalidProducerEpoch)

OnRecord = Callable[[ConsumerRecord], None]


class NotAcknowledged(Exception):  # noqa: N818
    """The broker has not said that it has a record: it may have it all the same."""


class Brokers:
    """`on_record`: for each topic that is read, by its full name, what takes its records, in their order.

    on_stretch: called after each stretch of records
    on_start: called before the first record is read, with each topic's end offsets by partition; returns
    where to begin for topics that are not read from their beginning
    on_reached: called with a topic when all is read that was there at the start; again after a line is lost
    on_refused: called where the brokers let nobody in, before anything has been read
    """

    def __init__(
        self, settings: Settings, on_record: Mapping[str, OnRecord], *,
        on_stretch: Callable[[], None] = lambda: None,
        on_start: Callable[[Mapping[TopicPartition, int]], Mapping[TopicPartition, int]] = lambda _: {},
        on_reached: Callable[[str], None] = lambda _: None,
        on_refused: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        self.caught_up = asyncio.Event()
        self.refused: clients.LoginRefused | None = None  # at the start: nothing will come of this process
        self.partitions = 0  # of clicks and requests
        self.positions: dict[tuple[str, int], int] = {}  # by topic and partition: of the next record
        self._settings, self._names = settings, Names(settings.prefix)
        self.topics: Look = {}  # as they were when reading began
        self.anew: set[str] = set()  # topics that are others than when reading began before
        self._on_record, self._on_stretch, self._on_start = on_record, on_stretch, on_start
        self._on_reached = on_reached
        self._reader: AIOKafkaConsumer | None = None
        self._on_refused = on_refused
        self._producer: AIOKafkaProducer | None = None
        self._heard = time.monotonic()
        self._answers = False
        self._broken = False  # the producer: some partition takes nothing more of it
        self._unacknowledged = 0
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def silent(self) -> float:
        """Seconds since the brokers last answered."""
        return time.monotonic() - self._heard

    @property
    def answering(self) -> bool:
        """Whether the brokers answered lately."""
        return self._answers and self._producer is not None and self.silent < _SILENT_SECONDS

    async def prepared(self) -> None:
        """Waits until the topics are there: brokers must not make them, with settings of their own."""
        while not self.partitions:
            await asyncio.sleep(_PREPARED_SECONDS)

    def start(self) -> None:
        """Begins; comes back at once, also where no broker answers."""
        self._heard = time.monotonic()
        absence = Absence(self._settings.bootstrap_servers, lambda: self.silent)
        self._tasks = [asyncio.create_task(each) for each in (self._live(), absence.watch())]

    async def stop(self) -> None:
        """Ends all of it; what was handed to the producer goes out first, if the broker takes it."""
        await ended(self._tasks)

    async def send(self, topic: str, key: bytes, value: bytes | None) -> tuple[int, int]:
        """Partition and offset of the record, once all replicas have it. Raises NotAcknowledged."""
        (place,) = await self.send_many(topic, [(key, value)])
        if place is None:
            raise NotAcknowledged("the broker has not acknowledged it")
        return place

    async def send_many(
        self, topic: str, records: Sequence[tuple[bytes, bytes | None]]
    ) -> list[tuple[int, int] | None]:
        """The same of several; None of each that was not acknowledged in time."""
        producer = self._producer
        if producer is None or self._unacknowledged + len(records) > MOST_UNACKNOWLEDGED:
            return [None] * len(records)
        count = self.partitions if topic in self._names.copartitioned else 0
        headers, until = record_headers(), time.monotonic() + ACK_SECONDS
        sent: list[asyncio.Future[Any]] = []
        self._unacknowledged += len(records)
        try:
            try:
                async with asyncio.timeout(ACK_SECONDS):
                    for key, value in records:
                        partition = partition_of(key, count) if count else None
                        sent.append(
                            await producer.send(
                                topic, key=key, value=value, partition=partition, headers=headers
                            )
                        )
            except (TimeoutError, KafkaError, AssertionError, TypeError) as error:  # also for a topic remade
                log.debug("records were not handed over", why=type(error).__name__)
            finally:
                for each in sent:
                    each.add_done_callback(_looked_at)
            if sent:
                await asyncio.wait(sent, timeout=max(0.0, until - time.monotonic()))
        finally:
            self._unacknowledged -= len(records)
        self._broken |= any(isinstance(_error_of(each), _BREAKS) for each in sent)
        placed: list[tuple[int, int] | None] = [
            (each.result().partition, each.result().offset) if _arrived(each) else None for each in sent
        ]
        if any(placed):
            self._hear()
        return placed + [None] * (len(records) - len(placed))

    async def read_up(self, topic: str) -> None:
        """Waits until all is read that the topic holds now, whoever wrote it. Raises NotAcknowledged."""
        reader = self._reader
        if reader is None:
            raise NotAcknowledged("there is no line to the broker")
        try:
            async with asyncio.timeout(_CATCH_UP_SECONDS):
                places = [place for place in reader.assignment() if place.topic == topic]
                for place, end in (await reader.end_offsets(places)).items():
                    while self.positions.get((topic, place.partition), 0) < end:
                        await asyncio.sleep(0.002)
        except (TimeoutError, KafkaError) as error:
            raise NotAcknowledged("the topic could not be read to its end") from error

    async def _live(self) -> None:
        """Connects, reads on, and begins anew where the clients give up."""
        while True:
            try:
                await self._session()
            except clients.LoginRefused as error:
                if not self.caught_up.is_set():  # later it is one that is being renewed
                    self.refused = error
                    self._on_refused()
                    return
            except topics.TopicsError as error:
                log.warning("the topics do not fit together; this process tries again", why=str(error))
            except (clients.BrokerUnreachable, KafkaError, OSError, LookupError) as error:
                log.debug("the line to the broker is made anew", why=str(error))
            except Exception as error:  # a client's own fault must not leave this process without a line
                fault = type(error).__name__
                log.warning("the client of the broker failed, and is made anew", fault=fault, why=str(error))
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _session(self) -> None:
        self.partitions = await asyncio.to_thread(_prepared, self._settings)
        seen = await asyncio.to_thread(look, self._settings)
        self.anew |= {name for name, topic in self.topics.items() if _is_another(topic, seen.get(name))}
        self.topics = seen
        connection = clients.async_connection(self._settings)
        producer = AIOKafkaProducer(acks="all", enable_idempotence=True, linger_ms=1, **connection)
        clients.follow_moves(producer.client)
        reader = new_reader(connection, *self._on_record)
        try:
            await producer.start()
            await reader.start()
            ends = await self._place(reader)
            self._producer, self._reader, self._broken = producer, reader, False
            self._hear()
            async with asyncio.TaskGroup() as both:
                both.create_task(self._read(reader, ends))
                both.create_task(self._look(producer))
                both.create_task(self._watch_topics())
        except ExceptionGroup as group:
            raise group.exceptions[0] from group
        finally:
            self._producer = self._reader = None
            try:
                async with asyncio.timeout(_ANSWER_SECONDS):
                    await asyncio.gather(producer.stop(), reader.stop(), return_exceptions=True)
            except TimeoutError:  # it must not take the place of a cancellation, which would then be lost
                await clients.abandon(producer)
                await clients.abandon(reader)

    async def _place(self, reader: AIOKafkaConsumer) -> dict[TopicPartition, int]:
        """Where reading begins; returns the ends as they are now."""
        places = list(reader.assignment())
        missing = set(self._on_record) - {place.topic for place in places}
        if missing:
            raise LookupError(f"no partitions of {', '.join(sorted(missing))} yet")
        ends: dict[TopicPartition, int] = await reader.end_offsets(places)
        first = await reader.beginning_offsets(places)
        lists = [place for place in places if place.topic == self._names.recommendations]
        since = int(time.time() * 1000) - self._settings.max_age_ms
        found = await reader.offsets_for_times(dict.fromkeys(lists, since))
        begin = dict(first)
        self.positions.clear()
        begin |= {place: at.offset if (at := found.get(place)) else ends[place] for place in lists}
        for place, offset in self._on_start(ends).items():
            begin[place] = max(first[place], offset)
        self.anew = set()
        for place, offset in begin.items():
            reader.seek(place, offset)
        return {place: end for place, end in ends.items() if begin[place] < end}

    async def _read(self, reader: AIOKafkaConsumer, ends: dict[TopicPartition, int]) -> None:
        short = [place for place in reader.assignment() if place.topic != self._names.recommendations]
        waits = set(self._on_record)
        while True:
            for place in list(ends):
                if await reader.position(place) >= ends[place]:
                    del ends[place]
            for place in short:  # also past what holds no record: markers, what was compacted
                self.positions[place.topic, place.partition] = await reader.position(place)
            for topic in waits - {place.topic for place in ends}:
                waits.discard(topic)
                self._on_reached(topic)
            if not ends:
                self.caught_up.set()
            fetched = await reader.getmany(timeout_ms=500, max_records=_FETCHED)
            for place, records in fetched.items():
                self._hear()
                await self._apply(self._on_record[place.topic], records)
                self.positions[place.topic, place.partition] = records[-1].offset + 1

    async def _apply(self, on_record: OnRecord, records: Sequence[ConsumerRecord]) -> None:
        for at in range(0, len(records), _STRETCH):
            for record in records[at : at + _STRETCH]:
                on_record(record)
            self._on_stretch()
            if at + _STRETCH < len(records):
                await asyncio.sleep(0)

    async def _look(self, producer: AIOKafkaProducer) -> None:
        """Asks the brokers each second whether they are there."""
        while True:
            if self._broken:
                raise LookupError("the producer is broken, and made anew")
            try:
                async with asyncio.timeout(_ANSWER_SECONDS):
                    self._answers = bool(await producer.client.force_metadata_update())
                if self._answers:
                    self._hear()
            except (TimeoutError, KafkaError):
                self._answers = False
            await asyncio.sleep(_LOOK_SECONDS)

    async def _watch_topics(self) -> None:
        """Ends the session where a topic is another one, or has other partitions: all is looked at again."""
        missing: set[str] = set()
        while True:
            await asyncio.sleep(_TOPICS_SECONDS)
            try:
                seen = await asyncio.to_thread(look, self._settings)
            except (KafkaError, clients.BrokerUnreachable, SettingsError, OSError) as error:
                log.debug("the topics cannot be looked at", why=str(error))  # or a password is being renewed
                continue
            if under_way({name: topic.partitions for name, topic in seen.items()}, self._names):
                continue  # until they have all grown this process goes on as it does
            gone = self.topics.keys() - seen.keys()
            others = {
                name for name, topic in seen.items()
                if _is_another(self.topics.get(name, topic), topic)
                or topic.partitions != self.topics.get(name, topic).partitions
            } | (gone & missing)  # fmt: skip
            missing = gone
            if others:
                log.warning("topics have changed, and are read anew", topics=", ".join(sorted(others)))
                raise LookupError("topics have changed")

    def _hear(self) -> None:
        self._heard, self._answers = time.monotonic(), True


def _is_another(before: Seen, now: Seen | None) -> bool:
    """Whether a topic was deleted and made again; where brokers tell no ids nobody can say."""
    return now is None or (bool(now.identity) and now.identity != before.identity)


def _looked_at(sent: "asyncio.Future[Any]") -> None:
    """Nobody may wait for it any more, and its error is no surprise."""
    if not sent.cancelled():
        sent.exception()


def _error_of(sent: "asyncio.Future[Any]") -> BaseException | None:
    return sent.exception() if sent.done() and not sent.cancelled() else None


def _arrived(sent: "asyncio.Future[Any]") -> bool:
    return sent.done() and not sent.cancelled() and sent.exception() is None


def _prepared(settings: Settings) -> int:
    """Makes the topics that are missing; returns how many partitions clicks have."""
    with clients.admin(settings) as admin:
        topics.create_missing(admin, settings)
        return topics.check(admin, settings)
