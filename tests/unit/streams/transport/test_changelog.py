import asyncio
from collections.abc import Awaitable, Callable, Iterable
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from streams.transport.changelog import EPOCH_HEADER, Changelog, Restored, _epoch
from streams.transport.delivery import Outgoing


class Producer:
    """Stands in for `Delivery`: acknowledges when told to."""

    def __init__(self) -> None:
        self.sent: list[list[Outgoing]] = []
        self.futures: list[asyncio.Future[Any]] = []

    async def send(self, topic: str, records: Iterable[Outgoing]) -> list[asyncio.Future[Any]]:
        assert topic == "user-states"
        self.sent.append(list(records))
        self.futures.append(future())
        return [self.futures[-1]]


class Log:
    """Stands in for a consumer of one partition whose records lie at the given offsets."""

    def __init__(self, records: list[tuple[int, bytes, bytes | None, int]], end: int) -> None:
        self.records, self.end, self.at, self.stopped = records, end, 0, False

    async def start(self) -> None: ...

    async def stop(self) -> None:
        self.stopped = True

    def assign(self, partitions: list[TopicPartition]) -> None:
        self.tp = partitions[0]

    def seek(self, tp: TopicPartition, offset: int) -> None:
        self.at = offset

    async def beginning_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        return {self.tp: 0}

    async def end_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        return {self.tp: self.end}

    async def position(self, tp: TopicPartition) -> int:
        return self.at

    async def getmany(self, timeout_ms: int) -> dict[TopicPartition, list[Any]]:
        fetched = [record for record in self.records if record[0] >= self.at][:2]
        self.at = fetched[-1][0] + 1 if len(fetched) == 2 else self.end
        return {
            self.tp: [
                SimpleNamespace(key=key, value=value, headers=[(EPOCH_HEADER, str(epoch).encode())])
                for _, key, value, epoch in fetched
            ]
        }


def future() -> asyncio.Future[Any]:
    return asyncio.get_running_loop().create_future()


def run(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(test())  # type: ignore[arg-type]


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def changelog(producer: Producer) -> Changelog:
    log = Changelog("user-states", producer, lambda: None, linger_s=0)  # type: ignore[arg-type, return-value]
    log.epochs = {0: 7, 1: 9}
    return log


def test_a_state_is_sent_only_after_its_recommendations_and_done_only_when_kept() -> None:
    async def test() -> None:
        producer = Producer()
        log = changelog(producer)
        recommendation = future()
        durable = log.commit(0, [recommendation], {b"u": b"1"}, records=3)
        await settle()
        assert producer.sent == []
        assert log.pending == 3
        recommendation.set_result(None)
        await settle()
        assert producer.sent == [[Outgoing(b"u", b"1", 0, [(EPOCH_HEADER, b"7")])]]
        assert not durable.done()
        producer.futures[0].set_result(None)
        await durable
        assert log.pending == 0
        assert log.written == 1

    run(test)


def test_a_group_commit_writes_each_users_last_acknowledged_value_once() -> None:
    async def test() -> None:
        producer = Producer()
        log = changelog(producer)
        acks = [future() for _ in range(4)]
        durables = [
            log.commit(0, [acks[0]], {b"u": b"1", b"w": b"1"}),
            log.commit(0, [acks[1]], {b"u": b"2"}),
            log.commit(1, [acks[2]], {b"x": b"1"}),
            log.commit(0, [acks[3]], {b"u": b"3"}),
        ]
        for ack in acks[:3]:
            ack.set_result(None)
        await settle()
        # The fourth commit's recommendations are not acknowledged: its value must not be seen.
        assert [(record.key, record.value, record.partition) for record in producer.sent[0]] == [
            (b"u", b"2", 0), (b"w", b"1", 0), (b"x", b"1", 1),
        ]  # fmt: skip
        producer.futures[0].set_result(None)
        await settle()
        assert [durable.done() for durable in durables] == [True, True, True, False]
        acks[3].set_result(None)
        await settle()
        assert [record.value for record in producer.sent[1]] == [b"3"]

    run(test)


def test_a_lost_recommendation_fails_it_and_everything_later() -> None:
    async def test() -> None:
        producer = Producer()
        log = changelog(producer)
        acks = [future(), future()]
        durables = [log.commit(0, [ack], {b"u": b"1"}) for ack in acks]
        acks[0].set_exception(OSError("no broker"))
        acks[1].set_result(None)
        await log.drain()
        durables.append(log.commit(0, [], {b"u": b"2"}))
        for durable in durables:
            with pytest.raises(OSError, match="no broker"):
                await durable
        assert producer.sent == []

    run(test)


def test_room_comes_with_acknowledgements_and_with_failure() -> None:
    async def test() -> None:
        producer = Producer()
        log = changelog(producer)
        acks = [future() for _ in range(3)]
        for ack in acks:
            log.commit(0, [ack], {b"u": b"1"}, records=10)
        await log.room(30)
        waiting = asyncio.create_task(log.room(20))
        await settle()
        assert not waiting.done()
        acks[0].set_result(None)
        await settle()
        producer.futures[0].set_result(None)
        await waiting
        waiting = asyncio.create_task(log.room(0))
        await settle()
        acks[1].set_exception(OSError("no broker"))
        await waiting

    run(test)


def test_restore_reads_up_to_the_end_over_holes_and_passes_over_fenced_workers() -> None:
    async def test() -> None:
        log = Log(
            [
                (0, b"a", b"1", 2),
                (3, b"b", b"1", 2),
                (4, b"a", b"2", 3),
                (5, b"a", b"stale", 2),  # by a worker that had lost the partition
                (9, b"c", b"1", 3),
                (12, b"c", None, 3),
            ],
            end=15,
        )
        restoring = Changelog("user-states", Producer(), lambda: log)  # type: ignore[arg-type, return-value]
        restored = [each async for each in restoring.restore([5], generation=1)]
        assert restored == [Restored(5, {b"a": b"2", b"b": b"1"}, 15, 1, epoch=3)]
        assert restoring.epochs == {5: 4}
        assert log.stopped

    run(test)


def test_where_nothing_is_to_be_read_nobody_is_asked() -> None:
    async def test() -> None:
        log = changelog(Producer())  # whose consumer is none
        assert [each async for each in log.restore([], generation=1)] == []

    run(test)


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(1, 3)), max_size=12))
def test_a_later_owner_has_a_higher_epoch_whatever_the_earlier_ones_have_written(
    owners: list[tuple[bool, bool, int]],
) -> None:
    """Each keeps the partition or is a new owner, writes or does not, and generations rise by some."""

    async def test() -> None:
        written: list[tuple[int, bytes, bytes | None, int]] = [(0, b"a", b"0", 41)]
        generation, found, epochs = 7, 0, [41]
        for stays, writes, later in owners:
            generation += 1 if stays else later
            log = Log(written, end=len(written))
            owner = Changelog("user-states", Producer(), lambda log=log: log)  # type: ignore[arg-type, return-value, misc]
            if stays and len(epochs) > 1:
                owner.keep(0, found, generation)
            else:
                async for restored in owner.restore([0], generation):
                    found = restored.epoch
            epochs.append(owner.epochs[0])
            if writes:
                written.append((len(written), b"a", b"%d" % len(epochs), owner.epochs[0]))
        assert epochs == sorted(set(epochs))
        # Now all of them wake up and write, the last one first: that one's state is the user's.
        written += [(len(written) + n, b"a", b"late", epoch) for n, epoch in enumerate(epochs[-2::-1])]
        written.insert(len(written) - len(epochs) + 1, (len(written), b"a", b"last", epochs[-1]))
        log = Log([(n, *record[1:]) for n, record in enumerate(written)], end=len(written))
        reader = Changelog("user-states", Producer(), lambda: log)  # type: ignore[arg-type, return-value]
        async for restored in reader.restore([0], generation + 1):
            assert restored.states == {b"a": b"last"}
            assert restored.passed_over == len(epochs) - 1

    run(test)


def test_a_zombie_that_wrote_after_a_partition_was_kept_is_passed_over() -> None:
    """It and its successor found the same log and neither had written: their epochs differ all the same."""

    async def test() -> None:
        def worker(log: Log) -> Changelog:
            return Changelog("user-states", Producer(), lambda: log)  # type: ignore[arg-type, return-value]

        before = [(0, b"a", b"0", 10)]
        zombie, owner = worker(Log(before, 1)), worker(Log(before, 1))
        async for _ in zombie.restore([0], generation=5):
            pass
        async for restored in owner.restore([0], generation=6):
            found = restored.epoch
        kept = worker(Log([], 0))
        kept.keep(0, found, 7)  # a rebalance that leaves it there
        log = Log(
            [*before, (1, b"a", b"kept", kept.epochs[0]), (2, b"a", b"zombie", zombie.epochs[0])], end=3
        )
        async for restored in worker(log).restore([0], generation=8):
            assert (restored.states, restored.passed_over) == ({b"a": b"kept"}, 1)

    run(test)


def test_states_wait_for_others_to_travel_with() -> None:
    async def test() -> None:
        producer = Producer()
        log = Changelog("user-states", producer, lambda: None, linger_s=1.0)  # type: ignore[arg-type, return-value]
        log.epochs = {0: 7}
        first = log.commit(0, [], {b"u": b"1"})
        await settle()
        assert producer.sent == []
        second = log.commit(0, [], {b"u": b"2", b"v": b"3"})
        while not producer.sent:
            await asyncio.sleep(0.01)
        assert [(record.key, record.value) for record in producer.sent[0]] == [(b"u", b"2"), (b"v", b"3")]
        producer.futures[0].set_result(None)
        await asyncio.gather(first, second)
        assert len(producer.sent) == 1

    run(test)


@pytest.mark.parametrize("value", [b"", b"one", None])
def test_an_epoch_that_is_no_number_is_none(value: Any) -> None:
    """Whoever writes such a record ends no worker, and surpasses none."""
    assert _epoch([("other", b"9"), ("epoch", value)]) == 0
    assert _epoch([("epoch", b"12")]) == 12
