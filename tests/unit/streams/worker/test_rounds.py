import asyncio
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.worker.rounds import OF_ONE, Pending, Rounds


class Slice:
    """A batch that remembers when it was finished."""

    def __init__(self) -> None:
        self.abandoned = False
        self.finished = 0

    def finish(self) -> None:
        self.finished += 1


def run(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(test())  # type: ignore[arg-type]


def test_a_burst_of_one_user_holds_nobody_up() -> None:
    async def test() -> None:
        rounds: Rounds[int] = Rounds()
        await rounds.put(Slice(), [("burst", n) for n in range(1000)])
        await rounds.put(Slice(), [(f"u{n}", n) for n in range(100)])
        first, second, third = rounds.take(64), rounds.take(64), rounds.take(2)
        assert [pending.user for pending in first] == ["burst"] + [f"u{n}" for n in range(63)]
        assert [pending.user for pending in second] == [f"u{n}" for n in range(63, 100)] + OF_ONE * ["burst"]
        assert [pending.payload for pending in second[37:]] == list(range(1, 1 + OF_ONE))
        assert [pending.payload for pending in third] == [1 + OF_ONE, 2 + OF_ONE]
        assert rounds.pending == 997 - OF_ONE

    run(test)


def test_records_of_little_work_are_more_in_a_round() -> None:
    async def test() -> None:
        rounds: Rounds[float] = Rounds(cost=lambda cost: cost)
        await rounds.put(Slice(), [(f"u{n}", 1 / 8) for n in range(1000)])
        assert len(rounds.take(32)) == 256
        rounds.clear()
        await rounds.put(Slice(), [("one", 1 / 8) for _ in range(1000)])
        assert len(rounds.take(32)) == 8 * OF_ONE
        assert rounds.pending == 1000 - 8 * OF_ONE

    run(test)


@given(st.lists(st.lists(st.integers(0, 9)), max_size=8), st.integers(1, 12))
def test_rounds_keep_each_users_order_and_finish_each_batch_once(
    batches: list[list[int]], limit: int
) -> None:
    async def test() -> None:
        rounds: Rounds[int] = Rounds()
        slices = [Slice() for _ in batches]
        numbered: dict[str, list[int]] = {}
        number = 0
        for batch, users in zip(slices, batches, strict=True):
            records = []
            for user in users:
                records.append((f"u{user}", number))
                numbered.setdefault(f"u{user}", []).append(number)
                number += 1
            await rounds.put(batch, records)
        assert [batch.finished for batch in slices] == [int(not users) for users in batches]
        taken: dict[str, list[int]] = {}
        while rounds.pending:
            one = rounds.take(limit)
            assert len(one) <= limit
            turns = [sum(p.user == pending.user for p in one[:place]) for place, pending in enumerate(one)]
            assert turns == sorted(turns)  # nobody's second before everybody's first
            for pending in one:
                taken.setdefault(pending.user, []).append(pending.payload)
                pending.done()
        assert taken == numbered
        assert all(batch.finished == 1 for batch in slices)

    run(test)


def test_put_waits_for_room_and_drops_what_was_abandoned_meanwhile() -> None:
    async def test() -> None:
        rounds: Rounds[int] = Rounds(capacity=10)
        await rounds.put(Slice(), [("a", n) for n in range(10)])
        late = Slice()
        waiting = asyncio.create_task(rounds.put(late, [("b", 0)]))
        await asyncio.sleep(0)
        assert not waiting.done()
        late.abandoned = True
        rounds.take(1)
        await waiting
        assert rounds.pending == 9

    run(test)


def test_take_passes_over_abandoned_batches() -> None:
    async def test() -> None:
        rounds: Rounds[int] = Rounds()
        gone, kept = Slice(), Slice()
        await rounds.put(gone, [("a", 1), ("a", 2), ("b", 3)])
        await rounds.put(kept, [("a", 4)])
        gone.abandoned = True
        assert [(pending.user, pending.payload) for pending in rounds.take()] == [("a", 4)]
        assert rounds.pending == 0

    run(test)


def test_rounds_are_handled_one_after_the_other_as_something_comes() -> None:
    async def test() -> None:
        rounds: Rounds[int] = Rounds()
        handled: list[list[int]] = []

        async def handle() -> None:
            if taken := rounds.take():
                handled.append([pending.payload for pending in taken])

        running = asyncio.create_task(rounds.run(handle))
        await settle()
        assert handled == []  # nothing is pending
        for n in range(3):  # slices of one fetch are in one round
            await rounds.put(Slice(), [("a", n)])
        await settle()
        assert handled == [[0, 1, 2]]
        await rounds.put(Slice(), [("a", 3)])
        rounds.clear()
        await settle()
        assert handled == [[0, 1, 2]]
        await rounds.put(Slice(), [("b", 4)])
        await settle()
        assert handled == [[0, 1, 2], [4]]
        running.cancel()

    run(test)


def test_a_round_that_has_begun_is_ended_before_the_rounds_end() -> None:
    async def test() -> None:
        rounds: Rounds[int] = Rounds()
        may_end = asyncio.Event()
        steps: list[str] = []

        async def handle() -> None:
            rounds.take()
            steps.append("taken")
            await may_end.wait()
            steps.append("sent")

        await rounds.put(Slice(), [("a", 1)])
        running = asyncio.create_task(rounds.run(handle))
        await settle()
        for _ in range(3):  # whoever waits for its end says so again
            running.cancel()
            await settle()
        assert not running.done()
        assert steps == ["taken"]
        may_end.set()
        await asyncio.wait([running])
        assert running.cancelled()
        assert steps == ["taken", "sent"]

    run(test)


def test_a_round_that_fails_while_the_rounds_end_is_not_lost_in_silence() -> None:
    async def test() -> None:
        rounds: Rounds[int] = Rounds()
        may_end = asyncio.Event()

        async def handle() -> None:
            rounds.take()
            await may_end.wait()
            raise ZeroDivisionError

        await rounds.put(Slice(), [("a", 1)])
        running = asyncio.create_task(rounds.run(handle))
        await settle()
        running.cancel()
        await settle()
        may_end.set()
        with pytest.raises(ZeroDivisionError):
            await running

    run(test)


def test_a_round_that_fails_ends_the_rounds() -> None:
    async def test() -> None:
        rounds: Rounds[int] = Rounds()

        async def handle() -> None:
            raise ZeroDivisionError

        await rounds.put(Slice(), [("a", 1)])
        with pytest.raises(ZeroDivisionError):
            await rounds.run(handle)

    run(test)


def test_what_is_kept_elsewhere_comes_again_behind_what_came_meanwhile() -> None:
    async def test() -> None:
        rounds: Rounds[int] = Rounds()
        kept: list[Pending[int]] = []

        def keeps(record: Pending[int]) -> bool:
            if record.payload == 1:
                kept.append(record)
            return record.payload == 1

        batch, later = Slice(), Slice()
        await rounds.put(batch, [("a", 1), ("b", 2)], keeps)
        await rounds.put(later, [("a", 3)])
        assert rounds.pending == 2
        rounds.again(kept[0])
        taken = rounds.take()
        assert [record.payload for record in taken if record.user == "a"] == [3, 1]
        for record in taken:
            assert not batch.finished or record.payload == 1
            record.done()
        assert (batch.finished, later.finished) == (1, 1)

    run(test)


def test_a_batch_of_which_all_is_kept_elsewhere_is_no_work_and_not_finished() -> None:
    async def test() -> None:
        rounds: Rounds[int] = Rounds()
        batch, kept = Slice(), list[Pending[int]]()
        await rounds.put(batch, [("a", 1)], lambda record: not kept.append(record))  # type: ignore[func-returns-value]
        assert (rounds.pending, rounds.take(), batch.finished) == (0, [], 0)
        rounds.again(kept[0])
        rounds.take()[0].done()
        assert batch.finished == 1

    run(test)


def test_a_parked_line_waits_and_keeps_its_order() -> None:
    async def test() -> None:
        rounds: Rounds[int] = Rounds(capacity=6)
        await rounds.put(Slice(), [("a", n) for n in range(OF_ONE + 1)] + [("b", 10)])
        taken = [record for record in rounds.take() if record.user == "a"]
        rounds.park("a", taken[1:])
        await rounds.put(Slice(), [("a", 20), ("c", 30)])
        assert (rounds.pending, rounds.parked) == (1, OF_ONE + 1)
        assert [record.payload for record in rounds.take()] == [30]
        await rounds.put(Slice(), [("c", 31)])
        late = asyncio.create_task(rounds.put(Slice(), [("d", 41)]))
        await settle()
        assert not late.done()  # what is parked takes room
        rounds.take()
        rounds.unpark("a")
        assert rounds.parked == 0
        lines = [record.payload for record in (*rounds.take(), *rounds.take()) if record.user == "a"]
        assert lines == [*range(1, OF_ONE + 1), 20]
        await late

    run(test)


def test_what_is_parked_is_forgotten_with_its_partitions() -> None:
    async def test() -> None:
        rounds: Rounds[int] = Rounds()
        await rounds.put(Slice(), [("a", 1)])
        rounds.park("a", rounds.take())
        rounds.clear()
        rounds.unpark("a")
        assert (rounds.pending, rounds.parked) == (0, 0)
        await rounds.put(Slice(), [("a", 2)])
        assert [record.payload for record in rounds.take()] == [2]

    run(test)


async def settle() -> None:
    for _ in range(50):
        await asyncio.sleep(0)
