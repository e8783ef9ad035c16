"""What the trainer reads from Kafka: how much is new, and since when items have been announced."""

from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from learner.data.history import Clicks, History, HistoryError
from streams.settings import load_settings
from streams.training import wire
from streams.training.wire import KafkaWire


@dataclass
class Stored:
    key: bytes
    value: bytes | None
    timestamp: int


@dataclass
class Sent:
    partition: int
    offset: int
    value: bytes
    timestamp: int
    headers: tuple[tuple[str, bytes], ...] = ()


def test_clicks_that_the_topic_has_forgotten_are_not_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bounds = {0: (100, 150), 1: (0, 30), 2: (10, 10)}
    monkeypatch.setattr(wire, "bounds_of", lambda *_: bounds)
    reading, history = KafkaWire(load_settings()), History(str(tmp_path))
    assert reading.unread(history) == 80
    history.append(Clicks(), {0: 120, 1: 20})
    assert reading.unread(history) == 40
    history.append(Clicks(), {1: 31})
    with pytest.raises(HistoryError, match="made anew"):
        reading.unread(history)


def test_an_item_counts_as_announced_from_its_first_record_on(monkeypatch: pytest.MonkeyPatch) -> None:
    records = [
        Stored(b"a", b'{"item_id": "a", "title": "first"}', 1),
        Stored(b"b", b'{"item_id": "b"}', 2),
        Stored(b"a", b'{"item_id": "a", "title": "then"}', 3),
        Stored(b"b", None, 4),
        Stored(b"c", b"no JSON", 5),
    ]
    monkeypatch.setattr(wire, "read_to_end", lambda *_: iter(records))
    found = KafkaWire(load_settings()).items()
    assert {name: (said.item.title, said.item.available, said.at_ms) for name, said in found.items()} == {
        "a": ("then", True, 1),
        "b": (None, False, 2),
    }


def test_an_undo_is_kept_as_one_and_a_list_that_was_shown_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def record(offset: int, **fields: object) -> Sent:
        said = {"event_id": f"e{offset}", "user_id": "u", "event": "purchase", "timestamp": 5} | fields
        return Sent(0, offset, msgspec.json.encode(said), 5)

    records = [
        record(0, item_id="a"), record(1, item_id="b"), record(2, item_id="a", undo=True),
        record(3, event="impression", items=["a", "b"]),
    ]  # fmt: skip
    monkeypatch.setattr(wire, "ends_of", lambda *_: {0: 4})
    monkeypatch.setattr(wire, "read_to_end", lambda *_, **__: iter(records))
    history = History(str(tmp_path))
    assert KafkaWire(load_settings()).keep(history) == 3
    data = history.interactions()
    assert [data.item_ids[item] for item in data.item] == ["b"]
    assert history.next == {0: 4}
