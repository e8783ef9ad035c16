"""Clicks that wait: when they are due, and that each ends as taken, refused or unsent."""

import pytest

from nextclick import Bounds, Click
from nextclick.pending import MOST_REFUSED, Pending, joined
from nextclick.records import NotTaken


def pending(count: int = 0, **bounds: float) -> Pending:
    made = Pending(Bounds(**bounds))  # type: ignore[arg-type]
    for n in range(count):
        made.add(Click(user_id=f"u{n}", item_id="i"), 100.0)
    return made


def test_they_are_due_by_number_by_time_and_at_once() -> None:
    waits = pending(2, size=3, seconds=5.0)
    assert pending().due_in(0.0) is None
    assert waits.due_in(101.0) == 4.0
    assert waits.due_in(101.0, at_once=True) == 0.0
    waits.add(Click(user_id="u", item_id="i"), 102.0)
    assert waits.due_in(102.0) == 0.0
    assert [bool(each.event_id) for each in waits.first()] == [True] * 3


def test_what_was_not_taken_stays_first_and_under_its_id() -> None:
    waits = pending(4, size=1)
    sent = waits.first()
    waits.add(Click(user_id="late", item_id="i"), 101.0)
    waits.settle(sent, [NotTaken(1, "not acknowledged", "", True), NotTaken(2, "no event", "/event")], 102.0)
    assert waits.first()[0].event_id == sent[1].event_id
    assert [each.user_id for each in waits.first()] == ["u1", "late"]
    assert waits.due_in(102.0) == 1.0  # after a failure it is waited, up to ten seconds
    assert waits.due_in(102.0, at_once=True) == 0.5
    for _ in range(9):
        waits.failed("away", 200.0)
    assert waits.due_in(200.0) == 10.0
    waits.settle(waits.first(), [], 300.0)
    assert (len(waits), waits.due_in(300.0)) == (0, None)
    told = waits.told(ending=True)
    assert told is not None
    assert ([each.user_id for each, _ in told.refused], told.unsent) == (["u2"], [])
    assert "/event: no event" in str(told)
    assert waits.told(ending=True) is None


def test_full_is_full_and_what_is_left_is_told() -> None:
    waits = pending(2, size=1, most=2)
    assert waits.is_full
    waits.failed("away", 1.0)
    assert "2 clicks wait" in str(waits.full())
    assert "away" in str(waits.full())
    told = waits.told(ending=True)
    assert told is not None
    assert [each.user_id for each in told.unsent] == ["u0", "u1"]
    assert len(waits) == 0


def test_refused_ones_are_kept_up_to_a_number_and_counted_beyond_it() -> None:
    waits = pending(MOST_REFUSED + 3)
    while some := waits.first():
        waits.settle(some, [NotTaken(n, "bad") for n in range(len(some))], 1.0)
    told = waits.told(ending=False)
    assert told is not None
    assert (len(told.refused), told.more_refused) == (MOST_REFUSED, 3)
    both = joined(told, None, told)
    assert both is not None
    assert (len(both.refused), both.more_refused) == (2 * MOST_REFUSED, 6)
    assert joined(None) is None


def test_what_is_no_click_is_refused_where_it_is_added() -> None:
    with pytest.raises(TypeError):
        pending().add(Click(user_id="u", item_id=object()), 1.0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="size"):
        Bounds(size=0)
