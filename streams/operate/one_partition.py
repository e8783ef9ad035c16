"""Makes one partition of a topic that has several: Kafka cannot shrink one, so it is copied and made anew.

Owns the copy on disk: whoever ends between the two finds it, and goes on from there. For topics that are
small, and that nobody reads or writes meanwhile.
"""

import os
import time
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from streams.runtime.terminal import many
from streams.settings import Settings
from streams.transport import clients
from streams.transport.topic_reader import read_to_end
from streams.transport.topics import TopicsError, create_missing, partition_counts

if TYPE_CHECKING:
    from kafka import KafkaAdminClient

GONE_SECONDS = 30.0  # until brokers have deleted a topic


class Kept(msgspec.Struct, frozen=True):
    """A record of the copy; key and value in base64."""

    timestamp: int
    key: str | None
    value: str | None


def copy_of(settings: Settings, topic: str) -> Path:
    """Where the copy lies while it is under way."""
    return settings.data_dir / f"{topic}.copied.jsonl"


def gather(admin: "KafkaAdminClient", settings: Settings, topic: str) -> Iterator[str]:
    """All records of the topic in one partition, in the order of their times; says what it does.

    Goes on from a copy that an earlier call has left. Raises TopicsError where the topic is not deleted.
    """
    copy = copy_of(settings, topic)
    records = [] if not copy.exists() else [_kept(line) for line in copy.read_bytes().splitlines()]
    if count := partition_counts(admin, [topic])[topic]:
        for each in read_to_end(settings, topic):
            records.append(Kept(each.timestamp, _text(each.key), _text(each.value)))
        records = sorted(dict.fromkeys(records), key=lambda kept: kept.timestamp)
        _keep(copy, records)
        yield f"{topic}: {many(len(records), 'record')} copied to {copy}"
        admin.delete_topics([topic])
    deadline = time.monotonic() + GONE_SECONDS
    while partition_counts(admin, [topic])[topic]:
        if time.monotonic() > deadline:
            raise TopicsError(f"the brokers do not delete {topic}; repeat this later: {copy} has it all")
        time.sleep(0.2)
    create_missing(admin, settings)
    with clients.producer(settings) as sender:
        for each in records:
            key, value = (None if raw is None else b64decode(raw) for raw in (each.key, each.value))
            sender.send(topic, key=key, value=value, timestamp_ms=each.timestamp).get(30)
    done = copy.with_name(f"{topic}-before-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}.jsonl")
    copy.replace(done)
    yield f"{topic}: {count} partitions became 1; what was in them stays in {done}"


def _keep(path: Path, records: Iterable[Kept]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        file.writelines(msgspec.json.encode(each) + b"\n" for each in records)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def _kept(line: bytes) -> Kept:
    return msgspec.json.decode(line, type=Kept)


def _text(raw: bytes | None) -> str | None:
    return None if raw is None else b64encode(raw).decode()
