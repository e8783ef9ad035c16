"""The contract: what is taken, what is refused, and that the documentation speaks the truth about it."""

import json
import re
from typing import Any, get_args

import msgspec
import pytest

from streams.wire import contract, schema
from streams.wire.contract import Click, Forget, Recommendation
from streams.wire.figures import FiguresRecord
from streams.wire.intake import Arrival, Misplaced, Refused, admit
from streams.wire.partitioner import partition_of
from tests.worlds.places import ROOT

PAGE = ROOT / "docs" / "contract.md"
TYPES = {
    "click": contract.Click,
    "forget": contract.Forget,
    "merge": contract.Merge,
    "item": contract.Item,
    "rules": contract.Rules,
    "request": contract.Request,
    "recommendation": contract.Recommendation,
    "release": contract.ReleaseRecord,
    "key": contract.KeyRecord,
    "figures": FiguresRecord,
}
BLOCKS = re.findall(r"```json (\w+)\n(.*?)```", PAGE.read_text(), re.S)


@pytest.mark.parametrize(("kind", "text"), BLOCKS)
def test_the_documented_messages_fit_the_schema(kind: str, text: str) -> None:
    message = msgspec.json.decode(text, type=TYPES[kind])
    again = json.loads(contract.encode(message))
    assert {name: value for name, value in again.items() if name != "v"} == {
        name: value for name, value in json.loads(text).items() if value not in (True, []) or name in again
    }


def test_every_message_is_documented() -> None:
    assert {kind for kind, _ in BLOCKS} == set(TYPES)


def test_every_message_of_the_schema_is_read_here() -> None:
    """A topic that is new in the schema fails here until it is documented."""
    of_schema = {each for kinds, _ in schema.TOPICS.values() for kind in kinds for each in _types(kind)}
    assert of_schema == set(TYPES.values())


def _types(kind: Any) -> list[Any]:
    return [each for each in get_args(kind) if each is not type(None)] or [kind]


def test_unknown_fields_are_ignored() -> None:
    click = contract.decode_click(
        b'{"event_id":"e","user_id":"u","item_id":"i","event":"view","timestamp":1,"shoe_size":43,"v":1}'
    )
    assert click == Click(event_id="e", user_id="u", item_id="i", event="view", timestamp=1)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"item_id": None, "items": ["a"]}, "items: an impression may name a whole list; a click names one"),
        ({"items": ["a"]}, "items: an impression"),
        ({"item_id": None}, "no item_id: there are only event"),
        ({"item_id": None, "event": "impression"}, "no item_id"),
        ({"item_id": None, "event": "impression", "items": []}, "no item_id"),
        ({"item_id": None, "event": "impression", "items": ["a"] * 1001}, "1000"),
        ({"item_id": None, "event": "impression", "items": [""]}, "length >= 1"),
        ({"item_id": None, "event": "impression", "items": ["é" * 129]}, "items has 258 bytes"),
        ({"event": "impression", "undo": True}, "undo: an impression cannot be taken back"),
        ({"undo": "yes"}, "undo"),
    ],
)
def test_a_click_names_its_item_unless_it_is_an_impression_of_a_list(
    changed: dict[str, Any], said: str
) -> None:
    record = {"event_id": "e", "user_id": "u", "item_id": "i", "event": "click", "timestamp": 1} | changed
    with pytest.raises(msgspec.ValidationError, match=said):
        contract.decode_click(
            json.dumps({name: each for name, each in record.items() if each is not None}).encode()
        )


def test_an_impression_of_a_list_names_what_it_showed() -> None:
    record = {"event_id": "e", "user_id": "u", "event": "impression", "timestamp": 1, "items": ["a", 7]}
    click = contract.decode_click(json.dumps(record).encode())
    assert (click.shown, click.is_interest) == (["a", "7"], False)
    assert contract.decode_click(contract.encode(click)) == click
    one = contract.decode_click(json.dumps(record | {"item_id": "b"}).encode())
    assert one.shown == ["b", "a", "7"]


def test_an_undo_is_no_interest() -> None:
    record = {"event_id": "e", "user_id": "u", "item_id": "i", "event": "purchase", "timestamp": 1}
    assert contract.decode_click(json.dumps(record).encode()).is_interest
    assert not contract.decode_click(json.dumps(record | {"undo": True}).encode()).is_interest


@pytest.mark.parametrize("version", [2, "1"])
def test_another_version_is_refused(version: object) -> None:
    record = {"event_id": "e", "user_id": "u", "item_id": "i", "event": "view", "timestamp": 1, "v": version}
    with pytest.raises(msgspec.ValidationError):
        contract.decode_click(json.dumps(record).encode())


def test_a_recommendation_says_which_click_release_and_policy_made_it() -> None:
    fields = set(Recommendation.__struct_fields__)
    assert {"recommendation_id", "trigger", "release", "policy", "created_at", "scenario"} <= fields


def judged(value: bytes | None, partition: int = 0, *, requests: bool = False) -> object:
    return admit(value, partition, 7, requests=requests, partitions=8, refuses=lambda _: None)


def test_a_good_record_in_its_partition_arrives() -> None:
    home = partition_of(b"u1", 8)
    value = b'{"event_id":"e","user_id":"u1","item_id":"i","event":"view","timestamp":1}'
    verdict = judged(value, home)
    assert isinstance(verdict, Arrival)
    assert (verdict.user_id, verdict.partition, verdict.offset) == ("u1", home, 7)
    assert judged(value, (home + 1) % 8) == Misplaced(b"u1", home)


def test_who_keeps_users_is_told_to_forget_one_and_nobody_else() -> None:
    home = partition_of(b"u1", 8)

    def told(value: bytes, partition: int = home, *, forgets: bool = True) -> object:
        return admit(
            value, partition, 7, requests=False, partitions=8, refuses=lambda _: None, forgets=forgets
        )

    wish = b'{"user_id":"u1","event":"forget"}'
    assert told(wish) == Arrival(Forget(user_id="u1", event="forget"), home, 7)
    assert told(wish, (home + 1) % 8) == Misplaced(b"u1", home)
    assert isinstance(told(wish, forgets=False), Refused)
    assert isinstance(told(b'{"event":"forget"}'), Refused)
    assert isinstance(told(wish.replace(b"u1", b"u" * 257)), Refused)
    click = b'{"event_id":"e","user_id":"u1","item_id":"forget","event":"view","timestamp":1}'
    verdict = told(click)
    assert isinstance(verdict, Arrival)
    assert isinstance(verdict.message, Click)


@pytest.mark.parametrize(
    ("value", "word"),
    [
        (None, "empty"),
        (b"", ""),
        (b"{", ""),
        (b'{"event_id":"e","user_id":"u","item_id":"i","event":"view","timestamp":NaN}', ""),
        (b'{"event_id":"e","user_id":"u","item_id":"i","event":"view","timestamp":1e400}', ""),
        (b'{"event_id":"e","user_id":"u","item_id":"i","event":"view","timestamp":true}', "timestamp"),
        (b'{"event_id":"e","user_id":"\\ud800","item_id":"i","event":"view","timestamp":1}', ""),
        (b'{"event_id":"e","user_id":"\xff","item_id":"i","event":"view","timestamp":1}', ""),
        (b'{"event_id":"e","user_id":"' + "ü".encode() * 129 + b'","item_id":"i","event":"view","timestamp":1}', "256"),
        (b'{"event_id":"e","user_id":"u","item_id":"i","event":"view","timestamp":%d}' % 10**20, "timestamp"),
        (b'{"event_id":"e","user_id":"u","item_id":"i","event":"view","timestamp":%d}' % 10**400, "timestamp"),
        (b'{"event_id":"e","user_id":"u","item_id":"i","event":"view","timestamp":1,"position":%d}' % 10**20, "position"),
        (b" " * 65_537, "65536"),
        (b"[" * 60_000, ""),
    ],
)  # fmt: skip
def test_bad_records_are_refused_with_a_reason(value: bytes | None, word: str) -> None:
    verdict = judged(value)
    assert isinstance(verdict, Refused)
    assert word in verdict.error
    assert verdict.error


NESTED = b'{"a":' * 40 + b"1" + b"}" * 40
RELEASE = b'{"release":"r","url":"u","sha256":"0","role":"canary","at":1,'


@pytest.mark.parametrize(
    ("kind", "value", "word"),
    [
        ("item", None, "empty"),
        ("item", b'{"item_id":"i","attributes":{"n":18446744073709551616}}', "64 bits"),
        ("item", b'{"item_id":"i","attributes":{"n":[{"deep":-%d}]}}' % 10**30, "64 bits"),
        ("item", b'{"item_id":"i","attributes":' + NESTED + b"}", "nested"),
        ("item", b'{"item_id":"i","published_at":%d}' % 10**25, "published_at"),
        ("item", b'{"item_id":"' + "é".encode() * 129 + b'"}', "258 bytes"),
        ("item", b'{"item_id":"i","v":2}', "v"),
        ("item", b'{"item_id":"i","pad":"' + b"x" * 65_536 + b'"}', "65536"),
        ("release", RELEASE + b'"evidence":{"share":"a tenth"}}', "evidence.share"),
        ("release", RELEASE + b'"evidence":{"share":1.5}}', "evidence.share"),
        ("release", RELEASE + b'"evidence":{"share":true}}', "evidence.share"),
        ("release", RELEASE + b'"evidence":{"share":%d}}' % 10**400, "evidence.share"),
        ("release", RELEASE + b'"reason":"' + b"x" * 65_536 + b'"}', "65536"),
        ("release", RELEASE.replace(b'"r"', b'"' + "é".encode() * 129 + b'"') + b'"v":1}', "258 bytes"),
        ("release", RELEASE + b'"v":2}', "v"),
        ("release", RELEASE.replace(b'"at":1', b'"at":%d' % 10**20) + b'"v":1}', "at"),
    ],
)
def test_bad_items_and_releases_are_unreadable(kind: str, value: bytes | None, word: str) -> None:
    decode = {"item": contract.decode_item, "release": contract.decode_release}[kind]
    with pytest.raises(contract.UNREADABLE, match=word):
        decode(value)


def test_what_an_item_may_carry() -> None:
    value = (
        b'{"item_id":"' + "é".encode() * 128 + b'","attributes":{"n":18446744073709551615,"l":[1,{"x":-1}]}}'
    )
    assert contract.decode_item(value).attributes["l"] == [1, {"x": -1}]


@pytest.mark.parametrize("key", [None, b"", b"x" * 257, b"\xff"])
def test_a_tombstone_names_an_item(key: bytes | None) -> None:
    assert contract.decode_tombstone(b"i9") == "i9"
    with pytest.raises(contract.UNREADABLE):
        contract.decode_tombstone(key)


def test_the_clock_has_its_say() -> None:
    value = b'{"request_id":"q","user_id":"u","timestamp":5}'
    home = partition_of(b"u", 8)
    verdict = admit(value, home, 1, requests=True, partitions=8, refuses=lambda at: f"{at} is too late")
    assert verdict == Refused("5 is too late")
    timeless = b'{"request_id":"q","user_id":"u"}'
    assert isinstance(judged(timeless, home, requests=True), Arrival)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"into": "v"}, "a user cannot be merged into itself"),
        ({"into": None}, "into"),
        ({"into": "é" * 129}, "into has 258 bytes"),
        ({"timestamp": "now"}, "timestamp"),
    ],
)
def test_a_merge_that_says_too_little_is_refused(changed: dict[str, Any], said: str) -> None:
    wish = {"user_id": "v", "event": "merge", "into": "u", "timestamp": 1} | changed
    home = partition_of(b"v", 8)
    kept = json.dumps({name: each for name, each in wish.items() if each is not None}).encode()
    verdict = admit(kept, home, 7, requests=False, partitions=8, refuses=lambda _: None, forgets=True)
    assert isinstance(verdict, Refused)
    assert said in verdict.error


def test_the_words_of_wishes_may_stand_in_a_click() -> None:
    home = partition_of(b"u", 8)
    for scenario in ("forget", "merge", "merged"):
        record = {"event_id": "e", "user_id": "u", "item_id": "i", "event": "view", "timestamp": 1}
        value = json.dumps(record | {"scenario": scenario}).encode()
        verdict = admit(value, home, 7, requests=False, partitions=8, refuses=lambda _: None, forgets=True)
        assert isinstance(verdict, Arrival)
        assert isinstance(verdict.message, Click)
