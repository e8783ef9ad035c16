"""The canary's test: its variance against a slow one, its error under constant peeking, its verdicts."""

import math

import numpy as np
import pytest

from learner.judging import sequential
from learner.judging.sequential import MIN_CLICKS, MIN_USERS, CanaryTest, Rate, difference


def test_the_variance_is_that_over_users() -> None:
    rng = np.random.default_rng(0)
    users, hits = rng.integers(30, size=500), rng.random(500) < 0.3
    rate = Rate()
    for user, hit in zip(users.tolist(), hits.tolist(), strict=True):
        rate.observe(str(user), hit)
    h = np.bincount(users, hits, 30)
    n = np.bincount(users, minlength=30)
    mean = hits.mean()
    assert rate.mean == pytest.approx(mean)
    assert rate.variance == pytest.approx(30 / 29 * ((h - mean * n) ** 2).sum() / 500**2)


def test_users_beyond_the_bound_are_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequential, "MOST_USERS", 10)
    rate = Rate()
    for n in range(100):
        rate.observe(f"u{n % 20}", True)
    assert (rate.users, rate.clicks, rate.mean) == (10, 50, 1.0)


def test_nothing_is_known_at_first() -> None:
    empty = difference(Rate(), Rate(), 0.05)
    assert (empty.low, empty.high) == (-math.inf, math.inf)
    assert CanaryTest().decide(1e12) is None


def test_no_hits_at_all_is_not_certainty() -> None:
    one, other = Rate(), Rate()
    for n in range(MIN_CLICKS):
        one.observe(f"a{n % MIN_USERS}", False)
        other.observe(f"b{n % MIN_USERS}", False)
    found = difference(one, other, 0.05)
    assert found.low < -0.01
    assert found.high > 0.01


def play(test: CanaryTest, seed: int, canary: float, live: float = 0.2, users: int = 200, clicks: int = 8000):
    """Users with tastes of their own (beta with the given mean), in bursts; judged all along."""
    rng = np.random.default_rng(seed)
    arms = ["canary" if rng.random() < 0.3 else "live" for _ in range(users)]
    means = {"canary": canary, "live": live}
    taste = [rng.beta(4 * means[arm], 4 * (1 - means[arm])) for arm in arms]
    for n in range(clicks):
        if n % 8 == 0:
            user = int(rng.integers(users))
        hit = bool(rng.random() < taste[user])
        test.observe(str(user), arms[user], hit, hit and bool(rng.random() < 0.5))
        verdict = test.decide(0.0) if n % 20 == 0 else None
        if verdict is not None:
            return verdict, n
    return None, clicks


def test_peeking_finds_harm_in_an_equal_canary_no_more_often_than_promised() -> None:
    runs = 100
    wrong = 0
    for seed in range(runs):
        verdict, _ = play(CanaryTest(margin=-1.0, patience_ms=math.inf), seed, 0.2)  # never promoted
        wrong += verdict is not None
    assert wrong <= 0.05 * runs + 2 * math.sqrt(0.05 * 0.95 * runs)


def test_a_bad_canary_is_found_soon() -> None:
    taken = []
    for seed in range(10):
        verdict, clicks = play(CanaryTest(), seed, 0.05)
        assert verdict is not None
        assert not verdict.promote
        assert "fewer" in verdict.reason
        taken.append(clicks)
    assert np.median(taken) < 4000


def test_a_better_canary_is_promoted() -> None:
    verdict, _ = play(CanaryTest(), 1, 0.35)
    assert verdict is not None
    assert verdict.promote
    assert verdict.evidence["hit_rate_canary"] > verdict.evidence["hit_rate_live"]


def test_patience_ends_with_the_estimate() -> None:
    for canary, promoted in ((0.21, True), (0.15, False)):
        test = CanaryTest(patience_ms=1000)
        for n in range(2 * MIN_CLICKS):
            for arm, rate in (("canary", canary), ("live", 0.2)):
                test.observe(f"{arm}{n % 40}", arm, (n * 7919) % 100 < 100 * rate, False)
        assert test.decide(999) is None
        verdict = test.decide(1000)
        assert verdict is not None
        assert verdict.promote == promoted
        assert "by the estimate, after 0 watched minutes" in verdict.reason


def test_too_few_users_decide_nothing() -> None:
    test = CanaryTest()
    for n in range(1000):
        test.observe(f"l{n % 50}", "live", True, False)
        test.observe(f"c{n % (MIN_USERS - 1)}", "canary", False, False)
    assert test.decide(1e12) is None
