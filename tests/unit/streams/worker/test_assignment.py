"""One generation of partitions without a broker: in which order it ends, and what a round leaves for whom."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from streams.transport.topics import Names
from streams.worker import assignment as module
from streams.worker.assignment import Assignment, Parcel


class Source:
    """Stands for `BatchSource`, and notes a crash."""

    def __init__(self) -> None:
        self.app = self
        self.crashed: list[BaseException] = []

    def fence(self) -> None: ...

    def hold(self) -> None: ...

    async def crash(self, error: BaseException) -> None:
        self.crashed.append(error)

    def then(self, durable: "asyncio.Future[None]", action: Any) -> None:
        durable.add_done_callback(lambda _: action())


class Record:
    """Stands for `Pending`."""

    def __init__(self, steps: list[str]) -> None:
        self._steps = steps

    def done(self) -> None:
        self._steps.append("marked")


class World:
    """What an assignment is made of, each part of which notes what it is asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.steps: list[str] = []
        self.source = Source()
        self.letters_fail = False
        world = self

        class Producer:
            async def start(self) -> None:
                world.steps.append("producer started")

            async def stop(self) -> None:
                world.steps.append("producer stopped")

        class Delivery:
            def __init__(self, *_: Any) -> None: ...

            async def send(self, topic: str, records: list[Any]) -> list[str]:
                world.steps.append(f"{len(records)} sent to {topic}")
                return ["acknowledgement"]

        class Changelog:
            def __init__(self, *_: Any) -> None:
                self.durable: list[asyncio.Future[None]] = []
                self.failure: BaseException | None = None

            def commit(self, partition: int, sent: list[str], states: Any, records: int) -> Any:
                assert sent == ["acknowledgement"]
                world.steps.append(f"{len(states)} states of {records} records of {partition} after it")
                self.durable.append(asyncio.get_running_loop().create_future())
                return self.durable[-1]

            async def drain(self) -> None:
                for each in self.durable:
                    each.set_result(None)
                world.steps.append("drained")

        class DeadLetters:
            def __init__(self, *_: Any) -> None: ...

            async def refresh(self) -> None:
                if world.letters_fail:
                    raise ConnectionError

        for name, part in (
            ("new_producer", lambda _: Producer()), ("Delivery", Delivery), ("Changelog", Changelog),
            ("DeadLetters", DeadLetters),
        ):  # fmt: skip
            monkeypatch.setattr(module, name, part)

    def assignment(self) -> Assignment:
        source: Any = self.source
        return Assignment(source, {}, Names("p."), frozenset({0, 3}))


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(test)


def test_what_was_computed_is_sent_and_marked_before_the_producer_goes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(monkeypatch)

    async def loop(name: str) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            world.steps.append(f"{name} ended")

    async def word() -> None:
        await asyncio.sleep(0.01)
        world.steps.append("last word said")

    async def test() -> None:
        async with world.assignment() as assignment:
            assignment.loop(loop("rounds"))
            assignment.loop(loop("tidying"))
            assignment.spawn(word())
            await asyncio.sleep(0)
            record: Any = Record(world.steps)
            made: list[Any] = ["a list"]
            await assignment.deliver([Parcel(3, [record], made, {b"u": b"state"})])

    run(test())
    assert world.steps == [
        "producer started", "1 sent to p.recommendations", "1 states of 1 records of 3 after it",
        "tidying ended", "rounds ended", "last word said", "drained", "marked", "producer stopped",
    ]  # fmt: skip
    assert world.source.crashed == []


def test_what_fails_in_a_loop_crashes_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)

    async def fail() -> None:
        raise ZeroDivisionError

    async def test() -> None:
        async with world.assignment() as assignment:
            assert assignment.sound
            assignment.loop(fail())
            await asyncio.sleep(0.01)
        assert not assignment.sound

    run(test())
    assert [type(error) for error in world.source.crashed] == [ZeroDivisionError]


@pytest.mark.parametrize("part", ["a round in hand", "the changelog"])
def test_what_is_lost_while_the_partitions_go_is_known_afterwards(
    part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(monkeypatch)

    async def rounds() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            raise ConnectionError from None

    async def test() -> None:
        async with world.assignment() as assignment:
            if part == "the changelog":
                assignment.changelog.failure = ConnectionError()
            else:
                assignment.loop(rounds())
            await asyncio.sleep(0)
        assert not assignment.sound

    run(test())
    crashed = [] if part == "the changelog" else [ConnectionError]  # `then` sees to the former
    assert [type(error) for error in world.source.crashed] == crashed


def test_what_is_being_admitted_keeps_its_producer_until_it_is_acknowledged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(monkeypatch)
    acknowledged, letters = asyncio.Event(), 3

    async def admit() -> str:
        for _ in range(letters):
            await acknowledged.wait()
            assert "producer stopped" not in world.steps
            world.steps.append("a letter kept")
        return "the good ones"

    async def test() -> None:
        leaving = asyncio.Event()
        admitted: list[str] = []

        async def leave() -> None:
            async with world.assignment() as assignment:
                taking.append(asyncio.create_task(take_in(assignment)))
                await asyncio.sleep(0)
                leaving.set()

        async def take_in(assignment: Assignment) -> None:
            admitted.append(await assignment.spawn(admit()))

        taking: list[asyncio.Task[None]] = []
        going = asyncio.create_task(leave())
        await leaving.wait()
        await asyncio.sleep(0.01)
        assert not going.done()
        acknowledged.set()
        await asyncio.gather(going, *taking)
        assert admitted == ["the good ones"]

    run(test())
    assert world.steps == ["producer started", *letters * ["a letter kept"], "drained", "producer stopped"]


def test_one_that_cannot_begin_leaves_no_producer_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    world.letters_fail = True

    async def test() -> None:
        async with world.assignment():
            pytest.fail("it began")

    with pytest.raises(ConnectionError):
        run(test())
    assert world.steps == ["producer started", "producer stopped"]
