"""Lists in a terminal: nothing of what was asked for is left out."""

from typing import Any

import msgspec
from rich.console import Console

from streams.cli.showing import print_line, print_list
from streams.operate.watching import Shown, Titles
from streams.wire.contract import Recommendation, encode

LIST: dict[str, Any] = {
    "recommendation_id": "r-0-1", "trigger": {"kind": "request", "id": "q", "timestamp": 1}, "release": "r-1",
    "policy": "default", "scenario": "cart", "created_at": 1, "rules": 12, "unknown": ["i8"],
    "items": [
        {"item_id": "i1", "score": 2.5, "source": "ann", "fields": {"price": 12.5, "tags": ["a", "b"]},
         "reason": {"kind": "because_clicked", "items": ["i2"], "text": "Because of Two.", "rule": "boost"}},
        {"item_id": "i3", "score": 1, "source": "popular", "fields": {},
         "reason": {"kind": "similar", "items": ["i2"]}},
    ],
    "profile": {
        "events": 1234, "consumed": 3, "release": "r-1", "applied_offset": 4,
        "history": [{"item_id": "i2", "event": "like", "timestamp": 1, "value": None}],
        "categories": [{"name": "tea", "weight": 0.5}],
    },
}  # fmt: skip
TITLES = Titles({"i1": "One", "i2": "Two"})


def shown(**changed: Any) -> Shown:
    made = msgspec.convert(LIST | changed, Recommendation)
    return Shown(made, encode(made), None, 7)


def printed(show: Any, *arguments: Any) -> str:
    console = Console(width=200, force_terminal=False)
    with console.capture() as captured:
        show(console, *arguments)
    return captured.get()


def test_a_list_shows_titles_reasons_rules_fields_and_who_knows_what() -> None:
    text = printed(print_list, shown(), TITLES)
    for word in (
        "a stranger, scenario cart, rules 12, release r-1, after 7 ms", "One (i1)", "Because of Two.",
        "boost", "12.5", "a, b", "like Two", "cannot be listed: i8", "1,234 events, 3 items consumed",
        "likes tea 50%", "last like Two",
    ):  # fmt: skip
        assert word in text
    assert "now" not in text


def test_a_list_that_is_tried_shows_where_each_item_is_now() -> None:
    head, first, second = printed(print_list, shown(profile=LIST["profile"]), TITLES, {"i3": 4}).splitlines()[
        1:4
    ]
    assert head.split()[0] == "now"
    assert first.split()[:2] == ["1", "-"]
    assert second.split()[:2] == ["2", "4"]


def test_an_empty_list_says_so() -> None:
    assert "nothing can be listed" in printed(print_list, shown(items=[], user_id="u1"), TITLES)
    assert "nothing left to recommend" in printed(print_line, shown(items=[]), TITLES)


def test_a_strangers_list_is_shown_in_a_line() -> None:
    text = printed(print_line, shown(), TITLES)
    assert "a stranger asked" in text
    assert "One (because of Two)" in text
