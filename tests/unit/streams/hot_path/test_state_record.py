"""The record of a user's state: what an earlier version wrote is read, and written again, byte for byte."""

import pytest

from learner.data.catalogue import Catalogue
from streams.hot_path.histories import HISTORY
from streams.hot_path.state_record import decode_state
from streams.hot_path.user_states import UserStates
from tests.golden.make_states_v1 import EVENTS, FILE, HIDDEN, VECTOR, fill

GOLDEN = dict(zip(EVENTS, FILE.read_bytes().splitlines(), strict=True))


def empty() -> UserStates:
    return UserStates(HIDDEN, VECTOR, views_consume=True)


def test_the_same_events_make_the_golden_records() -> None:
    catalogue, states = Catalogue(), empty()
    for user, record in GOLDEN.items():
        assert states.encode(fill(states, user, catalogue), catalogue) == record


@pytest.mark.parametrize("user", EVENTS)
def test_a_golden_record_of_version_1_is_read_and_written_again(user: str) -> None:
    catalogue, states = Catalogue(), empty()
    catalogue.intern("somebody-elses")
    states.slot("somebody")
    record = decode_state(GOLDEN[user])
    slot = states.restore(record, catalogue)
    assert states.encode(slot, catalogue) == GOLDEN[user]
    assert (record.user_id, record.v, record.events) == (user, 1, EVENTS[user])
    assert min(EVENTS[user], HISTORY) <= len(record.history()) <= EVENTS[user]
