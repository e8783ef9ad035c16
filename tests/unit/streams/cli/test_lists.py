"""Commands that ask for lists: what is typed comes to be the request."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from streams.cli import app
from streams.operate import asking
from streams.wire.contract import Request, Rules


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    """The requests that were sent; each is answered."""
    sent: list[Request] = []

    def ask(_: Any, request: Request, timeout_s: float) -> Any:
        sent.append(request)
        return SimpleNamespace(raw=b'{"timeout": %d}' % timeout_s)

    monkeypatch.setattr(asking, "ask", ask)
    return sent


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def said(request: Request) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.to_builtins(request)
    del found["request_id"]
    return found


def test_all_that_a_request_may_ask_for_can_be_typed(asked: list[Request], tmp_path: Path) -> None:
    rules = tmp_path / "rules.json"
    rules.write_text('{"k": 3, "block": ["i7"]}')
    told = run(
        "recommend", "-1", "--k", "5", "--scenario", "cart", "--filter", "price<20", "--query", "tea",
        "--exclude", "i1", "--exclude", "-2", "--fields", "price, brand", "--fields", "tags",
        "--diversity", "0", "--interest", "green tea", "--if-clicked", "i3", "--rules", str(rules),
        "--profile", "--timeout", "7",
    )  # fmt: skip
    assert json.loads(told) == {"timeout": 7}
    assert said(asked[0]) == {
        "user_id": "-1", "k": 5, "scenario": "cart", "filter": {"field": "price", "lt": 20}, "query": "tea",
        "exclude": ["i1", "-2"], "fields": ["price", "brand", "tags"], "diversity": 0.0,
        "interests": ["green tea"], "if_clicked": ["i3"], "rules": {"k": 3, "block": ["i7"]}, "profile": True,
    }  # fmt: skip
    assert asked[0].rules == Rules(k=3, block=["i7"])


def test_without_a_user_it_is_a_strangers_list(asked: list[Request]) -> None:
    run("recommend")
    assert said(asked[0]) == {}
    assert asked[0].key == asked[0].request_id


def test_items_like_one_and_items_in_a_users_order(asked: list[Request]) -> None:
    run("similar", "i1", "--user", "u1", "--k", "4", "--filter", "-brand:Acme")
    run("rank", "i1", "-5", "i3", "--user", "u1", "--fields", "price")
    run("rank", "i1")
    assert [said(request) for request in asked] == [
        {"user_id": "u1", "similar_to": "i1", "k": 4, "filter": {"not": {"field": "brand", "eq": "Acme"}}},
        {"user_id": "u1", "rank": ["i1", "-5", "i3"], "fields": ["price"]},
        {"rank": ["i1"]},
    ]


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        (("recommend", "u1", "--filter", "price<"), "filter, character"),
        (("recommend", "u1", "--similar-to", "i1", "--query", "tea"), "similar_to and query"),
        (("rank", *(f"i{number}" for number in range(501))), "$.rank"),
    ],
)
def test_what_no_worker_would_take_is_not_sent(
    asked: list[Request], typed: tuple[str, ...], says: str
) -> None:
    result = CliRunner().invoke(app, typed)
    assert says in str(result.exception)
    assert not asked
