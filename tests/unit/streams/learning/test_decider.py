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
    decided = deciding.decide(10 * MINUTE)
    assert roles_of(decided)["b"] in (("live", "promoted"), ("retired", "rolled_back"))
    assert "10 minutes" in decided[0].reason


def test_without_users_the_gates_word_counts_in_the_end() -> None:
    for evidence, role in (({"ratio_low": 1.01}, "live"), ({}, "retired")):
        canary = changed(record("b", "candidate"), "canary", 0, "passed", "", evidence)
        deciding = decider(record("a", "live"), canary)
        assert deciding.decide(39 * MINUTE) == []
        decided = deciding.decide(40 * MINUTE)
        assert decided[0].role == role
        assert "too few users" in decided[0].reason


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
