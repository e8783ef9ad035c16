"""Requests as a person makes them: what no worker would take is said before it is sent."""

from pathlib import Path
from typing import Any

import pytest

from streams.operate.asking import NotAsked, filter_of, request, rules_in, rules_of
from streams.wire.contract import Rules


def test_what_was_not_said_is_not_in_the_request() -> None:
    asked = request("u1", k=None, exclude=[], query="", scenario="cart")
    assert (asked.user_id, asked.scenario, asked.k, asked.query, asked.exclude) == (
        "u1", "cart", None, None, [],
    )  # fmt: skip
    assert asked.key == "u1"
    assert asked.rank is None
    assert request("u1", rank=None).rank is None
    assert request("u1", rank=[]).rank == []  # no items to be put in order are not a list of one's own


def test_a_stranger_asks_under_the_requests_own_id() -> None:
    asked = request(None, diversity=0.0)
    assert asked.key == asked.request_id
    assert asked.diversity == 0.0  # none is something else than not said
    assert request(None).request_id != asked.request_id


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        ({"k": 1001}, "$.k"),
        ({"rank": [f"i{number}" for number in range(501)]}, "$.rank"),
        ({"if_clicked": ["i"] * 21}, "$.if_clicked"),
        ({"filter": {"field": "price", "under": 3}}, "filter: unknown operator"),
        ({"similar_to": "i1", "query": "tea"}, "similar_to and query"),
        ({"rules": Rules(filter={"any": 3})}, "rules.filter.any"),
        ({"query": "x" * 70_000}, "at most 65536 are taken"),
    ],
)
def test_a_request_that_no_worker_would_take_names_the_place(wanted: dict[str, Any], says: str) -> None:
    with pytest.raises(NotAsked) as refused:
        request("u1", **wanted)
    assert says in str(refused.value)


def test_filters_are_said_in_short_or_as_json() -> None:
    short = {"all": [{"field": "price", "lt": 20}, {"not": {"field": "brand", "eq": "Acme"}}]}
    assert filter_of('price<20, -brand:"Acme"') == short
    assert filter_of(' {"field": "price", "lt": 20}') == {"field": "price", "lt": 20}
    for wrong, says in (("price<", "filter, character"), ("{", "filter: ")):
        with pytest.raises(NotAsked) as refused:
            filter_of(wrong)
        assert says in str(refused.value)


def test_a_file_that_is_no_json_or_no_rules_names_the_place(tmp_path: Path) -> None:
    file = tmp_path / "cart.json"
    for text, says in (
        ('{"k": 6,\n "note" "x"}', "cart.json, line 2, column 9"),
        ('{"k": "six"}', "cart.json: Expected `int | null`, got `str` - at `$.k`"),
        ('{"pin": [{"item_id": "i1", "place": 1}]}', "place"),
        ('{"caps": [{"field": "brand", "most": 0}]}', "$.caps[0].most"),
        ('{"boost": [{"filter": {"field": "brand"}, "factor": 2}]}', "boost[0].filter: expected an operator"),
    ):
        file.write_text(text)
        with pytest.raises(NotAsked) as refused:
            rules_of(file)
        assert says in str(refused.value)
    assert rules_in(b'{"k": 6}', "here").k == 6
    with pytest.raises(NotAsked, match="here"):
        rules_in(b"\xff", "here")
