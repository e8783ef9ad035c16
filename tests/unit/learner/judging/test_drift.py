"""The drift detector: falls are found, rises and bursts are not alarms."""

import numpy as np
import pytest

pytest.importorskip("river")

from learner.judging.drift import HitRateDrift


def alarms(drift: HitRateDrift, rate: float, answers: int, seed: int = 0) -> list[int]:
    rng = np.random.default_rng(seed)
    return [n for n in range(answers) if drift.observe(f"u{n}", bool(rng.random() < rate)) is not None]


def test_a_steady_rate_is_no_alarm() -> None:
    assert sum(len(alarms(HitRateDrift(), 0.2, 10_000, seed)) for seed in range(3)) <= 1


def test_users_in_bursts_are_no_alarm() -> None:
    drift, rng, found = HitRateDrift(), np.random.default_rng(3), 0
    for user in range(1500):
        taste = rng.beta(1, 4)
        found += sum(drift.observe(f"u{user}", bool(rng.random() < taste)) is not None for _ in range(20))
    assert found <= 1


def test_a_fall_is_found_with_both_rates() -> None:
    drift = HitRateDrift()
    assert alarms(drift, 0.25, 5000) == []
    rng = np.random.default_rng(1)
    found = (drift.observe(f"v{n}", bool(rng.random() < 0.1)) for n in range(1500))
    alarm = next(filter(None, found))
    assert abs(alarm.before - 0.25) < 0.03
    assert alarm.after < 0.2
    assert "fell from 0.2" in str(alarm)


def test_a_rise_is_no_alarm() -> None:
    drift = HitRateDrift()
    alarms(drift, 0.1, 5000)
    assert alarms(drift, 0.3, 5000) == []
    assert drift.rate > 0.25


def test_after_a_reset_nothing_is_remembered() -> None:
    drift = HitRateDrift()
    alarms(drift, 0.3, 5000)
    drift.reset()
    assert alarms(drift, 0.1, 5000) == []
