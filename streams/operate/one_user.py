"""All that is kept of one user, and where: for the user's own eyes.

Owns the look through state, topics and training history for one user's records; of nobody else's a word comes
along. Changes nothing.
"""

import base64
import json
from collections.abc import Iterator
from typing import Any

import msgspec

from learner.data.history import History, HistoryError
from streams.hot_path.state_record import StateError, StateRecord, decode_state
from streams.settings import Settings
from streams.transport.changelog import EPOCH_HEADER
from streams.transport.letters import Retried, read_letters
from streams.transport.topic_reader import Record, TopicMissing, ends_of, read_to_end
from streams.transport.topics import Names, TopicsError
from streams.wire.partitioner import partition_of

WHERE = {
    "state": "the newest record of the user on the topic user-states, kept until `nextclick forget`; workers "
    "hold it in memory and, of users away for long, on their disks",
    "clicks": "records of the topic clicks, kept for retention_days",
    "requests": "records of the topic requests, kept for a day",
    "lists": "records of the topic recommendations, kept for a week",
    "dead_letters": "records that could not be used, on the topic dead-letters",
    "training_history": "clicks that training reads, kept for history_days where the setting history says",
    "learner": "the learner holds the user's last 50 items and 64 event ids in memory, made from the clicks; "
    "signals and models hold sums over all users, which name nobody",
}


class _User(msgspec.Struct):
    user_id: Any = None


_user_of = msgspec.json.Decoder(_User).decode


def newest_state(settings: Settings, user: str) -> Record | None:
    """The user's newest state record as its rightful owner wrote it; None without one.

    Raises TopicsError where there are no topics.
    """
    names = Names(settings.prefix)
    try:
        count = len(ends_of(settings, names.user_states))
    except TopicMissing as error:
        raise TopicsError(str(error)) from error
    key = user.encode()
    partition = partition_of(key, count)
    newest, epoch = None, -1
    for record in read_to_end(settings, names.user_states, partitions=[partition]):
        if record.key != key:
            continue
        written = int(dict(record.headers).get(EPOCH_HEADER, b"0"))
        if written >= epoch:  # a lower one is a worker's that had lost the partition
            newest, epoch = record, written
    return None if newest is None or newest.value is None else newest


def export(settings: Settings, user: str) -> dict[str, Any]:
    """All that is kept of the user, as JSON takes it; what there is none of is empty."""
    names = Names(settings.prefix)
    found = newest_state(settings, user)
    return {
        "user_id": user,
        "state": None if found is None else _state(found),
        "clicks": list(_records(settings, names.clicks, user)),
        "requests": list(_records(settings, names.requests, user)),
        "lists": list(_records(settings, names.recommendations, user)),
        "dead_letters": [
            letter.shown()
            for letter in read_letters(settings, Retried(settings))
            if _is_of(letter.value, user)
        ],
        "training_history": _kept(settings, user),
        "where": WHERE | {"training_history": f"{WHERE['training_history']}: {settings.history_url}"},
    }


def _state(record: Record) -> dict[str, Any]:
    """What the state says, as a reader wants it, and the record itself."""
    said: dict[str, Any] = {"partition": record.partition, "offset": record.offset, "at": record.timestamp}
    try:
        state: StateRecord = decode_state(record.value)
    except StateError as error:
        return said | {"unreadable": str(error), "record": _plain(record.value)}
    return said | {
        "events": state.events, "history": state.history(), "older": state.older, "shown": state.shown,
        "release": state.release, "record": _plain(record.value),
    }  # fmt: skip


def _records(settings: Settings, topic: str, user: str) -> Iterator[dict[str, Any]]:
    """The user's records of a topic; of all its partitions, for one may be misplaced."""
    for record in read_to_end(settings, topic):
        if _is_of(record.value, user):
            place = {"partition": record.partition, "offset": record.offset, "at": record.timestamp}
            yield place | {"value": _plain(record.value)}


def _is_of(value: bytes | None, user: str) -> bool:
    """Whether a record names the user as the one it is about; a number stands for its decimal text."""
    try:
        named = _user_of(value or b"").user_id
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return named == user or (isinstance(named, int) and not isinstance(named, bool) and str(named) == user)


def _kept(settings: Settings, user: str) -> dict[str, Any]:
    """The clicks of the history for training; where it cannot be read from here, why."""
    try:
        return {"clicks": History(settings.history_url, writes=False).clicks_of(user)}
    except HistoryError as error:
        return {"unread": str(error)}


def _plain(value: bytes) -> Any:
    try:
        return json.loads(value)
    except ValueError:
        return {"base64": base64.b64encode(value).decode()}
