"""What is strange about rules is said before they are in force, and nothing about rules that are well."""

from typing import Any

import msgspec
import pytest

from learner.data.catalogue import Item
from streams.operate.rules_review import Review
from streams.wire.contract import Rules

ITEMS = [
    Item(item_id=f"i{number}", price=float(number), attributes={"brand": "Own" if number < 3 else "Acme"})
    for number in range(10)
]


def review() -> Review:
    return Review(ITEMS, {"gone"})


def rules(**said: Any) -> Rules:
    return msgspec.convert(said, Rules)


@pytest.mark.parametrize(
    ("said", "warning"),
    [
        ({"filter": {"field": "brnd", "eq": "Own"}}, "filter: no item has the field 'brnd'; 'brand' is near"),
        ({"filter": {"field": "colour", "exists": False}}, "filter: no item has the field 'colour'"),
        ({"caps": [{"field": "tags", "most": 1}]}, "caps[0].field: no item has the field 'tags'"),
        ({"filter": {"field": "price", "gt": 9}}, "filter: it leaves no item, so lists will be empty"),
        (
            {"bury": [{"filter": {"field": "brand", "eq": "own"}, "factor": 0.5}]},
            "bury[0].filter: it takes no item, so the rule does nothing",
        ),
        ({"block": ["i1", "i99"]}, "block: nobody has announced i99"),
        ({"block": ["gone"]}, "block: withdrawn already: gone"),
        ({"pin": [{"item_id": "i99", "position": 1}]}, "pin: nobody has announced i99"),
        (
            {"pin": [{"item_id": "i1", "position": 1}, {"item_id": "i2", "position": 1}]},
            "pin: i2 wants place 1, which an earlier one has",
        ),
        ({"k": 3, "pin": [{"item_id": "i1", "position": 4}]}, "pin: i1 wants place 4 of a list of 3"),
        (
            {"block": ["i1"], "pin": [{"item_id": "i1", "position": 1}]},
            "pin: i1 is blocked, so it is in no list",
        ),
        (
            {"filter": {"field": "price", "gt": 4}, "pin": [{"item_id": "i1", "position": 1}]},
            "pin: i1 does not pass the filter, so it is in no list",
        ),
        (
            {"shown_cap": {"times": 3, "hours": 24}},
            "shown_cap: it counts events `impression` alone, and does nothing where none come",
        ),
    ],
)
def test_each_of_them_is_named(said: dict[str, Any], warning: str) -> None:
    assert warning in review().warnings(rules(**said))


def test_rules_that_are_well_have_no_warning_and_say_what_they_take() -> None:
    well = rules(
        filter={"field": "price", "lt": 8}, boost=[{"filter": {"field": "brand", "eq": "Own"}, "factor": 2}],
        caps=[{"field": "brand", "most": 2}], pin=[{"item_id": "i1", "position": 1}], block=["i5"], k=5,
    )  # fmt: skip
    looked = review()
    assert looked.warnings(well) == []
    assert looked.notes(well) == ["filter leaves 8 of 10 items", "boost[0].filter takes 3 of 10 items"]


def test_without_items_nothing_can_be_said() -> None:
    (said,) = Review([], ()).warnings(rules(filter={"field": "brand", "eq": "Own"}))
    assert "no item is known here" in said


def test_many_unknown_items_are_one_sentence() -> None:
    (said,) = review().warnings(rules(block=[f"x{number}" for number in range(8)]))
    assert said == "block: nobody has announced x0, x1, x2, x3, x4 and 3 more"


def test_items_may_have_fields_of_any_name() -> None:
    items = [*ITEMS, Item(item_id="odd", attributes={'size 3"': 1, "tab\there": 2})]
    said = rules(filter={"field": 'size 3"', "eq": 1}, caps=[{"field": "size 3", "most": 1}])
    assert Review(items, {}).warnings(said) == [
        "caps[0].field: no item has the field 'size 3'; 'size 3\"' is near"
    ]
