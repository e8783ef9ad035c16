"""Writes the golden user states of version 2, which every later version must read and write again. Run once.

A line a record, as it stands in topic `user-states`: of users with few events and with many, whose hidden
state is a release's or nobody's. `states_v2_shown.jsonl` was written when only the last time of an item's
impressions was kept, `states_v2_times.jsonl` is the same with those before it. `states_v1.jsonl` holds what
version 1 wrote of the same events.
"""

from pathlib import Path

import numpy as np

from learner.data.catalogue import Catalogue
from learner.data.events import Kind
from streams.hot_path.impressions import unsaid
from streams.hot_path.state_record import ClicksTopic
from streams.hot_path.user_states import UserStates
from streams.wire.event_ids import event_hash

FILE = Path(__file__).parent / "states_v2.jsonl"
FILE_SHOWN = Path(__file__).parent / "states_v2_shown.jsonl"
FILE_TIMES = Path(__file__).parent / "states_v2_times.jsonl"
FILE_1 = Path(__file__).parent / "states_v1.jsonl"
HIDDEN, VECTOR = 4, 3
TOPIC = ClicksTopic("5ae2b8f2-8a39-4a44-9a32-0f2ec1b7a6a1", {3: 4_000})
EVENTS = {"nobody": 0, "jörg": 1, "u2": 17, "u3": 144, "u4": 145, "u5": 400}  # by user
VALUES = (float("nan"), 4.5, 0.0, -1.5, float("inf"))


def empty() -> UserStates:
    """Room for such users."""
    states = UserStates(HIDDEN, VECTOR)
    states.stand_on(TOPIC)
    return states


def fill(states: UserStates, user: str, catalogue: Catalogue) -> int:
    """The user's state after the events; returns the slot."""
    slot, events = states.slot(user), EVENTS[user]
    for n in range(events):
        item = catalogue.intern(f"i{n * 7 % 90}")
        kind, value = list(Kind)[n * 5 % 7], VALUES[n % len(VALUES)]  # all but impressions
        time_ms = 1_700_000_000_000 + 1000 * n
        states.append(slot, item, time_ms, int(kind), value, event_hash(f"{user}-{n}"))
    states.note_applied(slot, 3, 10 * events - 1)
    if events > 1:
        states.hidden[slot] = np.arange(HIDDEN) / 8 - events
        states.vector[slot] = np.arange(VECTOR) / 4 + events
        states.stamp(slot, "r-20261123-041200-gold")
    if events > 300:
        states.shown[slot] = unsaid([catalogue.index["i7"], catalogue.intern("shown")])
    return slot


def show(states: UserStates, user: str, catalogue: Catalogue) -> int:
    """The same after impressions and undos, which version 2 had no word for at first; returns the slot."""
    slot = fill(states, user, catalogue)
    for n in range(3):
        shown = [catalogue.intern(f"i{(n + m) % 5 * 7}") for m in range(4)]
        states.see(slot, shown, 1_700_000_900_000 + 1000 * n)
    for digest in (event_hash("undo-1"), event_hash("undo-2")):
        states.remember_id(slot, digest)
    return slot


if __name__ == "__main__":
    for file, make in ((FILE, fill), (FILE_TIMES, show)):
        catalogue, states = Catalogue(), empty()
        records = [states.encode(make(states, user, catalogue), catalogue) for user in EVENTS]
        if not file.exists():
            file.write_bytes(b"\n".join(records) + b"\n")
