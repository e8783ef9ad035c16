"""What a partition may hold: records of any codec, transactions, and gaps where some were deleted."""

import asyncio
import json
from typing import Any

import pytest
from kafka import TopicPartition
from structlog.testing import capture_logs

from streams.settings import Settings
from streams.transport import clients, topic_reader
from streams.transport.feeds import Feed
from streams.transport.topic_reader import newest_ms, read_to_end


def _make(settings: Settings, topic: str, **configs: str) -> None:
    with clients.admin(settings) as admin:
        admin.create_topics({topic: {"num_partitions": 1, "configs": configs}})
        admin.wait_for_topics([topic])


def _send(settings: Settings, topic: str, values: list[bytes], **options: Any) -> None:
    with clients.producer(settings, **options) as sender:
        for value in values:
            sender.send(topic, key=b"u", value=value)


async def _fed(settings: Settings, topic: str) -> list[bytes]:
    """What the other client reads, up to the end."""
    values: list[bytes] = []
    feed = Feed(topic, clients.async_connection(settings), lambda record: values.append(record.value))
    await feed.start()
    try:
        await asyncio.wait_for(feed.caught_up.wait(), 30)
    finally:
        await feed.stop()
    return values


@pytest.mark.parametrize("by", ["producer", "topic"])
@pytest.mark.parametrize("codec", ["snappy", "lz4", "zstd"])
def test_both_clients_read_every_codec(settings: Settings, codec: str, by: str) -> None:
    topic = f"{settings.prefix}packed"
    _make(settings, topic, **({"compression.type": codec} if by == "topic" else {}))
    values = [json.dumps({"n": n, "text": "as it was " * 20}).encode() for n in range(300)]
    _send(settings, topic, values, **({"compression_type": codec} if by == "producer" else {}))
    assert [record.value for record in read_to_end(settings, topic)] == values
    assert asyncio.run(_fed(settings, topic)) == values


def test_records_deleted_while_they_are_read_are_passed_over_and_counted(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = f"{settings.prefix}short"
    _make(settings, topic)
    value = b"x" * 40_000  # so that what the client has fetched before is a part only
    _send(settings, topic, [b"%d " % n + value for n in range(400)])
    monkeypatch.setattr(topic_reader, "POLL_RECORDS", 10)
    seen: list[int] = []
    with capture_logs() as logs:
        for record in read_to_end(settings, topic):
            seen.append(record.offset)
            if len(seen) == 5:
                with clients.admin(settings) as admin:
                    admin.delete_records({TopicPartition(topic, 0): 300})
    assert seen[-100:] == list(range(300, 400))
    assert sum(line["lost"] for line in logs if "deleted" in line["event"]) == 400 - len(seen) > 0


@pytest.mark.parametrize("last", ["commit_transaction", "abort_transaction"])
def test_only_what_is_committed_counts_and_markers_are_an_end(settings: Settings, last: str) -> None:
    topic = f"{settings.prefix}transactions"
    _make(settings, topic)
    with clients.producer(settings, transactional_id=f"{settings.prefix}{last}") as sender:
        sender.init_transactions()
        for n, end in enumerate(["commit_transaction", "abort_transaction", "abort_transaction", last]):
            sender.begin_transaction()
            sender.send(topic, key=b"u", value=b"%d" % n).get(20)
            getattr(sender, end)()
    expected = [b"0", b"3"] if last == "commit_transaction" else [b"0"]
    assert [record.value for record in read_to_end(settings, topic, timeout_s=20)] == expected
    assert asyncio.run(_fed(settings, topic)) == expected
    assert newest_ms(settings, topic) is not None


def test_a_topic_with_nothing_but_markers_has_no_newest_record(settings: Settings) -> None:
    topic = f"{settings.prefix}taken-back"
    _make(settings, topic)
    with clients.producer(settings, transactional_id=f"{settings.prefix}none") as sender:
        sender.init_transactions()
        sender.begin_transaction()
        sender.send(topic, key=b"u", value=b"never").get(20)
        sender.abort_transaction()
    assert newest_ms(settings, topic) is None
