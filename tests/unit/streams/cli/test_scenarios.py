"""Rules as flags and files: what is said comes to be the record, and slips are named."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from streams.cli import app
from streams.operate import scenarios as operate
from streams.operate.scenarios import Standing
from streams.traffic import catalogue
from streams.wire.contract import Rules, encode


class Topic:
    """Stands for the broker: what is in force, and what was put."""

    def __init__(self) -> None:
        self.standing: dict[str, Standing] = {}

    def put(self, _: Any, name: str, rules: Rules) -> int:
        self.standing[name] = Standing(name, rules, len(self.standing))
        return 7

    def rules(self, name: str) -> dict[str, Any]:
        rules = self.standing[name].rules
        assert rules is not None
        return json.loads(encode(rules))  # type: ignore[no-any-return]


@pytest.fixture
def topic(monkeypatch: pytest.MonkeyPatch) -> Topic:
    made = Topic()
    monkeypatch.setattr(operate, "standing", lambda _: made.standing)
    monkeypatch.setattr(operate, "put", made.put)
    monkeypatch.setattr(catalogue, "entries", lambda _: {})
    return made


def put(*arguments: str, stdin: str = "", code: int = 0) -> Result:
    result = CliRunner().invoke(app, ["scenarios", "put", *arguments], input=stdin)
    assert result.exit_code == code, result.output + str(result.exception)
    return result


def test_flags_say_rules_and_leave_the_others(topic: Topic) -> None:
    put(
        "cart", "--k", "6", "--filter", "price<50, -brand:Acme", "--boost", "brand:Own*1.5",
        "--bury", "tags:outlet*0.5", "--cap", "categories=2", "--pin", "i=9=1", "--block", "i4",
        "--block", "-5", "--shown-cap", "3/24h", "--consumed", "back", "--back-after-days", "14",
        "--fill", "popular", "--fill", "new", "--diversity", "0.2", "--exploration", "0.1",
        "--policy", "p", "--note", "spring",
    )  # fmt: skip
    assert topic.rules("cart") == {
        "scenario": "cart", "k": 6, "policy": "p", "diversity": 0.2, "exploration": 0.1,
        "filter": {"all": [{"field": "price", "lt": 50}, {"not": {"field": "brand", "eq": "Acme"}}]},
        "boost": [{"filter": {"field": "brand", "eq": "Own"}, "factor": 1.5}],
        "bury": [{"filter": {"field": "tags", "eq": "outlet"}, "factor": 0.5}],
        "caps": [{"field": "categories", "most": 2}], "pin": [{"item_id": "i=9", "position": 1}],
        "block": ["i4", "-5"], "shown_cap": {"times": 3, "hours": 24}, "consumed": "back",
        "back_after_days": 14, "fill": ["popular", "new"], "note": "spring",
    }  # fmt: skip
    put("cart", "--k", "7", "--without", "filter", "--without", "block")
    after = topic.rules("cart")
    assert after["k"] == 7
    assert "filter" not in after
    assert "block" not in after
    assert after["fill"] == ["popular", "new"]
    assert "nothing changes" in put("cart", "--k", "7").stdout
    put("cart", "--k", "8", "--anew")
    assert topic.rules("cart") == {"scenario": "cart", "k": 8}


def test_a_file_says_them_all(topic: Topic, tmp_path: Path) -> None:
    file = tmp_path / "cart.json"
    file.write_text('{"scenario": "cart", "k": 6}')
    put("cart", "--note", "old")
    said = put(str(file)).stdout
    assert topic.rules("cart") == {"scenario": "cart", "k": 6}
    assert "k: 6" in said
    assert "note: old taken away" in said
    put("home", stdin='{"k": 9}')
    assert topic.rules("home") == {"scenario": "home", "k": 9}
    put("-", stdin='{"scenario": "side", "k": 2}')
    put("other", "--file", str(file), "--k", "3", code=2)
    assert "is about 'cart', not 'other'" in put("other", "--file", str(file), code=2).output
    put("cart", "--file", str(file), "--k", "3")
    assert topic.rules("cart")["k"] == 3
    assert set(topic.standing) == {"cart", "home", "side"}
    with pytest.raises(FileNotFoundError):  # which `main` tells
        raise put("nowhere.json", code=1).exception or AssertionError
    assert "say a rule" in put("cart", stdin="\n", code=2).output  # as from a script


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        (["--k", "6"], "name the scenario"),
        (["cart", "--boost", "brand:Own"], "--boost: expected FILTER*FACTOR"),
        (["cart", "--boost", "brand:Own*much"], "--boost: expected a number, got 'much'"),
        (["cart", "--cap", "brand"], "--cap: expected FIELD=MOST"),
        (["cart", "--pin", "=1"], "--pin: expected ITEM=PLACE"),
        (["cart", "--without", "colour"], "--without: there is no rule 'colour'"),
        (["cart", "--consumed", "in"], "'in' is not one of"),
    ],
)
def test_a_slip_is_one_line(topic: Topic, typed: list[str], says: str) -> None:
    assert says in put(*typed, code=2).output.splitlines()[-1]
    assert not topic.standing


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        (["cart", "--filter", "price<"], "filter, character 7"),
        (["cart", "--boost", "brand:Own*0.5"], "boost[0].factor is 0.5; below 1 it is for `bury`"),
        (["cart", "--pin", "i1=0"], "$.pin[0].position"),
        (["cart", "--fill", "old"], "$.fill[0]"),
        (["cart", "--diversity", "2"], "$.diversity"),
    ],
)
def test_rules_that_are_none_are_refused_with_the_place(topic: Topic, typed: list[str], says: str) -> None:
    assert says in str(put(*typed, code=1).exception)
    assert not topic.standing


def test_what_is_strange_is_a_warning_and_goes_out_all_the_same(topic: Topic) -> None:
    result = put("cart", "--block", "i4")
    assert "warning: no item is known here" in result.stderr
    assert topic.rules("cart")["block"] == ["i4"]
