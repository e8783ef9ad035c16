"""What a round leaves for the brokers: every list, and of each user the last state."""

from dataclasses import replace
from typing import Any

import msgspec
import numpy as np

from learner.data.catalogue import Catalogue
from streams.hot_path.recommend import recommend
from streams.hot_path.state_record import decode_state
from streams.hot_path.user_states import UserStates
from streams.hot_path.world import Fate
from streams.wire.contract import Click, Forget, Merge, Merged, Request, decode_list
from streams.wire.intake import Arrival
from streams.worker.packing import pack
from streams.worker.rounds import Pending
from tests.worlds.rounds import NOW, arrivals, world

COUNTED = ("clicks", "lists", "asked_lists", "hurried_lists", "replayed", "duplicates", "forgotten")


class Users:
    def __init__(self, states: UserStates) -> None:
        self.states = states

    def encoded(self, user_id: str, catalogue: Catalogue) -> bytes | None:
        return None if user_id == "aside" else self.states.encode(self.states.index[user_id], catalogue)


def test_lists_go_out_in_order_and_each_users_last_state_once() -> None:
    known, states = world()
    made = arrivals(np.random.default_rng(0), 4, 60)
    made = [replace(each, partition=int(each.user_id[1:]) % 2) for each in made]
    outcomes = recommend(made, states, known, NOW, rng=None)
    batch: Any = None
    pending = [Pending(each.user_id, each, batch) for each in made]
    users: Any = Users(states)
    counts = dict.fromkeys(COUNTED, 0)
    parcels = {each.partition: each for each in pack(pending, outcomes, users, known.catalogue, counts)}
    assert parcels.keys() == {0, 1}
    for number, parcel in parcels.items():
        mine = [outcome for outcome in outcomes if outcome.arrival.partition == number]
        assert [record.payload for record in parcel.records] == [outcome.arrival for outcome in mine]
        listed = [outcome.recommendation for outcome in mine if outcome.recommendation is not None]
        assert [decode_list(record.value or b"") for record in parcel.lists] == listed
        # The topic of lists may have another number of partitions than clicks: its keys decide.
        assert {(record.key, record.partition) for record in parcel.lists} == {
            (made.user_id.encode(), None) for made in listed
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
    seen = [each for each in made if isinstance(each.message, Click) and each.message.event == "impression"]
    assert counts["impressions"] == len(seen) > 0


def test_of_who_is_forgotten_the_state_is_deleted() -> None:
    """The last word counts: whoever clicks afterwards has a state again."""
    known, states = world()
    made = [
        Arrival(message(user), 0, offset)
        for offset, (user, message) in enumerate(
            [
                ("gone", click),
                ("back", click),
                ("gone", wish),
                ("back", wish),
                ("back", click),
                ("new", wish),
                ("aside", click),
            ]
        )
    ]
    outcomes = recommend(made, states, known, NOW, rng=None)
    batch: Any = None
    counts = dict.fromkeys(COUNTED, 0)
    users: Any = Users(states)
    pending = [Pending(each.user_id, each, batch) for each in made]
    (parcel,) = pack(pending, outcomes, users, known.catalogue, counts)
    assert {user: state is not None for user, state in parcel.states.items()} == {
        b"gone": False, b"new": False, b"back": True,
    }  # fmt: skip
    assert decode_state(parcel.states[b"back"] or b"").events == 1
    assert states.index.keys() == {"back", "aside"}
    assert (counts["clicks"], counts["forgotten"]) == (4, 3)


def test_a_state_set_aside_is_neither_sent_along_nor_written() -> None:
    known, states = world()
    states.set_aside("aside", "too large")
    merge = Merge(user_id="aside", event="merge", into="u", timestamp=NOW)
    came = Merged(
        user_id="aside", event="merged", merged_from="v", merge="0-0-0", timestamp=NOW,
        state=msgspec.Raw(b"{}"),
    )  # fmt: skip
    made = [Arrival(each, 0, offset) for offset, each in enumerate((merge, came))]
    outcomes = recommend(made, states, known, NOW, rng=None)
    batch: Any = None
    users: Any = Users(states)
    counts = dict.fromkeys(COUNTED, 0)
    (parcel,) = pack(
        [Pending("aside", each, batch) for each in made], outcomes, users, known.catalogue, counts
    )
    assert (parcel.states, parcel.clicks, len(parcel.records)) == ({}, [], 2)


def test_a_strangers_list_goes_by_its_request_and_leaves_no_state() -> None:
    known, states = world()
    messages = [Request(request_id="r1"), click("u"), Request(request_id="r2")]
    made = [Arrival(each, 0, offset) for offset, each in enumerate(messages)]
    outcomes = recommend(made, states, known, NOW, rng=None)
    batch: Any = None
    counts = dict.fromkeys(COUNTED, 0)
    users: Any = Users(states)
    pending = [Pending(each.key, each, batch) for each in made]
    (parcel,) = pack(pending, outcomes, users, known.catalogue, counts)
    assert [record.key for record in parcel.lists] == [b"r1", b"u", b"r2"]
    lists = [decode_list(record.value or b"") for record in parcel.lists]
    assert [each.user for each in lists] == ["", "u", ""]
    assert [b'"user_id"' in (record.value or b"") for record in parcel.lists] == [False, True, False]
    assert parcel.states.keys() == {b"u"}
    assert states.index.keys() == {"u"}
    assert (counts["clicks"], counts["lists"], counts["asked_lists"]) == (1, 3, 2)
    assert (len(parcel.clicked_ms), len(parcel.asked_ms)) == (1, 2)


def click(user: str) -> Click:
    return Click(event_id="e", user_id=user, item_id="more-1", event="click", timestamp=NOW)


def wish(user: str) -> Forget:
    return Forget(user_id=user, event="forget")
