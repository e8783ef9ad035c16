"""Scenarios as an operator sees them: what is in force, and what a change changes."""

import json
from types import SimpleNamespace
from typing import Any

import pytest

from streams.operate import scenarios
from streams.operate.scenarios import NotFit, ScenarioUnknown, changes, put, standing, standing_of
from streams.settings import Settings
from streams.transport.last_good import Due, restoring
from streams.wire.contract import Rules, encode
from streams.wire.steering import Pin

SETTINGS = Settings(prefix="p.")


def topic(monkeypatch: pytest.MonkeyPatch, *records: tuple[str, Any, Any]) -> None:
    """What stands in the topic: key, value and headers."""
    made = [
        SimpleNamespace(
            key=key.encode(), partition=0, offset=offset, timestamp=1000 + offset, headers=headers,
            value=value if isinstance(value, bytes) or value is None else json.dumps(value).encode(),
        )
        for offset, (key, value, headers) in enumerate(records)
    ]  # fmt: skip
    monkeypatch.setattr(scenarios, "read_to_end", lambda *_: iter(made))


def test_the_last_good_rules_of_a_name_are_in_force(monkeypatch: pytest.MonkeyPatch) -> None:
    topic(
        monkeypatch,
        ("home", {"k": 5}, ()), ("cart", {"k": 6}, ()), ("cart", {"k": 7}, ()), ("home", None, ()),
        ("cart", {"k": "many"}, ()), ("new", b"{", ()), ("cart", {"scenario": "card"}, ()),
    )  # fmt: skip
    found = standing(SETTINGS)
    assert list(found) == ["cart", "new"]
    assert found["cart"].rules == Rules(k=7)
    assert (found["cart"].offset, found["cart"].at_ms) == (2, 1002)
    assert "'card'" in found["cart"].broken
    assert found["new"].rules is None
    assert found["cart"].shown()["rules"] == {"scenario": "cart", "k": 7}


def test_what_came_meanwhile_wins_here_as_it_does_in_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    again = restoring(Due(b"cart", 0, 1))
    topic(monkeypatch, ("cart", {"k": 6}, ()), ("cart", b"{", ()), ("cart", {"k": 6}, again))
    assert (found := standing_of(SETTINGS, "cart")).rules == Rules(k=6)
    assert (found.offset, found.broken) == (2, "")
    topic(
        monkeypatch,
        ("cart", {"k": 6}, ()), ("cart", b"{", ()), ("cart", {"k": 9}, ()), ("cart", {"k": 6}, again),
    )  # fmt: skip
    assert standing_of(SETTINGS, "cart").rules == Rules(k=9)
    gone = restoring(Due(b"cart", 0, 1))
    topic(monkeypatch, ("cart", None, ()), ("cart", b"{", ()), ("cart", {"k": 9}, ()), ("cart", None, gone))
    assert standing_of(SETTINGS, "cart").rules == Rules(k=9)


def test_a_scenario_that_nobody_has_defined_is_said_with_those_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    topic(monkeypatch, ("home", {"k": 5}, ()))
    with pytest.raises(ScenarioUnknown, match=r"'cart' \(there are home\); `nextclick scenarios put cart`"):
        standing_of(SETTINGS, "cart")


def test_rules_that_workers_would_refuse_are_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenarios, "_send", lambda *_: pytest.fail("it was sent"))
    with pytest.raises(NotFit, match=r"nothing was sent: .*at most 900000 are taken"):
        put(SETTINGS, "cart", Rules(block=["x" * 200 + str(number) for number in range(9000)]))
    with pytest.raises(NotFit, match="nothing was sent"):
        put(SETTINGS, "é" * 200, Rules(k=6))


def test_a_change_is_told_rule_by_rule() -> None:
    before = Rules(
        k=5, note="a", filter={"field": "price", "lt": 9}, block=["i1", "i2"], fill=["popular", "new"]
    )
    after = Rules(
        scenario="cart", k=6, note="a", diversity=0.5, block=["i2", "i3"], fill=["new", "popular"],
        pin=[Pin("i7", 1)],
    )  # fmt: skip
    assert changes(before, after) == [
        "k: 5 became 6",
        'filter: {"field": "price", "lt": 9} taken away',
        "diversity: 0.5",
        'pin: {"item_id": "i7", "position": 1} added',
        "block: i3 added",
        "block: i1 taken away",
        "fill: in another order",
    ]
    assert changes(after, after) == []
    many = Rules(block=[f"i{number}" for number in range(9)])
    assert changes(None, many) == ["block: i0, i1, i2, i3, i4 and 4 more added"]
    assert encode(many)
