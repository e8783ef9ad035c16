"""A visitor who turns out to be another user: what was known of the visitor goes to the user's partition.

Owns what the two workers do, each with its own user alone. The visitor's sends the state away as `Merged`
records, forgets it, and for a day sends on what comes for the visitor. The user's takes it in, in order of
time. Each step may be done twice: the records have ids that are remembered as those of clicks are. Sends
nothing itself: outcomes say what is to be sent, before the state that knows of it.
"""

from collections.abc import Iterator

import msgspec
import numpy as np

from learner.data.times import DAY_MS
from streams.hot_path.fold import reencode
from streams.hot_path.state_record import StateError, StateRecord, columns, decode_state, encode_state, pack
from streams.hot_path.user_states import Moved, UserStates
from streams.hot_path.world import Fate, Outcome, Sent, World
from streams.wire.contract import Click, Forget, Merge, Merged, Request
from streams.wire.event_ids import event_hash
from streams.wire.intake import Arrival

FORWARDS_MS = DAY_MS  # from the merge on: by then no page that knows the visitor alone is open any more
_PART_BYTES = 40_000  # of ids in a record, beside the history


def sent_on(
    arrival: Arrival, message: Click | Request, slot: int, states: UserStates, now_ms: int
) -> Outcome | None:
    """Sends a message to the user whom its own was merged into; None where it is its own user's again."""
    moved: Moved = states.moved[slot]
    time_ms = now_ms if message.timestamp is None else message.timestamp
    if time_ms >= moved.since_ms + FORWARDS_MS:
        return None
    sent: Click | Request
    if isinstance(message, Request):
        sent = msgspec.structs.replace(
            message, user_id=moved.into, at_least=None
        )  # it was of another partition
    else:
        sent = msgspec.structs.replace(
            message, user_id=moved.into, merged_from=message.merged_from or message.user_id
        )
        states.note_applied(slot, arrival.partition, arrival.offset)
    return Outcome(arrival, Fate.MOVED, slot, forwards=[sent])


def take_wish(
    arrival: Arrival, wish: Forget | Merge | Merged, slot: int, states: UserStates, world: World
) -> Outcome:
    """What a wish makes of its user's state, which does not know it yet."""
    outcome = Outcome(arrival, Fate.DONE, slot)
    if isinstance(wish, Forget):
        states.erase(slot, arrival.partition, arrival.offset)
    elif isinstance(wish, Merge):
        outcome.forwards = _leave(arrival, wish, slot, states, world)
        states.erase(slot, arrival.partition, arrival.offset)
        states.moved[slot] = Moved(wish.into, wish.timestamp)
        states.last_ms[slot] = wish.timestamp  # no idle user yet: more is to be sent on
    else:
        _join(outcome, wish, states, world)
        states.note_applied(slot, arrival.partition, arrival.offset)
    return outcome


def digest_of(merge: str) -> int:
    """What is remembered of a `Merged` record that was taken in."""
    return event_hash(f"merge {merge}")


def place_of(partition: int, offset: int) -> str:
    """The name of the first part of what a `Merge` brings; other parts follow it by number."""
    return f"{partition}-{offset}-0"


def _leave(arrival: Arrival, wish: Merge, slot: int, states: UserStates, world: World) -> list[Sent]:
    """All that is known of the visitor, on its way to the user."""
    record = decode_state(states.encode(slot, world.catalogue))
    first = place_of(arrival.partition, arrival.offset)
    return [
        Merged(
            user_id=wish.into, event="merged", merged_from=wish.user_id, timestamp=wish.timestamp,
            merge=f"{first[:-1]}{number}", state=msgspec.Raw(encode_state(part)),
        )
        for number, part in enumerate(_parts(record))
    ]  # fmt: skip


def _parts(record: StateRecord) -> Iterator[StateRecord]:
    """The record in parts that a topic takes: the history in the first, then what came before it."""
    whole = columns(record)
    bare = {
        "release": "", "hidden": "", "vector": "", "moved_to": msgspec.UNSET, "moved_ms": msgspec.UNSET,
        "older": [], "older_days": "", "older_bars": "",
    }  # fmt: skip
    yield msgspec.structs.replace(record, **bare)
    empty = {
        "events": 0, "items": [], "times": "", "kinds": "", "values": "", "event_ids": "", "shown": [],
        "shown_counts": msgspec.UNSET, "shown_ms": msgspec.UNSET, "shown_before_ms": msgspec.UNSET,
        "other_ids": msgspec.UNSET,
    }  # fmt: skip
    sizes = np.cumsum([len(item.encode()) + 3 for item in record.older])
    for part in range(0, int(sizes[-1]) if len(sizes) else 0, _PART_BYTES):
        first, last = np.searchsorted(sizes, (part, part + _PART_BYTES), side="right").tolist()
        if first < last:
            yield msgspec.structs.replace(
                record, **bare | empty | {
                    "older": record.older[first:last],
                    "older_days": pack(whole.older_days[first:last]),
                    "older_bars": pack(whole.older_bars[first:last]),
                },
            )  # fmt: skip


def _join(outcome: Outcome, wish: Merged, states: UserStates, world: World) -> None:
    """Takes in what was known of a visitor, or sends it on where the user has become another one since."""
    slot, digest = outcome.slot, digest_of(wish.merge)
    moved: Moved | None = states.moved[slot]
    if moved is not None and wish.timestamp < moved.since_ms:
        outcome.fate = Fate.MOVED
        outcome.forwards = [msgspec.structs.replace(wish, user_id=moved.into)]
        return
    if states.is_repeat(slot, digest):
        outcome.fate = Fate.DUPLICATE
        return
    try:
        record = decode_state(bytes(wish.state))
        states.join(slot, record, world.catalogue)
    except StateError:
        outcome.fate = Fate.IDLE  # no worker wrote that
        return
    states.moved[slot] = None  # whom others are merged into is somebody again
    states.remember_id(slot, digest)
    world.live.follow()
    reencode([slot], states, world.live)
