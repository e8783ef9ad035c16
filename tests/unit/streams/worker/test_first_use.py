"""A filter's first use: its asker waits for the mask, with all that stands in the same line; nobody else."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from streams.hot_path.recommend import recommend
from streams.hot_path.user_states import UserStates
from streams.hot_path.world import World
from streams.wire.contract import Click, Forget, Request, Rules
from streams.wire.intake import Arrival
from streams.wire.steering import Cap, Tilt
from streams.worker import first_use
from streams.worker.first_use import FirstUse
from streams.worker.rounds import Pending, Rounds
from tests.worlds.rounds import NOW, world

Message = Click | Request | Forget
ONE = {"field": "item_id", "in": ["more-1", "more-2", "more-3"]}
OTHER = {"field": "item_id", "nin": ["more-1"]}


class Slice:
    abandoned = False

    def finish(self) -> None: ...


@pytest.fixture(autouse=True)
def _large(monkeypatch: pytest.MonkeyPatch) -> None:
    """The toy's thirty items are many, and a slice of the building is one of them."""
    monkeypatch.setattr(first_use, "BUILT_IN_A_ROUND", 10)
    monkeypatch.setattr(first_use, "_ITEMS", 1)


class Worker:
    def __init__(self) -> None:
        self.world: World
        self.states: UserStates
        self.world, self.states = world()
        self.rounds: Rounds[Arrival] = Rounds()
        self.lock = asyncio.Lock()
        self.now_s = NOW / 1000
        self.first_use = FirstUse(self.rounds, self.lock, lambda: self.now_s)
        self.slices = 0
        build_some = self.world.steering.masks.build_some

        def counted(*args: Any) -> bool:
            assert self.lock.locked()
            self.slices += 1
            return build_some(*args)

        self.world.steering.masks.build_some = counted  # type: ignore[method-assign]

    async def come(self, *messages: Message) -> None:
        arrivals = [(key(each), Arrival(each, 0, n)) for n, each in enumerate(messages)]
        await self.rounds.put(Slice(), arrivals)

    def take(self) -> list[str]:
        return [name(record) for record in self.fit()]

    def fit(self) -> Sequence[Pending[Arrival]]:
        return self.first_use.fit(self.rounds.take(), self.world)

    async def built(self) -> None:
        building = asyncio.create_task(self.first_use.run(self.world.steering.masks))
        while len(self.first_use):
            await asyncio.sleep(0)
        building.cancel()


def key(message: Message) -> str:
    return message.key if isinstance(message, Request) else message.user_id


def name(record: Pending[Arrival]) -> str:
    message = record.payload.message
    if isinstance(message, Forget):
        return "forget"
    return message.request_id if isinstance(message, Request) else message.event_id


def request(request_id: str, user: str | None, **more: Any) -> Request:
    return Request(request_id=request_id, user_id=user, **more)


def click(event_id: str, user: str, **more: Any) -> Click:
    return Click(event_id=event_id, user_id=user, item_id="more-1", event="click", timestamp=NOW, **more)


def test_whoever_brings_a_new_filter_waits_alone_and_in_order() -> None:
    worker = Worker()

    async def run() -> None:
        await worker.come(
            click("a1", "a"), request("a2", "a", filter=ONE), click("a3", "a"),
            request("b", "b"), request("s", None, filter=ONE), request("t", None),
        )  # fmt: skip
        assert worker.take() == ["a1", "b", "t"]
        assert worker.rounds.pending == 0  # what waits is no work
        await worker.come(click("a4", "a"))
        assert worker.take() == []
        await worker.built()
        assert worker.slices >= worker.world.catalogue.size
        assert sorted(worker.take()) == ["a2", "a3", "a4", "s"]
        before = worker.slices
        await worker.come(request("again", "c", filter=ONE), request("new", "c", filter=OTHER))
        assert worker.take() == ["again"]
        assert worker.slices == before

    asyncio.run(run())


def test_a_mask_is_built_between_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_use, "_STRETCH_S", 0)
    worker = Worker()
    seen: list[int] = []

    async def rounds() -> None:
        while True:
            async with worker.lock:
                seen.append(worker.slices)
            await asyncio.sleep(0)

    async def run() -> None:
        await worker.come(request("r", "a", filter=ONE))
        assert worker.take() == []
        making = asyncio.create_task(rounds())
        await worker.built()
        making.cancel()

    asyncio.run(run())
    assert set(seen) >= set(range(1, worker.world.catalogue.size))


def test_rules_of_a_scenario_make_clicks_wait_and_no_other_records() -> None:
    worker = Worker()
    boost = [Tilt({"field": "brand", "eq": "a"}, 2.0)]
    rules = Rules(scenario="cart", filter=ONE, boost=boost)
    worker.world.steering.put("cart", rules, 5)

    async def run() -> None:
        await worker.come(
            click("in", "a", scenario="cart"),
            click("out", "b", scenario="home"),
            click("past", "c", scenario="cart", history=True),
            Forget(user_id="d", event="forget"),
            request("own", "e", rules=Rules(boost=boost)),
        )
        assert worker.take() == ["out", "past", "forget"]
        await worker.built()
        assert worker.take() == ["in", "own"]
        assert worker.world.steering.unheard == {}  # lists are counted, and none was made

    asyncio.run(run())


def test_who_has_waited_goes_on_also_where_the_mask_has_gone_again() -> None:
    worker = Worker()

    async def run() -> None:
        await worker.come(request("r", "a", filter=ONE))
        assert worker.take() == []
        await worker.built()
        worker.world.steering.masks.ready = lambda _: False  # type: ignore[method-assign]
        assert worker.take() == ["r"]
        await worker.come(request("r2", "a", filter=ONE))
        assert worker.take() == []

    asyncio.run(run())


def test_the_list_is_made_by_the_mask_that_was_built() -> None:
    worker = Worker()

    async def run() -> None:
        await worker.come(request("r", "a", filter=ONE))
        worker.fit()
        await worker.built()
        arrivals = [record.payload for record in worker.fit()]
        before = worker.slices
        (outcome,) = recommend(arrivals, worker.states, worker.world, NOW, rng=None)
        assert outcome.recommendation is not None
        assert {each.item_id for each in outcome.recommendation.items} == {"more-1", "more-2", "more-3"}
        assert worker.slices == before

    asyncio.run(run())


def test_at_a_small_catalogue_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_use, "BUILT_IN_A_ROUND", 1000)
    worker = Worker()

    async def run() -> None:
        await worker.come(request("r", "a", filter=ONE))
        assert worker.take() == ["r"]

    asyncio.run(run())


def test_who_waits_is_forgotten_with_the_partitions() -> None:
    worker = Worker()

    async def run() -> None:
        await worker.come(request("r", "a", filter=ONE))
        assert worker.take() == []
        worker.rounds.clear()
        worker.first_use.clear()
        await worker.come(request("next", "a", filter=ONE))
        assert worker.take() == []
        await worker.built()
        assert worker.take() == ["next"]

    asyncio.run(run())


def test_fields_of_factors_and_caps_are_read_beside_the_rounds_and_need_no_mask() -> None:
    worker = Worker()
    rules = Rules(boost=[Tilt({"field": "brand", "eq": "a"}, 2.0)], caps=[Cap("colour", 1), Cap("title", 1)])

    async def run() -> None:
        await worker.come(request("r", "a", rules=rules), request("none", "b"))
        assert worker.take() == ["none"]
        await worker.built()
        assert worker.world.steering.fields.ready(("brand", "colour", "title"))
        assert worker.take() == ["r"]
        assert worker.slices == 0
        await worker.come(request("again", "a", rules=rules))
        assert worker.take() == ["again"]

    asyncio.run(run())


def test_nothing_is_built_for_whoever_waits_no_longer() -> None:
    worker = Worker()

    async def run() -> None:
        await worker.come(request("r", "a", filter=ONE, expires_at=NOW), request("kept", "b", filter=OTHER))
        assert worker.take() == []
        worker.now_s += 1
        await worker.built()
        assert worker.slices == worker.world.catalogue.size  # of the other one
        assert worker.take() == ["r", "kept"]  # where the round drops the first one

    asyncio.run(run())


def test_scenarios_come_before_what_requests_bring_along() -> None:
    worker = Worker()
    worker.world.steering.put("cart", Rules(scenario="cart", filter=OTHER), 5)

    async def run() -> None:
        await worker.come(request("r", "a", filter=ONE))
        assert worker.take() == []
        building = asyncio.create_task(worker.first_use.run(worker.world.steering.masks))
        await asyncio.sleep(0)
        await worker.come(click("c", "b", scenario="cart"))
        assert worker.take() == []
        order: list[str] = []
        while len(worker.first_use) or worker.rounds.pending:
            order += worker.take()
            await asyncio.sleep(0)
        building.cancel()
        assert order == ["c", "r"]

    asyncio.run(run())


def numbered(number: int) -> dict[str, Any]:
    return {"field": "item_id", "eq": f"more-{number}"}


def test_only_so_many_new_filters_of_requests_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_use, "MOST_NEEDS", 2)
    worker = Worker()
    worker.world.steering.put("cart", Rules(scenario="cart", filter=OTHER), 5)

    async def run() -> None:
        await worker.come(
            *(request(f"r{n}", None, filter=numbered(n)) for n in range(4)),
            request("same", "a", filter=numbered(1)), request("plain", "b"), click("c", "d", scenario="cart"),
        )  # fmt: skip
        assert worker.take() == ["plain"]
        assert [name(record) for record in worker.first_use.turned_down()] == ["r2", "r3"]
        assert worker.first_use.turned_down() == []
        await worker.built()
        assert worker.take() == ["c", "r0", "r1", "same"]
        await worker.come(request("r2", None, filter=numbered(2)))
        assert (worker.take(), worker.first_use.turned_down()) == ([], [])

    asyncio.run(run())


def test_a_long_line_of_new_filters_keeps_nobody_else_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_use, "MOST_IN_LINE", 3)
    monkeypatch.setattr(first_use, "MOST_PARKED", 5)
    worker = Worker()

    async def run() -> None:
        await worker.come(request("r0", "a", filter=numbered(0)))
        await worker.come(request("other", "b", filter=numbered(9)))
        assert worker.take() == []
        await worker.come(*(request(f"r{n}", "a", filter=numbered(n)) for n in range(1, 8)))
        assert worker.rounds.parked == 9
        await worker.come(request("more", "c", filter=numbered(8)))
        assert worker.take() == []  # with one more line, there are too many
        assert (worker.rounds.parked, worker.rounds.pending) == (2, 8)
        turned_down: list[str] = []
        while worker.rounds.pending:
            assert worker.take() == []
            turned_down += [name(record) for record in worker.first_use.turned_down()]
        assert turned_down == ["r0", "r1", "r2", "r3", "r4"]
        await worker.built()
        assert worker.take() == ["other", "more", "r5"]

    asyncio.run(run())
