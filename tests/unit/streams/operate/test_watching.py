"""What commands make of bad records, and of figures that nobody was there to measure."""

import json
from types import SimpleNamespace
from typing import Any

import pytest

from streams.demo import show
from streams.demo.scoreboard import DecayedPopularity, Scoreboard
from streams.demo.screen import Follower
from streams.demo.show import Demo
from streams.operate import watching
from streams.settings import Settings
from streams.traffic import loading

BAD = [None, b"", b"{broken", b"\xff\xfe", b'{"item_id": "\xff"}', b"[" * 50_000, b"[1]", b'"text"']
CLICK = b'{"event_id":"e1","user_id":"u1","item_id":"i1","event":"click","timestamp":1}'
LIST = (
    b'{"recommendation_id":"c-0-0","user_id":"u1","trigger":{"kind":"click","id":"e1","timestamp":1},"items":[],'
    b'"release":"r","policy":"default","scenario":null,"created_at":1}'
)


def record(topic: str, value: bytes | None) -> Any:
    return SimpleNamespace(topic=topic, key=b"u1", value=value, timestamp=1, partition=0, offset=0)


def test_titles_pass_bad_items_over() -> None:
    titles = watching.Titles()
    for value in (*BAD, b'{"item_id":"i1","title":"One"}'):
        titles.learn(record("items", value))
    assert titles.names == {"i1": "One"}


def test_bad_clicks_and_lists_do_not_end_a_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(prefix="")
    records = [record(topic, value) for topic in ("clicks", "recommendations") for value in BAD]
    records += [record("clicks", CLICK), record("recommendations", LIST)]
    monkeypatch.setattr(watching, "follow", lambda *_: iter(records))
    (shown,) = watching.lists(settings, watching.Titles())
    assert shown.clicked == "i1"


def test_bad_records_do_not_end_the_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(prefix="")
    records = [record(topic, value) for topic in ("clicks", "recommendations") for value in BAD]
    records += [record("clicks", CLICK), record("recommendations", LIST)]
    monkeypatch.setattr(show, "follow", lambda *_: iter(records))
    running, board = Demo(settings, None), Scoreboard(DecayedPopularity(1.0))  # type: ignore[arg-type]
    show._watch(running, settings, board, Follower({}))
    running.check()
    assert (board.clicks, board.lists) == (1, 1)


def test_a_load_goes_on_past_the_bad_records_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    records = [record("clicks", value) for value in (*BAD, CLICK)]
    monkeypatch.setattr(loading, "read_to_end", lambda *_, **__: iter(records))
    assert loading._ids_after(Settings(), loading.Checkpoint("f", 1, {})) == {"e1"}


def test_the_report_has_null_for_what_was_not_measured() -> None:
    def refuse(word: str) -> None:
        raise AssertionError(word)

    text = show.report(Scoreboard(DecayedPopularity(1.0)), "r-1", 1.04)
    report = json.loads(text, parse_constant=refuse)
    assert report["freshness_ms"] == {"p50": None, "p99": None}
    assert report["hit_rate@10"] == {"nextclick": None, "popularity": None}
    assert report["seconds"] == 1.0
