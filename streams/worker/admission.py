"""What of a fetched slice may go on to the rounds.

Owns what becomes of the rest: bad records go to the dead letters, misplaced ones to the partition that their
user's clicks are in. The verdict is `streams.wire.intake`'s.
"""

import asyncio
import time
from bisect import bisect_left
from collections.abc import Mapping
from operator import attrgetter
from typing import Any

from streams.runtime.repeated import Repeated
from streams.transport.batches import Batch
from streams.transport.delivery import Outgoing
from streams.transport.growth import FORWARDED
from streams.transport.topics import Names
from streams.wire.clock import Clock
from streams.wire.intake import Arrival, Misplaced, Refused, admit, cause_of
from streams.wire.second_reading import NO_WORDS
from streams.worker.assignment import Assignment
from streams.worker.rounds import Pending
from streams.worker.traced import UNTRACED, Untraced


class Admission:
    """`partitions`: how many the topics by user have. `counts`: the worker's, which this raises one of.

    `bad` tells of bad records. `event_names`: the setting. `traces` is told of each slice that is decoded.
    """

    def __init__(
        self, names: Names, partitions: int, clock: Clock, counts: dict[str, int], bad: Repeated,
        event_names: Mapping[str, str] = NO_WORDS, traces: Untraced = UNTRACED,
    ) -> None:  # fmt: skip
        self._names = names
        self._partitions = partitions
        self._clock = clock
        self._counts = counts
        self._bad = bad
        self._event_names = event_names
        self._traces = traces
        self._misplaced = Repeated(
            "misplaced records are forwarded",
            "key records by user_id; librdkafka clients need partitioner=murmur2_random",
        )

    async def admit(self, batch: Batch, assignment: Assignment) -> list[tuple[str, Arrival]]:
        """The (user, arrival) of each good record, in their order.

        Returns when what becomes of the others is acknowledged: the slice may be finished before long.
        """
        requests = batch.topic == self._names.requests
        good: list[tuple[str, Arrival]] = []
        acknowledgements: list[asyncio.Future[Any]] = []
        begun_ns = time.time_ns()
        now_ms = begun_ns // 1_000_000
        for record in batch.records:
            verdict = admit(
                record.value, batch.partition, record.offset,
                requests=requests, partitions=self._partitions,
                refuses=lambda timestamp: self._clock.refuses(timestamp, now_ms), forgets=not requests,
                names=self._event_names,
            )  # fmt: skip
            if isinstance(verdict, Arrival):
                verdict.sent_ms = record.timestamp
                good.append((verdict.key, verdict))
            elif isinstance(verdict, Misplaced):
                self._counts["forwarded"] += 1
                self._misplaced.note(batch.topic, topic=batch.topic, partition=batch.partition)
                acknowledgements += await assignment.delivery.send(
                    batch.topic,
                    [Outgoing(verdict.key, record.value, verdict.partition, _sent_on(batch, record))],
                )
            else:
                assert isinstance(verdict, Refused)
                self._bad.note(
                    f"{batch.topic}: {verdict.cause}", error=verdict.error, topic=batch.topic,
                    partition=batch.partition, offset=record.offset,
                )  # fmt: skip
                acknowledgements += await assignment.letters.send(record, verdict.error, now_ms)
        self._traces.decoded(batch, good, begun_ns)
        for future in acknowledgements:
            await future
        return good

    async def turn_down(self, pending: Pending[Arrival], error: str, assignment: Assignment) -> None:
        """A record that was let in, and gets no list. Returns when its letter is acknowledged."""
        batch, offset = pending.batch.batch, pending.payload.offset
        assert isinstance(batch, Batch)
        record = batch.records[bisect_left(batch.records, offset, key=attrgetter("offset"))]
        self._bad.note(
            f"{batch.topic}: {cause_of(error)}", error=error, topic=batch.topic, partition=batch.partition,
            offset=offset,
        )  # fmt: skip
        for future in await assignment.letters.send(record, error, int(time.time() * 1000)):
            await future

    def watch(self) -> None:
        """To be called now and then: says how many more records were forwarded, once a minute."""
        self._misplaced.watch()


def _sent_on(batch: Batch, record: Any) -> list[tuple[str, bytes]]:
    """The record's headers, and where it stood: who counts clicks does it there, and not once more here."""
    headers = [(name, value) for name, value in record.headers if name != FORWARDED]
    return [*headers, (FORWARDED, f"{batch.partition}-{record.offset}".encode())]
