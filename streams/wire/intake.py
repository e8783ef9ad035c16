"""From a raw record to an arrival: decoded and checked, or refused with a reason, or sent where it belongs.

Owns what counts as bad input in `clicks` and `requests`. Knows no broker: `worker` acts on the verdict.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from streams.wire.contract import (
    UNREADABLE,
    Click,
    Forget,
    Request,
    Wish,
    decode_click,
    decode_forget,
    decode_merge,
    decode_merged,
    decode_request,
)
from streams.wire.partitioner import partition_of
from streams.wire.second_reading import NO_WORDS


@dataclass(slots=True)
class Arrival:
    """A decoded record, with where it stands in its topic.

    sent_ms: the record's CreateTime; trace: what `streams.worker.traced` keeps of a record that is traced
    """

    message: Click | Request | Wish
    partition: int
    offset: int
    sent_ms: int = 0
    trace: object | None = None

    @property
    def user_id(self) -> str:
        """Whose state the arrival concerns; "" where nobody's list is asked for."""
        return self.message.user_id or ""

    @property
    def key(self) -> str:
        """The record's key, as the contract has it: whose turn it is."""
        return self.message.key if isinstance(self.message, Request) else self.message.user_id


@dataclass(frozen=True)
class Refused:
    """A record that goes to the dead letters; `error` says what was wrong: "CAUSE: particulars"."""

    error: str

    @property
    def cause(self) -> str:
        """What many bad records have in common."""
        return cause_of(self.error)


def cause_of(error: str) -> str:
    """Of what was wrong with a record, the part that is the same for all that are wrong in this way."""
    return error.partition(": ")[0]


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
    partitions: int | None,
    refuses: Callable[[int], str | None],
    forgets: bool = False,
    names: Mapping[str, str] = NO_WORDS,
) -> Arrival | Refused | Misplaced:
    """Takes in one record of `clicks`, or of `requests`; where it is no arrival, says what it is.

    `partitions`: how many the topic has; None for whoever does not mind where a record stands. `refuses` is
    the clock's word on a timestamp: None, or why it cannot be. `forgets`: the reader keeps users and takes
    the wish to forget or to merge one, which is no click. `names`: the setting `event_names`.
    """
    message: Click | Request | Wish
    try:
        if forgets and value is not None and (_FORGET in value or _MERGE in value):
            message = _click_or_wish(value, names)
        else:
            message = decode_request(value) if requests else decode_click(value, names)
    except UNREADABLE as error:
        return Refused(str(error))
    if message.timestamp is not None:
        refusal = refuses(message.timestamp)
        if refusal is not None:
            if message.timestamp or not isinstance(message, Request | Forget):
                return Refused(refusal)
            message = msgspec.structs.replace(message, timestamp=None)  # a 0 is none, and these need none
    key = (message.key if isinstance(message, Request) else message.user_id).encode()
    home = partition if partitions is None else partition_of(key, partitions)
    if home != partition:
        return Misplaced(key, home)
    if isinstance(message, Request) and (known := message.at_least) is not None:
        if message.user_id is None:
            return Refused("at_least without user_id: a stranger's list knows no clicks; leave it out")
        if _stood(key, known.partition, home, partitions):  # it is sent on, or is known
            message = msgspec.structs.replace(message, at_least=None)
        elif known.partition != home:
            return Refused(
                "at_least of another user's partition: "
                f"it is {known.partition}, and clicks of {message.user_id!r} are in {home}"
            )
    return Arrival(message, partition, offset)


def _stood(key: bytes, named: int, home: int, partitions: int | None) -> bool:
    """Whether the user's clicks may have been there before the topic grew to a multiple of what it was."""
    return partitions is not None and named != home and any(
        partition_of(key, fewer) == named for fewer in range(2, partitions) if partitions % fewer == 0
    )  # fmt: skip


_FORGET, _MERGE = b'"forget"', b'"merge'  # and "merged"


class _Said(msgspec.Struct):
    event: Any = None


_event_of = msgspec.json.Decoder(_Said).decode


def _click_or_wish(value: bytes, names: Mapping[str, str]) -> Click | Wish:
    """A record that holds one of the words: it may stand in a click's scenario too."""
    try:
        event = _event_of(value).event
    except UNREADABLE:
        event = None
    if event == "forget":
        return decode_forget(value)
    if event == "merge":
        return decode_merge(value)
    return decode_merged(value) if event == "merged" else decode_click(value, names)
