"""The reading side: what it asks anew with each stretch of records."""

import json
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("river")

from streams.learning.canary_watch import CanaryWatch
from streams.releases.roles import Roles
from streams.settings import load_settings


async def nowhere(_: object) -> None:
    raise AssertionError("nothing is decided here")


def lives(watch: CanaryWatch, user: str) -> list[Any]:
    """Records of a user who clicks the same item twice, the list in between holding it."""
    clicks, lists = watch.topics
    click = {"user_id": user, "item_id": "a", "event": "click", "timestamp": 1}
    answer = {
        "recommendation_id": "c-0-0", "user_id": user, "release": "r", "items": [{"item_id": "a"}],
        "trigger": {"kind": "click", "id": f"{user}-1"},
    }  # fmt: skip
    values = [(clicks, click | {"event_id": f"{user}-1"}), (lists, answer)]
    values.append((clicks, click | {"event_id": f"{user}-2"}))
    return [SimpleNamespace(topic=topic, value=json.dumps(value).encode()) for topic, value in values]


def test_a_release_that_comes_later_says_whether_the_data_repeats() -> None:
    repeating = False
    watch = CanaryWatch(load_settings(), {}, Roles(), nowhere, repeats=lambda: repeating)
    watch.take(lives(watch, "u1"))
    assert watch.decider.answers == 0
    repeating = True
    watch.take(lives(watch, "u2"))
    assert watch.decider.answers == 1
