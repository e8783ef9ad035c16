"""The wire contract: one type for each topic's messages, version 1.

Owns what a message may look like and how it is decoded and encoded (UTF-8 JSON, `snake_case`,
times as integer Unix milliseconds). Knows no topics' names, no Kafka and no clock: whether a
timestamp lies too far ahead is the reader's decision.
"""

from typing import Annotated, Literal

import msgspec

from learner.catalogue import Id, Item

__all__ = [
    "MAX_RECORD_BYTES", "UNREADABLE", "Click", "Id", "Item", "ListedItem", "Reason", "Recommendation",
    "ReleaseRecord", "Request", "Trigger", "decode_click", "decode_item", "decode_release",
    "decode_request", "encode",
]  # fmt: skip

MAX_RECORD_BYTES = 64 * 1024

Timestamp = Annotated[int, msgspec.Meta(ge=0, description="event time, Unix milliseconds")]
EventWord = Literal["view", "click", "purchase", "rating", "like", "dislike", "hide", "impression"]


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
    position: int | None = None
    history: bool = False
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
    """The role of a release and the decision behind it: topic `releases`, key `release`."""

    release: Id
    url: str
    sha256: str
    role: Literal["candidate", "canary", "live", "retired", "quarantined"]
    at: Timestamp
    decision: str = ""
    reason: str = ""
    v: Literal[1] = 1


# What decoding raises for a record that is no message: no JSON, no UTF-8, nested without end, off the schema.
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

encode = msgspec.json.Encoder().encode
decode_click = msgspec.json.Decoder(Click).decode
decode_request = msgspec.json.Decoder(Request).decode
decode_item = msgspec.json.Decoder(Item).decode
decode_release = msgspec.json.Decoder(ReleaseRecord).decode
