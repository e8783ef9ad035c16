"""What a filter may say, what it may not, and where its faults are."""

import re
from typing import Any

import msgspec
import pytest

from learner.filters.language import FilterError, Truth, both, milliseconds, parse
from learner.filters.short_form import read
from tests.worlds.places import ROOT

ALL = "eq, ne, in, nin, lt, lte, gt, gte, exists"
ONES = {"field": "x", "in": [1] * 999}
ONE = {"field": "x", "nin": [2]}
NO_ORDER = "holds texts, which have no order; use eq, ne, in or nin"
DATE = "expected Unix ms or a date in ISO 8601"


def eq(value: Any, name: str = "brand") -> dict[str, Any]:
    return {"field": name, "eq": value}


def nested(levels: int) -> dict[str, Any]:
    form = eq(1)
    for _ in range(levels):
        form = {"not": form}
    return form


@pytest.mark.parametrize(
    ("form", "said"),
    [
        (None, "filter: expected an object, got null"),
        ("price<2", 'filter: expected an object, got "price<2"'),
        ([], "filter: expected an object, got []"),
        ({}, "filter: expected one of all, any, not or field, got nothing"),
        ({"and": []}, 'filter: expected one of all, any, not or field, got "and"'),
        ({"all": [], "any": []}, 'filter: "any" cannot stand beside all'),
        ({"not": {}, "price": 3}, 'filter: "price" cannot stand beside not'),
        ({"all": {}}, "filter.all: expected a list, got {}"),
        ({"any": [eq(1), 3]}, "filter.any[1]: expected an object, got 3"),
        ({"not": [eq(1)]}, 'filter.not: expected an object, got [{"field":"brand","eq":1}]'),
        ({"field": 3, "eq": 1}, "filter.field: expected the name of a field, got 3"),
        ({"field": "", "eq": 1}, 'filter.field: expected the name of a field, got ""'),
        (
            {"not": {"field": "ä" * 129, "eq": 1}},
            f'filter.not.field: longer than 256 bytes: "{"ä" * 58}…',
        ),
        ({"field": "\ud800", "eq": 1}, "filter: holds characters that are no Unicode"),
        ({"field": "price"}, f"filter: expected an operator beside field: {ALL}"),
        ({"field": "price", "less": 1}, f'filter: unknown operator "less"; there are {ALL}'),
        ({"all": [eq(1), {"field": "price", "lt": "x"}]}, 'filter.all[1].lt: expected a number, got "x"'),
        ({"field": "price", "gte": True}, "filter.gte: expected a number, got true"),
        ({"field": "price", "gt": None}, "filter.gt: expected a number, got null"),
        ({"field": "brand", "lte": [3]}, "filter.lte: expected a number, got [3]"),
        ({"field": "tags", "lt": 3}, f"filter.lt: tags {NO_ORDER}"),
        (eq(None), "filter.eq: expected a text, a number, true or false, got null"),
        (eq(["a"]), 'filter.eq: expected a text, a number, true or false, got ["a"]'),
        ({"field": "brand", "in": "a"}, 'filter.in: expected a list, got "a"'),
        ({"field": "x", "nin": ["a", {}]}, "filter.nin[1]: expected a text, a number, true or false, got {}"),
        ({"field": "brand", "exists": 1}, "filter.exists: expected true or false, got 1"),
        ({"field": "published_at", "lt": "soon"}, f'filter.lt: {DATE}, got "soon"'),
        ({"field": "published_at", "in": ["2024-13-01"]}, f'filter.in[0]: {DATE}, got "2024-13-01"'),
        (eq(float("nan")), "filter.eq: nan is no number that can be compared"),
        (eq("\ud800"), "filter: holds characters that are no Unicode"),
        (eq(["b" * 99]), f'filter.eq: expected a text, a number, true or false, got ["{"b" * 57}…'),
    ],
)  # fmt: skip
def test_faults_are_told_with_their_place(form: Any, said: str) -> None:
    with pytest.raises(FilterError) as caught:
        parse(form)
    assert str(caught.value) == said
    with pytest.raises(FilterError, match=r"^rules\.bury\[2\]\.filter"):
        parse(form, "rules.bury[2].filter")


def test_numbers_beyond_all_bounds_are_faults() -> None:
    with pytest.raises(FilterError, match="is no number that can be compared"):
        parse(eq(10**400))


@pytest.mark.parametrize(
    ("form", "beyond"),
    [
        ({"all": [eq(n) for n in range(64)]}, {"all": [eq(n) for n in range(65)]}),
        ({"any": [{"all": []} for _ in range(64)]}, {"any": [{"all": []} for _ in range(65)]}),
        ({"any": [{"field": "x", "gt": 1, "lt": 2}] * 64}, {"any": [{"field": "x", "gt": 1, "lt": 2}] * 65}),
        ({"field": "x", "in": list(range(1000))}, {"field": "x", "in": list(range(1001))}),
        ({"all": [ONES, ONE, eq(2)]}, {"all": [ONES, ONE, ONE]}),
        (nested(8), nested(9)),  # around a leaf
    ],
)  # fmt: skip
def test_limits(form: Any, beyond: Any) -> None:
    assert parse(form).fields is not None
    with pytest.raises(FilterError, match=r"^here.*more than (64|1000|8) "):
        parse(beyond, "here")


def test_limits_are_for_users_filters_alone() -> None:
    many = parse({"all": [eq(n) for n in range(64)]})
    more = parse({"any": [eq(n, "size") for n in range(64)]})
    joined = both(many, more)
    assert joined is not None
    assert joined.json() == {"all": [many.json(), more.json()]}
    assert joined.fields == ("brand", "size")
    assert both(None, None) is None
    assert both(many, many) is many


def test_equal_filters_are_one_key_and_true_is_not_one() -> None:
    assert parse(eq(1)) == parse(eq(1.0))
    assert hash(parse(eq(1))) == hash(parse(eq(1.0)))
    assert len({parse(eq(value)) for value in (1, True, "1", "true", 0, False, -0.0)}) == 6
    assert parse(eq(True)).root.tests[0].values == (Truth.YES,)  # type: ignore[union-attr]


def test_the_fields_are_named_once_as_given() -> None:
    form = {"any": [eq(1), {"not": eq(2, "attributes.title")}, eq(3), {"all": [eq(4, "price")]}]}
    assert parse(form).fields == ("brand", "attributes.title", "price")


def test_the_json_form_comes_back() -> None:
    form = {
        "any": [
            {
                "all": [
                    {"field": "price", "gte": 5, "lt": 20.5},
                    {"field": "x", "in": ["a", 1, True], "nin": []},
                ]
            },
            {"not": {"field": "y", "exists": False}},
        ]
    }
    assert msgspec.json.encode(parse(form).json()) == msgspec.json.encode(form)


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("1970-01-02", 86_400_000),
        ("1970-01-01T00:00:01Z", 1000),
        ("1970-01-01T01:00+01:00", 0),
        ("1970-01-01T00:00:00.5", 500),
        ("1969-12-31", -86_400_000),
    ],
)
def test_times_are_iso_8601_in_utc(text: str, ms: int) -> None:
    assert milliseconds(text) == ms
    assert parse({"field": "published_at", "gte": text}).json() == {"field": "published_at", "gte": ms}
    assert parse(eq(text, "day")).json() == eq(text, "day")


def test_the_contracts_examples_are_filters() -> None:
    section = (ROOT / "docs" / "contract.md").read_text().partition("\n## Filters\n")[2].partition("\n## ")[0]
    examples = re.findall(r"```json\n(.*?)```", section, re.S) + re.findall(r'`(\{"not": .*?\}\})`', section)
    assert len(examples) == 2
    for example in examples:
        assert parse(msgspec.json.decode(example)).fields
    assert len(read(re.findall(r"short form, `(.*?)`", section)[0])["all"]) == 3
