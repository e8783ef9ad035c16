"""What producers send beside the contract: taken where it cannot be mistaken, else named for what it is."""

import json
import time
from typing import Any

import pytest
from structlog.testing import capture_logs

from streams.operate.doctor import examine
from streams.runtime.repeated import EVERY_SECONDS, Repeated
from streams.settings import load_settings
from streams.wire.clock import Clock
from streams.wire.contract import decode_item, decode_request
from streams.wire.intake import Arrival, Misplaced, Refused, admit
from tests.worlds.system import ready

NOW_MS = 1_790_000_123_000
CLICK = {"event_id": "e1", "user_id": "77", "item_id": "kettle", "event": "click", "timestamp": NOW_MS}


def said(**fields: Any) -> bytes:
    return json.dumps(CLICK | fields).encode()


def taken_in(value: bytes, names: dict[str, str] | None = None, clock: str = "wall") -> Any:
    judge = Clock(clock)  # type: ignore[arg-type]
    return admit(
        value, 0, 0, requests=False, partitions=1, refuses=lambda at: judge.refuses(at, NOW_MS), forgets=True,
        names=names or {},
    )  # fmt: skip


def renamed(old: str, new: str) -> bytes:
    return said().replace(old.encode(), new.encode())


@pytest.mark.parametrize(
    ("value", "field", "read"),
    [
        (said(timestamp=float(NOW_MS)), "timestamp", NOW_MS),
        (renamed(str(NOW_MS), "1.790000123e12"), "timestamp", NOW_MS),
        (said(timestamp=str(NOW_MS)), "timestamp", NOW_MS),
        (said(timestamp="2026-09-21T14:15:23Z"), "timestamp", NOW_MS),
        (said(timestamp="2026-09-21T16:15:23.000+02:00"), "timestamp", NOW_MS),
        (said(user_id=77), "user_id", "77"),
        (said(user_id=77, item_id=-3), "item_id", "-3"),
        (said(event_id=2**62), "event_id", str(2**62)),
        (said(event="Purchase"), "event", "purchase"),
        (said(event=" LIKE "), "event", "like"),
        (said(position=4.0), "position", 4),
        (b"\xef\xbb\xbf" + said(), "user_id", "77"),
        (b"\0\0\0\1\x02" + said(), "user_id", "77"),
        (b"\0\0\0\0\x02\xef\xbb\xbf" + said(user_id=77, event="VIEW"), "event", "view"),
    ],
)
def test_what_cannot_be_mistaken_is_taken(value: bytes, field: str, read: Any) -> None:
    arrival = taken_in(value)
    assert isinstance(arrival, Arrival)
    assert getattr(arrival.message, field) == read


@pytest.mark.parametrize(
    ("value", "cause"),
    [
        (said(timestamp=NOW_MS // 1000), "Unix seconds? send milliseconds"),
        (said(timestamp=NOW_MS / 1000 + 0.25), "Unix seconds? send milliseconds"),
        (said(timestamp=NOW_MS * 1000), "Unix microseconds? send milliseconds"),
        (said(timestamp=NOW_MS * 10**6), "Unix nanoseconds? send milliseconds"),
        (said(timestamp=NOW_MS + 0.5), "timestamp has a fraction; send a whole number of milliseconds"),
        (said(timestamp="2026-09-21 14:15:23"), "timestamp is a time without its zone"),
        (said(timestamp="last Monday"), "timestamp is text"),
        (said(timestamp=-1), "timestamp lies before 1970"),
        (said(user_id=7.0), "user_id is a number with a point"),
        (said(user_id=True), "user_id is no string"),
        (said(item_id=None), "item_id is null"),
        (said(item_id=2**64), "item_id is too large a number"),
        (said(event="teapot"), "an unknown word for an event"),
        (said(value=float("nan")), "NaN or Infinity"),
        (renamed("user_id", "userId"), "no user_id"),
        (renamed("timestamp", "ts"), "no timestamp"),
        (b'{"payload": ' + said() + b"}", "no event_id"),
        (b"\0\0\0\0\x09\x06u77\x02", "schema registry bytes, and no JSON after them"),
        (said().decode().encode("utf-16"), "UTF-16 or UTF-32"),
        (said().replace(b"kettle", b"th\xe9"), "no UTF-8, probably Latin-1"),
        (b"\x1f\x8b\x08\0\0", "compressed by the producer itself"),
        (str(CLICK).encode(), "Python's str(dict)"),
        (json.dumps(said().decode()).encode(), "JSON inside a JSON string"),
        (b"[" + said() + b"]", "a list; send a record for each event"),
        (said() + b"\n" + said(), "several objects in one record"),
        (b"e1,77,kettle,click", "CSV?"),
        (b"<click/>", "XML?"),
        (b" ", "the value is empty"),
        (b"\0" * 5, "schema registry bytes"),
    ],
)
def test_what_can_be_mistaken_is_named_for_what_it_probably_is(value: bytes, cause: str) -> None:
    verdict = taken_in(value)
    assert isinstance(verdict, Refused)
    assert verdict.cause.startswith(cause)
    assert len(verdict.error) < 400


def test_a_missing_field_is_pointed_at_where_it_stands() -> None:
    assert "'userId'; rename it" in taken_in(renamed("user_id", "userId")).error
    assert "inside 'payload'" in taken_in(b'{"payload": ' + said() + b"}").error


def test_recorded_times_may_begin_at_0_so_a_stream_has_no_seconds() -> None:
    for value in (said(timestamp=NOW_MS // 1000), said(timestamp=NOW_MS // 1000, user_id=77)):
        assert isinstance(taken_in(value, clock="stream"), Arrival)
    assert taken_in(said(timestamp=NOW_MS * 1000), clock="stream").cause.startswith("Unix microseconds?")


def test_the_settings_say_what_other_words_mean(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    file = tmp_path / "n.toml"
    file.write_text('event_names = {Add_To_Cart = "like", "watch it" = "view"}')
    in_file = load_settings(file).event_names
    file.write_text('[event_names]\nadd_to_cart = "like"\n"Watch It" = "view"')
    assert in_file == load_settings(file).event_names == {"add_to_cart": "like", "watch it": "view"}
    assert load_settings(event_names="buy=purchase").event_names == {"buy": "purchase"}
    monkeypatch.setenv("NEXTCLICK_EVENT_NAMES", '{"buy": "purchase"}')
    assert load_settings().shown()["event_names"] == "buy=purchase"
    for word, event in (("ADD_TO_CART", "like"), ("Watch it", "view")):
        assert taken_in(said(event=word), in_file).message.event == event


@pytest.mark.parametrize("wrong", ["buy", "buy=sell", "click=view", "[1]", '{"buy": 3}', "a=b=c"])
def test_names_that_cannot_be_used_are_told_with_their_setting(wrong: str) -> None:
    with pytest.raises(Exception, match="event_names") as told:
        load_settings(event_names=wrong)
    assert type(told.value).__name__ == "SettingsError"


def test_a_number_for_a_user_is_at_home_where_its_text_is() -> None:
    verdicts = [
        admit(said(user_id=user), 0, 0, requests=False, partitions=8, refuses=lambda _: None)
        for user in range(40)
    ]
    assert {type(each) for each in verdicts} == {Arrival, Misplaced}
    assert all(each.key.isdigit() for each in verdicts if isinstance(each, Misplaced))


def test_requests_and_items_are_read_alike() -> None:
    asked = decode_request(b'\xef\xbb\xbf{"request_id": 5, "user_id": 77, "k": 5.0, "exclude": [1, "b"]}')
    assert (asked.request_id, asked.user_id, asked.k, asked.exclude) == ("5", "77", 5, ["1", "b"])
    item = decode_item(b'\0\0\0\0\1{"item_id": 12, "published_at": 1700000000000.0}')
    assert (item.item_id, item.published_at) == ("12", 1_700_000_000_000)


def test_a_flood_is_summed_up_by_cause() -> None:
    now = [0.0]
    bad = Repeated("bad record", "look", lambda: now[0])
    values = [said(timestamp=NOW_MS // 1000 + n) for n in range(900)]
    values += [said(event=f"w{chr(97 + n % 26)}{n}") for n in range(600)]
    with capture_logs() as lines:
        for value in values:
            bad.note(f"clicks: {taken_in(value).cause}")
            bad.watch()
        now[0] += EVERY_SECONDS
        bad.watch()
    assert len(lines) == 3  # the first of each cause, and the sum
    assert lines[-1]["more"] == 1498
    assert (
        "899 × clicks: Unix seconds? send milliseconds, 599 × clicks: an unknown word"
        in lines[-1]["by_cause"]
    )


def test_producers_as_they_are_are_served_and_the_rest_is_told(system: Any) -> None:
    """A worker with the wall clock among slips of all kinds: good clicks are answered, doctor has causes."""
    system.start("worker", "--clock", "wall", "--set", "event_names=add_to_cart=like", "--log-level", "info")
    ready(system)
    now_ms = int(time.time() * 1000)
    topic = system.topic("clicks")
    for n in range(2000):
        bad = (
            said(timestamp=now_ms // 1000),
            b"\0\0\0\0\x07\x02\x06",
            said(timestamp=now_ms, event="teapot"),
        )
        system.producer.send(topic, key=b"flood%d" % n, value=bad[n % 3])
    good = {
        "float": said(event_id="float", user_id="g0", timestamp=float(now_ms)),
        "number": said(event_id="number", user_id=5, item_id=50, timestamp=now_ms),
        "mark": b"\xef\xbb\xbf" + said(event_id="mark", user_id="g2", timestamp=now_ms),
        "registry": b"\0\0\0\0\x07" + said(event_id="registry", user_id="g3", timestamp=now_ms),
        "word": said(event_id="word", user_id="g4", event="Add_To_Cart", timestamp=now_ms),
    }
    for value in good.values():
        system.producer.send(topic, value=value)
    system.producer.flush()
    for trigger in good:
        assert len(system.answer(trigger)["items"]) == 10
    system.wait_for(lambda: len(system.read("dead-letters")) == 2000, "the letters")
    told = [line for line in system.said("worker").splitlines() if "bad record" in line]
    assert len([line for line in told if "by_cause" not in line]) == 3  # one for each; their sum in a minute
    found = {each.subject: each for each in examine(system.settings)}["dead letters"]
    for cause in ("667 × Unix seconds? send milliseconds", "667 × schema registry", "666 × an unknown word"):
        assert cause in found.detail
