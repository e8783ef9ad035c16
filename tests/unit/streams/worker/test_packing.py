"""What a round leaves for the brokers: every list, and of each user the last state."""

from dataclasses import replace
from typing import Any

import numpy as np

from streams.hot_path.recommend import recommend
from streams.hot_path.state_record import decode_state
from streams.hot_path.world import Fate
from streams.wire.contract import decode_list
from streams.worker.packing import pack
from streams.worker.rounds import Pending
from tests.worlds.rounds import NOW, arrivals, world


def test_lists_go_out_in_order_and_each_users_last_state_once() -> None:
    known, states = world()
    made = arrivals(np.random.default_rng(0), 4, 60)
    made = [replace(each, partition=int(each.user_id[1:]) % 2) for each in made]
    outcomes = recommend(made, states, known, NOW, rng=None)
    batch: Any = None
    pending = [Pending(each.user_id, each, batch) for each in made]
    encoded = lambda user: states.encode(states.index[user], known.catalogue)  # noqa: E731
    counts = dict.fromkeys(("clicks", "lists", "hurried_lists", "replayed", "duplicates"), 0)
    parcels = {each.partition: each for each in pack(pending, outcomes, encoded, counts)}
    assert parcels.keys() == {0, 1}
    for number, parcel in parcels.items():
        mine = [outcome for outcome in outcomes if outcome.arrival.partition == number]
        assert [record.payload for record in parcel.records] == [outcome.arrival for outcome in mine]
        listed = [outcome.recommendation for outcome in mine if outcome.recommendation is not None]
        assert [decode_list(record.value or b"") for record in parcel.lists] == listed
        assert {(record.key, record.partition) for record in parcel.lists} == {
            (made.user_id.encode(), number) for made in listed
        }
        assert parcel.states.keys() == {
            outcome.arrival.user_id.encode() for outcome in mine if outcome.changed
        }
        for user, state in parcel.states.items():
            assert state is not None
            last = max(o.arrival.offset for o in mine if o.changed and o.arrival.user_id.encode() == user)
            assert decode_state(state).applied == last
    assert counts["lists"] == sum(outcome.recommendation is not None for outcome in outcomes)
    assert counts["clicks"] == sum(outcome.changed for outcome in outcomes)
    assert counts["duplicates"] == sum(outcome.fate is Fate.DUPLICATE for outcome in outcomes) > 0
    assert counts["replayed"] == 0
