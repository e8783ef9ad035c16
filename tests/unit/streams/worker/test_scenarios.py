"""Rules as records: which are taken, what stays in force, and what is said of those that mean nothing."""

import json
from typing import Any

import pytest
from aiokafka import ConsumerRecord
from structlog.testing import capture_logs

from learner.data.catalogue import Item
from streams.hot_path.rules import Steering
from streams.transport.last_good import restoring
from streams.wire.contract import Rules, decode_rules
from streams.wire.steering import fields_of
from streams.worker.scenarios import UNSHOWN_SECONDS, Scenarios
from tests.worlds.rounds import world


class Worker:
    """Reads records of the topic, each at the next offset."""

    def __init__(self) -> None:
        self.world, _ = world()
        self.steering: Steering = self.world.steering
        self.refused: list[tuple[int, str]] = []
        self.now = 0.0
        self.scenarios = Scenarios("scenarios", self.steering, self._refuse, lambda: self.now)
        self.offset = 0

    def _refuse(self, record: ConsumerRecord, error: str) -> None:
        self.refused.append((record.offset, error))

    def read(self, key: bytes | None, value: Any, headers: Any = ()) -> int:
        raw = value if isinstance(value, bytes) or value is None else json.dumps(value).encode()
        at, self.offset = self.offset, self.offset + 1
        self.scenarios.on_record(
            ConsumerRecord("scenarios", 0, at, 0, 0, key, raw, None, 0, len(raw or b""), headers)
        )
        return at

    def of(self, name: str) -> int | None:
        return self.steering.of(name, self.world.policy).offset


def test_rules_come_change_and_go() -> None:
    worker = Worker()
    assert worker.of("cart") is None
    first = worker.read(b"cart", {"scenario": "cart", "k": 6})
    assert worker.of("cart") == first
    second = worker.read(b"cart", {"k": 7})  # the key says whose
    assert worker.of("cart") == second
    assert worker.steering.given["cart"].k == 7
    worker.read(b"cart", None)
    assert worker.of("cart") is None
    assert worker.refused == []
    assert len(worker.scenarios.last_good) == 0


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        (None, {"k": 6}, "the key is the scenario's name"),
        (b"", None, "the key is the scenario's name"),
        (b"\xff", {"k": 6}, "the key is the scenario's name"),
        (b"x" * 257, {"k": 6}, "the key is the scenario's name"),
        (b"cart", {"scenario": "card"}, "scenario is 'card', and the record's key 'cart'"),
        (b"cart", b"{", "truncated"),
        (b"cart", {"k": "six"}, "$.k"),
        (b"cart", {"colour": "red"}, "colour"),
        (b"cart", {"filter": {"field": "price", "below": 5}}, "filter: unknown operator"),
        (b"cart", {"boost": [{"filter": {"any": 1}, "factor": 2}]}, "boost[0].filter.any"),
        (b"cart", {"note": "x" * 900_000}, "at most 900000 are taken"),
    ],
)  # fmt: skip
def test_a_broken_record_leaves_the_last_good_in_force_which_is_to_be_written_again(
    key: bytes | None, value: Any, says: str
) -> None:
    worker = Worker()
    good = worker.read(b"cart", {"scenario": "cart", "k": 6, "note": "spring"})
    bad = worker.read(key, value)
    ((at, error),) = worker.refused
    assert at == bad
    assert says in error
    assert worker.of("cart") == good
    if key == b"cart":
        (due,) = worker.scenarios.last_good.due()
        value = worker.scenarios.last_good.value(due)
        assert value is not None
        assert decode_rules(value) == Rules(scenario="cart", k=6, note="spring")
        again = worker.read(b"cart", value, restoring(due))
        assert worker.of("cart") == again
        assert len(worker.scenarios.last_good) == 0
        assert len(worker.refused) == 1
    else:
        assert len(worker.scenarios.last_good) == 0


def test_rules_of_an_operator_are_not_overtaken_by_old_ones_that_are_written_again() -> None:
    worker = Worker()
    worker.read(b"cart", {"k": 6})
    worker.read(b"cart", b"{")
    (due,) = worker.scenarios.last_good.due()
    old = worker.scenarios.last_good.value(due)
    new = worker.read(b"cart", {"k": 9})
    worker.read(b"cart", old, restoring(due))
    assert worker.of("cart") == new
    assert len(worker.refused) == 1  # it is no bad record
    (again,) = worker.scenarios.last_good.due()
    assert worker.scenarios.last_good.value(again) == b'{"k":9}'


def test_rules_that_were_taken_away_do_not_come_back_so() -> None:
    worker = Worker()
    worker.read(b"cart", {"k": 6})
    worker.read(b"cart", b"{")
    (due,) = worker.scenarios.last_good.due()
    old = worker.scenarios.last_good.value(due)
    worker.read(b"cart", None)
    worker.read(b"cart", old, restoring(due))
    assert worker.of("cart") is None
    (again,) = worker.scenarios.last_good.due()
    assert worker.scenarios.last_good.value(again) is None


def test_rules_that_came_meanwhile_are_not_taken_away() -> None:
    worker = Worker()
    worker.read(b"cart", {"k": 6})
    worker.read(b"cart", None)
    worker.read(b"cart", b"{")
    (due,) = worker.scenarios.last_good.due()
    assert worker.scenarios.last_good.value(due) is None  # that it has no rules is the last good word
    new = worker.read(b"cart", {"k": 9})
    worker.read(b"cart", None, restoring(due))
    assert worker.of("cart") == new
    (again,) = worker.scenarios.last_good.due()
    assert worker.scenarios.last_good.value(again) == b'{"k":9}'


def test_a_scenario_that_nobody_has_defined_is_told_of_once() -> None:
    worker = Worker()
    worker.read(b"cart", {"k": 6})
    with capture_logs() as lines:
        for _ in range(3):
            worker.steering.of("crat", worker.world.policy)
            worker.scenarios.watch()
    said = [line for line in lines if "nobody has defined" in line["event"]]
    assert [line["scenario"] for line in said] == ["crat"]
    assert worker.scenarios.unheard == 3
    worker.read(b"crat", {"k": 6})
    assert worker.scenarios.unheard == 0


def test_a_scenario_that_is_defined_and_dropped_again_is_told_of_again() -> None:
    worker = Worker()
    worker.read(b"cart", {"k": 6})
    for _ in range(2):
        worker.steering.of("crat", worker.world.policy)
        worker.scenarios.watch()
        worker.read(b"crat", {"k": 6})
        worker.read(b"crat", None)
    with capture_logs() as lines:
        worker.now += 60
        worker.scenarios.watch()
    (line,) = lines
    assert "nobody has defined" in line["event"]
    assert (line["mostly"], line["more"], line["so_far"]) == ("crat", 1, 2)


def test_a_rule_that_has_no_impressions_to_count_is_told_of_once() -> None:
    worker = Worker()
    worker.read(b"home", {"k": 6})

    def watch(after_s: float, lists: int, impressions: int = 0) -> list[str]:
        worker.now += after_s
        with capture_logs() as lines:
            worker.scenarios.watch(lists, impressions)
        return [line["scenario"] for line in lines if "shown_cap" in line["event"]]

    assert watch(UNSHOWN_SECONDS, 9) == []
    worker.read(b"cart", {"shown_cap": {"times": 3, "hours": 24}})
    assert watch(0, 9) == []
    assert watch(UNSHOWN_SECONDS, 9) == []  # nobody has asked for a list
    assert worker.scenarios.idle_shown_caps == []
    assert watch(0, 10) == ["cart"]
    assert watch(9, 11) == []
    assert worker.scenarios.idle_shown_caps == ["cart"]
    assert watch(9, 12, 1) == []
    assert worker.scenarios.idle_shown_caps == []
    other = Worker()
    other.read(b"cart", {"shown_cap": {"times": 3, "hours": 24}})
    worker = other
    assert watch(0, 0) == []
    assert watch(UNSHOWN_SECONDS - 1, 5) == []
    worker.read(b"cart", {"k": 6})
    assert watch(2, 6) == []
    assert worker.scenarios.idle_shown_caps == []


def test_a_field_that_no_item_has_is_told_of_with_its_place() -> None:
    worker = Worker()
    worker.world.catalogue.announce(Item(item_id="tea", price=5, attributes={"brand": "Acme"}))
    worker.read(
        b"cart",
        {"filter": {"all": [{"field": "price", "lt": 9}, {"field": "colour", "eq": "red"}]},
         "caps": [{"field": "brand", "most": 1}, {"field": "band", "most": 1}]},
    )  # fmt: skip
    with capture_logs() as lines:
        worker.scenarios.watch()
        worker.scenarios.watch()
    said = {line["field"]: line["place"] for line in lines if "no item has" in line["event"]}
    assert said == {"colour": "filter", "band": "caps[1].field"}
    assert worker.scenarios.unknown_fields == [("cart", "colour"), ("cart", "band")]
    worker.world.catalogue.announce(Item(item_id="red tea", attributes={"colour": "red"}))
    worker.scenarios.watch()
    assert worker.scenarios.unknown_fields == [("cart", "band")]
    worker.read(b"cart", None)
    worker.scenarios.watch()
    assert worker.scenarios.unknown_fields == []


def test_the_fields_that_rules_read_are_those_of_all_their_parts() -> None:
    tilt = {"filter": {"field": "tags", "eq": "x"}, "factor": 2}
    rules = decode_rules(
        json.dumps({
            "filter": {"not": {"field": "price", "gt": 3}}, "boost": [tilt],
            "caps": [{"field": "tags", "most": 1}],
            "bury": [{"filter": {"field": "brand", "exists": True}, "factor": 0.5}],
        }).encode()
    )  # fmt: skip
    assert fields_of(rules) == {"price": "filter", "tags": "boost[0].filter", "brand": "bury[0].filter"}
