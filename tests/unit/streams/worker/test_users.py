"""Users come and go with their partitions: who stays over a rebalance, who is read again, who is on disk."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from learner.data.times import DAY_MS
from streams.hot_path.recommend import recommend
from streams.hot_path.serving import Round, Serving
from streams.hot_path.state_record import ClicksTopic
from streams.hot_path.world import Fate
from streams.transport.changelog import Restored
from streams.wire.contract import Click
from streams.wire.intake import Arrival
from streams.wire.partitioner import partition_of
from streams.worker.aside import MOST_NAMED, Aside, named
from streams.worker.ground import Ground
from streams.worker.spill import Spill
from streams.worker.users import Users
from tests.worlds.rounds import NOW, world

PARTITIONS, USERS = 4, 40
EVERY = frozenset(range(PARTITIONS))


def home(user: str) -> int:
    return partition_of(user.encode(), PARTITIONS)


class Log:
    """The changelog's states, by partition; notes what was restored."""

    def __init__(self, states: dict[str, bytes]) -> None:
        self.states = states
        self.read: list[int] = []
        self.kept: list[tuple[int, int, int]] = []

    def keep(self, partition: int, epoch: int, generation: int) -> None:
        self.kept.append((partition, epoch, generation))

    async def restore(self, partitions: Iterable[int], _: int) -> AsyncIterator[Restored]:
        for number in partitions:
            self.read.append(number)
            mine = {user.encode(): state for user, state in self.states.items() if home(user) == number}
            yield Restored(number, mine, 9, 0, epoch=10 + number)


class Place:
    """A worker's users beside a changelog in which each of `USERS` has one click."""

    def __init__(
        self, tmp_path: Path, idle_days: float = 30, known_topic: str = "topic-1", most: int = 1000
    ) -> None:
        known, states = world()
        states.stand_on(ClicksTopic(known_topic))
        clicks = [
            Arrival(
                Click(event_id=f"e{n}", user_id=f"u{n}", item_id="more-1", event="click", timestamp=NOW + n),
                home(f"u{n}"), n,
            )
            for n in range(USERS)
        ]  # fmt: skip
        recommend(clicks, states, known, NOW, rng=None)
        self.log: Any = Log(
            {user: states.encode(slot, known.catalogue) for user, slot in states.index.items()}
        )
        self.serving = Serving(known, lambda *_: None)
        self.ground = Ground(ClicksTopic(known_topic))
        self.aside = Aside(tmp_path / "aside" / "worker-0.tsv")
        self.users = Users(
            Spill(tmp_path / "spill.sqlite"), PARTITIONS, idle_days, most, lambda _: self.ground, self.aside
        )

    def take_over(self, partitions: Iterable[int], generation: int) -> int:
        return asyncio.run(
            self.users.take_over(self.log, frozenset(partitions), generation, self.serving, asyncio.Lock())
        )

    @property
    def here(self) -> set[int]:
        return {home(user) for user in self.users.states.index}


def test_users_stay_where_their_partitions_do_and_go_with_the_others(tmp_path: Path) -> None:
    place = Place(tmp_path)
    assert len(place.users.states) == 0
    assert place.take_over({0, 1}, 1) > 0
    assert place.here == place.users.owned == {0, 1}
    read = place.take_over({1, 2}, 2)
    assert read == sum(home(user) == 2 for user in place.log.states)
    assert place.here == place.users.owned == {1, 2}
    assert place.log.read == [0, 1, 2]  # what stays is not read again, however much it is
    assert place.log.kept == [(1, 11, 2)]
    place.take_over({1, 2}, 3)
    assert place.log.read == [0, 1, 2]
    assert place.log.kept[1:] == [(1, 11, 3), (2, 12, 3)]


def test_who_has_missed_a_generation_reads_all_again(tmp_path: Path) -> None:
    place = Place(tmp_path)
    assert place.take_over(EVERY, 4) == USERS
    assert place.take_over(EVERY, 5) == 0
    assert place.take_over(EVERY, 7) == USERS
    assert place.take_over(EVERY, 7) == USERS


def test_states_that_may_know_of_lost_lists_are_read_again(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.take_over(EVERY, 1)
    place.users.distrust()
    assert place.take_over(EVERY, 2) == USERS
    assert place.take_over(EVERY, 3) == 0


def test_states_read_are_the_states_written(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.take_over(EVERY, 1)
    catalogue, states = place.serving.world.catalogue, place.users.states
    assert {user: states.encode(slot, catalogue) for user, slot in states.index.items()} == place.log.states


@pytest.mark.parametrize("when", ["as they are read", "later"])
def test_users_away_for_long_are_on_disk_until_they_come_back(tmp_path: Path, when: str) -> None:
    place = Place(tmp_path)
    signals = place.serving.world.signals
    if when == "as they are read":
        signals.now_ms = int(NOW + 20 + 30 * DAY_MS)  # users up to u19 have been away for longer
        place.take_over(EVERY, 1)
    else:
        place.take_over(EVERY, 1)
        signals.now_ms = int(NOW + 20 + 30 * DAY_MS)
        assert place.users.spill_idle(place.serving.world) == 20
        assert place.users.spill_idle(place.serving.world) == 0
    assert (len(place.users.states), place.users.away) == (USERS - 20, 20)
    catalogue = place.serving.world.catalogue
    place.users.bring_back(["u3", "u30", "nobody"], catalogue)
    assert (len(place.users.states), place.users.away) == (USERS - 19, 19)
    states = place.users.states
    assert states.encode(states.index["u3"], catalogue) == place.log.states["u3"]
    place.take_over({home("u3")}, 2)
    assert place.here == {home("u3")}
    assert place.users.away == sum(home(f"u{n}") == home("u3") for n in range(20)) - 1


def test_nobody_is_looked_for_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stranger's request has no user: a look for each would cost as much as a state."""
    place = Place(tmp_path, most=USERS // 2)
    place.take_over(EVERY, 1)
    assert place.users.away
    looked: list[str] = []
    monkeypatch.setattr(Spill, "take", lambda _, user: looked.append(user))
    place.users.bring_back(["", "u0"], place.serving.world.catalogue)
    assert looked == ["u0"]


def test_no_more_users_than_may_be_are_in_memory(tmp_path: Path) -> None:
    """As states are read, and later as users come: those longest away go to disk, and nobody is lost."""
    most = USERS // 2
    place = Place(tmp_path, most=most)
    place.take_over(EVERY, 1)
    users, world = place.users, place.serving.world
    assert len(users.states) <= most + most // 16
    assert len(users.states) + users.away == USERS
    everybody = [f"u{n}" for n in range(USERS)]
    users.bring_back(everybody, world.catalogue)
    assert users.crowded
    assert len(users.states) == USERS
    assert users.spill_idle(world) == USERS - most
    assert users.spill_idle(world) == 0
    assert set(users.states.index) == set(everybody[USERS - most :])  # whose clicks are the newest
    users.bring_back(["u3"], world.catalogue)
    assert not users.crowded
    assert users.spill_idle(world) == 0  # one more waits until there are many
    states = users.states
    assert states.encode(states.index["u3"], world.catalogue) == place.log.states["u3"]


def test_clicks_made_anew_are_not_taken_for_replayed_ones(tmp_path: Path) -> None:
    """Of users in memory, on disk and in the changelog; the event ids remembered still catch doubles."""
    for where in ("changelog", "memory", "disk"):
        place = Place(tmp_path / where)
        world = place.serving.world
        if where != "changelog":
            place.take_over(EVERY, 1)
        if where == "disk":
            world.signals.now_ms = int(NOW + USERS + 30 * DAY_MS)
            assert place.users.spill_idle(world) == USERS
        place.ground = Ground(ClicksTopic("topic-2"))
        place.take_over(EVERY, 2)
        users = ["u5", "u6"]
        place.users.bring_back(users, world.catalogue)
        clicks = [
            Arrival(
                Click(event_id=event, user_id=user, item_id="more-2", event="click", timestamp=NOW + 99),
                home(user), 0,
            )
            for event, user in (("e5", "u5"), ("new", "u6"))
        ]  # fmt: skip
        fates = [o.fate for o in recommend(clicks, place.users.states, world, NOW, rng=None)]
        assert fates == [Fate.DUPLICATE, Fate.DONE], where
        place.take_over(EVERY, 3)  # another look at the same topic
        assert place.users.states.applied[place.users.states.index["u6"]] == 0


@pytest.mark.parametrize("fault", ["unknown version", "garbage", "too large", "not whole"])
def test_a_state_that_cannot_be_kept_is_set_aside_and_stops_nobody(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(tmp_path)
    monkeypatch.setattr("streams.worker.users.MAX_STATE_BYTES", 2_000)
    good = place.log.states["u7"]
    place.log.states["u7"] = {
        "unknown version": good.replace(b'"v":2', b'"v":3'), "garbage": b"{",
        "too large": good + b" " * 2_000,
        "not whole": good.replace(b'"items":["more-1"]', b'"items":[]'),
    }[fault]  # fmt: skip
    with capture_logs() as logs:
        place.take_over(EVERY, 1)
        place.take_over({0, 1}, 3)
        place.take_over(EVERY, 4)
    assert [line["user"] for line in logs if "user" in line] == ["u7"]
    assert list(named(tmp_path / "aside")) == ["u7"]
    users, world = place.users, place.serving.world
    assert len(users.states) == USERS - 1
    clicks = [
        Arrival(
            Click(event_id="new", user_id=user, item_id="more-2", event="click", timestamp=NOW + 99),
            home(user), 100,
        )
        for user in ("u7", "u8")
    ]  # fmt: skip
    outcomes = place.serving.answer(Round(clicks, users.states, NOW, None, NOW))
    assert [o.changed for o in outcomes] == [False, True]
    for outcome in outcomes:
        assert outcome.recommendation is not None
        assert outcome.recommendation.items
        assert "more-2" not in {item.item_id for item in outcome.recommendation.items}
    place.take_over({p for p in EVERY if p != home("u7")}, 5)
    assert users.states.aside == {}
    assert world.catalogue.size > 0


def test_a_state_that_the_topic_does_not_take_is_set_aside(tmp_path: Path) -> None:
    place = Place(tmp_path)
    catalogue = place.serving.world.catalogue
    place.take_over(EVERY, 1)
    value = place.users.encoded("u3", catalogue)
    assert value == place.log.states["u3"]
    place.ground = Ground(ClicksTopic("topic-1"), len(value) + 1)
    place.take_over(EVERY, 2)
    assert place.users.encoded("u3", catalogue) is None
    assert "u3" not in place.users.states.index
    assert place.users.states.aside.keys() == {"u3"}
    assert list(named(tmp_path / "aside")) == ["u3"]


def test_a_flood_of_states_set_aside_is_counted_and_not_named(tmp_path: Path) -> None:
    aside = Aside(tmp_path / "worker-0.tsv")
    with capture_logs() as logs:
        for n in range(1_000):
            aside.name(f"u{n}", "why")
    assert len(logs) == MOST_NAMED + 1
    assert len(list(named(tmp_path))) == MOST_NAMED
