"""Topics on a real broker: created by several at once, described, refused and repaired."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from streams.operate.topics_repair import repair
from streams.settings import Settings
from streams.transport import clients
from streams.transport.topic_reader import read_to_end
from streams.transport.topics import Names, TopicsError, check, create_missing, describe, plan
from streams.wire.partitioner import partition_of


def _create(settings: Settings) -> list[str]:
    with clients.admin(settings) as admin:
        return create_missing(admin, settings)


def test_several_processes_may_create_them_at_once(settings: Settings) -> None:
    with ThreadPoolExecutor(4) as pool:
        created = list(pool.map(_create, [settings] * 4))
    names = Names(settings.prefix)
    assert sorted(name for some in created for name in some) == sorted(names.all())


def test_they_are_what_was_planned(settings: Settings, topics: Names) -> None:
    with clients.admin(settings) as admin:
        found = {topic.name: topic for topic in describe(admin, settings)}
        assert check(admin, settings) == settings.partitions
    for planned in plan(settings):
        assert found[planned.name].partitions == planned.partitions
        assert planned.configs.items() <= found[planned.name].configs.items()
    assert set(found) == set(topics.all())


def test_unequal_numbers_are_refused_and_repaired_without_losing_a_state(
    settings: Settings, topics: Names
) -> None:
    users = [f"user-{n}" for n in range(40)]
    with clients.producer(settings) as sender:
        for user in users:
            value = json.dumps({"user_id": user, "applied": 17, "items": ["i1"]}).encode()
            sender.send(topics.user_states, key=user.encode(), value=value, headers=[("epoch", b"3")])
    with clients.admin(settings) as admin:
        admin.create_partitions({topics.clicks: 12})
        with pytest.raises(TopicsError, match=r"clicks has 12.*nextclick topics repair"):
            check(admin, settings)
        said = list(repair(admin, settings))
        assert f"{topics.user_states}: 8 partitions became 12" in said
        assert check(admin, settings) == 12
        moved = [user for user in users if partition_of(user.encode(), 8) != partition_of(user.encode(), 12)]
        assert f"{topics.user_states}: {len(moved)} states moved to where their users now belong" in said
        assert list(repair(admin, settings)) == ["nothing to repair: 12 partitions each"]
    latest: dict[tuple[int, bytes], Any] = {}
    for record in read_to_end(settings, topics.user_states):
        latest[record.partition, record.key] = record
    living = {place: record for place, record in latest.items() if record.value is not None}
    assert set(living) == {(partition_of(user.encode(), 12), user.encode()) for user in users}
    for (_, key), record in living.items():
        state = json.loads(record.value)
        assert state["items"] == ["i1"]
        # An offset counts clicks of one partition: where the user has moved, none of them is applied yet.
        assert state["applied"] == (-1 if key.decode() in moved else 17)
        assert record.headers == [("epoch", b"3")]
