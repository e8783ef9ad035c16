"""A world that changes, and how soon a system is said to have got over it."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from learner.evaluation.drift_world import change_of, changed
from learner.evaluation.plan import plan
from learner.evaluation.system import FirstPart, Stream
from streams.replay import recovery as recovering
from streams.replay import simulate as command
from streams.replay.recovery import Curve, Run, figures, recovery
from streams.replay.simulate import simulate
from streams.replay.systems import HotPath, Train
from tests.worlds.replay_world import POLICY, stream, untrained_release


def of_genres(seed: int = 0) -> Stream:
    """The small stream with categories, so that users have a favourite."""
    made = stream(seed)
    for number, record in enumerate(made.records):
        assert record is not None
        made.records[number] = msgspec.structs.replace(record, categories=[("sea", "cat")[number % 2]])
    return made


@pytest.mark.parametrize("make", [stream, of_genres])
def test_the_world_changes_from_one_moment_on(make) -> None:
    before = make()
    at = 300
    change = change_of(before, at, seed=1)
    after = changed(before, change, at)
    assert (change.genres is None) == (make is stream)
    np.testing.assert_array_equal(after.user[:at], before.user[:at])
    np.testing.assert_array_equal(after.item[:at], before.item[:at])
    np.testing.assert_array_equal(change.user[change.user], np.arange(len(change.user)))  # pairs swap
    assert change.users > 0
    assert (after.user[at:] != before.user[at:]).any()
    clicked = np.unique(before.item[at:])
    new = np.unique(after.item[after.item >= len(before.item_ids)])
    assert len(new) == change.items == len(clicked) // 2
    assert len(set(after.item_ids)) == len(after.item_ids) == len(after.records)
    for number in new.tolist():
        old = int(np.flatnonzero(change.item == number)[0])
        assert after.item_ids[number] == before.item_ids[old] + "'"
        assert after.records[number].title == before.records[old].title
        assert after.records[number].published_at == before.time_ms[at]
        assert not (after.item[at:] == old).any()  # it is gone


def test_the_same_seed_draws_the_same_change() -> None:
    first, again, other = (change_of(of_genres(), 300, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.item, again.item)
    np.testing.assert_array_equal(first.user, again.user)
    assert (first.item != other.item).any()


def test_recovery_counts_clicks_after_the_drift(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovering, "WINDOW", 10)
    number = np.arange(100)
    oracle = Run(number, np.ones(100))
    slow = Run(number, np.where((number >= 20) & (number < 50), 0.0, 1.0))
    assert recovery(oracle, oracle, 20, 100) == 10  # a window of its own
    # From 50 on all hits: ten of them stand in the window after event 59, the 40th after the drift.
    assert recovery(slow, oracle, 20, 100) == 40
    assert recovery(Run(number, np.where(number < 20, 1.0, 0.0)), oracle, 20, 100) is None
    told = figures({"slow": slow, "oracle": oracle}, 10, 20, 100)
    assert told["slow"] == {"before": 1.0, "after": 1.0, "recovery_clicks": 40}


def test_every_system_plays_its_world(tmp_path: Path) -> None:
    class Untrained:
        def of(self, world: str) -> Train:
            def train(first: FirstPart) -> str:
                return untrained_release(first, tmp_path / world)

            return train

    made = of_genres()
    change = change_of(made, 300, seed=0)
    worlds = [plan(changed(made, change, at), split=0.5) for at in (300, 0)]
    runs = simulate(
        *worlds, POLICY, lambda train, policy: HotPath(train, policy, name="full"), Untrained(),  # type: ignore[arg-type]
        lambda *_: None,
    )  # fmt: skip
    assert tuple(runs) == command.SYSTEMS
    np.testing.assert_array_equal(runs["full"].hit, runs["signals"].hit)  # nothing more learns here
    assert (runs["frozen"].hit != runs["signals"].hit).any()
    told = figures(runs, worlds[0].split, 300, made.size)
    assert all(0 <= told[name]["before"] <= 1 for name in told)
    command.draw(Curve(runs, worlds[0].split, 300, made.size), tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 10_000
