"""What was fetched and handed to nobody is not waited for: the next fetch needs a word from the agent."""

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from streams.transport.batches import BatchConsumer, BatchSource
from streams.transport.behind import Behind
from streams.transport.fence import Fence
from streams.transport.reached import Reached

CLICKS = TP("clicks", 0)


def source() -> BatchSource:
    app = SimpleNamespace(
        conf=SimpleNamespace(broker_session_timeout=10.0), transport=SimpleNamespace(),
        consumer_generation_id=1, monitor=SimpleNamespace(track_tp_end_offset=lambda *_: None),
    )  # fmt: skip

    made = BatchSource.__new__(BatchSource)
    made.app, made.topics = app, frozenset({"clicks"})
    made._wanted = asyncio.Event()
    made._wanted.set()
    return made


async def fetch(made: BatchSource, *, flow: bool = True, messages: Sequence[str] = ("slice",)) -> list[Any]:
    async def records(_: float) -> tuple[dict[TP, list[str]], None]:
        return {CLICKS: ["record"]}, None

    async def seek() -> None: ...

    consumer = SimpleNamespace(
        _source=made, app=made.app, flow_active=flow, should_stop=False, _buffered_partitions=set(),
        _wait_next_records=records, perform_seek=seek, highwater=lambda _: 1,
        _messages=lambda *_: list(messages),
    )  # fmt: skip
    return [got async for got in BatchConsumer.getmany(consumer, 0.1)]


def test_after_slices_the_agent_is_waited_for() -> None:
    async def run() -> None:
        made = source()
        assert await fetch(made) == [(CLICKS, "slice")]
        assert not made._wanted.is_set()

    asyncio.run(run())


@pytest.mark.parametrize("active", [set(), {TP("clicks", 1)}])
def test_fetched_records_of_a_partition_that_is_not_read_now_are_read_again(active: set[TP]) -> None:
    async def run() -> None:
        made, sought = source(), []

        async def records(_: float) -> tuple[dict[TP, list[str]], set[TP]]:
            return {CLICKS: ["record"]}, active

        async def seek() -> None:
            sought.append(1)

        consumer = SimpleNamespace(
            _source=made, app=made.app, flow_active=True, should_stop=False, _buffered_partitions=set(),
            _wait_next_records=records, perform_seek=seek,
        )  # fmt: skip
        assert [got async for got in BatchConsumer.getmany(consumer, 0.1)] == []
        assert sought
        assert made._wanted.is_set()

    asyncio.run(run())


@pytest.mark.parametrize("case", ["the flow is off", "all was read before", "a rebalance came meanwhile"])
def test_where_nobody_got_anything_the_next_fetch_waits_for_nobody(case: str) -> None:
    async def run() -> None:
        made = source()
        if case == "a rebalance came meanwhile":
            generations = iter([1, 2])
            app = made.app

            class Moving:
                consumer_generation_id = property(lambda _: next(generations))
                monitor = app.monitor

            made.app = Moving()
            assert await fetch(made) == []
        else:
            assert await fetch(made, flow=case != "the flow is off", messages=()) == []
        assert made._wanted.is_set()

    asyncio.run(run())


def test_a_slice_that_was_abandoned_before_it_was_taken_is_not_waited_for() -> None:
    async def run() -> None:
        made = source()
        made._open, made._in_flight = asyncio.Event(), {CLICKS: []}  # type: ignore[dict-item]
        made._open.set()
        made._wanted.clear()
        batch = SimpleNamespace(tp=CLICKS, abandoned=True)

        async def events() -> Any:
            yield SimpleNamespace(value=batch)

        stream = SimpleNamespace(events=events)
        assert [got async for got in made.batches(stream)] == []
        assert made._wanted.is_set()

    asyncio.run(run())


def test_an_app_that_stops_in_the_middle_of_a_rebalance_waits_for_the_work_in_hand() -> None:
    async def test() -> None:
        made = source()
        steps: list[str] = []
        sent = asyncio.Event()

        async def revoking(partitions: frozenset[TP]) -> None:
            steps.append(f"{len(partitions)} go")
            await sent.wait()
            steps.append("sent")

        made._open, made._closing = asyncio.Event(), asyncio.Lock()
        made._opening = asyncio.create_task(asyncio.sleep(0))
        made._revoking, made.partitions = revoking, frozenset({CLICKS})
        batch: Any = SimpleNamespace(
            finished=False, abandoned=False, _event=SimpleNamespace(ack=lambda: None)
        )
        made._in_flight = {CLICKS: [batch]}  # type: ignore[dict-item, assignment]
        rebalancing, stopping = (asyncio.create_task(made._close()) for _ in range(2))
        await asyncio.sleep(0.01)
        assert not rebalancing.done()
        assert not stopping.done()
        assert not batch.abandoned
        sent.set()
        await asyncio.gather(rebalancing, stopping)
        assert steps == ["1 go", "sent"]
        assert batch.abandoned

    asyncio.run(test())


def test_an_assignment_without_partitions_ends_too_and_each_ends_once() -> None:
    async def test() -> None:
        made, ended = source(), []

        async def assigned(partitions: frozenset[TP], generation: int) -> None: ...

        async def revoking(partitions: frozenset[TP]) -> None:
            ended.append(partitions)

        made._open, made._closing, made._opening = asyncio.Event(), asyncio.Lock(), None
        made._in_flight, made.partitions = {}, frozenset()  # type: ignore[assignment]
        made._assigned, made._revoking = assigned, revoking
        made.behind, made._fence = Behind({}), Fence(10)
        made.reached, made._followed = Reached(), frozenset()
        await made._close()
        assert ended == []  # nothing was assigned yet
        made._start_opening(frozenset(), 1)
        await asyncio.sleep(0.01)
        await made._close()
        await made._close()
        assert ended == [frozenset()]

    asyncio.run(test())


def test_a_slice_that_was_abandoned_says_nothing_of_how_far_its_partition_is_taken_in() -> None:
    made = source()
    made.reached = Reached()
    made.reached.begin([CLICKS])
    batch: Any = SimpleNamespace(tp=CLICKS, abandoned=True, records=[SimpleNamespace(offset=7)])
    made.taken_in(batch)
    assert made.reached.of(CLICKS) == 0
    batch.abandoned = False
    made.taken_in(batch)
    assert made.reached.of(CLICKS) == 8
