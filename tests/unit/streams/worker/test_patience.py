"""Requests that wait for a click, and requests whose answers nobody waits for."""

import asyncio
from typing import Any

import pytest

from streams.wire.contract import Click, Request
from streams.wire.intake import Arrival
from streams.wire.steering import Applied
from streams.worker import patience
from streams.worker.patience import WAIT_S, Patience
from streams.worker.rounds import Pending, Rounds

NOW_S = 1_700_000_000.0
PARTITION = 3


class Slice:
    abandoned = False

    def __init__(self) -> None:
        self.finished = 0

    def finish(self) -> None:
        self.finished += 1


class World:
    """A worker's rounds and patience; how far clicks are taken in, and what time it is, is told."""

    def __init__(self) -> None:
        self.reached: dict[int, int] = {}
        self.passed_s = 0.0
        self.counts = {"expired_requests": 0, "behind_requests": 0}
        self.rounds: Rounds[Arrival] = Rounds()
        self.patience = Patience(
            lambda partition: self.reached.get(partition, 0), self.rounds.again, self.counts,
            wall_s=lambda: NOW_S + self.passed_s, clock=lambda: self.passed_s,
        )  # fmt: skip

    def come(self, *messages: Request | Click, partition: int = PARTITION) -> Slice:
        arrivals = [(each.user_id or "", Arrival(each, partition, n)) for n, each in enumerate(messages)]
        batch = Slice()
        asyncio.run(self.rounds.put(batch, arrivals, self.patience.keeps))
        return batch

    def round(self) -> list[str]:
        """The ids of a round's requests and clicks, all done."""
        taken = self.patience.awaited(self.rounds.take())
        for record in taken:
            record.done()
        return [name(record) for record in taken]


def name(record: Pending[Arrival]) -> str:
    message: Any = record.payload.message
    return str(message.request_id if isinstance(message, Request) else message.event_id)


def request(request_id: str, offset: int | None = None, left_s: float | None = None) -> Request:
    return Request(
        request_id=request_id, user_id="u",
        at_least=None if offset is None else Applied(PARTITION, offset),
        expires_at=None if left_s is None else int((NOW_S + left_s) * 1000),
    )  # fmt: skip


def click(event_id: str) -> Click:
    return Click(event_id=event_id, user_id="u", item_id="i", event="click", timestamp=1)


def test_a_request_waits_until_its_click_is_in_the_rounds_and_comes_behind_it() -> None:
    world = World()
    batch = world.come(request("early", 7), request("anyway"))
    world.reached[PARTITION] = 7  # all before the click
    world.patience.release(PARTITION)
    assert world.round() == ["anyway"]
    assert not batch.finished
    world.come(click("c"))
    world.reached[PARTITION] = 8
    world.patience.release(PARTITION)
    assert world.round() == ["c", "early"]
    assert batch.finished == 1
    assert (len(world.patience), world.counts["behind_requests"]) == (0, 0)


def test_a_request_whose_click_is_there_does_not_wait() -> None:
    world = World()
    world.reached[PARTITION] = 8
    world.come(request("late", 7))
    assert world.round() == ["late"]


def test_only_the_click_s_own_partition_counts() -> None:
    world = World()
    world.come(request("r", 7))
    world.reached[PARTITION + 1] = 100
    world.patience.release(PARTITION + 1)
    world.patience.look()
    assert world.round() == []


def test_what_is_passed_by_without_a_slice_is_noticed() -> None:
    """The offset may be a marker's, with nothing behind it."""
    world = World()
    world.come(request("r", 7))
    world.reached[PARTITION] = 9
    world.patience.look()
    assert world.round() == ["r"]


def test_after_so_long_it_is_answered_with_what_there_is() -> None:
    world = World()
    batch = world.come(request("r", 7))
    world.passed_s = WAIT_S - 0.01
    world.patience.look()
    assert world.round() == []
    world.passed_s = WAIT_S
    world.patience.look()
    assert world.round() == ["r"]
    assert world.counts == {"expired_requests": 0, "behind_requests": 1}
    assert batch.finished == 1


@pytest.mark.parametrize("left_s", [1.0, 0.04])
def test_it_goes_on_in_time_to_be_answered_before_it_expires(left_s: float) -> None:
    world = World()
    world.come(request("r", 7, left_s))
    world.patience.look()
    assert world.round() == []
    world.passed_s = left_s - 0.01
    world.patience.look()
    assert world.round() == ["r"]
    assert world.counts == {"expired_requests": 0, "behind_requests": 1}


def test_a_request_that_has_expired_is_dropped_and_done() -> None:
    world = World()
    batch = world.come(request("r", left_s=1.0), request("none"), request("waiting", 7, left_s=-1.0))
    world.passed_s = 1.5
    assert world.round() == ["none"]
    assert world.counts == {"expired_requests": 2, "behind_requests": 0}
    assert batch.finished == 1
    assert len(world.patience) == 0


def test_a_request_is_answered_until_it_expires() -> None:
    world = World()
    world.come(request("r", left_s=1.0))
    world.passed_s = 1.0
    assert world.round() == ["r"]


def test_of_too_many_the_first_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "MOST", 2)
    world = World()
    world.come(*(request(f"r{n}", 7 + n) for n in range(3)))
    assert (world.round(), len(world.patience)) == (["r0"], 2)
    assert world.counts["behind_requests"] == 1
    world.reached[PARTITION] = 100
    world.patience.release(PARTITION)
    assert world.round() == ["r1", "r2"]


def test_clicks_that_never_come_take_no_memory() -> None:
    """However many requests name offsets beyond any, nothing is kept of those that have gone on."""
    world = World()
    kept = []
    for n in range(1_000):
        world.come(request(f"r{n}", 10**9 + n), partition=PARTITION + n % 3)
        world.passed_s += WAIT_S / 10
        world.patience.look()
        kept.append(sum(map(len, world.patience._by_offset.values())) + len(world.patience._by_end))
    assert max(kept) < 250
    assert len(world.patience) < 20
    world.reached = {PARTITION + n: 2 * 10**9 for n in range(3)}
    world.patience.look()
    assert len(world.patience) == 0
    gone: list[str] = []
    while some := world.round():
        gone += some
    assert sorted(gone) == sorted(f"r{n}" for n in range(1_000))


def test_what_waits_is_forgotten_with_its_partitions() -> None:
    world = World()
    batch = world.come(request("r", 7))
    world.patience.clear()
    world.reached[PARTITION] = 100
    world.passed_s = 2 * WAIT_S
    world.patience.look()
    assert (world.round(), len(world.patience), batch.finished) == ([], 0, 0)


def test_it_looks_by_itself_while_some_wait() -> None:
    world = World()

    async def run() -> None:
        looking = asyncio.create_task(world.patience.run())
        await asyncio.sleep(0)
        for n in range(2):
            await world.rounds.put(
                Slice(), [("u", Arrival(request(f"r{n}", 7), PARTITION, n))], world.patience.keeps
            )
            world.reached[PARTITION] = 9
            while not world.rounds.pending:
                await asyncio.sleep(0.001)
            assert world.round() == [f"r{n}"]
            world.reached.clear()
        looking.cancel()

    asyncio.run(run())
