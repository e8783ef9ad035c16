"""The compacted log of user states: restored when a partition comes, appended to in group commits.

Owns the order that makes a crash harmless: recommendations are acknowledged first, then the states
that know of them are sent, then batches are finished. A state covers all clicks up to its applied
offset, so whatever is read again after a crash changes nothing. Knows keys, values and epochs, not
what a state contains.

The epoch of what an owner writes is the highest that it found in the log plus the generation of its group: of
two owners of a partition the later one's is higher, also where the earlier one has written nothing yet, and
where the group's generations have begun anew since. So what a worker writes that has lost its partition is
passed over behind what a rightful owner wrote of the same key.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition

from streams.transport.delivery import Acknowledgement, Delivery, Outgoing, acknowledged

EPOCH_HEADER = "epoch"
# States wait this long for others to travel with: nobody waits for a state, only the next restart does, and
# at 1,000 clicks/s half of the requests to the broker were for one or two states.
LINGER_SECONDS = 0.02
_FETCH_WAIT_MS = 50  # at the end of the log there is nothing to wait for
_ENDLESS_SECONDS = 60.0  # without a single record: the broker is gone


class Restored(NamedTuple):
    """The states of one partition: the value of each key as its last rightful owner left it."""

    partition: int
    states: dict[bytes, bytes]
    end_offset: int
    passed_over: int  # records of an earlier epoch found after a later one's: a fenced worker's
    epoch: int = 0  # the highest in the log


@dataclass(slots=True)
class _Commit:
    partition: int
    recommendations: Sequence[Acknowledgement]
    states: Mapping[bytes, bytes | None]
    records: int
    durable: asyncio.Future[None]


class Changelog:
    """States of the owned partitions on topic `topic` (as many partitions as `clicks`)."""

    def __init__(
        self,
        topic: str,
        delivery: Delivery,
        consumer: Callable[[], AIOKafkaConsumer],
        linger_s: float = LINGER_SECONDS,
    ) -> None:
        self.topic = topic
        self._linger_s = linger_s
        self.epochs: dict[int, int] = {}  # of what is written to each restored or kept partition
        self.written = 0  # state records acknowledged
        self._delivery = delivery
        self._consumer = consumer
        self._queue: deque[_Commit] = deque()
        self._task: asyncio.Task[None] | None = None
        self.failure: BaseException | None = None  # after it nothing is kept any more

    async def restore(self, partitions: Iterable[int], generation: int) -> AsyncIterator[Restored]:
        """The states of each partition, read up to the end that the log has now.

        One partition at a time, so that only one lies in memory undecoded. Raises `TimeoutError` when the
        broker does not answer.
        """
        mine = list(partitions)
        if not mine:
            return
        consumer = self._consumer()
        await consumer.start()
        try:
            places = [TopicPartition(self.topic, partition) for partition in mine]
            # Asked for all at once, and nothing is read of an empty log: each change of assignment costs
            # aiokafka most of a second.
            consumer.assign(places)
            starts, ends = await consumer.beginning_offsets(places), await consumer.end_offsets(places)
            for tp in places:
                restored = Restored(tp.partition, {}, ends[tp], 0)
                if starts[tp] < ends[tp]:
                    restored = await self._read(consumer, tp, starts[tp], ends[tp])
                self.keep(tp.partition, restored.epoch, generation)
                yield restored
        finally:
            await consumer.stop()

    def keep(self, partition: int, epoch: int, generation: int) -> None:
        """The partition's states are in memory already; `epoch`: the highest in its log when they were read.

        Nobody else may have owned it since: its log says nothing then that is not known.
        """
        self.epochs[partition] = epoch + generation

    async def _read(self, consumer: AIOKafkaConsumer, tp: TopicPartition, start: int, end: int) -> Restored:
        consumer.assign([tp])
        consumer.seek(tp, start)
        states: dict[bytes, bytes] = {}
        epochs: dict[bytes, int] = {}
        highest = passed_over = 0
        loop = asyncio.get_running_loop()
        progressed = loop.time()
        # Ends by position: compaction leaves holes, so the record at end - 1 need not exist.
        while await consumer.position(tp) < end:
            fetched = await consumer.getmany(timeout_ms=_FETCH_WAIT_MS)
            if fetched:
                progressed = loop.time()
            elif loop.time() - progressed > _ENDLESS_SECONDS:
                raise TimeoutError(
                    f"restoring {self.topic}-{tp.partition} stands still before offset {end}; "
                    "is the broker up? Restart this worker when it is."
                )
            for record in fetched.get(tp, ()):
                epoch = _epoch(record.headers)
                if epoch < epochs.get(record.key, 0):
                    passed_over += 1
                    continue
                highest = max(highest, epoch)
                epochs[record.key] = epoch
                if record.value is None:
                    states.pop(record.key, None)
                else:
                    states[record.key] = record.value
        return Restored(tp.partition, states, end, passed_over, highest)

    def commit(
        self,
        partition: int,
        recommendations: Sequence[Acknowledgement],
        states: Mapping[bytes, bytes | None],
        records: int = 1,
    ) -> asyncio.Future[None]:
        """Queues states whose clicks led to `recommendations`; the future is done when both are kept.

        `states` holds one value for each touched user, fixed by the caller now: a state must never
        cover clicks whose recommendations are not acknowledged. A None value deletes. Futures are
        done in the order of the calls. `records` counts towards `pending`, for back-pressure. After
        a failure every future fails: nothing later may overtake what was lost.
        """
        durable: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.failure is not None:
            durable.set_exception(self.failure)
            return durable
        self._queue.append(_Commit(partition, recommendations, states, records, durable))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._commit_all())
        return durable

    @property
    def pending(self) -> int:
        """Records (as told to `commit`) whose states are not acknowledged yet."""
        return sum(commit.records for commit in self._queue)

    async def room(self, limit: int) -> None:
        """Waits until at most `limit` records are pending, or nothing will be kept any more."""
        while self.pending > limit and self.failure is None:
            await asyncio.wait([self._queue[0].durable])

    async def drain(self) -> None:
        """Returns when nothing is pending, also after a failure."""
        while self._task is not None and not self._task.done():
            await asyncio.wait([self._task])

    async def _commit_all(self) -> None:
        try:
            while self._queue:
                await acknowledged(self._queue[0].recommendations)
                if self._linger_s:
                    await asyncio.sleep(self._linger_s)
                ready = [self._queue[0]]
                for later in list(self._queue)[1:]:
                    if not all(future.done() for future in later.recommendations):
                        break
                    await acknowledged(later.recommendations)
                    ready.append(later)
                await self._write(ready)
                for commit in ready:
                    self._queue.popleft()
                    if not commit.durable.done():
                        commit.durable.set_result(None)
        except BaseException as error:
            self.failure = error
            for commit in self._queue:
                if not commit.durable.done():
                    commit.durable.set_exception(error)
                    commit.durable.exception()  # seen: callers hear of it through their callbacks
            self._queue.clear()
            if not isinstance(error, Exception):
                raise

    async def _write(self, commits: Sequence[_Commit]) -> None:
        """One record a user of all these commits, the last value: a group commit."""
        latest: dict[tuple[int, bytes], bytes | None] = {}
        for commit in commits:
            for key, value in commit.states.items():
                latest[commit.partition, key] = value
        futures = await self._delivery.send(
            self.topic,
            [
                Outgoing(key, value, partition, [(EPOCH_HEADER, str(self.epochs[partition]).encode())])
                for (partition, key), value in latest.items()
            ],
        )
        await acknowledged(futures)
        self.written += len(latest)


def _epoch(headers: Iterable[tuple[str, bytes]]) -> int:
    for name, value in headers:
        if name == EPOCH_HEADER:
            with contextlib.suppress(TypeError, ValueError):  # not a worker's: it has no right to anything
                return int(value)
    return 0
