"""More of what producers send: other tools' envelopes and words, other bytes, text for numbers."""

import base64
import json
import time
from typing import Any

import pytest

from streams.operate.doctor import examine
from streams.wire.clock import Clock
from streams.wire.contract import UNREADABLE, decode_item, decode_request
from streams.wire.foreign import meant_by
from streams.wire.intake import Arrival, Refused, admit
from tests.worlds.system import ready

NOW_MS = 1_790_000_123_000
CLICK = {"event_id": "e1", "user_id": "77", "item_id": "kettle", "event": "click", "timestamp": NOW_MS}


def said(**fields: Any) -> bytes:
    return json.dumps(CLICK | fields).encode()


def taken_in(value: bytes | None) -> Any:
    clock = Clock("wall")
    return admit(
        value, 0, 0, requests=False, partitions=1, refuses=lambda at: clock.refuses(at, NOW_MS), forgets=True
    )


@pytest.mark.parametrize(
    ("value", "field", "read"),
    [
        (said(value="4.5"), "value", 4.5),
        (said(position="3"), "position", 3),
        (said(undo="false"), "undo", False),
        (said(history=1), "history", True),
        (said(undo=None, history=None, items=None), "undo", False),
        (said(recommendation_id=7), "recommendation_id", "7"),
        (said(user_id=77, expires_at="never", published_at="?", price="x", k=None), "user_id", "77"),
        (said(item_id=None, event="impression", items=[4, "b"]), "items", ("4", "b")),
        (said(value=None, v=None), "v", 1),
        (b"\x03\0" + b"u" * 16 + said(), "user_id", "77"),
        (said(item_id="\u0001\u2028", extra=["\ud83d\ude00"]), "item_id", "\u0001\u2028"),
        (said()[:-1] + b', "n": ' + b"9" * 60_000 + b"}", "user_id", "77"),
    ],
)
def test_what_cannot_be_mistaken_is_taken(value: bytes, field: str, read: Any) -> None:
    arrival = taken_in(value)
    assert isinstance(arrival, Arrival)
    assert getattr(arrival.message, field) == read


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (
            json.dumps({"schema": {}, "payload": {"op": "c", "after": CLICK}}).encode(),
            "inside 'payload.after'",
        ),
        (json.dumps({"specversion": "1.0", "id": "1", "data": CLICK}).encode(), "inside 'data'"),
        (
            json.dumps({"schema": "iglu:x", "data": [{"e": "pv"}]}).encode(),
            "'data'; send a record for each event",
        ),
        (
            json.dumps({"event": "Product Viewed", "messageId": "m"}).encode(),
            "there is 'messageId'; rename it",
        ),
        (
            json.dumps({"client_id": "c", "events": [{"name": "view_item"}]}).encode(),
            "'events'; send a record for",
        ),
        (b"\x15\0\0\0\x02event_id\0\x02\0\0\0a\0\0", "BSON? send JSON"),
        (b"\x0a\x0277\x12\x06kettle", "no JSON but binary; send JSON"),
        (b"Obj\x01\x04\x16avro.schema", "Avro, or another schema's bytes?"),
        (b"\x03\0" + b"u" * 16 + b"\x02\x04", "Avro, or another schema's bytes?"),
        (said().decode().encode("utf-16-be"), "UTF-16 or UTF-32?"),
        (base64.b64encode(said()), "base64? send the JSON in it"),
        (b"event_id=e1&user_id=77&item_id=kettle", "the fields of a web form?"),
        (b"event_id=e1&user_id=" + b"7" * 40 + b"&item=k" * 8000, "the fields of a web form?"),
        (b"\x04\x22\x4d\x18" + said(), "compressed by the producer itself?"),
        (said()[:50], "JSON that is cut off"),
        (said() + b",", "JSON that is cut off, or goes on behind its end"),
        (said().replace(b"kettle", b"ket\x01tle"), "a control character within a text; escape it"),
        (json.dumps(json.dumps(said().decode())).encode(), "encoded twice"),
        (said(timestamp=0), "timestamp is 0, which is what an unset field holds"),
        (said(value="much"), "Expected `float | null`, got `str`"),
        (said(undo="perhaps"), "Expected `bool`, got `str`"),
        (said(user_id="x" * 70_000), "bytes; at most"),
        (said().replace(b'"77"', b"[" * 9000 + b"]" * 9000), "recursion"),
        (said().replace(b'"77"', b"9" * 6000), "Integer value out of range"),
        (said().replace(b"kettle", b"\\ud800"), "surrogate"),
        (None, "the value is empty"),
    ],
)
def test_the_rest_is_named(value: bytes | None, says: str) -> None:
    verdict = taken_in(value)
    assert isinstance(verdict, Refused)
    assert says in verdict.error
    assert len(verdict.error) < 400


@pytest.mark.parametrize("word", ['a\x1b[31m\n"b', "\u202egp", "\x07"])
def test_a_letter_holds_no_control_characters(word: str) -> None:
    for value in (
        said(event=word),
        json.dumps({word: 1}).encode(),
        said(timestamp=word),
        json.dumps(word).encode(),
    ):
        assert taken_in(value).error.isprintable()


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("order completed", "purchase"), ("product viewed", "view"), ("view_item", "view"), ("pv", "view"),
        ("remove_from_cart", "dislike"), ("product added", "like"), ("item-purchased", "purchase"),
        ("zzz", "like"),
    ],
)  # fmt: skip
def test_what_other_tools_call_events(word: str, meant: str) -> None:
    words = ("view", "click", "purchase", "rating", "like", "dislike", "hide", "impression")
    assert meant_by(word, words) == meant
    assert f'= "{meant}"}}' in taken_in(said(event=word)).error


def test_items_and_requests_with_text_for_numbers() -> None:
    item = decode_item(
        b'{"item_id": "a", "price": "4.5", "available": "FALSE", "tags": null, "attributes": null}'
    )
    assert (item.price, item.available, item.tags, item.attributes) == (4.5, False, [], {})
    assert decode_request(b'{"request_id": "a", "k": "5"}').k == 5
    with pytest.raises(UNREADABLE, match="there is 'id'; rename it to item_id"):
        decode_item(b'{"id": "a"}')


def test_requests_with_null_for_nothing_and_numbers_for_ids() -> None:
    nothing = dict.fromkeys(
        ("interests", "exclude_hashes", "fields", "if_clicked", "profile", "v", "user_id", "k")
    )
    numbers = {"rank": [7, "b"], "interests": [8], "if_clicked": [9]}
    assert decode_request(json.dumps({"request_id": 1, **nothing}).encode()).interests == []
    asked = decode_request(json.dumps({"request_id": "r", **numbers}).encode())
    assert (asked.rank, asked.interests, asked.if_clicked) == (["7", "b"], ["8"], ["9"])
    assert decode_request(b'{"request_id": "r", "similar_to": 7}').similar_to == "7"
    with pytest.raises(UNREADABLE, match="request_id is null"):
        decode_request(b'{"request_id": null, "k": null}')


def test_a_time_of_0_is_none_where_none_is_needed() -> None:
    def asked(requests: bool, **fields: Any) -> Any:
        clock, value = Clock("wall"), json.dumps({"timestamp": 0, **fields}).encode()
        return admit(
            value, 0, 0, requests=requests, partitions=1,
            refuses=lambda at: clock.refuses(at, NOW_MS), forgets=not requests,
        )  # fmt: skip

    assert asked(True, request_id="r").message.timestamp is None
    assert asked(False, user_id="u", event="forget").message.timestamp is None
    assert "timestamp is 0" in asked(False, user_id="u", event="merge", into="v").error


def test_a_worker_among_records_of_other_tools_loses_nobody(system: Any) -> None:
    """Keys of others, none, tombstones, headers, bytes of all kinds: good clicks are answered."""
    system.start("worker", "--clock", "wall", "--log-level", "info")
    ready(system)
    now_ms, topic = int(time.time() * 1000), system.topic("clicks")
    bad = (
        None, b"", b"null", b"Obj\x01", b"\xff" * 90, b"[" * 60_000, said(timestamp=0), b"{}" * 3,
        said(event="Order Completed"), said(user_id="x" * 300),
        json.dumps({"payload": {"after": CLICK}}).encode(),
    )  # fmt: skip
    for n, value in enumerate(bad * 20):
        key = (None, b"", b"someone", b"\xff\0", b"77" * 4000)[n % 5] if value is not None else b"gone"
        system.producer.send(topic, key=key, value=value, headers=[("trace", b"\xff" * 20), ("", b"")])
    good = {
        "no-key": (None, said(event_id="no-key", user_id="g1", timestamp=now_ms)),
        "other-key": (b"someone else", said(event_id="other-key", user_id="g2", timestamp=now_ms)),
        "text": (b"g3", said(event_id="text", user_id="g3", timestamp=str(now_ms), undo="false")),
        "twice": (None, b'{"user_id": "x", ' + said(event_id="twice", user_id="🍵", timestamp=now_ms)[1:]),
    }
    for key, value in good.values():
        system.producer.send(topic, key=key, value=value, headers=[("a", b"x" * 2000)])
    system.producer.flush()
    for trigger in good:
        assert len(system.answer(trigger)["items"]) == 10
    system.wait_for(lambda: len(system.read("dead-letters")) == 20 * len(bad), "the letters")
    detail = {each.subject: each for each in examine(system.settings)}["dead letters"].detail
    assert "20 × " in detail
