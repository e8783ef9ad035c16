"""Mends topics that have drifted from the plan, without losing a user's state.

Owns the move of state records when a topic grows: with more partitions a key may belong elsewhere. Clicks
need no move, since workers forward those that lie in the wrong partition. Kafka cannot shrink a topic, so
the smaller ones grow. Limits that are too low are raised and ways of cleanup set right, which needs no pause.

The order in which topics grow says to everyone how far it is (`streams.transport.growth`).
"""

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from streams.operate.one_partition import copy_of, gather
from streams.runtime.terminal import many
from streams.settings import Settings
from streams.transport import clients
from streams.transport.refusals import limit_in
from streams.transport.topic_reader import Record, read_to_end
from streams.transport.topics import (
    Low,
    Names,
    TopicsError,
    describe,
    partition_counts,
    too_low,
    wrong_cleanup,
    wrong_spread,
)
from streams.wire.partitioner import partition_of

if TYPE_CHECKING:
    from kafka import KafkaAdminClient


# A worker is a static member: one that was stopped or killed counts until its session has ended.
LEAVING_SECONDS = 15.0
# Running workers look at the topics every 20 s; then they end the work in hand.
NOTICING_SECONDS = 120.0


def repair(admin: "KafkaAdminClient", settings: Settings) -> Iterator[str]:
    """Set cleanup right, raise low limits, and grow the topics by user to equally many partitions.

    Says what it does, line by line. Raises TopicsError while workers run, once settings are mended: they
    would go on writing states where nobody looks for them. Lists go by key wherever they are, so their topic
    grows only for those who read it beside clicks. `releases` is made one partition again.
    """
    names = Names(settings.prefix)
    described = describe(admin, settings)
    wrong, raised = wrong_cleanup(settings, described), too_low(settings, described)
    for each in wrong:
        if (said := _set(admin, each.topic, "cleanup.policy", each.planned)) != "OK":
            raise TopicsError(
                f"cannot set cleanup.policy of {each.topic} to {each.planned}: {said}; ask whoever "
                "administers the brokers"
            )
        yield f"{each.topic}: cleanup.policy {each.found} became {each.planned}"
    for low in raised:
        yield _raise(admin, low)
    yield from _await_workers(admin, names)
    spread = wrong_spread(settings, described)
    if gathered := bool(spread) or copy_of(settings, names.releases).exists():
        if clients.members(admin, f"{settings.prefix}learner"):
            raise TopicsError("a learner is running; stop it first, then repeat this")
        yield from gather(admin, settings, names.releases)
    counts = partition_counts(admin, names.copartitioned)
    if absent := [name for name, count in counts.items() if not count]:
        raise TopicsError(f"missing topics: {', '.join(absent)}; create them with `nextclick topics create`")
    target = max(counts.values())
    done = [*_level(admin, settings, target)]
    yield from done
    if not done and not raised and not wrong and not gathered:
        yield f"nothing to repair: {target} partitions each"


def grow(
    admin: "KafkaAdminClient", settings: Settings, partitions: int, seconds: float = NOTICING_SECONDS
) -> Iterator[str]:
    """Give the topics by user so many partitions while everything runs; says what it does, line by line.

    Workers notice, end the work in hand, leave, and come back by themselves once states are moved; clicks and
    requests wait in Kafka meanwhile. May be stopped at any time and run again. Raises TopicsError for fewer
    partitions than there are, and where a worker has not left after `seconds`.
    """
    names = Names(settings.prefix)
    counts = partition_counts(admin, names.copartitioned)
    if absent := [name for name, count in counts.items() if not count]:
        raise TopicsError(f"missing topics: {', '.join(absent)}; create them with `nextclick topics create`")
    if (most := max(counts.values())) > partitions:
        largest = next(name for name, count in counts.items() if count == most)
        raise TopicsError(
            f"{largest} has {most} partitions, and Kafka takes none away; name at least as many"
        )
    if min(counts.values()) == partitions:
        yield f"nothing to do: {partitions} partitions each"
        return
    yield from _add_partitions(admin, names.user_states, partitions)
    yield from _await_workers(admin, names, seconds, "it ends its work, and comes back by itself")
    yield from _level(admin, settings, partitions)
    yield "done: workers begin again by themselves; those that a supervisor keeps, too"


def _level(admin: "KafkaAdminClient", settings: Settings, target: int) -> Iterator[str]:
    """All topics by user to as many partitions: states first, and then their users', `clicks` last."""
    names = Names(settings.prefix)
    yield from _add_partitions(admin, names.user_states, target)
    moved = _move_states(settings, names.user_states, target)
    if moved:
        yield f"{names.user_states}: {many(moved, 'state')} moved to where their users now belong"
    for name in (names.recommendations, names.requests, names.clicks):
        yield from _add_partitions(admin, name, target)


def _add_partitions(admin: "KafkaAdminClient", name: str, target: int) -> Iterator[str]:
    count = partition_counts(admin, [name])[name]
    if 0 < count < target:
        admin.create_partitions({name: target})
        admin.wait_for_topics([name])
        _await_partitions(admin, name, target)
        yield f"{name}: {count} partitions became {target}"


def _await_partitions(admin: "KafkaAdminClient", name: str, target: int) -> None:
    """Until brokers tell of them: whoever writes there is refused before."""
    deadline = time.monotonic() + LEAVING_SECONDS
    while partition_counts(admin, [name])[name] < target and time.monotonic() < deadline:
        time.sleep(0.1)


def _await_workers(
    admin: "KafkaAdminClient", names: Names, seconds: float = LEAVING_SECONDS, then: str = "",
) -> Iterator[str]:  # fmt: skip
    """Waits for those that have been stopped, or notice by themselves."""
    deadline = time.monotonic() + seconds
    told = False
    while running := clients.members(admin, names.worker_group):
        workers = "1 worker is" if running == 1 else f"{running} workers are"
        if time.monotonic() > deadline:
            raise TopicsError(f"{workers} running; stop all of them first, then repeat this")
        if not told:
            yield f"{workers} in the group, and given {seconds:.0f} s to leave" + (then and f": {then}")
            told = True
        time.sleep(0.5)


def _raise(admin: "KafkaAdminClient", low: Low) -> str:
    """Raises a limit as far as the brokers let it, and says how far: it is a wish, and holds nothing up."""
    became, said = low.planned, _set(admin, low.topic, low.setting, str(low.planned))
    most = limit_in(said, str(low.planned)) if said != "OK" else None
    if most is not None and most > low.found:
        became, said = most, _set(admin, low.topic, low.setting, str(most))
    if said != "OK":
        return f"{low.topic}: {low.setting} stays at {low.found:,}, not {low.planned:,}: {said}"
    return f"{low.topic}: {low.setting} {low.found:,} became {became:,}"


def _set(admin: "KafkaAdminClient", topic: str, setting: str, value: str) -> str:
    """What the brokers say to it: OK, or why not."""
    from kafka.admin import ConfigResource, ConfigResourceType

    wanted = ConfigResource(ConfigResourceType.TOPIC, topic, {setting: value})
    return str(admin.alter_configs([wanted])["topic"][topic])


def _move_states(settings: Settings, topic: str, partitions: int) -> int:
    """Write each state that lies in another partition than its key's into that one; returns how many."""
    return sum(_move_from(settings, topic, partition, partitions) for partition in range(partitions))


def _move_from(settings: Settings, topic: str, partition: int, partitions: int) -> int:
    """Those of one partition: of all states no more are in memory at a time."""
    newest: dict[bytes, Record] = {}
    for record in read_to_end(settings, topic, partitions=[partition]):
        if partition_of(record.key, partitions) != partition:
            newest[record.key] = record
    misplaced = [record for record in newest.values() if record.value is not None]
    if not misplaced:
        return 0
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
