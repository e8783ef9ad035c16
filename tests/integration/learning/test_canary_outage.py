"""Drill: the learner is killed while a canary runs and comes back hours later: evidence decides."""

import json
import time
from typing import Any

import numpy as np
import pytest

from streams.releases.canary import assign
from tests.worlds.system import System

pytestmark = pytest.mark.broker

HOUR_MS = 3_600_000
SHARE = 0.4


def traffic(system: System, live: str, rates: dict[str, float], at_ms: int) -> None:
    """Lists by `live` and the canary "b", and clicks that answer them, sent at `at_ms` by the records."""
    rng = np.random.default_rng(0)
    for n in range(3000):
        user = f"u{n % 200}"
        release = "b" if assign(user, SHARE, "b") else live
        click = {"event_id": f"e{n}", "user_id": user, "item_id": f"i{n}", "event": "click", "timestamp": n}
        following = f"i{n + 200}" if rng.random() < rates["b" if release == "b" else "live"] else "other"
        answer = {
            "recommendation_id": f"c-0-{n}", "user_id": user, "release": release, "policy": "p",
            "trigger": {"kind": "click", "id": f"e{n}", "timestamp": n}, "scenario": None, "created_at": n,
            "items": [{"item_id": following, "score": 1, "source": "ann", "reason": {"kind": "popular"}}],
        }  # fmt: skip
        for topic, value in (("clicks", click), ("recommendations", answer)):
            raw = json.dumps(value).encode()
            system.producer.send(system.topic(topic), key=user.encode(), value=raw, timestamp_ms=at_ms + n)
    system.producer.flush()


def decisions(system: System) -> list[tuple[str, str, str]]:
    records: list[Any] = [json.loads(record.value) for record in system.read("releases")]
    return [(each["release"], each["role"], each["decision"]) for each in records[2:]]


def back(system: System, name: str) -> None:
    system.start("learner", "--learn", "none", name=name)
    system.wait_for(
        lambda: "all answers since the canary began are read" in system.said(name), "the watch has caught up"
    )


@pytest.mark.drill
def test_a_learner_that_comes_back_after_hours_decides_by_what_it_reads_and_not_by_the_time(
    system: System,
) -> None:
    system.start("learner", "--learn", "none")
    system.wait_for(lambda: "learner ready" in system.said("learner"), "the learner is ready")
    live = json.loads(system.read("releases")[0].value)["release"]
    began = int(time.time() * 1000) - 5 * HOUR_MS
    canary = {
        "release": "b", "url": "/nowhere", "sha256": "0" * 16, "role": "canary", "decision": "passed",
        "at": began, "evidence": {"share": SHARE, "ratio_low": 1.01},
    }  # fmt: skip
    system.send("releases", "b", canary)
    system.kill("learner")

    back(system, "without evidence")  # five hours later, nobody has come
    time.sleep(3)  # some looks
    assert decisions(system) == []
    system.kill("without evidence")

    traffic(system, live, {"live": 0.5, "b": 0.1}, began + HOUR_MS)  # harm, done while no learner ran
    back(system, "with evidence")
    system.wait_for(lambda: decisions(system), "a decision")
    assert decisions(system) == [("b", "retired", "rolled_back")]
    reason = json.loads(system.read("releases")[-1].value)["reason"]
    assert "hits fewer next clicks" in reason
