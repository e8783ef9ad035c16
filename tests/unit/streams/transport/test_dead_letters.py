"""Dead letters without a broker: what cannot be kept, what is tried again, and how much may wait."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from aiokafka import ConsumerRecord
from aiokafka.errors import KafkaConnectionError, MessageSizeTooLargeError

from learner.data.times import DAY_MS
from streams.transport import dead_letters
from streams.transport.dead_letters import DeadLetters, SharedRefusals


def bad(offset: int, sent_ms: int = 0, value: bytes = b"{") -> ConsumerRecord:
    return ConsumerRecord("items", 0, offset, sent_ms, 0, b"i", value, None, 1, 1, ())


class Brokers:
    """Stands for `Delivery`: fails as often as told, then takes everything."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.taken: list[int] = []

    async def send(self, _: str, records: list[Any], *, compressed: bool) -> list[asyncio.Future[None]]:
        assert compressed
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.failures:
            future.set_exception(self.failures.pop(0))
        else:
            self.taken += [int(dict(record.headers)["offset"]) for record in records]
            future.set_result(None)
        return [future]


def letters(brokers: Brokers) -> DeadLetters:
    return DeadLetters("dead-letters", brokers, lambda: None)  # type: ignore[arg-type, return-value]


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(test())


def test_a_record_too_large_for_a_letter_is_counted_and_the_next_one_kept() -> None:
    async def test() -> None:
        brokers = Brokers(MessageSizeTooLargeError())
        sender = letters(brokers)
        for offset in (1, 2):
            for kept in await sender.send(bad(offset), "wrong", 5):
                await kept
        assert brokers.taken == [2]
        assert (sender.sent, sender.too_large) == (1, 1)
        assert await sender.send(bad(1), "wrong", 6) == []

    run(test)


def test_a_letter_that_failed_is_sent_the_next_time() -> None:
    async def test() -> None:
        brokers = Brokers(KafkaConnectionError())
        sender = letters(brokers)
        (kept,) = await sender.send(bad(1), "wrong", 5)
        with pytest.raises(KafkaConnectionError):
            await kept
        (kept,) = await sender.send(bad(1), "wrong", 6)
        await kept
        assert brokers.taken == [1]

    run(test)


def test_what_waits_is_kept_until_its_letter_is() -> None:
    async def test() -> None:
        waiting, brokers = SharedRefusals(DAY_MS), Brokers(KafkaConnectionError())
        sender = letters(brokers)
        for offset in (1, 2, 2):
            waiting.add(bad(offset), "wrong", 0)
        assert len(waiting) == 2
        await waiting.send(sender, 0)
        assert (brokers.taken, len(waiting)) == ([], 2)
        await asyncio.gather(waiting.send(sender, 0), waiting.send(sender, 0))
        assert (brokers.taken, len(waiting)) == ([1, 2], 0)

    run(test)


def test_as_much_waits_as_fits_and_nothing_older_than_letters_get(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        waiting, brokers = SharedRefusals(DAY_MS), Brokers()
        waiting.add(bad(0, sent_ms=1), "its letter may have been there and be gone", DAY_MS + 2)
        assert len(waiting) == 0
        for offset in range(5):
            waiting.add(bad(offset, sent_ms=1), "wrong", DAY_MS + 1)
        await waiting.send(letters(brokers), 0)
        assert brokers.taken == [2, 3, 4]

    monkeypatch.setattr(dead_letters, "MOST_WAITING", 3)
    run(test)


def test_what_waits_has_a_bound_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        waiting, brokers = SharedRefusals(DAY_MS), Brokers()
        for offset in (0, 1, 1, 2, 3):
            waiting.add(bad(offset, value=999 * b" "), "wrong", 0)
        waiting.add(bad(4, value=5000 * b" "), "larger than all that may wait", 0)
        assert len(waiting) == 0
        for offset in range(5, 10):
            waiting.add(bad(offset, value=999 * b" "), "wrong", 0)
        await waiting.send(letters(brokers), 0)
        assert brokers.taken == [7, 8, 9]

    monkeypatch.setattr(dead_letters, "MOST_WAITING_BYTES", 3000)
    run(test)


def test_a_flood_of_bad_records_is_remembered_to_a_bound_and_its_end_is_not_sent_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def test() -> None:
        brokers = Brokers()
        sender = letters(brokers)
        for offset in range(1000):
            for kept in await sender.send(bad(offset), "wrong", 5):
                await kept
        assert len(sender._known) == 100
        for offset in range(900, 1000):  # read again, as after a rebalance
            assert await sender.send(bad(offset), "wrong", 6) == []
        assert len(brokers.taken) == 1000

    monkeypatch.setattr(dead_letters, "MOST_KNOWN", 100)
    run(test)
