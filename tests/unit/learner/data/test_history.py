"""The history of clicks: whole through every crash, each click once, in order."""

import contextlib
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from learner.data import history as module
from learner.data.dataset import Interactions
from learner.data.history import Clicks, History, HistoryError, recent_and_replayed
from learner.data.times import DAY_MS
from tests.worlds import places

GOLDEN = places.GOLDEN / "history_v1"


@pytest.fixture(params=["disk", "objects"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "history") if request.param == "disk" else f"memory://{uuid.uuid4().hex}/history"


def clicks(start: int, stop: int, **more: Any) -> Clicks:
    batch = Clicks()
    for n in range(start, stop):
        row: dict[str, Any] = {
            "partition": n % 2, "offset": n // 2, "arrived_ms": n * DAY_MS // 10, "event_id": f"e{n}",
            "user_id": f"u{n % 5}", "item_id": f"i{n % 7}", "kind": 1, "time_ms": 1000 * n, "value": None,
            "scenario": None,
        }  # fmt: skip
        batch.add(**{**row, **more})
    return batch


def put(history: History, start: int, stop: int) -> None:
    history.append(clicks(start, stop), {0: (stop + 1) // 2, 1: stop // 2})


def events(data: Interactions) -> list[tuple[str, str, int]]:
    return [
        (data.user_ids[u], data.item_ids[i], t)
        for u, i, t in zip(data.user.tolist(), data.item.tolist(), data.time_ms.tolist(), strict=True)
    ]


def expected(stop: int) -> list[tuple[str, str, int]]:
    return [(f"u{n % 5}", f"i{n % 7}", 1000 * n) for n in range(stop)]


def test_what_is_kept_is_read_again(url: str) -> None:
    history = History(url)
    assert (history.clicks, history.next) == (0, {})
    assert len(history.interactions()) == 0
    for start in range(0, 60, 20):
        put(history, start, start + 20)
    again = History(url)
    assert (again.clicks, again.next) == (60, {0: 30, 1: 30})
    assert events(again.interactions()) == expected(60)
    assert events(again.interactions(newest=13)) == expected(60)[-13:]
    assert {part.day for part in again.state.parts} == {f"1970-01-0{n}" for n in range(1, 7)}


def test_columns_come_back(url: str) -> None:
    history = History(url)
    batch = clicks(0, 1, scenario="home", value=4.5, kind=3)
    for n, scenario in enumerate([None, "cart", "home"]):
        batch.add(
            partition=0, offset=n + 1, arrived_ms=5, event_id=f"f{n}", user_id="ü", item_id="i", kind=0,
            time_ms=n + 1, value=None, scenario=scenario,
        )  # fmt: skip
    history.append(batch, {0: 4})
    data = history.interactions()
    assert data.scenario == ["home", None, "cart", "home"]
    np.testing.assert_array_equal(data.value, np.array([4.5, np.nan, np.nan, np.nan], np.float32))
    assert data.kind.tolist() == [3, 0, 0, 0]


def test_an_event_sent_twice_is_kept_once_and_order_is_by_time(url: str) -> None:
    history = History(url)
    batch = Clicks()
    rows = [("b", "x", 5), ("a", "x", 3), ("b", "y", 5), ("b", "x", 9), ("a", "z", 5)]
    for n, (user, event, time_ms) in enumerate(rows):
        batch.add(
            partition=0, offset=n, arrived_ms=0, event_id=event, user_id=user, item_id=f"{user}{event}",
            kind=1, time_ms=time_ms, value=None, scenario=None,
        )  # fmt: skip
    history.append(batch, {0: 5})
    assert [item for _, item, _ in events(history.interactions())] == ["ax", "bx", "by", "az"]


class Killed(BaseException):
    """kill -9, as far as Python can tell."""


@pytest.mark.parametrize("survived", range(8))
def test_killed_at_any_write_nothing_is_lost_or_doubled(
    url: str, survived: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MERGED_FROM", 3)
    history = History(url)
    for start, stop in ((0, 20), (20, 22), (22, 24)):
        put(history, start, stop)
    calls = 0

    def dying(real: Callable[..., Any]) -> Callable[..., Any]:
        def work(*arguments: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls > survived:
                raise Killed
            return real(*arguments, **options)

        return work

    with monkeypatch.context() as patch:
        patch.setattr(module.os, "replace", dying(module.os.replace))
        patch.setattr(type(history._fs), "pipe_file", dying(type(history._fs).pipe_file))
        patch.setattr(type(history._fs), "rm_file", dying(type(history._fs).rm_file))
        with contextlib.suppress(Killed):
            put(history, 24, 38)
        assert calls == min(survived + 1, 7)
    again = History(url)
    assert events(again.interactions()) == expected(again.clicks)
    if again.clicks == 24:
        put(again, 24, 38)
    assert events(again.interactions()) == expected(38)
    files = [path for path in again._fs.find(again._root) if ".parquet" in str(path)]
    assert len(files) == len(again.state.parts)


def test_many_parts_of_a_day_become_one(url: str) -> None:
    history = History(url)
    for n in range(40):
        history.append(clicks(n, n + 1, arrived_ms=0), {n % 2: n // 2 + 1})
        assert len(history.state.parts) < module.MERGED_FROM
    assert events(History(url).interactions()) == expected(40)


def test_old_days_can_be_dropped(url: str) -> None:
    history = History(url)
    put(history, 0, 40)
    assert history.drop_days_before("1970-01-03") == 20
    assert events(History(url).interactions()) == expected(40)[20:]
    assert history.next == {0: 20, 1: 20}


def test_a_file_that_could_not_be_removed_goes_later(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    history = History(url)
    put(history, 0, 10)
    (part,) = history.state.parts

    def fails(*_: Any) -> None:
        raise OSError("read-only for now")

    with monkeypatch.context() as patch:
        patch.setattr(type(history._fs), "rm_file", fails)
        assert history.drop_days_before("1980-01-01") == 10
    assert history._fs.exists(f"{history._root}/{part.name}")
    assert history.drop_days_before("1980-01-01") == 0
    assert not history._fs.exists(f"{history._root}/{part.name}")


def test_notes_are_kept(url: str) -> None:
    history = History(url)
    history.note(trained_clicks=5)
    put(history, 0, 4)
    history.note(trained_at=7)
    assert History(url).state.notes == {"trained_clicks": 5, "trained_at": 7}


def test_damage_is_named(tmp_path: Path) -> None:
    url = str(tmp_path / "history")
    history = History(url)
    put(history, 0, 4)
    part = tmp_path / "history" / history.state.parts[0].name
    part.write_bytes(b"?")
    with pytest.raises(HistoryError, match=part.name):
        History(url).interactions()
    part.unlink()
    with pytest.raises(HistoryError, match=rf"{part.name}: no such file"):
        History(url).interactions()
    state = tmp_path / "history" / "history.json"
    state.write_bytes(b"{")
    with pytest.raises(HistoryError, match=r"history\.json"):
        History(url)
    state.write_bytes(msgspec.json.encode({"format": 9}))
    with pytest.raises(HistoryError, match="expected format 2 or less, got 9; update nextclick"):
        History(url)
    with pytest.raises(HistoryError, match="nosuch"):
        History("nosuch://history")


def test_the_golden_history_is_read(tmp_path: Path) -> None:
    shutil.copytree(GOLDEN, tmp_path / "golden")
    history = History(str(tmp_path / "golden"))
    assert history.next == {0: 10, 1: 10}
    assert history.state.notes == {"trained_clicks": 20}
    assert events(history.interactions()) == expected(20)


def test_a_mix_holds_the_newest_and_whole_users() -> None:
    rng = np.random.default_rng(0)
    n = 5000
    user = rng.integers(200, size=n).astype(np.int32)
    data = Interactions(
        user=user, item=np.arange(n, dtype=np.int32), time_ms=np.arange(n, dtype=np.int64),
        kind=np.ones(n, np.uint8), value=np.zeros(n, np.float32), place=np.zeros(n, np.int32),
        occurrence=np.zeros(n, np.int32), user_ids=[str(k) for k in range(200)],
        item_ids=[str(k) for k in range(n)], scenarios=[None],
    )  # fmt: skip
    mix = recent_and_replayed(data, 1000)
    assert 900 <= len(mix) <= 1000
    assert mix.item[-500:].tolist() == list(range(4500, 5000))
    assert (np.diff(mix.time_ms) > 0).all()
    older = mix.user[mix.time_ms < 4500]
    for each in np.unique(older):
        assert (older == each).sum() == (user[:4500] == each).sum()
    assert recent_and_replayed(data, n) is data


def test_what_was_taken_back_is_neither_trained_on_nor_its_undo(url: str) -> None:
    """The newest event before it goes, of that user, item and kind, in whichever part; once if sent twice."""
    history = History(url)
    batch, again = Clicks(), Clicks()
    rows = [("u", "i", 2), ("u", "i", 1), ("v", "i", 2), ("u", "i", 2), ("u", "j", 6)]
    undo = 2 + module.UNDONE
    later = [("u", "i", undo), ("u", "i", undo), ("u", "j", undo), ("u", "j", 6)]
    for n, (user, item, kind) in enumerate(rows + later):
        (batch if n < len(rows) else again).add(
            partition=0, offset=n, arrived_ms=0, event_id="e5" if n == 6 else f"e{n}", user_id=user,
            item_id=item, kind=kind, time_ms=n, value=None, scenario=None,
        )  # fmt: skip
    history.append(batch, {0: len(rows)})
    assert history.state.format == module.FORMAT
    history.append(again, {0: len(rows) + len(later)})
    assert history.state.format == module.WITH_UNDONE
    data = History(url).interactions()
    found = [
        (data.user_ids[user], data.item_ids[item], kind)
        for user, item, kind in zip(data.user.tolist(), data.item.tolist(), data.kind.tolist(), strict=True)
    ]
    assert found == [("u", "i", 2), ("u", "i", 1), ("v", "i", 2), ("u", "j", 6), ("u", "j", 6)]


def test_one_users_clicks_are_found_by_a_reader_that_removes_nothing(url: str) -> None:
    history = History(url)
    batch = Clicks()
    for n, (user, kind) in enumerate([("u", 2), ("v", 2), ("u", 2 + module.UNDONE)]):
        batch.add(
            partition=0, offset=n, arrived_ms=n * DAY_MS, event_id=f"e{n}", user_id=user, item_id="i",
            kind=kind, time_ms=n, value=float("nan") if n else 2.5, scenario=None,
        )  # fmt: skip
    history.append(batch, {0: 3})
    left = f"{history._root}/day=1970-01-09/left.parquet"  # another writer's, under way
    history._fs.makedirs(left.rpartition("/")[0], exist_ok=True)
    history._fs.pipe_file(left, b"")
    reader = History(url, writes=False)
    found = reader.clicks_of("u")
    assert [(each["event_id"], each["event"], each.get("undo"), each["value"]) for each in found] == [
        ("e0", "purchase", None, 2.5), ("e2", "purchase", True, None),
    ]  # fmt: skip
    assert reader._fs.exists(left)
    assert reader.clicks_of("nobody") == []
