"""What becomes of topics under running processes: partitions are added, records deleted, topics made anew."""

import asyncio
import json
import re
from typing import Any

import pytest
from faust.types import TP
from kafka import TopicPartition
from structlog.testing import capture_logs

from streams.operate import topic_checks
from streams.operate.topics_repair import repair
from streams.settings import Settings, load_settings
from streams.transport import clients
from streams.transport.behind import Behind, Place
from streams.transport.changed_topics import ChangedTopics, MadeAnew, Seen
from streams.transport.feeds import new_reader
from streams.transport.lost import Lost
from streams.transport.topics import Names, TopicsError, check, describe
from streams.wire.partitioner import partition_of
from tests.worlds.system import System, ready, wait_answered

AT = 881_000_000_000
ONE, TWO = TP("clicks", 1), TP("clicks", 2)


def _told(look: Any) -> list[dict[str, Any]]:
    with capture_logs() as logs:
        look()
    return [dict(line) for line in logs]


def test_a_gap_behind_which_nothing_is_left_is_a_loss() -> None:
    lost = Lost()
    lost.begin({ONE: 100})
    lost.fetched(TWO, 7, 9)  # from wherever it begins
    assert not lost.suspects
    lost.fetched(ONE, 500, 509)
    assert lost.suspects
    (line,) = _told(lambda: lost.look({ONE: 500, TWO: 7}))
    assert not lost.suspects
    assert (line["lost"], line["partition"], line["offset"]) == (400, 1, 100)
    assert not _told(lambda: lost.look({ONE: 505, TWO: 7}))  # deleted after it was read
    assert lost.records == 400


def test_markers_and_compaction_leave_gaps_that_are_no_loss() -> None:
    lost = Lost()
    lost.begin({ONE: 10})
    lost.fetched(ONE, 12, 15)
    lost.fetched(ONE, 20, 20)
    assert not _told(lambda: lost.look({ONE: 3}))
    lost.fetched(ONE, 40, 41)
    (line,) = _told(lambda: lost.look({ONE: 30}))  # 30 to 39 may have been markers: they were there
    assert line["lost"] == 9


def test_what_is_deleted_to_the_end_is_told_without_a_record_that_follows() -> None:
    lost = Lost()
    lost.begin({ONE: 4})
    (line,) = _told(lambda: lost.look({ONE: 9}))
    assert line["lost"] == 5
    assert not _told(lambda: lost.look({ONE: 9}))
    lost.fetched(ONE, 9, 9)
    assert not _told(lambda: lost.look({ONE: 9}))


def test_added_partitions_are_not_read_and_said_once_a_minute() -> None:
    clock = [0.0]
    topics = ChangedTopics(load_settings(prefix="w."), 2, lambda: clock[0])
    before, after = {"w.clicks": Seen(2, "a")}, {"w.clicks": Seen(5, "a")}
    assert not _told(lambda: topics.compare(before))
    (line,) = _told(lambda: topics.compare(after))
    assert line["topics"] == "w.clicks has 5"
    assert "nextclick topics repair" in line["mend"]
    assert not _told(lambda: topics.compare(after))
    clock[0] = 61.0
    assert len(_told(lambda: topics.compare(after))) == 1
    behind = Behind({}, partitions=2)
    behind.begin([TP("w.clicks", 0), TP("w.clicks", 1), TP("w.clicks", 4)])
    assert behind.waiting(lambda _: Place(5, 5)) == {TP("w.clicks", 4)}


def test_partitions_that_are_added_make_no_reader_begin_anew(settings: Settings, topics: Names) -> None:
    async def read() -> tuple[list[int], set[int]]:
        consumer = new_reader(clients.async_connection(settings), topics.dead_letters)
        await consumer.start()
        try:
            got = [(await consumer.getone()).offset for _ in range(3)]
            with clients.admin(settings) as admin:
                admin.create_partitions({topics.dead_letters: 2})
            while len(consumer.assignment()) < 2:
                await consumer._client.force_metadata_update()
            with clients.producer(settings) as later:  # it has seen the second one
                later.send(topics.dead_letters, value=b"3", partition=0)
                later.send(topics.dead_letters, value=b"new", partition=1)
            last = [await consumer.getone() for _ in range(2)]
            got += [record.offset for record in last if record.partition == 0]
            return got, {record.partition for record in last}
        finally:
            await consumer.stop()

    with clients.producer(settings) as sender:
        for n in range(3):
            sender.send(topics.dead_letters, value=str(n).encode()).get(10)
        assert asyncio.run(read()) == ([0, 1, 2, 3], {0, 1})


def test_a_topic_made_anew_ends_the_process_which_may_start_again() -> None:
    topics = ChangedTopics(load_settings(prefix="w."), 2)
    topics.compare({"w.clicks": Seen(2, "a")})
    topics.compare({})  # for a moment it is gone
    with pytest.raises(MadeAnew, match=r"w\.clicks was deleted and made anew") as raised:
        topics.compare({"w.clicks": Seen(2, "b")})
    assert raised.value.exit_code == 75


def test_a_topic_that_stays_deleted_ends_the_process_whose_next_start_makes_it() -> None:
    topics = ChangedTopics(load_settings(prefix="w."), 2)
    topics.compare({"w.clicks": Seen(2, "a"), "w.signals": Seen(1, "s")})
    topics.compare({"w.clicks": Seen(2, "a")})
    with pytest.raises(MadeAnew, match=r"w\.signals was deleted") as raised:
        topics.compare({"w.clicks": Seen(2, "a")})
    assert raised.value.exit_code == 75


def _number(said: str, name: str) -> int:
    plain = re.sub(r"\x1b\[[0-9;]*m", "", said)
    return sum(int(found) for found in re.findall(rf"\b{name}=(\d+)", plain))


def _events(system: System) -> dict[tuple[int, str], int]:
    """By partition and user, how many events the states know that are not deleted."""
    newest = {(record.partition, record.key.decode()): record.value for record in system.read("user-states")}
    return {place: json.loads(value)["events"] for place, value in newest.items() if value is not None}


def test_clicks_deleted_while_the_worker_was_away_are_said_with_their_number(
    settings: Settings, system: System, topics: Names
) -> None:
    system.start("worker")
    ready(system)
    system.click("ann", "1", AT, event_id="before")
    system.answer("before")
    assert system.stop("worker") == 0
    for n in range(6):
        system.click("ann", "1", AT + 1 + n, event_id=f"gone-{n}")
    home = TopicPartition(topics.clicks, partition_of(b"ann", 8))
    with clients.admin(settings) as admin:
        admin.delete_records({home: 6})  # of 7
    system.start("worker", name="next")
    wait_answered(system, ["gone-5"])
    system.wait_for(lambda: "deleted before they could be read" in system.said("next"), "the loss is said")
    assert _number(system.said("next"), "lost") == 5
    assert not {f"gone-{n}" for n in range(5)} & set(system.lists())


@pytest.mark.drill
def test_partitions_added_while_it_runs_are_said_repaired_and_nothing_is_lost_or_doubled(
    settings: Settings, system: System, topics: Names
) -> None:
    users = [f"guest-{n}" for n in range(20)]
    for name in ("worker", "learner"):
        system.start(name)
    ready(system)
    first = [system.click(user, "1", AT + n) for n, user in enumerate(users)]
    wait_answered(system, first)
    system.wait_for(lambda: "learner ready" in system.said("learner"), "the learner is ready")
    with clients.admin(settings) as admin:
        admin.create_partitions({topics.clicks: 13})
    system.wait_for(lambda: "partitions were added" in system.said("worker"), "the worker says it")
    with clients.admin(settings) as admin:
        found = [
            each for each in topic_checks.topics(settings, describe(admin, settings)) if each.status == "fail"
        ]
        assert "clicks has 13" in found[0].detail
        with pytest.raises(TopicsError, match="equally many"):
            check(admin, settings)
    second = [f"second-{n}" for n in range(20)]
    with clients.producer(settings) as sender:  # by the new number, as a producer does that has seen it
        for n, user in enumerate(users):
            click = {"event_id": second[n], "user_id": user, "item_id": "2", "event": "click"}
            value = json.dumps(click | {"timestamp": AT + 1000 + n}).encode()
            sender.send(topics.clicks, key=user.encode(), value=value)
    beyond = sum(partition_of(user.encode(), 13) >= 8 for user in users)
    assert beyond
    for name in ("worker", "learner"):
        assert system.stop(name) == 0
    with clients.admin(settings) as admin:
        said = list(repair(admin, settings))
        assert {
            f"{name}: 8 partitions became 13" for name in (topics.user_states, topics.recommendations)
        } < set(said)
        assert check(admin, settings) == 13
    for reader in system._topics.values():  # they read the partitions that there were
        reader.close()
    system._topics.clear()
    system.start("worker", name="after")
    wait_answered(system, second)
    wanted = {(partition_of(user.encode(), 13), user): 2 for user in users}
    system.wait_for(lambda: _events(system) == wanted, "each state, once, where its user belongs")
    assert system.stop("after") == 0
    system.start("learner", name="learner after")
    system.wait_for(lambda: "learner ready" in system.said("learner after"), "the learner is ready again")
    told = system.said("learner after")
    assert _number(told, "counted") + _number(told, "known") == len(first) + len(second)
