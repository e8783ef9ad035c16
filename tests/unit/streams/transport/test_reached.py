"""How far a partition is taken in: never beyond a slice that is still on its way."""

from faust.types.tuples import TP

from streams.transport.reached import Reached

CLICKS, OTHER = TP("clicks", 0), TP("clicks", 1)


def begun() -> Reached:
    reached = Reached()
    reached.begin([CLICKS])
    return reached


def test_it_is_the_end_of_the_last_slice_taken_in() -> None:
    reached = begun()
    assert reached.of(CLICKS) == 0
    reached.hand_out(CLICKS)
    reached.hand_out(CLICKS)
    reached.take_in(CLICKS, 10)
    assert reached.of(CLICKS) == 10
    reached.take_in(CLICKS, 20)
    assert reached.of(CLICKS) == 20


def test_the_consumers_place_counts_where_no_slice_is_on_its_way() -> None:
    """Markers and what was deleted make no slice, and nobody is to wait for them."""
    reached = begun()
    reached.pass_by(CLICKS, None)
    assert reached.of(CLICKS) == 0
    reached.pass_by(CLICKS, 5)
    assert reached.of(CLICKS) == 5
    reached.hand_out(CLICKS)
    reached.pass_by(CLICKS, 12)
    assert reached.of(CLICKS) == 5
    reached.take_in(CLICKS, 10)
    reached.pass_by(CLICKS, 12)
    assert reached.of(CLICKS) == 12


def test_a_consumer_that_goes_back_takes_nothing_away() -> None:
    reached = begun()
    reached.pass_by(CLICKS, 12)
    reached.pass_by(CLICKS, 3)
    assert reached.of(CLICKS) == 12


def test_an_assignment_begins_anew() -> None:
    reached = begun()
    reached.pass_by(CLICKS, 12)
    reached.hand_out(CLICKS)
    reached.begin([CLICKS])
    assert reached.of(CLICKS) == 0
    reached.pass_by(CLICKS, 2)
    assert reached.of(CLICKS) == 2


def test_partitions_that_nobody_asks_about_are_not_noted() -> None:
    reached = begun()
    reached.hand_out(OTHER)
    reached.take_in(OTHER, 10)
    assert reached.of(OTHER) == 0
