"""What commands make of bad records, and of figures that nobody was there to measure."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from streams.demo import watcher
from streams.demo.popularity import DecayedPopularity
from streams.demo.report import report
from streams.demo.scoreboard import Scoreboard
from streams.demo.screen import Follower
from streams.demo.watcher import Watcher
from streams.operate import watching
from streams.settings import Settings
from streams.traffic import known
from streams.traffic.known import Known, Place
from streams.wire.contract import decode_click

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
    monkeypatch.setattr(watcher, "follow", lambda *_: iter(records))
    board = Scoreboard(DecayedPopularity(1.0))
    watching_all = Watcher(settings, board, Follower({}))
    watching_all.read()
    watching_all.check()
    assert (board.clicks, board.lists) == (1, 1)


def test_a_load_goes_on_past_the_bad_records_of_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    recorded = "0123456789abcdef01234567"
    loaded = CLICK.replace(b"e1", recorded.encode())
    unheard = loaded.replace(b"01234", b"43210").replace(b"u1", b"u2")
    records = [record("clicks", value) for value in (*BAD, CLICK, loaded)]
    monkeypatch.setattr(known, "read_to_end", lambda *_, **__: iter(records))
    monkeypatch.setattr(known, "bounds_of", lambda *_: {0: (0, len(records))})
    found = Known(Settings(data_dir=tmp_path), Place("c", "t", "s"))
    assert found.catch_up(lambda _: None) == 0
    assert [found.holds([decode_click(each)]).tolist() for each in (loaded, unheard)] == [[True], [False]]


def test_the_report_has_null_for_what_was_not_measured() -> None:
    def refuse(word: str) -> None:
        raise AssertionError(word)

    text = report(Scoreboard(DecayedPopularity(1.0)), "r-1", 1.04, 0.52)
    told = json.loads(text, parse_constant=refuse)
    assert told["freshness_ms"] == {"p50": None, "p99": None}
    assert told["hit_rate@10"] == {"nextclick": None, "popularity": None}
    assert (told["seconds"], told["first_list_s"]) == (1.0, 0.5)
