"""The record of a user's state: what any version wrote is read, and what this one wrote is written again."""

from typing import Any

import msgspec
import pytest

from learner.data.catalogue import Catalogue
from streams.hot_path.fallen import Bar
from streams.hot_path.histories import HISTORY
from streams.hot_path.state_record import ClicksTopic, StateError, columns, decode_state
from tests.golden.make_states_v2 import (
    EVENTS,
    FILE,
    FILE_1,
    FILE_SHOWN,
    FILE_TIMES,
    TOPIC,
    empty,
    fill,
    show,
)

GOLDEN = dict(zip(EVENTS, FILE.read_bytes().splitlines(), strict=True))
GOLDEN_SHOWN = dict(zip(EVENTS, FILE_SHOWN.read_bytes().splitlines(), strict=True))
GOLDEN_TIMES = dict(zip(EVENTS, FILE_TIMES.read_bytes().splitlines(), strict=True))
GOLDEN_1 = dict(zip(EVENTS, FILE_1.read_bytes().splitlines(), strict=True))


def test_the_same_events_make_the_golden_records() -> None:
    for golden, make in ((GOLDEN, fill), (GOLDEN_TIMES, show)):
        catalogue, states = Catalogue(), empty()
        for user, record in golden.items():
            assert states.encode(make(states, user, catalogue), catalogue) == record


@pytest.mark.parametrize("golden", [GOLDEN, GOLDEN_SHOWN, GOLDEN_TIMES], ids=["first", "shown", "times"])
@pytest.mark.parametrize("user", EVENTS)
def test_a_golden_record_is_read_and_written_again(user: str, golden: dict[str, bytes]) -> None:
    catalogue, states = Catalogue(), empty()
    catalogue.intern("somebody-elses")
    states.slot("somebody")
    record = decode_state(golden[user])
    slot = states.restore(record, catalogue)
    assert states.encode(slot, catalogue) == golden[user]
    assert (record.user_id, record.events) == (user, EVENTS[user])
    assert min(EVENTS[user], HISTORY) <= len(record.history()) <= EVENTS[user]


@pytest.mark.parametrize("user", EVENTS)
def test_impressions_whose_times_a_record_does_not_know_were_at_the_last_one(user: str) -> None:
    today, before = msgspec.json.decode(GOLDEN_TIMES[user]), msgspec.json.decode(GOLDEN_SHOWN[user])
    assert today.pop("shown_before_ms")
    assert today == before
    catalogue, states = Catalogue(), empty()
    slot = states.restore(decode_state(GOLDEN_SHOWN[user]), catalogue)
    shown = states.shown[slot]
    assert max(shown.counts) > 1
    last_ms = int(shown.last_ms.max())
    for times in range(1, 4):
        often = set(shown.items[(shown.counts >= times) & (shown.last_ms == last_ms)].tolist())
        assert set(states.shown_too_often(slot, times, 1, last_ms).tolist()) == often


@pytest.mark.parametrize("user", EVENTS)
def test_a_golden_record_of_version_1_says_the_same_as_today(user: str) -> None:
    """All but what version 1 did not say: the topic, when an item was met, and which views were views."""
    catalogue, states = Catalogue(), empty()
    slot = states.restore(decode_state(GOLDEN_1[user]), catalogue, 3)
    read, today = decode_state(states.encode(slot, catalogue)), decode_state(GOLDEN[user])
    unsaid = {"older", "older_days", "older_bars", "shown"}
    for name in set(read.__struct_fields__) - unsaid:
        assert getattr(read, name) == getattr(today, name), name
    assert set(read.consumed(True)) >= set(today.consumed(True))
    for least in (Bar.VIEWED, Bar.REFUSED):
        assert set(states._older[slot].barred(least) if read.older else ()) == {
            catalogue.index[item]
            for item, bar in zip(today.older, columns(today).older_bars, strict=True)
            if bar >= least
        }


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"v": 3}, "Invalid value 3"),
        ({"times": "AAAA"}, "no numbers"),
        ({"kinds": "////"}, "times, kinds"),
        ({"values": "%"}, "144 items"),
        ({"items": []}, "0 items"),
        ({"older": ["i1"]}, "1 older items"),
        ({"applied": "x"}, "applied"),
        ({"applied": 2**70}, "applied"),
        ({"shown": ["i"] * 65}, "shown"),
        ({"shown_counts": "AAAA"}, "no numbers"),
        ({"shown_ms": "AAAAAAAAAAA="}, "2 items were shown, 1 times or counts"),
        ({"shown_before_ms": "AAAAAAAAAAA="}, "1 times of earlier impressions; expected 0"),
        ({"other_ids": "A" * 704}, "66 other ids"),
    ],
)
def test_what_is_no_state_is_said_and_leaves_nothing(changed: dict[str, Any], said: str) -> None:
    catalogue, states = Catalogue(), empty()
    value = msgspec.json.encode(msgspec.json.decode(GOLDEN["u5"]) | changed)
    with pytest.raises(StateError, match=said):
        states.restore(decode_state(value), catalogue)
    assert len(states) == 0
    assert decode_state(GOLDEN["u2"]).last_ms > 0


def test_an_unknown_kind_of_event_is_no_index() -> None:
    value = msgspec.json.decode(GOLDEN["jörg"])
    with pytest.raises(StateError, match="kind 9"):
        empty().restore(decode_state(msgspec.json.encode(value | {"kinds": "CQ=="})), Catalogue())


@pytest.mark.parametrize("garbage", [b"", b"no state", b"[" * 100_000, b'{"v":2}', b'"\xff"', b"{}"])
def test_garbage_is_no_state(garbage: bytes) -> None:
    with pytest.raises(StateError):
        decode_state(garbage)


@pytest.mark.parametrize(
    ("topic", "partition", "version", "applied"),
    [
        (TOPIC, 3, 2, 3999),
        (TOPIC, 2, 2, -1),  # it belongs elsewhere since the topics have grown
        (ClicksTopic("another", {3: 9_000}), 3, 2, -1),
        (ClicksTopic("", {3: 4_000}), 3, 2, 3999),  # a broker that gives topics no id
        (ClicksTopic("", {3: 3_999}), 3, 2, -1),
        (ClicksTopic(), 3, 2, 3999),
        (TOPIC, 3, 1, 3999),  # version 1 knew no topic
        (ClicksTopic("another", {3: 4_000}), 3, 1, 3999),
        (ClicksTopic("another", {3: 3_999}), 3, 1, -1),
    ],
)
def test_offsets_count_in_the_topic_that_they_are_of(
    topic: ClicksTopic, partition: int, version: int, applied: int
) -> None:
    record = decode_state((GOLDEN_1 if version == 1 else GOLDEN)["u5"])
    assert topic.applied(record, partition) == applied
    catalogue, states = Catalogue(), empty()
    states.stand_on(topic)
    slot = states.restore(record, catalogue, partition)
    assert states.applied[slot] == applied
    written = decode_state(states.encode(slot, catalogue))
    assert (written.topic, written.partition, written.applied) == (topic.id, partition, applied)


def test_states_in_memory_know_when_the_topic_was_made_anew() -> None:
    for first, then, applied in [
        (TOPIC, TOPIC, 3999),
        (TOPIC, ClicksTopic("another", {3: 9_000}), -1),
        (ClicksTopic("", {}), ClicksTopic("", {3: 5}), -1),
        (ClicksTopic("", {}), ClicksTopic("", {3: 4_000}), 3999),
    ]:
        states, catalogue = empty(), Catalogue()
        states.stand_on(first)
        slot = fill(states, "u5", catalogue)
        states.stand_on(then)
        assert states.applied[slot] == applied
        assert states.topic == then
