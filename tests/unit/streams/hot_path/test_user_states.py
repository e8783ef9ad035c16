"""User states: what stays of a history, what is barred, and the way through the changelog."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from learner.data.catalogue import Catalogue
from learner.data.events import Kind
from streams.hot_path.columns import Columns, column
from streams.hot_path.histories import HISTORY
from streams.hot_path.state_record import decode_state
from streams.hot_path.user_states import UserStates
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
    assert sorted(states.barred(slot, histories, 0, consumed=True)) == list(range(events))
    assert len(states.barred(slot, histories, 0, consumed=False)) == 0


def test_refused_items_stay_barred_where_repeats_are_allowed() -> None:
    states, slot = filled(1, kind=Kind.HIDE)
    for n in range(1, 400):
        states.append(slot, n, n, Kind.CLICK, float("nan"), n)
    histories = states.gather(np.array([slot]))
    assert states.barred(slot, histories, 0, consumed=False).tolist() == [0]


def test_views_consume_only_where_told() -> None:
    states, slot = filled(5, kind=Kind.VIEW)
    histories = states.gather(np.array([slot]))
    assert len(states.barred(slot, histories, 0, consumed=True)) == 0
    states.views_consume = True
    assert sorted(states.barred(slot, histories, 0, consumed=True)) == list(range(5))


def test_the_last_64_event_ids_are_remembered() -> None:
    states, slot = filled(200)
    assert all(states.is_repeat(slot, event_hash(f"e{n}")) for n in range(136, 200))
    assert not any(states.is_repeat(slot, event_hash(f"e{n}")) for n in range(136))


@pytest.mark.parametrize("events", [1, 20, 128, 144, 145, 1000])
def test_a_state_survives_the_changelog(catalogue: Catalogue, events: int) -> None:
    states, slot = filled(events)
    rng = np.random.default_rng(events)
    states.hidden[slot], states.vector[slot] = rng.normal(size=HIDDEN), rng.normal(size=VECTOR)
    states.applied[slot] = 77
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
    assert sorted(first.older) == sorted(second.older)
    first.older = second.older = []
    assert first == second
    assert np.array_equal(other.hidden[restored], states.hidden[slot])
    assert other.is_repeat(restored, event_hash(f"e{events - 1}"))


def known_well() -> tuple[UserStates, int]:
    """A user of whom everything is known that can be."""
    states, slot = filled(300)
    states.hidden[slot], states.vector[slot] = np.arange(1, HIDDEN + 1), np.arange(1, VECTOR + 1)
    states.stamp(slot, "r-1")
    states.applied[slot] = 77
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
        return older is not None and sorted((catalogue.ids[mark >> 1], mark & 1) for mark in older.tolist())
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
    states.hidden[slot], states.vector[slot], states.applied[slot] = 0, 0, 78
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
    assert len(states.barred(slot, states.gather(np.array([slot])), 0, consumed=True)) == 0


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
