"""What of a fetched slice may go on to the rounds.

Owns what becomes of the rest: bad records go to the dead letters, misplaced ones to the partition that their
user's clicks are in. The verdict is `streams.wire.intake`'s.
"""

import asyncio
import time
from typing import Any

import structlog

from streams.transport.batches import Batch
from streams.transport.delivery import Outgoing
from streams.transport.topics import Names
from streams.wire.clock import Clock
from streams.wire.intake import Arrival, Misplaced, Refused, admit
from streams.worker.assignment import Assignment

log = structlog.get_logger()


class Admission:
    """`partitions`: how many the topics by user have. `counts`: the worker's, which this raises two of."""

    def __init__(self, names: Names, partitions: int, clock: Clock, counts: dict[str, int]) -> None:
        self._names = names
        self._partitions = partitions
        self._clock = clock
        self._counts = counts
        self._told = 0  # forwarded records

    async def admit(self, batch: Batch, assignment: Assignment) -> list[tuple[str, Arrival]]:
        """The (user, arrival) of each good record, in their order.

        Returns when what becomes of the others is acknowledged: the slice may be finished before long.
        """
        requests = batch.topic == self._names.requests
        good: list[tuple[str, Arrival]] = []
        acknowledgements: list[asyncio.Future[Any]] = []
        now_ms = int(time.time() * 1000)
        for record in batch.records:
            verdict = admit(
                record.value, batch.partition, record.offset,
                requests=requests, partitions=self._partitions,
                refuses=lambda timestamp: self._clock.refuses(timestamp, now_ms), forgets=not requests,
            )  # fmt: skip
            if isinstance(verdict, Arrival):
                good.append((verdict.user_id, verdict))
            elif isinstance(verdict, Misplaced):
                self._counts["forwarded"] += 1
                acknowledgements += await assignment.delivery.send(
                    batch.topic,
                    [Outgoing(verdict.key, record.value, verdict.partition, list(record.headers))],
                )
            else:
                assert isinstance(verdict, Refused)
                self._counts["refused"] += 1
                log.warning(
                    "bad record", error=verdict.error, topic=batch.topic,
                    partition=batch.partition, offset=record.offset,
                )  # fmt: skip
                acknowledgements += await assignment.letters.send(record, verdict.error, now_ms)
        for future in acknowledgements:
            await future
        return good

    def watch(self) -> None:
        """Says so, each time it is called, where records were forwarded since."""
        if self._counts["forwarded"] > self._told:
            self._told = self._counts["forwarded"]
            log.warning(
                "misplaced records forwarded", so_far=self._told,
                mend="key records by user_id; librdkafka clients need partitioner=murmur2_random",
            )  # fmt: skip
