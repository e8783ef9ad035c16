"""User states: what stays of a history, what is barred, and the way through the changelog."""

import numpy as np
import pytest

from learner.data.catalogue import Catalogue
from learner.data.events import Kind
from streams.hot_path.user_states import HISTORY, UserStates, decode_state, event_hash

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
    per_user = [states.hidden, states.vector, states.applied, states.events, states._length, states._blocks]
    assert sum(array.nbytes for array in per_user) / len(states.applied) < 1500
