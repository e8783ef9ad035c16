"""The gate's verdicts: better passes, worse is refused with the reason, too little evidence waits."""

import math
from statistics import NormalDist

import numpy as np
import pytest

from learner.judging.gate import MIN_ANSWERS, MIN_USERS, Limits, Trial, expanded, judge


def trial(
    live: float = 0.2, candidate: float = 0.2, users: int = 100, each: int = 30, seed: int = 0, **more: object
) -> Trial:
    """Clicks found with the given chances somewhere in the first ten; alike for both where they agree."""
    rng = np.random.default_rng(seed)
    n = users * each
    chance, place = rng.random(n), rng.integers(1, 11, n).astype(float)
    found = Trial(
        user=np.repeat(np.arange(users), each),
        live=np.where(chance < live, place, np.inf),
        candidate=np.where(chance < candidate, place, np.inf),
        live_novelty=np.full(n, 8.0),
        candidate_novelty=np.full(n, 8.0),
        live_listed=500,
        candidate_listed=500,
        live_ms=rng.normal(2, 0.1, 500),
        candidate_ms=rng.normal(2, 0.1, 500),
    )
    for name, value in more.items():
        setattr(found, name, value)
    return found


def test_a_better_candidate_passes_with_its_figures() -> None:
    decision = judge(trial(0.2, 0.25))
    assert decision.outcome == "passed"
    assert decision.evidence["ratio"] > 1.1
    assert 1 < decision.evidence["ratio_low"] < decision.evidence["ratio"]
    assert decision.evidence["ci95"][0] < decision.evidence["ratio"] < decision.evidence["ci95"][1]
    assert "NDCG@10" in decision.reason


def test_the_very_same_release_passes() -> None:
    assert judge(trial(0.2, 0.2)).outcome == "passed"


def test_a_worse_candidate_is_refused() -> None:
    decision = judge(trial(0.2, 0.18))
    assert decision.outcome == "refused"
    assert "as good as the live release" in decision.reason


def test_an_unsure_candidate_is_refused() -> None:
    rng = np.random.default_rng(1)
    unsure = trial(0.2, 0.2)
    unsure.candidate = rng.permutation(unsure.candidate)  # as good on average, on other clicks
    assert judge(unsure).outcome == "refused"
    assert judge(unsure, Limits(margin=0.5)).outcome == "passed"


def test_a_tie_broken_by_one_user_does_not_pass() -> None:
    """One user with a thousand better answers is one user."""
    lucky = trial(0.2, 0.2)
    rng = np.random.default_rng(2)
    lucky.candidate = rng.permutation(lucky.candidate)
    lucky.user = np.concatenate([lucky.user, np.full(1000, 7)])
    lucky.live = np.concatenate([lucky.live, np.full(1000, np.inf)])
    lucky.candidate = np.concatenate([lucky.candidate, np.full(1000, 1.0)])
    lucky.live_novelty = lucky.candidate_novelty = np.full(len(lucky.user), 8.0)
    assert judge(lucky).evidence["ratio"] > 1.5
    assert judge(lucky).outcome == "refused"


def test_an_equal_candidate_passes_by_luck_alone_a_worse_one_never_and_a_better_one_mostly() -> None:
    """Candidates that find other clicks than the live release: its hits say nothing of theirs."""

    def passed(chance: float) -> int:
        outcomes = []
        for seed in range(40):
            judged = trial(0.2, 0.2, seed=seed)
            rng = np.random.default_rng(1000 + seed)
            hits = rng.random(len(judged.user)) < chance
            judged.candidate = np.where(hits, rng.integers(1, 11, len(hits)).astype(float), np.inf)
            outcomes.append(judge(judged).outcome)
        return outcomes.count("passed")

    assert passed(0.2) <= 4  # the lower bound holds in 95 of 100; 4 of 100 passed
    assert passed(0.185) == 0
    assert passed(0.24) >= 34  # 94 of 100


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"largest": np.nan}, "not numbers"),
        ({"largest": 1e9}, "1e+09"),
        ({"missing": 0.1}, "lacks 10.0% of the available items"),
        ({"missing_clicks": 0.08}, "8.0% of the clicks"),
        ({"candidate_ms": np.full(500, 4.0)}, "slower: p99 4.00 ms"),
        ({"candidate_listed": 300}, "300 items"),
        ({"candidate_novelty": np.full(3000, 6.0)}, "4.0 times as popular"),
        ({"trouble": "vectors.safetensors is damaged"}, "vectors.safetensors is damaged"),
    ],
)
def test_guard_rails(change: dict[str, object], says: str) -> None:
    decision = judge(trial(0.2, 0.3, **change))
    assert decision.outcome == "refused"
    assert says in decision.reason


def test_noise_in_the_tail_alone_is_no_slowness() -> None:
    noisy = trial(0.2, 0.3)
    noisy.candidate_ms[:6] = 50.0
    assert judge(noisy).outcome == "passed"


def test_all_reasons_are_told() -> None:
    reason = judge(trial(0.2, 0.1, missing=0.1, candidate_ms=np.full(500, 9.0))).reason
    for part in ("lacks", "slower", "as good as"):
        assert part in reason


def test_few_users_have_a_wider_tail() -> None:
    """By a table of t: with 19 degrees of freedom 1.729 instead of 1.645, with 39 1.685."""
    for users, quantile in ((20, 1.729), (40, 1.685)):
        t = NormalDist().inv_cdf(1 - expanded(0.05, users)) / math.sqrt(users / (users - 1))
        assert t == pytest.approx(quantile, abs=0.001)
    assert expanded(0.05, 100_000) == pytest.approx(0.05, abs=1e-5)
    assert expanded(0.05, 1) == 0.05


def test_too_little_evidence_waits() -> None:
    few = trial(0.2, 0.3, users=MIN_USERS - 1)
    assert judge(few).outcome == "waits"
    short = trial(0.2, 0.3, users=MIN_USERS, each=MIN_ANSWERS // MIN_USERS - 1)
    assert judge(short).outcome == "waits"
    assert judge(Trial()).outcome == "waits"
    assert judge(Trial(largest=np.nan)).outcome == "refused"  # what is plain need not wait


def test_a_live_release_without_a_hit_is_no_special_case() -> None:
    assert judge(trial(0.0, 0.1)).outcome == "passed"
    assert judge(trial(0.0, 0.0)).outcome == "passed"
