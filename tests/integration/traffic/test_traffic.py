"""Sending recorded clicks to a real broker, and what the commands show of what comes back."""

import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kafka.admin import ConfigResource, ConfigResourceType
from typer.testing import CliRunner, Result

from learner.data.catalogue import Item
from streams.cli import app
from streams.operate import asking, watching
from streams.recorded.clicks import RecordedClicks
from streams.settings import Settings
from streams.traffic import loading, playing
from streams.traffic.catalogue import send_items
from streams.traffic.loading import Loaded
from streams.transport import clients, letters
from streams.transport.topic_reader import follow, read_to_end
from streams.transport.topics import Names
from streams.wire.contract import (
    ListedItem,
    Reason,
    Recommendation,
    Trigger,
    decode_click,
    decode_request,
    encode,
)
from streams.wire.partitioner import partition_of


@pytest.fixture
def recorded(tmp_path: Path) -> RecordedClicks:
    """3,000 clicks of 50 users, one a minute."""
    file = tmp_path / "interactions.csv"
    rows = [f"u{n % 50},i{n * 7 % 300},{1_000_000_000 + 60 * n}" for n in range(3000)]
    file.write_text("\n".join(["user_id,item_id,timestamp", *rows]) + "\n")
    return RecordedClicks(file)


@pytest.fixture
def nextclick(settings: Settings) -> Callable[..., Result]:
    """Runs a command on the test's prefix."""
    where = ["--bootstrap-servers", settings.bootstrap_servers, "--prefix", settings.prefix]
    return lambda *arguments: CliRunner().invoke(app, [*arguments, *where], catch_exceptions=False)


def _clicks(settings: Settings) -> list[Any]:
    return list(read_to_end(settings, Names(settings.prefix).clicks))


def test_history_arrives_whole_in_order_and_once(settings: Settings, recorded: RecordedClicks) -> None:
    assert loading.load(settings, recorded, recorded.part(None, None)) == Loaded(3000, 0)
    records = _clicks(settings)
    clicks = [decode_click(record.value) for record in records]
    assert {click.event_id for click in clicks} == {
        c.event_id for c in recorded.clicks(range(3000), history=True)
    }
    assert all(click.history for click in clicks)
    assert all(r.key.decode() == c.user_id for r, c in zip(records, clicks, strict=True))
    assert all(r.partition == partition_of(r.key, settings.partitions) for r in records)
    for user in ("u0", "u31"):
        times = [click.timestamp for click in clicks if click.user_id == user]
        assert times == sorted(times)
    assert loading.load(settings, recorded, recorded.part(None, None)) == Loaded(0, 3000)
    assert loading.load(settings, recorded, recorded.part(None, None), again=True) == Loaded(3000, 0)
    assert len(_clicks(settings)) == 6000
    # In another order of ties its parts are others, but its clicks are the same.
    other = RecordedClicks(recorded.file, seed=1)
    assert loading.load(settings, other, other.part("0.3", "0.5")) == Loaded(0, 600)


def test_an_interrupted_load_goes_on_and_sends_nothing_twice(
    settings: Settings, recorded: RecordedClicks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "CHUNK", 500)
    part = recorded.part(None, None)

    def break_off(done: int) -> None:
        if done >= 1500:
            raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        loading.load(settings, recorded, part, progress=break_off)
    before = len(_clicks(settings))
    assert 1500 <= before < 3000
    # The chunk in flight may have arrived, as after a crash, though no checkpoint says so.
    assert loading.load(settings, recorded, part) == Loaded(3000 - before, before)
    ids = [decode_click(record.value).event_id for record in _clicks(settings)]
    assert len(ids) == len(set(ids)) == 3000


def test_a_crash_before_the_first_checkpoint_sends_nothing_twice(
    settings: Settings, recorded: RecordedClicks, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = recorded.part(None, "0.5")

    async def crash(*_: Any) -> None:
        for future in _[1][2]:
            await future
        raise ConnectionResetError

    with monkeypatch.context() as patched:
        patched.setattr(loading, "_settle", crash)
        with pytest.raises(ConnectionResetError):
            loading.load(settings, recorded, part)
    assert len(_clicks(settings)) == 1500
    assert loading.load(settings, recorded, part) == Loaded(0, 1500)
    assert len(_clicks(settings)) == 1500


def test_live_clicks_keep_their_times_and_the_asked_pace(
    settings: Settings, recorded: RecordedClicks
) -> None:
    started = time.monotonic()
    sent = playing.play(settings, recorded, recorded.part("0.9", None), playing.Pace(rate=300))
    assert sent == 300
    assert time.monotonic() - started >= 299 / 300
    clicks = [decode_click(record.value) for record in _clicks(settings)]
    assert sorted(c.timestamp for c in clicks) == recorded.time_ms[2700:].tolist()
    assert not any(click.history for click in clicks)


def test_patient_users_give_up_where_nobody_answers(
    settings: Settings, recorded: RecordedClicks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(playing, "PATIENCE_S", 0.2)
    started = time.monotonic()
    assert playing.play(settings, recorded, range(55), playing.Pace(rate=0), patient=True) == 55
    assert time.monotonic() - started >= 5 * 0.2  # the first five users' second clicks
    assert len(_clicks(settings)) == 55


def test_load_and_play_as_commands(
    nextclick: Callable[..., Result], tmp_path: Path, settings: Settings
) -> None:
    clicks, items = tmp_path / "c.csv", tmp_path / "i.csv"
    clicks.write_text("user_id,item_id,timestamp\nu1,i1,1000000000\nu2,i2,1000000001\n")
    items.write_text("item_id,title\ni1,One\ni2,Two\n")
    loaded = nextclick(
        "load",
        "--interactions",
        str(clicks),
        "--items",
        str(items),
        "--to",
        "0.5",
        "--data-dir",
        str(tmp_path),
    )
    assert loaded.stdout.splitlines() == [
        "announced 2 items", f"loaded 1 click into {settings.prefix}clicks",
    ]  # fmt: skip
    played = nextclick("play", "--interactions", str(clicks), "--from", "0.5", "--rate", "0")
    assert played.stdout == f"played 1 click into {settings.prefix}clicks\n"
    assert [decode_click(r.value).history for r in sorted(_clicks(settings), key=lambda r: r.timestamp)] == [
        True, False,
    ]  # fmt: skip
    titles = watching.Titles.read(settings)
    assert (titles.of("i1"), titles.of("i9")) == ("One", "i9")


def _list(user: str, kind: Any, trigger: str) -> Recommendation:
    return Recommendation(
        recommendation_id="c-0-0", user_id=user, trigger=Trigger(kind, trigger, 1), release="r-1",
        policy="default", scenario=None, created_at=1,
        items=[
            ListedItem("i2", 1.5, "ann", Reason("because_clicked", ["i1"])),
            ListedItem("i3", 1.0, "popular", Reason("popular")),
        ],
    )  # fmt: skip


@pytest.fixture
def answering(settings: Settings, topics: Names) -> Iterator[None]:
    """Somebody who answers every request, as a worker would."""
    stop = threading.Event()
    started = threading.Event()

    def answer() -> None:
        records = follow(settings, {topics.requests: "end"})
        with clients.producer(settings, linger_ms=0) as sender:
            while not stop.is_set():
                record = next(records)
                started.set()
                if record is not None:
                    asked = decode_request(record.value)
                    made = _list(asked.user_id or "", "request", asked.request_id)
                    sender.send(topics.recommendations, key=record.key, value=encode(made))

    thread = threading.Thread(target=answer)
    thread.start()
    started.wait(90)
    yield
    stop.set()
    thread.join(10)


@pytest.mark.usefixtures("answering")
def test_recommend_asks_and_shows_titles(settings: Settings, nextclick: Callable[..., Result]) -> None:
    send_items(settings, [Item(item_id="i1", title="One"), Item(item_id="i2", title="Two")])
    shown = nextclick("recommend", "u1", "--k", "2")
    assert "Two" in shown.output
    assert "because of One" in shown.output
    record = json.loads(nextclick("recommend", "u1", "--json").stdout)
    assert [item["item_id"] for item in record["items"]] == ["i2", "i3"]


@pytest.mark.usefixtures("topics")
def test_a_request_that_nobody_answers_ends_with_advice(settings: Settings) -> None:
    with pytest.raises(asking.NoAnswer, match=r"no answer within 0\.2 s.*nextclick doctor"):
        asking.ask(settings, asking.request("u1"), timeout_s=0.2)


def test_watch_shows_the_click_the_list_answers(
    settings: Settings, topics: Names, nextclick: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    click = b'{"event_id":"e1","user_id":"u1","item_id":"i1","event":"click","timestamp":1}'
    with clients.producer(settings) as sender:
        sender.send(topics.recommendations, key=b"u2", value=encode(_list("u2", "click", "e0")))
        sender.send(topics.recommendations, key=b"u1", value=encode(_list("u1", "click", "e1")))
        sender.send(topics.clicks, key=b"u1", value=click)
    seen = watching.lists(settings, watching.Titles(), user="u1", from_beginning=True)
    shown = next(seen)
    assert (shown.recommendation.user_id, shown.clicked) == ("u1", "i1")
    assert shown.freshness_ms is not None
    # As a command: a record a line, as it stands in the topic.
    some = list(itertools.islice(watching.lists(settings, watching.Titles(), from_beginning=True), 2))
    monkeypatch.setattr(watching, "lists", lambda *_, **__: iter(some))
    lines = nextclick("watch", "--json", "--from-beginning").stdout.splitlines()
    assert lines == [made.raw.decode() for made in some]
    assert {json.loads(line)["user_id"] for line in lines} == {"u1", "u2"}


def test_a_user_is_shown_as_the_last_rightful_worker_left_them(
    settings: Settings, topics: Names, nextclick: Callable[..., Result]
) -> None:
    import numpy as np

    from learner.data.catalogue import Catalogue
    from streams.hot_path.user_states import UserStates

    states, catalogue = UserStates(4, 4), Catalogue()
    slot = states.slot("u1")
    states.append(slot, catalogue.intern("i1"), 1_000_000_000_000, 1, np.nan, 5)
    states.applied[slot] = 41
    older = states.encode(slot, catalogue)
    states.append(slot, catalogue.intern("i2"), 1_000_000_060_000, 3, 4.5, 6)
    states.append(slot, catalogue.intern("i2"), 1_000_000_060_001, 3, np.inf, 7)  # a click with value 1e300
    states.applied[slot] = 42
    states.hidden[slot] = [0.5, -1, 0, 2]
    newer = states.encode(slot, catalogue)
    with clients.producer(settings) as sender:
        sender.send(topics.user_states, key=b"u1", value=newer, headers=[("epoch", b"2")])
        sender.send(topics.user_states, key=b"u1", value=older, headers=[("epoch", b"1")])  # a zombie's
    output = nextclick("user", "u1", "--json").stdout
    assert "Infinity" not in output
    known = json.loads(output)
    assert known["user_id"] == "u1"
    assert known["applied"] == {"partition": partition_of(b"u1", 8), "offset": 42}
    assert known["consumed"] == ["i1", "i2"]
    assert [(event["item_id"], event["event"], event["value"]) for event in known["history"]] == [
        ("i1", "click", None), ("i2", "rating", 4.5), ("i2", "rating", None),
    ]  # fmt: skip
    assert known["hidden"] == [0.5, -1, 0, 2]
    assert "rating" in nextclick("user", "u1").output
    with pytest.raises(watching.UserUnknown, match="nothing is known of user 'u2'"):
        watching.known_of(settings, "u2")


def _refuse(settings: Settings, topics: Names, keys: list[bytes | None]) -> None:
    """Puts letters as a worker does, from partition 1 of clicks."""
    with clients.producer(settings) as sender:
        for offset, key in enumerate(keys):
            headers = [
                ("error", b"no JSON"), ("topic", topics.clicks.encode()), ("partition", b"1"),
                ("offset", str(offset).encode()), ("at", b"1763856000000"),
            ]  # fmt: skip
            sender.send(topics.dead_letters, key=key, value=b"{bad %d" % offset, headers=headers)


def test_letters_are_listed_and_each_is_retried_once_unchanged(
    settings: Settings, topics: Names, nextclick: Callable[..., Result]
) -> None:
    assert nextclick("dead-letters", "list").stdout == "no dead letters\n"
    _refuse(settings, topics, [b"u1", b"u2", None, b"u4"])
    listed = nextclick("dead-letters", "list").output
    assert "no JSON" in listed
    assert "{bad 2" in listed
    assert "4 letters" in listed
    assert nextclick("dead-letters", "retry", "--offset", "2").stdout == "sent 1 record again\n"
    (record,) = _clicks(settings)
    assert (record.key, record.value, record.partition) == (None, b"{bad 2", 1)
    shown = [json.loads(line) for line in nextclick("dead-letters", "list", "--json").stdout.splitlines()]
    assert [letter["offset"] for letter in shown] == [0, 1, 3]
    assert shown[0]["source"] == {"partition": 1, "offset": 0}
    assert nextclick("dead-letters", "retry").stdout == "sent 3 records again\n"
    assert nextclick("dead-letters", "retry").stdout == "nothing to retry\n"
    _refuse(settings, topics, [b"u5"])
    assert nextclick("dead-letters", "retry").stdout == "sent 1 record again\n"
    assert sorted(record.key or b"" for record in _clicks(settings)) == [b"", b"u1", b"u2", b"u4", b"u5"]
    assert "sent 5 records again" in nextclick("dead-letters", "retry", "--again").output


def test_a_letter_that_is_not_there_is_named(settings: Settings, topics: Names) -> None:
    _refuse(settings, topics, [b"u1"])
    with pytest.raises(letters.LettersError, match="no letter 7 waits"):
        CliRunner().invoke(
            app,
            ["dead-letters", "retry", "--offset", "7", "--bootstrap-servers", settings.bootstrap_servers,
             "--prefix", settings.prefix],
            catch_exceptions=False,
        )  # fmt: skip


def test_doctor_finds_what_is_missing(settings: Settings, nextclick: Callable[..., Result]) -> None:
    result = nextclick("doctor", "--json")
    found = {finding["subject"]: finding for finding in map(json.loads, result.stdout.splitlines())}
    assert found["brokers"]["status"] == found["clock"]["status"] == found["disk"]["status"] == "ok"
    assert found["topics"]["status"] == "warn"
    assert "topics create" in found["topics"]["remedy"]
    assert nextclick("topics", "create").exit_code == 0
    _refuse(settings, Names(settings.prefix), [b"u1"])
    result = nextclick("doctor")
    assert "none is running" in result.output
    assert "none is live" in result.output
    assert "1 record refused" in result.output
    assert result.exit_code == 0
    with clients.admin(settings) as admin:
        small = {"max.message.bytes": "1048588"}
        admin.alter_configs(
            [ConfigResource(ConfigResourceType.TOPIC, settings.prefix + "user-states", small)]
        )
    assert "user-states takes records of 1,048,588 bytes" in nextclick("doctor").output
    with clients.admin(settings) as admin:
        admin.create_partitions({settings.prefix + "clicks": 9})
    result = nextclick("doctor")
    assert result.exit_code == 1
    assert "topics repair" in result.output
