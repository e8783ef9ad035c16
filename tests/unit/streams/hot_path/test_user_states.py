"""User states: what stays of a history, what is barred, and the way through the changelog."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from learner.data.catalogue import Catalogue
from learner.data.events import Kind
from streams.hot_path import fallen, user_states
from streams.hot_path.columns import Columns, column
from streams.hot_path.fallen import Bar, least_bar
from streams.hot_path.histories import HISTORY
from streams.hot_path.state_record import decode_state
from streams.hot_path.user_states import Moved, UserStates
from streams.wire.event_ids import event_hash

HIDDEN, VECTOR = 8, 4


@pytest.fixture
def catalogue() -> Catalogue:
    catalogue = Catalogue()
    for number in range(1000):
        catalogue.intern(f"i{number}")
    return catalogue


def filled(events: int, *, kind: Kind = Kind.CLICK) -> tuple[UserStates, int]:
    states = UserStates(HIDDEN, VECTOR)
    slot = states.slot("u")
    for n in range(events):
        states.append(slot, n, 1000 + n, kind, float(n), event_hash(f"e{n}"))
    return states, slot


@pytest.mark.parametrize("events", [0, 1, 15, 16, 17, 127, 128, 129, 144, 145, 300])
def test_the_last_128_events_stay_in_order(events: int) -> None:
    states, slot = filled(events)
    histories = states.gather(np.array([slot]))
    expected = list(range(max(0, events - HISTORY), events))
    assert histories.items[0, : histories.length[0]].tolist() == expected
    assert histories.times[0, : histories.length[0]].tolist() == [1000 + n for n in expected]
    assert histories.events[0] == events
    assert (histories.items[0, histories.length[0] :] == -1).all()


@pytest.mark.parametrize("events", [3, 130, 144, 160, 500])
def test_all_that_was_ever_consumed_is_barred(events: int) -> None:
    states, slot = filled(events)
    histories = states.gather(np.array([slot]))
    assert sorted(states.barred(slot, histories, 0, Bar.CONSUMED)) == list(range(events))
    assert len(states.barred(slot, histories, 0, Bar.REFUSED)) == 0


def test_refused_items_stay_barred_where_repeats_are_allowed() -> None:
    states, slot = filled(1, kind=Kind.HIDE)
    for n in range(1, 400):
        states.append(slot, n, n, Kind.CLICK, float("nan"), n)
    histories = states.gather(np.array([slot]))
    assert states.barred(slot, histories, 0, Bar.REFUSED).tolist() == [0]


@pytest.mark.parametrize("events", [5, 140, 500])
def test_whether_views_consume_is_asked_when_a_list_is_made(catalogue: Catalogue, events: int) -> None:
    """The release that answers says so: after a swap the other rule holds, for what fell out too."""
    states, slot = filled(events, kind=Kind.VIEW)
    other = UserStates(HIDDEN, VECTOR)
    for known, at in (
        (states, slot),
        (other, other.restore(decode_state(states.encode(slot, catalogue)), catalogue)),
    ):
        histories = known.gather(np.array([at]))
        assert len(known.barred(at, histories, 0, least_bar(consumed=True, views=False))) == 0
        assert len(known.barred(at, histories, 0, least_bar(consumed=False, views=True))) == 0
        barred = known.barred(at, histories, 0, least_bar(consumed=True, views=True))
        assert sorted(barred) == list(range(events))


def test_the_last_64_event_ids_are_remembered() -> None:
    states, slot = filled(200)
    assert all(states.is_repeat(slot, event_hash(f"e{n}")) for n in range(136, 200))
    assert not any(states.is_repeat(slot, event_hash(f"e{n}")) for n in range(136))


@pytest.mark.parametrize("events", [1, 20, 128, 144, 145, 1000])
def test_a_state_survives_the_changelog(catalogue: Catalogue, events: int) -> None:
    states, slot = filled(events)
    rng = np.random.default_rng(events)
    states.hidden[slot], states.vector[slot] = rng.normal(size=HIDDEN), rng.normal(size=VECTOR)
    states.note_applied(slot, 5, 77)
    states.stamp(slot, "r-1")
    encoded = states.encode(slot, catalogue)

    # Another worker numbers items in its own order.
    other_catalogue = Catalogue()
    for number in reversed(range(1000)):
        other_catalogue.intern(f"i{number}")
    other = UserStates(HIDDEN, VECTOR)
    restored = other.restore(decode_state(encoded), other_catalogue)

    assert other.encode(restored, other_catalogue) != b""
    first, second = decode_state(encoded), decode_state(other.encode(restored, other_catalogue))
    assert first == second
    assert np.array_equal(other.hidden[restored], states.hidden[slot])
    assert other.is_repeat(restored, event_hash(f"e{events - 1}"))


def known_well() -> tuple[UserStates, int]:
    """A user of whom everything is known that can be."""
    states, slot = filled(300)
    states.hidden[slot], states.vector[slot] = np.arange(1, HIDDEN + 1), np.arange(1, VECTOR + 1)
    states.stamp(slot, "r-1")
    states.note_applied(slot, 5, 77)
    states.see(slot, [3, 1], 1_000)
    states.moved[slot] = Moved("somebody", 1_000)
    states.remember_id(slot, 7)
    return states, slot


def field(states: UserStates, name: str, slot: int, catalogue: Catalogue) -> Any:
    """What a field says of a user, in words that every worker shares; of a new user False."""
    if name == "release":
        return states.releases[states.release[slot]]
    if name == "_blocks":
        return [
            array.tolist() for array in states._histories.read(states._blocks[slot], states._length[slot])
        ]
    if name == "_older":
        older = states._older[slot]
        return older is not None and older.every.tolist()
    if name == "shown":
        return states.shown[slot] is not None and [each.tolist() for each in states.shown[slot]]
    if name == "_other_ids":
        return states._other_ids[slot] is not None and states._other_ids[slot].tolist()
    if name == "moved":
        return states.moved[slot]
    value, (_, _, new) = getattr(states, name)[slot], states.columns[name]
    return bool((value != new).any()) and value.tolist()


@pytest.mark.parametrize("name", UserStates.columns)
def test_every_field_is_undone_and_forgotten_and_survives_the_changelog(
    name: str, catalogue: Catalogue
) -> None:
    """A field that this knows nothing of fails here: say above what it holds."""
    states, slot = known_well()
    known = field(states, name, slot, catalogue)
    new = field(states, name, states.slot("v"), catalogue)
    assert known
    assert known != new

    other = UserStates(HIDDEN, VECTOR)
    other.slot("somebody")
    restored = other.restore(decode_state(states.encode(slot, catalogue)), catalogue)
    assert field(other, name, restored, catalogue) == known

    checkpoint = states.checkpoint(["u"])
    for n in range(300, 500):
        states.append(slot, n, 1000 + n, Kind.HIDE, 0.0, n)
    states.hidden[slot], states.vector[slot] = 0, 0
    states.note_applied(slot, 6, 78)
    states.see(slot, [4], 2_000)
    states.moved[slot] = None
    states.remember_id(slot, 8)
    states.stamp(slot, "r-2")
    assert field(states, name, slot, catalogue) != known
    states.undo(checkpoint)
    assert field(states, name, slot, catalogue) == known

    states.forget("u")
    assert field(states, name, states.slot("w"), catalogue) == new


def test_columns_grow_and_widen_and_come_back() -> None:
    class Two(Columns):
        wide: NDArray[np.float32] = column(np.float32, width=2, new=-1)
        many: NDArray[np.object_] = column(object, new=None)

    two, rows = Two(3), np.array([2, 0])
    two.wide[2], two.many[2] = 5, np.array([7])
    before = two.copied(rows)
    two.grow(5)
    two.widen("wide", 4)
    assert two.wide.tolist() == [[-1] * 4, [-1] * 4, [5, 5, -1, -1], [-1] * 4, [-1] * 4]
    two.wide[rows], two.many[2] = 9, np.array([8, 9])
    two.bring_back(rows, before)
    assert two.wide.tolist() == [[-1] * 4, [-1] * 4, [5, 5, -1, -1], [-1] * 4, [-1] * 4]
    assert two.many.tolist() == [None, None, np.array([7]), None, None]
    two.clear(2)
    assert two.wide[2].tolist() == [-1] * 4
    assert two.many.tolist() == [None] * 5


def test_a_forgotten_users_room_is_used_again_and_is_clean() -> None:
    states, slot = filled(300)
    states.applied[slot] = 9
    states.forget("u")
    assert len(states) == 0
    assert states.slot("v") == slot
    assert states.applied[slot] == -1
    assert states.gather(np.array([slot])).length[0] == 0
    assert len(states.barred(slot, states.gather(np.array([slot])), 0, Bar.VIEWED)) == 0


def test_who_is_idle(catalogue: Catalogue) -> None:
    states, slot = filled(3)
    states.slot("nobody-yet")
    other = states.slot("v")
    states.append(other, 1, 5000, Kind.CLICK, 0.0, 1)
    assert states.idle(1002).tolist() == []
    assert states.idle(1003).tolist() == [slot]
    assert decode_state(states.encode(slot, catalogue)).last_ms == 1002
    states.forget("u")
    assert states.idle(9000).tolist() == [other]


def test_memory_beyond_history_is_small() -> None:
    """DESIGN: at most 1.5 KB a user beyond the history itself."""
    states = UserStates(128, 64)
    for n in range(5000):
        slot = states.slot(f"u{n}")
        for event in range(5):
            states.append(slot, event, event, Kind.CLICK, 0.0, event + 1)
    per_user = [getattr(states, name) for name in states.columns]
    assert sum(array.nbytes for array in per_user) / len(states.applied) < 1500


def test_a_users_ids_are_written_once_and_not_at_each_click(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a user who has met very many items: what is written is what it would be without that."""
    monkeypatch.setattr(user_states, "_MANY", 100)
    written: list[int] = []
    text_of = fallen.text_of
    monkeypatch.setattr(
        fallen, "text_of", lambda marks, ids: written.append(len(marks)) or text_of(marks, ids)
    )
    states, slot = filled(900)
    for n in range(900, 996):
        states.append(slot, n, 1000 + n, Kind.CLICK, 0.0, n)
        encoded = states.encode(slot, catalogue)
        with monkeypatch.context() as patch:
            patch.setattr(user_states, "_MANY", 10_000)
            assert states.encode(slot, catalogue) == encoded
    without = [n for n in written if n < 700]
    assert max(without, default=0) <= 64
    assert sum(n >= 700 for n in written) < 96 + 4  # those of the comparison, and one after each merge
    states.forget("u")
    assert states._texts._bytes == 0


def test_numbers_of_releases_are_used_again() -> None:
    """A worker sees a release in half an hour; in two years more than a number has room for."""
    states, slot = filled(3)
    other = states.slot("v")
    states.append(other, 1, 5000, Kind.CLICK, 0.0, 1)
    states.fit("r-old", HIDDEN, VECTOR)
    states.stamp(other, "r-old")
    for n in range(40_000):
        states.fit(f"r-{n}", HIDDEN, VECTOR)
        states.stamp(slot, f"r-{n}")
    assert len(states.releases) == user_states.MOST_RELEASES
    assert states.releases[states.release[slot]] == "r-39999"
    assert states.releases[states.release[other]] == "r-old"  # whoever stays away keeps what is theirs
    assert states.foreign(["u", "v"], "r-39999") == {other}
    assert states.stale(["r-39999"]).tolist() == [other]


def test_more_releases_than_there_are_numbers_for_are_nobodys(catalogue: Catalogue) -> None:
    states = UserStates(HIDDEN, VECTOR)
    states.fit("r-live", HIDDEN, VECTOR)
    for n in range(3 * user_states.MOST_RELEASES):
        slot = states.slot(f"u{n}")
        states.append(slot, 1, 5000, Kind.CLICK, 0.0, 1)
        before = states.checkpoint([f"u{n}"])
        states.fit(f"r-{n}", HIDDEN, VECTOR)
        states.stamp(slot, f"r-{n}")
        states.keep() if n % 2 else states.undo(before)
        states.fit("r-live", HIDDEN, VECTOR)
    assert len(states.releases) == user_states.MOST_RELEASES
    assert "r-live" in states.releases
    last = states.slot(f"u{3 * user_states.MOST_RELEASES - 1}")
    assert states.releases[states.release[last]] == f"r-{3 * user_states.MOST_RELEASES - 1}"
    assert states.releases[states.release[states.slot("u1")]] == ""
    record = decode_state(states.encode(last, catalogue))
    record.release = "r-of-another-worker"
    assert states.releases[states.release[states.restore(record, catalogue)]] == ""
