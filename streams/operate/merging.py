"""Merges a visitor into a user: sends the wish to where the visitor's clicks stand, and looks how far it is.

Owns nothing of the merging: the owners of both partitions do it, each with its own user's state
(`streams.hot_path.merging`).
"""

import time
from enum import Enum

import numpy as np

from streams.hot_path.merging import digest_of, place_of
from streams.hot_path.state_record import StateError, StateRecord, decode_state, unpack
from streams.operate.one_user import newest_state
from streams.settings import Settings
from streams.transport import clients
from streams.transport.topics import Names, check
from streams.wire.contract import Merge, decode_merge, encode
from streams.wire.partitioner import partition_of


class Come(Enum):
    """How far a merge has come."""

    SENT = "no worker has answered yet"
    LEFT = "the visitor's worker has sent on what was known"
    DONE = "the user's worker has taken it in"


def merge(settings: Settings, visitor: str, user: str, timeout_s: float) -> Come:
    """Sends the wish; says how far it has come within that time. The rest follows by itself.

    Raises TopicsError where there are no topics, and msgspec.ValidationError for what is no user's id.
    """
    names = Names(settings.prefix)
    wish = encode(
        Merge(user_id=visitor, event="merge", into=user, timestamp=_now_ms(settings, visitor, user))
    )
    decode_merge(wish)
    with clients.admin(settings) as admin:
        partitions = check(admin, settings)
    key = visitor.encode()
    with clients.producer(settings) as producer:
        sent = producer.send(names.clicks, key=key, value=wish, partition=partition_of(key, partitions)).get(
            30
        )
    deadline = time.monotonic() + timeout_s
    come = Come.SENT
    while come is not Come.DONE and time.monotonic() < deadline:
        if come is Come.SENT and _applied(settings, visitor) >= sent.offset:
            come = Come.LEFT
        if come is Come.LEFT and digest_of(place_of(sent.partition, sent.offset)) in _taken_in(
            settings, user
        ):
            come = Come.DONE
        time.sleep(0.1)
    return come


def _now_ms(settings: Settings, *users: str) -> int:
    """The time of the merge: with a stream's clock that of the newest event of the two."""
    if settings.clock == "wall":
        return int(time.time() * 1000)
    states = [_state(settings, user) for user in users]
    return max([0, *(state.last_ms for state in states if state is not None)])


def _applied(settings: Settings, user: str) -> int:
    state = _state(settings, user)
    return -1 if state is None else state.applied


def _taken_in(settings: Settings, user: str) -> list[int]:
    state = _state(settings, user)
    if state is None or not isinstance(state.other_ids, str):
        return []
    return list(map(int, unpack(state.other_ids, np.uint64)))


def _state(settings: Settings, user: str) -> StateRecord | None:
    record = newest_state(settings, user)
    if record is None:
        return None
    try:
        return decode_state(record.value)
    except StateError:
        return None
