"""The plan of what training can afford."""

import pytest

from learner.training.time_plan import (
    LIST_S,
    REPLAY_S,
    WRITING_SHARE,
    Budget,
    plan_stages,
    shares_of,
    slowness_of,
)


def cost(stages, slowness=1.0) -> float:
    return sum(REPLAY_S * (s.stop - s.begin) + LIST_S * s.lists for s in stages) * slowness


@pytest.mark.parametrize("events", [100, 5_000, 80_000, 1_000_000, 20_000_000])
@pytest.mark.parametrize("seconds", [5.0, 30.0, 120.0, 3600.0])
@pytest.mark.parametrize("slowness", [1.0, 4.0])
def test_stages_fit_the_time_and_cover_the_newest_clicks(events, seconds, slowness) -> None:
    stages = plan_stages(events, seconds, slowness)
    assert cost(stages, slowness) <= seconds * 1.05 + 1
    assert stages[-1].stop == events
    assert stages[-1].lists > 0
    for stage in stages:
        assert 0 <= stage.begin < stage.start < stage.stop


def test_ample_time_makes_all_stages_of_all_clicks() -> None:
    stages = plan_stages(20_000, 600.0)
    assert [(stage.start, stage.stop) for stage in stages] == [
        (5_000, 9_000), (9_000, 14_000), (14_000, 20_000)
    ]  # fmt: skip
    assert [stage.lists for stage in stages] == [4_000, 5_000, 6_000]


def test_little_time_makes_one_stage_and_very_little_a_shorter_replay() -> None:
    (only,) = plan_stages(80_000, 16.0)
    assert (only.name, only.begin) == ("C", 0)
    (short,) = plan_stages(2_000_000, 25.0)
    assert short.begin > 1_850_000


def test_almost_nothing_makes_no_stage() -> None:
    assert plan_stages(19, 100.0) == []


def test_a_machine_a_little_slower_keeps_the_plan() -> None:
    assert slowness_of(1000 * REPLAY_S * 1.1, 1000, 0) == 1.0
    assert slowness_of(1000 * REPLAY_S * 2.2, 1000, 0) == 2.5


def test_budget_gives_unused_time_to_the_steps_to_come() -> None:
    now = [0.0]
    budget = Budget(100.0, lambda: now[0])
    assert 0 < budget.take("prior") < 10
    now[0] = 50.0
    assert budget.take("models") > 0
    left = 100.0 * (1 - WRITING_SHARE) - 50.0
    assert budget.take("ranker") == pytest.approx(left * 35 / 36)
    assert budget.take("calibration") == pytest.approx(left)  # all there is: nothing comes after it
    budget.forgive(30.0)
    assert budget.left == pytest.approx(100.0 * (1 - WRITING_SHARE) - 20.0)
    now[0] = 1000.0
    assert budget.left == pytest.approx(2.0)


def test_jobs_share_the_processes_time_as_their_costs_are_and_none_takes_more_than_passes() -> None:
    assert shares_of([1.0, 3.0], 100.0, 1) == [25.0, 75.0]
    assert shares_of([1.0, 3.0], 100.0, 2) == [45.0, 100.0]
    assert shares_of([0.0], 100.0, 2) == [0.0]
