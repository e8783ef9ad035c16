"""Delivery, changelog, feeds and dead letters against a real broker."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import MessageSizeTooLargeError

from streams.settings import Settings
from streams.transport.changelog import Changelog
from streams.transport.clients import async_connection
from streams.transport.dead_letters import DeadLetters, source_of
from streams.transport.delivery import Delivery, Outgoing, acknowledged, new_producer
from streams.transport.feeds import Feed, new_reader
from streams.transport.fence import Fenced
from streams.transport.letters import Retried, read_letters, retry
from streams.transport.topics import Names
from streams.wire.partitioner import partition_of


def with_producer(settings: Settings, test: Callable[[AIOKafkaProducer], Awaitable[None]]) -> None:
    async def run() -> None:
        producer = new_producer(async_connection(settings))
        await producer.start()
        try:
            await test(producer)
        finally:
            await producer.stop()

    asyncio.run(run())


async def read(settings: Settings, topic: str) -> list[Any]:
    """All records of a topic, through a `Feed`."""
    records: list[Any] = []
    feed = Feed(topic, async_connection(settings), records.append)
    await feed.start()
    await asyncio.wait_for(feed.caught_up.wait(), 30)
    await feed.stop()
    return records


def test_twenty_thousand_users_come_back_as_they_were(settings: Settings, topics: Names) -> None:
    users = [f"user-{n}" for n in range(20_000)]
    home = {user: partition_of(user.encode(), settings.partitions) for user in users}

    async def test(producer: AIOKafkaProducer) -> None:
        changelog = Changelog(
            topics.user_states, Delivery(producer), lambda: new_reader(async_connection(settings))
        )
        async for restored in changelog.restore(range(settings.partitions), generation=1):
            assert restored.states == {}
        for version in (b"1", b"2"):
            for partition in range(settings.partitions):
                states = {user.encode(): version * 500 for user in users if home[user] == partition}
                changelog.commit(partition, [], states, len(states))
        await changelog.commit(home["user-7"], [], {b"user-7": None})
        started = time.perf_counter()
        found = {}
        async for restored in changelog.restore(range(settings.partitions), generation=1):
            assert {home[key.decode()] for key in restored.states} == {restored.partition}
            found |= restored.states
        print(f"restored {len(found)} users in {time.perf_counter() - started:.2f} s")
        assert found == {user.encode(): b"2" * 500 for user in users if user != "user-7"}
        assert set(changelog.epochs.values()) == {2}  # one above what was written

    with_producer(settings, test)


def test_records_go_where_javas_client_puts_them_with_the_time_of_sending(
    settings: Settings, topics: Names
) -> None:
    async def test(producer: AIOKafkaProducer) -> None:
        delivery = Delivery(producer)
        before = time.time_ns() // 1_000_000
        sent = [Outgoing(f"u{n}".encode(), b"x" * 600) for n in range(3_000)]  # several batches a partition
        futures = await delivery.send(topics.recommendations, sent)
        await acknowledged(futures)
        after = time.time_ns() // 1_000_000
        assert len(futures) == settings.partitions
        records = await read(settings, topics.recommendations)
        assert sorted(record.key for record in records) == sorted(record.key for record in sent)
        for record in records:
            assert record.partition == partition_of(record.key, settings.partitions)
            assert before <= record.timestamp <= after
        order = [int(record.key[1:]) for record in records if record.partition == 0]
        assert order == sorted(order)

    with_producer(settings, test)


def test_what_is_queued_meanwhile_travels_together(settings: Settings, topics: Names) -> None:
    async def test(producer: AIOKafkaProducer) -> None:
        delivery = Delivery(producer)
        await acknowledged(await delivery.send(topics.recommendations, [Outgoing(b"u", b"first")]))
        futures = []
        for n in range(500):
            futures += await delivery.send(topics.recommendations, [Outgoing(b"u", b"%d" % n)])
        await acknowledged(futures)
        # Batches: fewer than twenty where the broker takes its time, and never one for each.
        assert len({future.result().offset for future in futures}) < 250
        values = [record.value for record in await read(settings, topics.recommendations)]
        assert values == [b"first", *(b"%d" % n for n in range(500))]

    with_producer(settings, test)


def test_a_record_over_the_limits_fails_its_future_and_no_other(settings: Settings, topics: Names) -> None:
    async def test(producer: AIOKafkaProducer) -> None:
        delivery = Delivery(producer)
        await acknowledged(await delivery.send(topics.recommendations, [Outgoing(b"u", b"1")]))
        [large] = await delivery.send(topics.recommendations, [Outgoing(b"u", b"x" * 9_000_000)])
        await asyncio.sleep(0.05)
        [small] = await delivery.send(topics.recommendations, [Outgoing(b"u", b"2")])
        with pytest.raises(MessageSizeTooLargeError):
            await large
        await small
        values = [record.value for record in await read(settings, topics.recommendations)]
        assert values == [b"1", b"2"]

    with_producer(settings, test)


def test_a_fenced_worker_sends_nothing(settings: Settings, topics: Names) -> None:
    silent = False

    def fence() -> None:
        if silent:
            raise Fenced("no heartbeat")

    async def test(producer: AIOKafkaProducer) -> None:
        nonlocal silent
        delivery = Delivery(producer, fence)
        await producer.partitions_for(topics.recommendations)
        queued = await delivery.send(topics.recommendations, [Outgoing(b"u", b"1")])
        silent = True  # as if paused between queueing and writing
        with pytest.raises(Fenced):
            await acknowledged(queued)
        with pytest.raises(Fenced):
            await delivery.send(topics.recommendations, [Outgoing(b"u", b"1")])
        assert await read(settings, topics.recommendations) == []

    with_producer(settings, test)


def test_a_feed_reads_from_the_beginning_and_then_follows(settings: Settings, topics: Names) -> None:
    async def test(producer: AIOKafkaProducer) -> None:
        delivery = Delivery(producer)
        await acknowledged(await delivery.send(topics.items, [Outgoing(b"i1", b"1"), Outgoing(b"i1", None)]))
        seen: list[Any] = []
        stretches: list[int] = []
        lock = asyncio.Lock()
        feed = Feed(
            topics.items, async_connection(settings), seen.append, lock=lock,
            on_stretch=lambda: stretches.append(len(seen)),
        )  # fmt: skip
        await feed.start()
        await asyncio.wait_for(feed.caught_up.wait(), 30)
        assert [(record.key, record.value) for record in seen] == [(b"i1", b"1"), (b"i1", None)]
        assert feed.ends == {0: 2}
        async with lock:  # a round is being worked on
            await acknowledged(await delivery.send(topics.items, [Outgoing(b"i2", b"2")]))
            await asyncio.sleep(0.3)
            assert len(seen) == 2
        async with asyncio.timeout(90):
            while len(stretches) < 2:
                await asyncio.sleep(0.01)
        assert seen[-1].key == b"i2"
        assert stretches == [2, 3]
        await feed.stop()

    with_producer(settings, test)


def test_an_empty_topic_is_caught_up_with_at_once(settings: Settings, topics: Names) -> None:
    assert asyncio.run(read(settings, topics.releases)) == []


def test_large_states_are_kept_and_large_letters_too(settings: Settings, topics: Names) -> None:
    """A state of 2 MiB; a bad click that came compressed is written as small; a larger one is passed over."""
    state = os.urandom(2 * 2**20)
    squeezed = SimpleNamespace(topic=topics.clicks, partition=0, offset=0, key=b"u", value=bytes(10 * 2**20))
    too_large = SimpleNamespace(
        topic=topics.clicks, partition=0, offset=1, key=b"u", value=os.urandom(9 * 2**20)
    )

    async def test(producer: AIOKafkaProducer) -> None:
        delivery = Delivery(producer)
        changelog = Changelog(topics.user_states, delivery, lambda: new_reader(async_connection(settings)))
        async for _ in changelog.restore([0], generation=1):
            pass
        await changelog.commit(0, [], {b"heavy": state, b"light": b"{}"})
        async for restored in changelog.restore([0], generation=1):
            assert restored.states == {b"heavy": state, b"light": b"{}"}
        letters = DeadLetters(topics.dead_letters, delivery, lambda: new_reader(async_connection(settings)))
        for record in (too_large, squeezed):
            await asyncio.gather(*await letters.send(record, "10485760 bytes", 5))
        (record,) = await read(settings, topics.dead_letters)
        assert record.value == squeezed.value
        assert letters.too_large == 1

    with_producer(settings, test)
    retried = Retried(settings)
    assert retry(settings, list(read_letters(settings, retried)), retried) == 1
    assert [record.value for record in asyncio.run(read(settings, topics.clicks))] == [squeezed.value]


def test_a_dead_letter_is_sent_unchanged_and_once_whoever_tries(settings: Settings, topics: Names) -> None:
    bad = SimpleNamespace(topic=topics.clicks, partition=3, offset=17, key=b"u1", value=b"{not json")
    keyless = SimpleNamespace(topic=topics.clicks, partition=3, offset=18, key=None, value=b"")

    async def test(producer: AIOKafkaProducer) -> None:
        def letters() -> DeadLetters:
            return DeadLetters(
                topics.dead_letters, Delivery(producer), lambda: new_reader(async_connection(settings))
            )

        first, second = letters(), letters()
        await first.refresh()
        await second.refresh()
        await asyncio.gather(*await first.send(bad, "no JSON", 5))
        assert await first.send(bad, "no JSON", 6) == []
        await second.refresh()  # the partition came to the second worker
        assert await second.send(bad, "no JSON", 7) == []
        await asyncio.gather(*await second.send(keyless, "empty", 8))
        records = await read(settings, topics.dead_letters)
        assert [(record.key, record.value) for record in records] == [(b"u1", b"{not json"), (None, b"")]
        assert dict(records[0].headers) == {
            "error": b"no JSON", "topic": topics.clicks.encode(),
            "partition": b"3", "offset": b"17", "at": b"5",
        }  # fmt: skip
        assert source_of(records[1]) == (topics.clicks, 3, 18)

    with_producer(settings, test)
