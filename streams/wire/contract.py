"""The wire contract: one type for each topic's messages, version 1.

Owns what a message may look like and how it is decoded and encoded (UTF-8 JSON, `snake_case`,
times as integer Unix milliseconds). What the types cannot say, the decoders check: the size of a record,
ids in bytes, numbers that can be kept. Knows no topics' names, no Kafka and no clock: whether a timestamp
lies too far ahead is the reader's decision.
"""

import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, Protocol, TypeVar, get_args

import msgspec

from learner.data.catalogue import Id, Item, Timestamp
from streams.wire.second_reading import NO_WORDS, reread

__all__ = [
    "EVENT_WORDS", "MAX_RECORD_BYTES", "UNREADABLE", "Click", "Forget", "Id", "Item", "ListedItem", "Reason",
    "Recommendation", "ReleaseRecord", "Request", "Trigger", "decode_click", "decode_forget", "decode_item",
    "decode_list", "decode_release", "decode_request", "decode_tombstone", "encode",
]  # fmt: skip

MAX_RECORD_BYTES = 64 * 1024
MAX_ID_BYTES = 256
MAX_DEPTH = 32  # of an item's attributes: deeper ones could be read here and not where less stack is left

EventWord = Literal["view", "click", "purchase", "rating", "like", "dislike", "hide", "impression"]
EVENT_WORDS: tuple[str, ...] = get_args(EventWord)


class Click(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One interaction event: topic `clicks`, key `user_id`."""

    event_id: Id
    user_id: Id
    item_id: Id
    event: EventWord
    timestamp: Timestamp
    value: float | None = None
    scenario: str | None = None
    recommendation_id: str | None = None
    position: Annotated[int, msgspec.Meta(ge=-(2**53), le=2**53)] | None = None
    history: bool = False
    v: Literal[1] = 1


class Forget(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The wish that a user be forgotten: topic `clicks`, key `user_id`, after the clicks that it is about."""

    user_id: Id
    event: Literal["forget"]
    timestamp: Timestamp | None = None
    v: Literal[1] = 1


class Request(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A list asked for without a click: topic `requests`, key `user_id`."""

    request_id: Id
    user_id: Id
    timestamp: Timestamp | None = None
    scenario: str | None = None
    k: Annotated[int, msgspec.Meta(ge=1, le=1000)] | None = None
    query: str | None = None
    exclude: list[Id] = []
    v: Literal[1] = 1


class Trigger(msgspec.Struct, frozen=True):
    """What made a list: the click or the request, with its event time."""

    kind: Literal["click", "request"]
    id: str
    timestamp: int


class Reason(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why an item is in the list, and for `because_clicked` which of the user's items made it so."""

    kind: Literal["because_clicked", "for_you", "popular", "new", "explore", "matches_query"]
    items: list[str] = []


class ListedItem(msgspec.Struct, frozen=True):
    """One place of a list. `source` names what proposed the item, `propensity` its chance of the place."""

    item_id: str
    score: float
    source: str
    reason: Reason
    propensity: float = 1.0


class Recommendation(msgspec.Struct, frozen=True, kw_only=True):
    """One list: topic `recommendations`, key `user_id`."""

    recommendation_id: str
    user_id: str
    trigger: Trigger
    items: list[ListedItem]
    release: str
    policy: str
    scenario: str | None
    created_at: int
    v: Literal[1] = 1


class ReleaseRecord(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The role of a release and the decision behind it: topic `releases`, key `release`.

    `evidence`: the figures that the decision was made by.
    """

    release: Id
    url: str
    sha256: str
    role: Literal["candidate", "canary", "live", "retired", "quarantined"]
    at: Timestamp
    decision: str = ""
    reason: str = ""
    evidence: dict[str, Any] = {}
    v: Literal[1] = 1


# What decoding raises for a record that is no message: no JSON, no UTF-8, nested without end, off the schema.
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

T = TypeVar("T", bound=msgspec.Struct)
Sent = TypeVar("Sent", bound=msgspec.Struct, covariant=True)


class Decode(Protocol[Sent]):
    """From a record's value to a message; `names` are other words for events, in small letters."""

    def __call__(self, value: bytes | None, names: Mapping[str, str] = ..., /) -> Sent:
        """Raises one of `UNREADABLE`."""


def _decoder(
    kind: type[T], *ids: str, flaw: Callable[[T], str | None] = lambda _: None,
    limit: float = MAX_RECORD_BYTES, words: tuple[str, ...] = (), theirs: bool = True,
) -> Decode[T]:  # fmt: skip
    """Decodes what others write. `ids`: fields limited in bytes, which the schema counts in characters.

    `flaw` says what else is wrong with a message, or None. All that is wrong raises one of `UNREADABLE`.
    `theirs`: producers of all kinds write it, so what is off the schema is read a second time, as what it
    probably is; `words` are those that its events may have.
    """
    decode = msgspec.json.Decoder(kind).decode
    required = [field.name for field in msgspec.structs.fields(kind) if field.required] if theirs else []

    def second(value: bytes, names: Mapping[str, str]) -> T:
        return msgspec.convert(reread(value, required=required, words=words, names=names), kind)

    def checked(value: bytes | None, names: Mapping[str, str] = NO_WORDS, /) -> T:
        if value is None:
            raise msgspec.ValidationError("the value is empty; expected a JSON object")
        if len(value) > limit:
            raise msgspec.ValidationError(f"{len(value)} bytes; at most {limit} are taken")
        try:
            message = decode(value)
        except msgspec.DecodeError:
            if not theirs:
                raise
            message = second(value, names)
        wrong = _overlong(message, ids) or flaw(message)
        if wrong is not None:
            raise msgspec.ValidationError(wrong)
        return message

    return checked


def _overlong(message: msgspec.Struct, ids: tuple[str, ...]) -> str | None:
    for name in ids:
        text = getattr(message, name)  # of characters with at most 4 bytes
        if 4 * len(text) > MAX_ID_BYTES and (length := len(text.encode())) > MAX_ID_BYTES:
            return f"{name} has {length} bytes; at most {MAX_ID_BYTES} are taken"
    return None


def _unfit(value: Any, depth: int = 0) -> str | None:
    """Why a value of `attributes` cannot be kept with the item's record, or None."""
    if isinstance(value, dict | list):
        if depth == MAX_DEPTH:
            return f"attributes are nested more than {MAX_DEPTH} deep"
        inner = value.values() if isinstance(value, dict) else value
        return next((flaw for each in inner if (flaw := _unfit(each, depth + 1)) is not None), None)
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return f"attributes hold {str(value)[:20]}…: integers of at most 64 bits are taken"
    return None


def _unshared(record: ReleaseRecord) -> str | None:
    """Workers read the canary's share of the users from the evidence (`streams.releases.roles`)."""
    share = record.evidence.get("share", 0)
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
        return f"evidence.share is {str(share)[:40]!r}; expected a number from 0 to 1"
    return None


encode = msgspec.json.Encoder().encode
decode_click = _decoder(Click, "event_id", "user_id", "item_id", words=EVENT_WORDS)
decode_forget = _decoder(Forget, "user_id")
decode_request = _decoder(Request, "request_id", "user_id")
decode_item = _decoder(Item, "item_id", flaw=lambda item: _unfit(item.attributes))
decode_release = _decoder(ReleaseRecord, "release", flaw=_unshared, theirs=False)
# Workers write them, of up to 1,000 items.
decode_list = _decoder(Recommendation, limit=math.inf, theirs=False)


def decode_tombstone(key: bytes | None) -> str:
    """The id that a record of `items` without a value withdraws. Raises one of `UNREADABLE`."""
    if not key or len(key) > MAX_ID_BYTES:
        raise msgspec.ValidationError(
            f"a key of {len(key or b'')} bytes; expected an id of 1 to {MAX_ID_BYTES}"
        )
    return key.decode()
