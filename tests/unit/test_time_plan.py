"""The plan of what training can afford."""

import pytest

from learner.time_plan import LIST_S, REPLAY_S, Budget, plan_stages, slowness_of


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


def test_ample_time_makes_two_stages_of_all_clicks() -> None:
    first, second = plan_stages(20_000, 600.0)
    assert (first.start, first.stop, first.lists) == (7_000, 12_000, 5_000)
    assert (second.start, second.stop, second.lists) == (12_000, 20_000, 8_000)


def test_little_time_makes_one_stage_and_very_little_a_shorter_replay() -> None:
    (only,) = plan_stages(80_000, 45.0)
    assert (only.name, only.begin) == ("B", 0)
    (short,) = plan_stages(2_000_000, 45.0)
    assert short.begin > 1_900_000


def test_almost_nothing_makes_no_stage() -> None:
    assert plan_stages(19, 100.0) == []


def test_a_machine_a_little_slower_keeps_the_plan() -> None:
    assert slowness_of(1000 * REPLAY_S * 1.1, 1000, 0) == 1.0
    assert slowness_of(1000 * REPLAY_S * 2.2, 1000, 0) == 2.5


def test_budget_gives_unused_time_to_the_steps_to_come() -> None:
    now = [0.0]
    budget = Budget(100.0, lambda: now[0])
    first = budget.take("prior")
    assert 0 < first < 10
    budget.skip("student A")
    now[0] = 50.0
    for step in ("student B", "lists", "student"):
        assert budget.take(step) > 0
    assert budget.take("ranker") == pytest.approx(50.0)
    now[0] = 1000.0
    assert budget.left == pytest.approx(2.0)
