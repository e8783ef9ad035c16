"""Writes the golden user states of version 1, which every later version must read and write again. Run once.

A line a record, as it stands in topic `user-states`: of users with few events and with many, whose hidden
state is a release's or nobody's.
"""

from pathlib import Path

import numpy as np

from learner.data.catalogue import Catalogue
from learner.data.events import Kind
from streams.hot_path.user_states import UserStates
from streams.wire.event_ids import event_hash

FILE = Path(__file__).parent / "states_v1.jsonl"
HIDDEN, VECTOR = 4, 3
EVENTS = {"nobody": 0, "jörg": 1, "u2": 17, "u3": 144, "u4": 145, "u5": 400}  # by user
VALUES = (float("nan"), 4.5, 0.0, -1.5, float("inf"))


def fill(states: UserStates, user: str, catalogue: Catalogue) -> int:
    """The user's state after the events; returns the slot."""
    slot, events = states.slot(user), EVENTS[user]
    for n in range(events):
        item = catalogue.intern(f"i{n * 7 % 90}")
        kind, value = list(Kind)[n * 5 % 7], VALUES[n % len(VALUES)]  # all but impressions
        time_ms = 1_700_000_000_000 + 1000 * n
        states.append(slot, item, time_ms, int(kind), value, event_hash(f"{user}-{n}"))
    states.applied[slot] = 10 * events - 1
    if events > 1:
        states.hidden[slot] = np.arange(HIDDEN) / 8 - events
        states.vector[slot] = np.arange(VECTOR) / 4 + events
        states.stamp(slot, "r-20261123-041200-gold")
    return slot


if __name__ == "__main__":
    catalogue, states = Catalogue(), UserStates(HIDDEN, VECTOR, views_consume=True)
    records = [states.encode(fill(states, user, catalogue), catalogue) for user in EVENTS]
    FILE.write_bytes(b"\n".join(records) + b"\n")
