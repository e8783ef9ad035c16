"""Records of releases as sentences."""

from typing import Any

import pytest

from streams.up.tidings import sentence
from streams.wire.contract import ReleaseRecord


def record(role: Any, decision: str, reason: str = "", **evidence: float) -> ReleaseRecord:
    return ReleaseRecord(
        release="r-2",
        url="u",
        sha256="s",
        role=role,
        at=1,
        decision=decision,
        reason=reason,
        evidence=evidence,
    )


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (record("candidate", "trained", "60 minutes"), "r-2 is trained; the gate compares it"),
        (record("canary", "passed", "not worse", share=0.1), "passed the gate (not worse); 10% of the users"),
        (record("live", "promoted", "hits as often"), "r-2 is live: hits as often"),
        (record("live", "first", "nothing was live"), "the first release r-2 is live"),
        (record("live", "drifted", "0.2 to 0.1"), "hits less than it did: 0.2 to 0.1"),
        (record("live", "pinned"), "is pinned: nothing replaces it"),
        (record("retired", "refused", "worse"), "r-2 is retired: worse"),
        (record("quarantined", "failed", "nan"), "r-2 is quarantined: nan"),
    ],
)
def test_what_a_record_tells(told: ReleaseRecord, words: str) -> None:
    assert words in sentence(told)


def test_what_follows_from_another_record_is_not_told() -> None:
    assert sentence(record("retired", "replaced", "r-3 is live")) == ""
