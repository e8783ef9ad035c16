"""The partitions that a worker has in one generation of its consumer group, and what lives as long.

Owns the producer and all that sends through it, the tasks that work for these partitions, and the order in
which they end when the partitions go: nothing of a generation is left when the next one begins. Knows no
release and no user.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from streams.runtime.ending import ended
from streams.transport.batches import BatchSource
from streams.transport.changelog import Changelog
from streams.transport.dead_letters import DeadLetters
from streams.transport.delivery import Acknowledgement, Delivery, Outgoing, new_producer
from streams.transport.feeds import new_reader
from streams.transport.fence import Fenced
from streams.transport.topics import Names
from streams.wire.intake import Arrival
from streams.worker.rounds import Pending

T = TypeVar("T")


@dataclass(slots=True)
class Parcel:
    """What a round has made of the records of one partition.

    states: by user, each fixed before anything is sent; the last of those that the round's clicks led to
    clicks, requests: what is sent on, of users who were merged into others
    clicked_ms, asked_ms: when the clicks and requests were sent that the lists are for
    """

    partition: int
    records: list[Pending[Arrival]] = field(default_factory=list)
    lists: list[Outgoing] = field(default_factory=list)
    states: dict[bytes, bytes | None] = field(default_factory=dict)
    clicks: list[Outgoing] = field(default_factory=list)
    requests: list[Outgoing] = field(default_factory=list)
    clicked_ms: list[int] = field(default_factory=list)
    asked_ms: list[int] = field(default_factory=list)


class Assignment:
    """Use as `async with Assignment(...) as assignment`: born with the assignment, gone with the revocation.

    `partitions`: those of `clicks`, and so of `requests` and `user-states`. Leaving ends the work in hand:
    what was computed is sent and acknowledged, what waits is left to the next owner.

    sound: nothing that was computed has been lost; where it was, states may know of clicks without lists
    """

    def __init__(
        self, source: BatchSource, connection: Mapping[str, Any], names: Names, partitions: frozenset[int]
    ) -> None:
        self.partitions = partitions
        self._source, self._names = source, names
        self._producer = new_producer(connection)
        self.delivery = Delivery(self._producer, source.fence, source.hold)
        self.changelog = Changelog(names.user_states, self.delivery, lambda: new_reader(connection))
        self.letters = DeadLetters(names.dead_letters, self.delivery, lambda: new_reader(connection))
        self._loops: list[asyncio.Task[None]] = []
        self._spawned: set[asyncio.Task[Any]] = set()
        self._failed = False

    async def __aenter__(self) -> "Assignment":
        try:
            await self._producer.start()
            await self.letters.refresh()
        except BaseException:
            await self._producer.stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in reversed(self._loops):
            await ended([task])
        while self._spawned:
            await asyncio.wait(self._spawned)
        await self.changelog.drain()
        await asyncio.sleep(0)  # the last futures' callbacks mark their batches
        await self._producer.stop()

    @property
    def sound(self) -> bool:
        """Whether all that was computed so far has been kept, or is on its way."""
        return not self._failed and self.changelog.failure is None

    def loop(self, work: Coroutine[Any, Any, None]) -> None:
        """Runs until the partitions go; what it raises stops the worker, unless they are lost already."""

        async def guarded() -> None:
            try:
                await work
            except Fenced:
                self._failed = True
            except Exception as error:
                self._failed = True
                await self._source.app.crash(error)

        self._loops.append(asyncio.create_task(guarded()))

    def spawn(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """Runs to its end, also when the partitions go meanwhile: nothing is taken from under it."""
        task = asyncio.create_task(work)
        self._spawned.add(task)
        task.add_done_callback(self._spawned.discard)
        return task

    async def deliver(
        self, parcels: Iterable[Parcel], arrived: Callable[[Parcel], None] | None = None
    ) -> None:
        """Sends what a round has made: lists first, then the states that know of them, then marks offsets.

        Returns when the lists are queued; the rest follows as the brokers acknowledge. `arrived` is called
        with each parcel whose lists are.
        """
        for parcel in parcels:
            sent = await self.delivery.send(self._names.recommendations, parcel.lists)
            if arrived is not None:
                _then(sent, partial(arrived, parcel))
            if parcel.clicks:
                sent += await self.delivery.send(self._names.clicks, parcel.clicks)
            if parcel.requests:
                sent += await self.delivery.send(self._names.requests, parcel.requests)
            durable = self.changelog.commit(parcel.partition, sent, parcel.states, len(parcel.records))
            self._source.then(durable, partial(_finish, parcel.records))


def _then(sent: Sequence[Acknowledgement], action: Callable[[], None]) -> None:
    """Calls it once all is acknowledged; not where something failed."""
    open_ = len(sent)

    def done(future: Acknowledgement) -> None:
        nonlocal open_
        open_ -= 1
        if not open_ and not future.cancelled() and future.exception() is None:
            action()

    for future in sent:
        future.add_done_callback(done)


def _finish(records: list[Pending[Arrival]]) -> None:
    for record in records:
        record.done()
