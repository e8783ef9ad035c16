"""What fell out of a history: each item once, the newest ones, with the strongest of what was said of it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learner.data.times import DAY_MS
from streams.hot_path import fallen
from streams.hot_path.fallen import NONE, Bar, Fallen, Texts, as_read, days_of, items_of, text_of


def after(events: list[tuple[int, int, int]], known: Fallen = NONE) -> Fallen:
    """Items, days and bars, sixteen at a time."""
    for at in range(0, len(events), 16):
        items, days, bars = (np.array(column) for column in zip(*events[at : at + 16], strict=True))
        known = known.and_these(items.astype(np.int32), days * DAY_MS, bars.astype(np.uint8))
    return known


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 60_000), st.integers(1, 3)), max_size=600))
def test_what_is_barred_is_what_was_met(events: list[tuple[int, int, int]]) -> None:
    known = after(events)
    for least in Bar:
        assert set(known.barred(least).tolist()) == {item for item, _, bar in events if bar >= least}
    newest = {item: max(day for each, day, _ in events if each == item) for item, _, _ in events}
    settled = dict(zip(items_of(known.settled).tolist(), days_of(known.settled).tolist(), strict=True))
    assert len(settled) == len(known.settled)
    assert list(settled.values()) == sorted(settled.values())
    loose = set(items_of(known.loose).tolist())
    assert all(day == newest[item] for item, day in settled.items() if item not in loose)


def test_the_newest_are_kept_and_views_give_way_to_what_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fallen, "MOST", 300)
    monkeypatch.setattr(fallen, "MOST_VIEWED", 40)
    many = after([(n, n, Bar.CONSUMED) for n in range(2_000)])
    assert 300 <= len(many) <= 300 + 64 + 16
    assert set(items_of(many.every).tolist()) == set(range(2_000 - len(many), 2_000))
    viewed = after([(n, n, Bar.VIEWED) for n in range(2_000)])
    assert len(viewed) >= 300
    both = after([(n, n, Bar.CONSUMED if n % 10 == 0 else Bar.VIEWED) for n in range(1_500)])
    assert set(range(0, 1_500, 10)) <= set(both.barred(Bar.CONSUMED).tolist())
    assert len(both) - len(both.barred(Bar.CONSUMED)) <= 40 + 64 + 16


def test_the_same_items_again_and_again_take_no_room() -> None:
    known = after([(n % 50, n // 50, Bar.CONSUMED) for n in range(20_000)])
    assert len(known) <= 50 + 64 + 16
    assert days_of(known.every).max() == 399


def test_times_out_of_the_calendar_are_bounded() -> None:
    known = NONE.and_these(np.array([1, 2]), np.array([-5, 2**53]), np.array([2, 2], np.uint8))
    assert sorted(days_of(known.every).tolist()) == [0, 65535]


def test_a_record_of_more_than_is_kept_is_shortened() -> None:
    count = fallen.MOST + 10_000
    read = as_read(range(count), np.zeros(count, np.uint16), np.full(count, 2, np.uint8))
    assert items_of(read.every).tolist() == list(range(10_000, count))


def test_texts_are_bounded_and_those_of_another_past_are_made_anew() -> None:
    ids = [f"i{n:06}" for n in range(1_000)]
    texts = Texts(limit=25_000)
    pasts = [np.arange(n, n + 100) << 2 for n in range(5)]
    for slot, past in enumerate(pasts):
        assert texts.of(slot, past, ids) == text_of(past, ids)
    assert texts._bytes == sum(len(text) for _, text in texts._texts.values()) <= 25_000
    assert texts.of(4, pasts[0], ids) == text_of(pasts[0], ids)
    for slot in range(5):
        texts.drop(slot)
    assert texts._bytes == 0
