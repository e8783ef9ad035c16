import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pytest

from learner.data.catalogue import Catalogue
from learner.signals.pair_weights import WINDOW
from learner.signals.record import FRONTIER
from learner.signals.recounting import Restored
from learner.signals.settings import SignalSettings
from learner.signals.state import Signals
from streams.learning.counting import Counting, CountingError
from streams.wire.clock import DAY_MS, Clock
from streams.wire.partitioner import partition_of

START = 1_700_000_000_000
WALL = 1_790_000_000_000
PARTITIONS = 3


def counting(
    catalogue: Catalogue | None = None, weights: Mapping[str, float] | None = None, **options: Any
) -> Counting:
    catalogue = catalogue or Catalogue()
    signals = Signals(SignalSettings(event_weights=weights or {}), catalogue, keep_offsets=True)
    return Counting(signals, catalogue, Clock("stream"), lambda _, value: value / 5, **options)


def click(user: str, item: str, n: int, event: str = "click", **fields: Any) -> dict[str, Any]:
    return {
        "event_id": f"e{n}", "user_id": user, "item_id": item, "event": event, "timestamp": START + n * 1000,
    } | fields  # fmt: skip


def logged(clicks: Iterable[dict[str, Any]], ends: list[int] | None = None) -> list[tuple[bytes, int, int]]:
    """(value, partition, offset) as the clicks would lie in the topic, behind what `ends` says is there."""
    ends = [0] * PARTITIONS if ends is None else ends
    records = []
    for each in clicks:
        partition = partition_of(each["user_id"].encode(), PARTITIONS)
        records.append((json.dumps(each).encode(), partition, ends[partition]))
        ends[partition] += 1
    return records


def feed(target: Counting, records: Iterable[tuple[bytes, int, int]]) -> None:
    for value, partition, offset in records:
        target.count(value, partition, offset, WALL)


def counts(target: Counting) -> dict[str, float]:
    ids = target.catalogue.ids
    return {name: float(target.signals.count[number]) for number, name in enumerate(ids)}


def stream(clicks: int = 400) -> list[tuple[bytes, int, int]]:
    rng = np.random.default_rng(0)
    kinds = ["view", "click", "rating", "dislike", "impression"]
    return logged(
        click(f"u{rng.integers(20)}", f"i{rng.integers(30)}", n, kinds[rng.integers(5)], value=float(n % 5))
        for n in range(clicks)
    )


def test_interest_counts_and_nothing_else() -> None:
    target = counting()
    feed(
        target,
        logged(
            [
                click("u", "a", 1),
                click("u", "b", 2, "rating", value=4.0),
                click("u", "c", 3, "dislike"),
                click("u", "d", 4, "impression"),
                click("u", "e", 5, "view", history=True),
                click("u", "a", 6, timestamp=WALL + 1),  # ahead of the clock
            ]
        ),
    )
    assert counts(target) == {"a": 1, "b": 1, "e": 1}
    assert target.history("u") == [0, 1, 2]
    assert target.signals.value_sum[:3].tolist() == [0, 0.8, 0]
    assert target.counts["refused"] == 1
    assert target.signals.total == 3


def test_what_a_producer_sends_twice_counts_once_among_the_last_64_events() -> None:
    target = counting()
    events = [click("u", "a", 0)] + [click("u", f"i{n}", n) for n in range(1, 64)]
    feed(target, logged([*events, click("u", "a", 0)]))
    assert counts(target)["a"] == 1
    assert target.counts["duplicates"] == 1
    assert len(target.history("u")) == WINDOW


def test_undecodable_records_are_passed_over_but_move_the_offset() -> None:
    target = counting()
    feed(target, [(b"{", 1, 1), (b"", 1, 2)])
    target.count(None, 1, 3, WALL)
    assert target.signals.offsets == {1: 3}
    assert target.signals.total == 0


def test_a_misplaced_click_counts_once_whichever_of_the_two_records_comes_first() -> None:
    value, home, _ = logged([click("u", "a", 1)])[0]
    elsewhere = (home + 1) % PARTITIONS
    for first in (True, False):
        target = counting()
        records = [(value, elsewhere, 0, False), (value, home, 9, True)]
        for value, partition, offset, copied in records if first else reversed(records):
            target.count(value, partition, offset, WALL, copied=copied)
        assert target.signals.total == 1
        assert target.signals.offsets == {elsewhere: 0, home: 9}
        assert len(target.history("u")) == 1


def test_whose_last_event_lies_longest_back_is_forgotten_and_counts_as_a_newcomer() -> None:
    ends = [0] * PARTITIONS
    target = counting(users=100)
    feed(target, logged([click("loyal", f"i{n}", n) for n in range(10)], ends))
    for n in range(10, 1000, 3):
        clicks = [click(f"u{n}", "a", n), click(f"u{n}", "b", n + 1), click("loyal", "a", n + 2)]
        feed(target, logged(clicks, ends))
    assert len(target) == 100
    assert len(target.history("loyal")) == WINDOW
    assert target.history("u10") == []
    before = counts(target)
    feed(target, logged([click("u10", "a", 10), click("loyal", "a", 999)], ends))  # both were sent before
    assert counts(target) == before | {"a": before["a"] + 1}  # of one of them that is forgotten
    assert len(target) == 100


def restarted(records: list[tuple[str, bytes]]) -> Counting:
    target = counting()
    for key, value in records:
        target.signals.apply(key, value)
    target.begin()
    return target


@pytest.mark.parametrize("crash", [1, 57, 200, 399])
@pytest.mark.parametrize("sent", [0.0, 0.5, 1.0])
def test_nothing_counts_twice_or_is_lost_after_a_crash(crash: int, sent: float) -> None:
    """The learner dies after counting `crash` clicks, with a share of the last records sent."""
    clicks = stream()
    uninterrupted = counting()
    feed(uninterrupted, clicks)

    first, log = counting(), {}
    for place, record in enumerate(clicks[:crash]):
        feed(first, [record])
        if place % 50 == 49:
            for item in first.signals.drain():
                log[first.catalogue.ids[item]] = first.signals.record(item)
            log[FRONTIER] = first.signals.frontier_record()
    touched = first.signals.drain()
    for item in touched[: int(sent * len(touched))]:
        log[first.catalogue.ids[item]] = first.signals.record(item)

    second = restarted(list(log.items()))
    feed(second, clicks)
    assert second.rebuilt
    assert counts(second) == counts(uninterrupted)
    assert second.signals.offsets == uninterrupted.signals.offsets
    assert second.counts["known"] + second.counts["counted"] == uninterrupted.counts["counted"]
    for user in range(20):
        names = [second.catalogue.ids[item] for item in second.history(f"u{user}")]
        assert names == [uninterrupted.catalogue.ids[item] for item in uninterrupted.history(f"u{user}")]
    for name in uninterrupted.catalogue.ids:
        one, other = second.catalogue.index[name], uninterrupted.catalogue.index[name]
        np.testing.assert_allclose(
            second.signals.popularity[one], uninterrupted.signals.popularity[other], rtol=1e-12
        )


def test_records_wait_until_everything_restored_has_been_passed() -> None:
    clicks = stream()
    first = counting()
    feed(first, clicks)
    second = restarted([(FRONTIER, first.signals.frontier_record())])
    ends = {partition: offset + 1 for partition, offset in first.signals.offsets.items()}
    for record in clicks:
        assert not second.rebuilt
        feed(second, [record])
    assert second.rebuilt
    expired = restarted([(FRONTIER, first.signals.frontier_record())])
    expired.all_read()
    assert expired.rebuilt
    second.check(ends)
    with pytest.raises(CountingError, match="made anew"):
        second.check(ends | {2: 0})


def test_other_weights_count_all_clicks_again_before_anything_is_sent() -> None:
    clicks, weights = stream(), {"view": 0.2, "rating": 5.0}
    first = counting()
    feed(first, clicks[:300])
    ids = first.catalogue.ids
    sent = [(ids[item], first.signals.record(item)) for item in first.signals.drain()]
    anew, second = counting(weights=weights), counting(weights=weights)
    restored = Restored(second.signals)
    for key, value in [*sent, (FRONTIER, first.signals.frontier_record())]:
        restored.apply(key, value)
    restored.begin()
    second.begin(restored.offsets)
    for record in clicks:
        feed(anew, [record])
        assert second.rebuilt == (record in clicks[300:])
        feed(second, [record])
    assert counts(second) == counts(anew) != counts(first)
    assert second.counts == anew.counts
    assert second.since_ms == START
    for name in ids:
        one, other = second.catalogue.index[name], anew.catalogue.index[name]
        np.testing.assert_array_equal(second.signals.popularity[one], anew.signals.popularity[other])
    with pytest.raises(CountingError, match="made anew"):
        second.check({})


def test_clicks_made_anew_end_a_learner_that_runs() -> None:
    """Else clicks would pass for counted ones until its next start."""
    records = logged(click("u", f"i{n}", n) for n in range(5))
    target = counting()
    feed(target, records)
    with pytest.raises(CountingError, match="made anew"):
        feed(target, records[:1])


def test_a_topic_that_grows_loses_and_doubles_nothing() -> None:
    """Clicks come where they belonged before, some of them again as copies; then all is read anew."""
    clicks = [click(f"u{n % 7}", f"i{n % 5}", n) for n in range(200)]
    grown, ends, records = PARTITIONS * 2, [0] * PARTITIONS * 2, []
    for n, each in enumerate(clicks):
        key, value = each["user_id"].encode(), json.dumps(each).encode()
        old, new = partition_of(key, PARTITIONS), partition_of(key, grown)
        places = [(new if n > 120 else old, False)]
        if 80 < n <= 120 and old != new:
            places.append((new, True))
        for partition, copied in places:
            records.append((value, partition, ends[partition], copied))
            ends[partition] += 1
    target = counting()
    for value, partition, offset, copied in records[:150]:
        target.count(value, partition, offset, WALL, copied=copied)
    sent = [(target.catalogue.ids[item], target.signals.record(item)) for item in target.signals.drain()]
    again = restarted([*sent, (FRONTIER, target.signals.frontier_record())])
    for value, partition, offset, copied in sorted(records, key=lambda each: (each[2], -each[1])):
        again.count(value, partition, offset, WALL, copied=copied)
    assert again.signals.total == len(clicks)
    assert counts(again) == {f"i{n}": 40.0 for n in range(5)}


def test_what_was_sent_before_a_user_was_forgotten_is_not_remembered_whenever_it_is_read() -> None:
    target = counting()
    (value, _, _) = logged([click("u", "a", 1)])[0]
    target.count(b'{"user_id": "u", "event": "forget"}', 5, 0, WALL, sent_ms=2_000)
    target.count(value, 2, 0, WALL, sent_ms=1_000)
    assert target.signals.total == 1
    assert target.history("u") == []
    target.count(logged([click("u", "a", 2)])[0][0], 5, 1, WALL, sent_ms=3_000)
    assert len(target.history("u")) == 1


def test_a_time_far_ahead_ages_nothing_until_ten_users_agree() -> None:
    ends = [0] * PARTITIONS
    target = counting()
    feed(target, logged([click("u", "a", 1)], ends))
    far = START + 300 * DAY_MS
    feed(target, logged([click("liar", "b", 2, timestamp=far)], ends))
    assert target.signals.now_ms == START + 1000
    feed(target, logged([click(f"w{n}", "b", 10 + n, timestamp=far + n) for n in range(9)], ends))
    assert target.clock.now_ms(WALL) == far + 8
    assert target.signals.now_ms == far + 8


def test_a_user_who_is_forgotten_begins_anew_also_after_a_restart() -> None:
    clicks = [click("u", "a", 1), click("v", "b", 2), {"user_id": "u", "event": "forget"}, click("u", "a", 1)]
    for records in (logged(clicks), logged([*clicks[:3], click("v", "c", 3)])):
        target = counting()
        feed(target, records)
        assert target.counts["refused"] == 0
        assert target.history("u") == ([target.catalogue.index["a"]] if len(target.history("v")) == 1 else [])
    assert counts(target)["a"] == 1  # what was counted of the item stays


def test_an_undo_and_an_impression_of_a_list_count_for_nothing() -> None:
    target = counting()
    shown = {
        "event_id": "seen",
        "user_id": "u",
        "event": "impression",
        "timestamp": START,
        "items": ["a", "z"],
    }
    undo = click("u", "b", 9, undo=True)
    stood = [click("u", "a", 1), click("u", "b", 2), click("u", "a", 3), shown]
    records = logged([*stood, undo, undo, click("u", "x", 10, undo=True), click("u", "c", 11)])
    feed(target, records)
    assert counts(target) == {"a": 2, "b": 1, "c": 1}  # what was counted stays
    assert target.counts["undone"] == 2
    assert target.counts["duplicates"] == 1
    index = target.catalogue.index
    assert target.history("u") == [index["a"], index["a"], index["c"]]


def test_of_a_merged_visitors_click_the_copy_is_remembered_and_not_counted() -> None:
    target = counting()
    wish = {"user_id": "v", "event": "merge", "into": "u", "timestamp": START}
    came = {
        "user_id": "u", "event": "merged", "merged_from": "v", "merge": "0-1-0", "timestamp": START,
        "state": {},
    }  # fmt: skip
    own, copy = click("v", "a", 1), click("u", "a", 1, merged_from="v")
    feed(target, logged([wish, came, own, copy, copy, click("u", "b", 2)]))
    assert counts(target) == {"a": 1, "b": 1}
    assert target.counts["refused"] == 0
    assert target.history("u") == [target.catalogue.index[item] for item in "ab"]
