"""From answers to decisions: promotion, the way back, drift; what restarts and pins do."""

import numpy as np
import pytest

pytest.importorskip("river")

from learner.judging.drift import HitRateDrift
from streams.learning.answers import Answer
from streams.learning.decider import Decider
from streams.releases.canary import assign
from streams.releases.roles import Roles, changed
from streams.settings import load_settings
from streams.wire.contract import ReleaseRecord

MINUTE = 60_000
HOUR = 60 * MINUTE


def record(release: str, role: str, decision: str = "", at: int = 0) -> ReleaseRecord:
    return ReleaseRecord(release=release, url="", sha256="", role=role, at=at, decision=decision)  # type: ignore[arg-type]


def decider(*records: ReleaseRecord, drift: HitRateDrift | None = None) -> Decider:
    return Decider(load_settings(canary_minutes=10, canary_share=0.3), Roles(records), drift)


def play(
    deciding: Decider, rates: dict[str, float], answers: int = 20_000, seed: int = 0, now_ms: int = 1
) -> tuple[list[ReleaseRecord], int]:
    rng = np.random.default_rng(seed)
    for n in range(answers):
        user = f"u{rng.integers(300)}"
        release = "b" if "b" in rates and assign(user, 0.3, "b") else "a"
        deciding.observe(Answer(user, release, bool(rng.random() < rates[release]), False))
        if n % 50 == 0 and (decided := deciding.decide(now_ms)):
            return decided, n
    return [], answers


def roles_of(records: list[ReleaseRecord]) -> dict[str, tuple[str, str]]:
    return {each.release: (each.role, each.decision) for each in records}


def test_a_worse_canary_goes_back_within_minutes_of_traffic() -> None:
    deciding = decider(record("a", "live"), record("b", "canary"))
    decided, answers = play(deciding, {"a": 0.2, "b": 0.08})
    assert roles_of(decided) == {"b": ("retired", "rolled_back")}
    assert "fewer next clicks" in decided[0].reason
    assert decided[0].evidence["hit_rate_canary"] < decided[0].evidence["hit_rate_live"]
    assert answers < 5000


def test_a_better_canary_is_promoted() -> None:
    deciding = decider(record("a", "live"), record("b", "canary"))
    decided, _ = play(deciding, {"a": 0.2, "b": 0.3})
    assert roles_of(decided) == {"b": ("live", "promoted"), "a": ("retired", "replaced")}
    assert decided[0].release == "b"  # first: some release is live at every moment


def test_patience_has_an_end() -> None:
    deciding = decider(record("a", "live"), record("b", "canary"))
    assert play(deciding, {"a": 0.2, "b": 0.2}, 3000)[0] == []
    deciding.watched(9 * MINUTE)
    assert deciding.decide(1) == []
    deciding.watched(MINUTE)
    decided = deciding.decide(1)
    assert roles_of(decided)["b"] in (("live", "promoted"), ("retired", "rolled_back"))
    assert "10 watched minutes" in decided[0].reason
    assert "by the estimate" in decided[0].reason


def passed(evidence: dict[str, float]) -> ReleaseRecord:
    return changed(record("b", "candidate"), "canary", 0, "passed", "", evidence)


PASSED = {"ratio_low": 1.01}


def test_hours_in_which_nobody_watched_decide_nothing() -> None:
    deciding = decider(record("a", "live"), passed(PASSED))
    assert deciding.decide(10 * HOUR) == []
    play(deciding, {"a": 0.2, "b": 0.2}, 3000, now_ms=11 * HOUR)
    assert deciding.decide(12 * HOUR) == []
    assert deciding.figures()["clicks_canary"] > 200


def test_without_users_the_gates_word_counts_in_the_end() -> None:
    for evidence, role in ((PASSED, "live"), ({}, "retired")):
        deciding = decider(record("a", "live"), passed(evidence))
        deciding.watched(39 * MINUTE)
        assert deciding.decide(1) == []
        deciding.watched(MINUTE)
        decided = deciding.decide(1)
        assert decided[0].role == role
        assert "too few users in 40 watched minutes" in decided[0].reason


def test_few_users_who_fare_visibly_worse_end_a_canary_that_the_gate_has_passed() -> None:
    for hits, role in ((0.0, "retired"), (0.3, "live")):
        deciding = decider(record("a", "live"), passed(PASSED))
        rng = np.random.default_rng(0)
        for n in range(300):
            deciding.observe(Answer(f"a{n % 50}", "a", bool(rng.random() < 0.3), False))
            deciding.observe(Answer(f"b{n % 5}", "b", bool(rng.random() < hits), False))
        deciding.watched(40 * MINUTE)
        assert deciding.decide(1)[0].role == role


def test_a_canary_whose_lists_do_not_come_does_not_go_live() -> None:
    """Its users click, and what answers them is another release, or nothing: it was never tried."""
    deciding = decider(record("a", "live"), passed(PASSED))
    for n in range(300):
        deciding.expect(f"u{n}")
    deciding.watched(40 * MINUTE)
    decided = deciding.decide(1)
    assert roles_of(decided) == {"b": ("retired", "rolled_back")}
    assert "no list of it to answer" in decided[0].reason


def test_with_another_live_release_the_canary_is_tested_anew() -> None:
    """The live one failed and the one before is live again: what it was compared with is gone."""
    deciding = decider(record("a", "live"), passed(PASSED))
    play(deciding, {"a": 0.2, "b": 0.2}, 1500)
    deciding.watched(9 * MINUTE)
    deciding.roles.apply(record("old", "live"))
    deciding.roles.apply(record("a", "quarantined", "failed"))
    deciding.watched(2 * MINUTE)
    assert deciding.decide(1) == []
    assert deciding.figures()["clicks_live"] == deciding.figures()["clicks_canary"] == 0


def test_another_canary_is_watched_anew() -> None:
    deciding = decider(record("a", "live"), passed(PASSED))
    deciding.watched(39 * MINUTE)
    deciding.roles.apply(record("b", "retired", "rolled_back"))
    deciding.roles.apply(changed(record("c", "candidate"), "canary", 5, "passed", "", PASSED))
    deciding.watched(39 * MINUTE)
    assert deciding.decide(10 * HOUR) == []


def test_it_decides_once() -> None:
    deciding = decider(record("a", "live"), record("b", "canary"))
    assert play(deciding, {"a": 0.2, "b": 0.05})[0]
    assert play(deciding, {"a": 0.2, "b": 0.05}, 2000)[0] == []  # the record has not come back yet


def test_another_canary_is_another_test() -> None:
    deciding = decider(record("a", "live"), record("b", "canary"))
    play(deciding, {"a": 0.2, "b": 0.2}, 1500)
    deciding.roles.apply(record("b", "retired", "rolled_back"))
    deciding.roles.apply(record("c", "canary"))
    deciding.decide(1)
    assert deciding.figures()["clicks_canary"] == 0


def test_a_pinned_release_is_not_replaced_but_a_bad_canary_ends() -> None:
    deciding = decider(record("a", "live", "pinned"), record("b", "canary"))
    assert play(deciding, {"a": 0.2, "b": 0.4}, 5000)[0] == []
    deciding = decider(record("a", "live", "pinned"), record("b", "canary"))
    assert roles_of(play(deciding, {"a": 0.2, "b": 0.05})[0]) == {"b": ("retired", "rolled_back")}


def test_drift_of_the_live_release_is_a_record() -> None:
    deciding = decider(record("a", "live"), drift=HitRateDrift())
    assert play(deciding, {"a": 0.3}, 5000)[0] == []
    decided, _ = play(deciding, {"a": 0.1}, 5000, now_ms=77)
    assert [(each.release, each.role, each.decision, each.at) for each in decided] == [
        ("a", "live", "drifted", 77)
    ]
    assert "fell from" in decided[0].reason
    deciding.roles.apply(decided[0])
    assert deciding.figures()["hit_rate"] < 0.2


def test_an_alarm_about_the_release_before_says_nothing_of_the_new_one() -> None:
    deciding = decider(record("a", "live"), drift=HitRateDrift())
    play(deciding, {"a": 0.3}, 5000)
    rng = np.random.default_rng(0)
    while deciding._alarmed is None:  # nobody has asked for decisions meanwhile
        deciding.observe(Answer(f"u{rng.integers(300)}", "a", False, False))
    deciding.roles.apply(record("b", "live", "promoted"))
    deciding.roles.apply(changed(deciding.roles.of("a"), "retired", 2, "replaced", ""))
    assert deciding.decide(3) == []


def test_another_live_release_is_measured_anew_and_a_pin_stays() -> None:
    deciding = decider(record("a", "live"), drift=HitRateDrift())
    play(deciding, {"a": 0.3}, 5000)
    deciding.roles.apply(changed(deciding.roles.of("a"), "retired", 2, "replaced", ""))
    deciding.roles.apply(record("b", "live", "pinned"))
    rng = np.random.default_rng(0)
    for rate in (0.1, 0.02):
        for _ in range(5000):
            deciding.observe(Answer("u", "b", bool(rng.random() < rate), False))
            assert deciding.decide(3) == []
