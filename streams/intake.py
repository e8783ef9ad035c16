"""From a raw record to an arrival: decoded and checked, or refused with a reason, or sent where it belongs.

Owns what counts as bad input in `clicks` and `requests`. Knows no broker: `worker` acts on the verdict.
"""

from collections.abc import Callable
from dataclasses import dataclass

from streams.contract import MAX_RECORD_BYTES, UNREADABLE, Click, Request, decode_click, decode_request
from streams.partitioner import partition_of

MAX_ID_BYTES = 256


@dataclass(slots=True)
class Arrival:
    """A decoded record, with where it stands in its topic."""

    message: Click | Request
    partition: int
    offset: int

    @property
    def user_id(self) -> str:
        """Whose state the arrival concerns."""
        return self.message.user_id


@dataclass(frozen=True)
class Refused:
    """A record that goes to the dead letters; `error` says what was wrong."""

    error: str


@dataclass(frozen=True)
class Misplaced:
    """A record without a key or in another user's partition: `key` belongs into `partition`."""

    key: bytes
    partition: int


def admit(
    value: bytes | None,
    partition: int,
    offset: int,
    *,
    requests: bool,
    partitions: int,
    refuses: Callable[[int], str | None],
) -> Arrival | Refused | Misplaced:
    """Judges one record of `clicks`, or of `requests`.

    `refuses` is the clock's word on a timestamp: None, or why it cannot be.
    """
    if value is None:
        return Refused("the value is empty; expected a JSON object")
    if len(value) > MAX_RECORD_BYTES:
        return Refused(f"{len(value)} bytes; at most {MAX_RECORD_BYTES} are taken")
    try:
        message: Click | Request = decode_request(value) if requests else decode_click(value)
    except UNREADABLE as error:
        return Refused(str(error))
    overlong = _overlong(message)
    if overlong is not None:
        return Refused(overlong)
    if message.timestamp is not None:
        refusal = refuses(message.timestamp)
        if refusal is not None:
            return Refused(refusal)
    key = message.user_id.encode()
    home = partition_of(key, partitions)
    if home != partition:
        return Misplaced(key, home)
    return Arrival(message, partition, offset)


def _overlong(message: Click | Request) -> str | None:
    """The contract limits ids in bytes, the schema in characters."""
    fields = ("event_id", "item_id", "user_id") if isinstance(message, Click) else ("request_id", "user_id")
    for name in fields:
        length = len(getattr(message, name).encode())
        if length > MAX_ID_BYTES:
            return f"{name} has {length} bytes; at most {MAX_ID_BYTES} are taken"
    return None
