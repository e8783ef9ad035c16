"""Users come and go with their partitions: who stays over a rebalance, who is read again, who is on disk."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import pytest

from learner.data.times import DAY_MS
from streams.hot_path.recommend import recommend
from streams.hot_path.serving import Serving
from streams.transport.changelog import Restored
from streams.wire.contract import Click
from streams.wire.intake import Arrival
from streams.wire.partitioner import partition_of
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

    async def restore(self, partitions: Iterable[int], _: int) -> AsyncIterator[Restored]:
        for number in partitions:
            mine = {user.encode(): state for user, state in self.states.items() if home(user) == number}
            yield Restored(number, mine, 9, 0)


class Place:
    """A worker's users beside a changelog in which each of `USERS` has one click."""

    def __init__(self, tmp_path: Path, idle_days: float = 30) -> None:
        known, states = world()
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
        self.users = Users(Spill(tmp_path / "spill.sqlite"), PARTITIONS, idle_days)

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
    place.log.states = {
        user: state for user, state in place.log.states.items() if home(user) == 2
    }  # 1 is not read
    read = place.take_over({1, 2}, 2)
    assert read == len(place.log.states)
    assert place.here == place.users.owned == {1, 2}


def test_who_has_missed_a_generation_reads_all_again(tmp_path: Path) -> None:
    place = Place(tmp_path)
    assert place.take_over(EVERY, 4) == USERS
    assert place.take_over(EVERY, 5) == 0
    assert place.take_over(EVERY, 7) == USERS
    assert place.take_over(EVERY, 7) == USERS


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
