"""Whole fetched slices of a partition, handed to a Faust agent as one value each.

A stock agent takes one event at a time (4-8 k/s with a send each) and `Stream.take` loses events
when a handler raises; here a slice of up to 1,024 records is one `Batch`, and its offsets are marked
when the worker calls `Batch.finish()`, at the earliest after everything before it in its partition.

Overrides private methods of Faust 0.15.3, whose version is pinned; tests/integration/test_batches.py
(kill -9, rebalance, failing handler) guards every trap named below. Knows neither clicks nor states.
"""

import asyncio
import functools
import time
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from aiokafka import ConsumerRecord
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import KafkaError as AsyncKafkaError
from faust.topics import Topic
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread
from faust.transport.drivers.aiokafka import Consumer as AiokafkaConsumer
from faust.types.tuples import TP, ConsumerMessage
from kafka.errors import KafkaError
from mode.utils.futures import notify

from streams.transport.absence import Absence
from streams.transport.behind import Behind, Place
from streams.transport.clients import BrokerUnreachable, follow_moves
from streams.transport.fence import Fence, Fenced
from streams.transport.lag import Progress
from streams.transport.lost import Lost
from streams.transport.reached import Reached

SLICE = 1024  # records; slices of 512 capped the agent at 40 k/s
FETCH_WAIT_MS = 20  # that the broker keeps a fetch which finds nothing, and that misses what comes meanwhile
MORE_WAIT_S = 10.0  # a word from the agent that got lost costs this, and not the worker
QUEUED_SLICES = 64  # waiting for the agent; Faust stops fetching from a partition above 80 % of it
SOON_S = 2.0  # between two looks at what was met
LOOK_S = 20.0  # between two looks at where partitions begin: what is lost is said within a minute
AGAIN_S = 1.0  # until an assignment begins again for which the broker was away
NOTHING_S = 0.05  # until the next look at partitions that may not be read yet

_AWAY = (AsyncKafkaError, KafkaError, BrokerUnreachable, TimeoutError)


class Batch:
    """A fetched slice of one partition: records in offset order.

    Exactly one of two ends: `finish()` once every effect of every record is acknowledged, or
    abandoned by its source when the partition goes; then its records come again, to the next owner.
    """

    __slots__ = ("__weakref__", "_event", "_source", "abandoned", "finished", "records", "tp")

    def __init__(self, source: "BatchSource", tp: Any, records: Sequence[ConsumerRecord]) -> None:
        self.tp = tp
        self.records = records
        self.finished = False
        self.abandoned = False
        self._source = source
        self._event: Any = None

    @property
    def topic(self) -> str:
        """The topic that the records were read from."""
        return str(self.tp.topic)

    @property
    def partition(self) -> int:
        """The partition that the records were read from."""
        return int(self.tp.partition)

    def finish(self) -> None:
        """Marks the slice's offsets. Of no effect once the batch has been abandoned."""
        if not self.finished and not self.abandoned:
            self.finished = True
            self._source._finished(self)


Assigned = Callable[[frozenset[Any], int], Awaitable[None]]
Revoking = Callable[[frozenset[Any]], Awaitable[None]]


class BatchSource:
    """Batches of `topics` for one agent of a Faust app.

        source = BatchSource(app, [topics.clicks, topics.requests], assigned=restore, revoking=settle)

        @app.agent(source.topic)
        @source.fatal
        async def recommend(stream):
            async for batch in source.batches(stream):
                await rounds.put(batch)                 # ... and batch.finish() when all is acknowledged

    `assigned(partitions, generation)` runs in its own task after each rebalance, while heartbeats go
    on, and no batch is handed out before it has returned. `revoking(partitions)` follows each of them, before
    partitions are given away and before the app stops: it ends the work in hand (finishing what it
    can) and may leave the rest, which is then abandoned. Both get (topic, partition) tuples. Topics
    of equal partition counts are assigned alike, so that partition 3 of each meets on one worker.
    `taken_in(batch)` is said when the agent has a batch in its hands: `reached` tells how far it has come.

    `follows` names for some topics another one: after an assignment nothing is handed out of such a topic's
    partition before all that stood in the other's was. Of each topic the first `partitions` are read,
    also where there are more.
    """

    def __init__(
        self, app: Any, topics: Iterable[str], *, assigned: Assigned, revoking: Revoking,
        follows: Mapping[str, str] | None = None, partitions: int | None = None,
    ) -> None:  # fmt: skip
        self.app = app
        self.topics = frozenset(topics)
        self.partitions: frozenset[Any] = frozenset()
        self.behind = Behind(follows or {}, partitions)
        self.lost = Lost()
        self.reached = Reached()
        self._followed = frozenset((follows or {}).values())
        self._fence = Fence(app.conf.broker_session_timeout)
        self._assigned = assigned
        self._revoking = revoking
        self._in_flight: dict[Any, deque[Batch]] = defaultdict(deque)
        self._opening: asyncio.Task[None] | None = None
        self._open = asyncio.Event()
        self._closing = asyncio.Lock()
        self._wanted = asyncio.Event()
        self._wanted.set()
        self._crashing: asyncio.Future[None] | None = None  # kept, or it might be collected
        app.transport.Consumer = BatchConsumer
        app.transport.batch_source = self
        self.topic = BatchTopic(
            app,
            topics=sorted(self.topics),
            key_serializer="raw",
            value_serializer="raw",
            maxsize=QUEUED_SLICES,
        )

    def fence(self) -> None:
        """Raises `Fenced` where another worker may own the partitions by now: they are about to go."""
        self._fence.check()

    def hold(self) -> None:
        """Raises `Fenced`, or `Unsure` where that is not known: what is to be written waits."""
        self._fence.hold()

    async def watch_absence(self, brokers: str) -> None:
        """Says when the brokers, known by this address, are away and back; until cancelled."""
        await Absence(brokers, lambda: self._fence.silent).watch()

    async def batches(self, stream: Any) -> AsyncIterator[Batch]:
        """The agent's batches; an exception in the loop's body leaves its batch unmarked."""
        stream.enable_acks = False  # as Stream.take does: a slice is acknowledged by finish() alone
        async for event in stream.events():
            batch: Batch = event.value
            batch._event = event
            self._in_flight[batch.tp].append(batch)
            await self._open.wait()
            if batch.abandoned:  # a rebalance came while it waited
                self.more()
            else:
                yield batch

    def fatal(self, agent: Callable[[Any], Awaitable[None]]) -> Callable[[Any], Awaitable[None]]:
        """Stops the worker when the agent raises: skipping the batch would lose its clicks."""

        @functools.wraps(agent)
        async def run(stream: Any) -> None:
            try:
                await agent(stream)
            except asyncio.CancelledError:
                raise
            except Exception as error:
                await self.app.crash(error)
                raise

        return run

    def then(self, durable: "asyncio.Future[None]", action: Callable[[], None]) -> None:
        """Calls `action` when `durable` is done; stops the worker when it fails: nothing is marked.

        Where it fails for the partitions are lost, they go without that: others do the work.
        """

        def ended(future: "asyncio.Future[None]") -> None:
            if future.cancelled():
                return
            error = future.exception()
            if error is None:
                action()
            elif not isinstance(error, Fenced):
                self._crashing = asyncio.ensure_future(self.app.crash(error))

        durable.add_done_callback(ended)

    def more(self) -> None:
        """The agent is ready for the next slices.

        Until it says so again after each fetch that brought some, what arrives gathers in the broker: a
        fetch costs the same for one record as for a hundred.
        """
        self._wanted.set()

    def taken_in(self, batch: Batch) -> None:
        """The batch's records are where they wait for their turns, before all that comes from now on."""
        if not batch.abandoned:
            self.reached.take_in(batch.tp, batch.records[-1].offset + 1)

    def progress(self, tp: Any) -> Progress:
        """How far the work on one of the followed partitions has come."""
        end = self.app.consumer.place(tp).end
        if batches := self._in_flight.get(tp):
            first = batches[0].records[0]
            return Progress(first.offset, end, first.timestamp)
        return Progress(self.reached.of(tp), end, None)

    async def watch_losses(self) -> None:
        """Says what was deleted before it was read, soon where a gap was met; until cancelled."""
        due = time.monotonic() + LOOK_S
        while True:
            await asyncio.sleep(SOON_S)
            if not self.lost.suspects and time.monotonic() < due:
                continue
            due = time.monotonic() + LOOK_S
            try:
                if self.partitions:
                    self.lost.look(await self.app.consumer.earliest_offsets(*self.partitions))
            except Exception as error:  # whatever the client raises while brokers are away
                self.app.log.debug("cannot look where partitions begin: %r", error)

    def _finished(self, batch: Batch) -> None:
        batches = self._in_flight[batch.tp]
        while batches and batches[0].finished:
            first = batches.popleft()
            self.app.consumer.mark(first.tp, first.records[-1].offset + 1)
        batch._event.ack()

    def leave(self) -> None:
        """To be called before the app stops where this member does not come back as what it was."""
        self.app.consumer._thread.leave()

    def _start_opening(self, assigned: frozenset[Any], generation: int) -> None:
        self.partitions = assigned
        self.behind.begin(assigned)
        self.reached.begin(tp for tp in assigned if tp.topic in self._followed)
        self._fence.renew()

        async def opening() -> None:
            try:
                await self._until_assigned(assigned, generation)
                self._open.set()
                self.more()  # nothing is in hand; whoever wanted nothing more was asked before the rebalance
            except asyncio.CancelledError:
                raise
            except Exception as error:
                await self.app.crash(error)

        self._opening = asyncio.create_task(opening())

    async def _until_assigned(self, assigned: frozenset[Any], generation: int) -> None:
        """Begins again where the broker goes away meanwhile, or the partitions are about to go."""
        while True:
            try:
                await self._assigned(assigned, generation)
                return
            except _AWAY as error:
                self.app.log.debug("cannot begin yet: %r", error)
                await self._revoking(assigned)
                await asyncio.sleep(AGAIN_S)

    async def _close(self) -> None:
        """Lets the worker end its work in hand and abandons the rest. Of no effect when closed.

        The app may stop in the middle of a rebalance: whoever comes second waits for the first.
        """
        async with self._closing:
            self._open.clear()
            self._wanted.set()
            opening, self._opening = self._opening, None
            if opening is not None and not opening.done():
                opening.cancel()
                await asyncio.wait([opening])
            try:
                if opening is not None:  # also one of no partitions
                    await self._revoking(self.partitions)
            except Exception as error:
                await self.app.crash(error)
            finally:
                self.partitions = frozenset()
                self._abandon()

    def _abandon(self) -> None:
        for batches in self._in_flight.values():
            for batch in batches:
                if not batch.finished:
                    batch.abandoned = True
                    batch._event.ack()  # no mark: only that Faust does not wait for it
        self._in_flight.clear()


class BatchTopic(Topic):  # type: ignore[misc]
    """A topic whose values are `Batch`es and need no decoding."""

    async def decode(self, message: Any, *, propagate: bool = False) -> Any:  # noqa: ARG002
        """The event of a slice."""
        return self._create_event(message.key, message.value, message.headers, message)


class BatchConsumer(AiokafkaConsumer):  # type: ignore[misc]
    """Faust's consumer, except that records of the batch topics travel as slices."""

    def _new_consumer_thread(self) -> Any:
        return _ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    @property
    def _source(self) -> BatchSource:
        source: BatchSource = self.transport.batch_source
        return source

    def _reset_state(self) -> None:
        super()._reset_state()
        self._marks: dict[Any, int] = {}

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[Any, Any]]:
        """Slices of the batch topics, single messages of all others."""
        source = self._source
        if not source._wanted.is_set():
            await self.wait(source._wanted, timeout=MORE_WAIT_S)
        records, active = await self._wait_next_records(timeout)
        generation = self.app.consumer_generation_id
        if not records or self.should_stop:
            return
        idle = active is not None and not records.keys() <= active | self._buffered_partitions
        if not self.flow_active or idle:
            # The position has moved past these records: without the seek they would be lost.
            try:
                await self.perform_seek()
            except Exception as error:
                self.log.warning("seek while the flow is off: %r", error)
            return
        for tp in records:
            self.app.monitor.track_tp_end_offset(tp, self.highwater(tp))
        source._wanted.clear()
        handed_out = False
        try:
            for start in range(0, max(map(len, records.values())), SLICE):
                for tp, fetched in records.items():
                    for message in self._messages(tp, fetched[start : start + SLICE], source, generation):
                        if not self.flow_active or self.app.consumer_generation_id != generation:
                            return  # all of it is fetched again from the committed offset
                        handed_out = handed_out or tp.topic in source.topics
                        yield tp, message
        finally:
            if not handed_out:
                source.more()  # nobody got anything, so nobody else would say so

    async def _getmany(self, active_partitions: set[Any] | None, timeout: float) -> Any:
        source = self._source
        for tp in source.reached.watched:  # nothing is being fetched now
            source.reached.pass_by(tp, self._thread.place(tp).position)
        waiting = source.behind.waiting(self._thread.place)
        if active_partitions is not None and waiting:
            active_partitions = active_partitions - waiting
            if not active_partitions:  # to aiokafka no partition would mean all
                await asyncio.sleep(NOTHING_S)
                return {}
            timeout = min(timeout, NOTHING_S)  # nothing may come of those that it waits for
        return await super()._getmany(active_partitions, timeout)

    async def perform_seek(self) -> None:
        """Goes back to the committed offsets, and to the beginning of partitions without one.

        Faust leaves the latter where they are: a fetch may have passed clicks that nobody was given, of a
        partition whose owner died before its first commit.
        """
        await super().perform_seek()
        self._source.lost.begin({tp: at for tp, at in self._committed_offset.items() if at})
        uncommitted = [tp for tp in self.assignment() if not self._committed_offset[tp]]
        if not uncommitted:
            return
        earliest = await self.earliest_offsets(*uncommitted)
        # A commit or another rebalance, which seeks by itself, may have come meanwhile.
        mine = self.assignment()
        places = {tp: at for tp, at in earliest.items() if tp in mine and not self._committed_offset[tp]}
        if places:
            await self.seek_wait(places)  # in the consumer's own thread, where fetches go on

    def _messages(
        self, tp: Any, records: Sequence[ConsumerRecord], source: BatchSource, generation: int
    ) -> Iterable[Any]:
        if tp.topic not in source.topics:
            return [self._to_message(tp, record) for record in records]
        if records:
            source.lost.fetched(tp, records[0].offset, records[-1].offset)
        read = self._read_offset[tp]
        if read is not None and records and records[0].offset < read:
            records = [record for record in records if record.offset >= read]
        if not records:
            return []
        last = records[-1]
        batch = Batch(source, tp, records)
        source.reached.hand_out(tp)
        message = ConsumerMessage(
            tp.topic, tp.partition, last.offset, last.timestamp / 1000, last.timestamp_type, (), None,
            batch, None, 0, 0, tp, generation_id=generation,
        )  # fmt: skip
        return [message]

    def place(self, tp: Any) -> Place:
        """How far a partition has been read."""
        place: Place = self._thread.place(tp)
        return place

    def mark(self, tp: Any, offset: int) -> None:
        """Everything before `offset` is done with: the next commit says so."""
        self._marks[tp] = offset
        self._acked[tp] = [offset - 1]  # makes Faust ask _new_offset
        self._n_acked += 1

    def ack(self, message: Any) -> bool:
        """Ends Faust's waiting for a message; for slices it marks nothing (Faust acks skipped ones)."""
        if not isinstance(message.value, Batch):
            return bool(super().ack(message))
        if message.acked:
            return False
        message.acked = True
        self._unacked_messages.discard(message)
        notify(self._waiting_for_ack)
        return True

    def _new_offset(self, tp: Any) -> int | None:
        if tp.topic not in self._source.topics:
            offset: int | None = super()._new_offset(tp)
            return offset
        return self._marks.get(tp)

    async def _add_gap(self, tp: Any, offset_from: int, offset_to: int) -> None:
        if tp.topic not in self._source.topics:  # slices are marked by their ends
            await super()._add_gap(tp, offset_from, offset_to)

    async def on_partitions_revoked(self, revoked: set[Any]) -> None:
        """Ends the work in hand and commits, then Faust's own part.

        Faust forgets what was acknowledged before it commits, so the commit is made here.
        """
        self.stop_flow()
        self.app.flow_control.suspend()
        self.app.flow_control.clear()
        await self._source._close()
        await self.commit()
        await super().on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: set[Any], generation_id: int = 0) -> None:
        """Starts anew from the committed offsets."""
        self._marks.clear()
        for tp in list(self._read_offset):
            if tp.topic in self._source.topics:
                del self._read_offset[tp]
        await super().on_partitions_assigned(assigned, generation_id)
        owned = frozenset(tp for tp in assigned if tp.topic in self._source.topics)
        self._source._start_opening(owned, generation_id)

    async def wait_empty(self) -> None:
        """Ends the work in hand before the app stops."""
        await self._source._close()
        await super().wait_empty()


class _ConsumerThread(AIOKafkaConsumerThread):  # type: ignore[misc]
    """Notes heartbeats, and assigns partitions of the same number of all topics to one worker."""

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        # Faust's choice, round robin over all partitions of all topics, parts a user's clicks from
        # their requests as soon as the number of workers does not divide the partitions.
        consumer._partition_assignment_strategy = (RangePartitionAssignor,)
        # A fetch leaves out partitions whose records wait to be taken, and until it returns there is no other
        # to the same broker: with Faust's 1,500 ms those partitions stood still for as long.
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS
        # Faust reads so only where it writes in transactions itself; producers of clicks may do it too.
        consumer._isolation_level = "read_committed"
        follow_moves(consumer._client)
        return consumer

    async def on_start(self) -> None:
        """Notes the heartbeats of the group's member."""
        await super().on_start()
        self.transport.batch_source._fence.watch(self._consumer)

    def leave(self) -> None:
        """The member is no static one any more: its stop is told to the group, which does not wait for it."""
        if self._consumer is not None and self._consumer._coordinator is not None:
            self._consumer._coordinator._group_instance_id = None

    def place(self, tp: Any) -> Place:
        """How far a partition has been read; without a word to this thread, which may wait for a broker."""
        subscription = self._consumer._subscription.subscription
        assignment = None if subscription is None else subscription.assignment
        if assignment is None or tp not in assignment.tps:
            return Place(None, None)
        state = assignment.state_value(tp)
        # Behind the last stable offset stand transactions that are open: nothing to wait for.
        stable = state.highwater if state.lso is None or state.lso < 0 else state.lso
        return Place(state._position, stable)


__all__ = ["SLICE", "TP", "Batch", "BatchSource"]
