"""Mends topics that have drifted from the plan, without losing a user's state.

Owns the move of state records when a topic grows: with more partitions a key may belong elsewhere. Clicks
need no move, since workers forward those that lie in the wrong partition. Kafka cannot shrink a topic, so
the smaller ones grow. Limits that are too low are raised, which needs no pause.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from streams.settings import Settings
from streams.transport import clients
from streams.transport.topic_reader import Record, read_to_end
from streams.transport.topics import Low, Names, TopicsError, describe, partition_counts, too_low
from streams.wire.partitioner import partition_of

if TYPE_CHECKING:
    from kafka import KafkaAdminClient


def repair(admin: "KafkaAdminClient", settings: Settings) -> Iterator[str]:
    """Raise low limits, and grow clicks, requests and user-states to equally many partitions.

    Says what it does, line by line. Raises TopicsError while workers run, once the limits are raised: they
    would go on writing states where nobody looks for them.
    """
    names = Names(settings.prefix)
    raised = too_low(settings, describe(admin, settings))
    for low in raised:
        _raise(admin, low)
        yield f"{low.topic}: {low.setting} {low.found:,} became {low.planned:,}"
    if running := clients.members(admin, names.worker_group):
        raise TopicsError(f"{running} workers are running; stop them first, then repeat this")
    counts = partition_counts(admin, names.copartitioned)
    if absent := [name for name, count in counts.items() if not count]:
        raise TopicsError(f"missing topics: {', '.join(absent)}; create them with `nextclick topics create`")
    target = max(counts.values())
    smaller = {name: count for name, count in counts.items() if count < target}
    for name, count in smaller.items():
        admin.create_partitions({name: target})
        yield f"{name}: {count} partitions became {target}"
    admin.wait_for_topics(list(counts))
    moved = _move_states(settings, names.user_states, target)
    if moved:
        yield f"{names.user_states}: {moved:,} states moved to where their users now belong"
    if not smaller and not moved and not raised:
        yield f"nothing to repair: {target} partitions each"


def _raise(admin: "KafkaAdminClient", low: Low) -> None:
    from kafka.admin import ConfigResource, ConfigResourceType

    wanted = ConfigResource(ConfigResourceType.TOPIC, low.topic, {low.setting: str(low.planned)})
    said = admin.alter_configs([wanted])["topic"][low.topic]
    if said != "OK":
        raise TopicsError(
            f"cannot set {low.setting} of {low.topic} to {low.planned}: {said}; ask whoever administers the "
            "brokers"
        )


def _move_states(settings: Settings, topic: str, partitions: int) -> int:
    """Write each state that lies in another partition than its key's into that one; returns how many."""
    newest: dict[tuple[int, bytes], Record] = {}
    for record in read_to_end(settings, topic):
        newest[record.partition, record.key] = record
    misplaced = [
        record
        for (partition, key), record in newest.items()
        if record.value is not None and partition_of(key, partitions) != partition
    ]
    with clients.producer(settings) as sender:
        written = [
            sender.send(topic, key=record.key, value=_unapplied(record.value), headers=record.headers)
            for record in misplaced
        ]
        for each in written:
            each.get(timeout=30)
        # Only now may the old ones go: a crash before this leaves both, and a repeat moves them again.
        for record in misplaced:
            sender.send(topic, key=record.key, value=None, headers=record.headers, partition=record.partition)
        sender.flush()
    return len(misplaced)


def _unapplied(value: bytes) -> bytes:
    """The state with no offset applied: the one it had counts clicks of another partition."""
    state: dict[str, Any] = msgspec.json.decode(value)
    return msgspec.json.encode(state | {"applied": -1})
