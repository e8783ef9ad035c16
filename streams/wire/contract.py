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
from learner.data.events import INTEREST, KIND_OF_WORD
from learner.filters.language import FilterError, parse
from streams.wire.keys import KeyRecord
from streams.wire.second_reading import NO_WORDS, reread
from streams.wire.steering import Applied, Filter, Rules, Share, flaw_of_rules

__all__ = [
    "EVENT_WORDS", "MAX_RECORD_BYTES", "UNREADABLE", "Click", "Forget", "Id", "Item", "KeyRecord",
    "ListedItem", "Merge", "Merged", "Profile", "Reason", "Recommendation", "ReleaseRecord", "Request",
    "Rules", "Trigger", "Wish", "decode_click", "decode_forget", "decode_item", "decode_key", "decode_list",
    "decode_merge", "decode_merged", "decode_release", "decode_request", "decode_rules", "decode_tombstone",
    "encode",
]  # fmt: skip

MAX_RECORD_BYTES = 64 * 1024
MAX_RULES_BYTES = 900_000
MAX_ID_BYTES = 256
MAX_DEPTH = 32  # of an item's attributes: deeper ones could be read here and not where less stack is left

Hash = int | Annotated[str, msgspec.Meta(pattern="^[0-9a-fA-F]{16}$")]

EventWord = Literal["view", "click", "purchase", "rating", "like", "dislike", "hide", "impression"]
EVENT_WORDS: tuple[str, ...] = get_args(EventWord)


class Click(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One interaction event: topic `clicks`, key `user_id`.

    undo: takes back the user's newest event with that item and of that kind
    items: of an impression of a whole list, what it showed; a tuple, since a list of nothing in each click
        would make a hundred thousand of them the garbage collector's business
    merged_from: of a copy that a worker made, the visitor whose click it was before the merge into this user
    """

    event_id: Id
    user_id: Id
    item_id: Id = ""  # "" of an impression of a whole list alone
    event: EventWord
    timestamp: Timestamp
    value: float | None = None
    scenario: str | None = None
    recommendation_id: str | None = None
    position: Annotated[int, msgspec.Meta(ge=-(2**53), le=2**53)] | None = None
    history: bool = False
    undo: bool = False
    items: Annotated[tuple[Id, ...], msgspec.Meta(max_length=1000)] = ()
    merged_from: Id | None = None
    v: Literal[1] = 1

    @property
    def is_interest(self) -> bool:
        """Whether it says that the user takes an interest in the item, and so counts."""
        return not self.undo and KIND_OF_WORD[self.event] in INTEREST

    @property
    def shown(self) -> list[str]:
        """Of an impression, the ids of the items that the user saw, the first one first."""
        return [*self.items] if not self.item_id else [self.item_id, *self.items]


class Forget(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The wish that a user be forgotten: topic `clicks`, key `user_id`, after the clicks that it is about."""

    user_id: Id
    event: Literal["forget"]
    timestamp: Timestamp | None = None
    v: Literal[1] = 1


class Merge(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A visitor turns out to be another user: topic `clicks`, key `user_id`, the visitor's."""

    user_id: Id
    event: Literal["merge"]
    into: Id
    timestamp: Timestamp
    v: Literal[1] = 1


class Merged(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What was known of a visitor, for the user `user_id` who that was: topic `clicks`, key `user_id`.

    A worker writes it. merge: the place of the `Merge`, and which part of what it brings this is
    timestamp: the `Merge`'s; state: a record of `user-states`
    """

    user_id: Id
    event: Literal["merged"]
    merged_from: Id
    merge: str
    timestamp: Timestamp
    state: msgspec.Raw
    v: Literal[1] = 1


Wish = Forget | Merge | Merged
"""Records of `clicks` that are none: they change what is known of a user, and call for no list."""


class Request(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A list asked for without a click: topic `requests`, key `user_id`, or `request_id` without a user.

    interests: words or item ids, in the place of clicks where there are few or none
    exclude_hashes: `event_hash` of item ids, as numbers or as the digest's 16 hexadecimal digits
    """

    request_id: Id
    user_id: Id | None = None
    timestamp: Timestamp | None = None
    scenario: str | None = None
    k: Annotated[int, msgspec.Meta(ge=1, le=1000)] | None = None
    query: str | None = None
    exclude: list[Id] = []
    rules: Rules | None = None
    filter: Filter | None = None
    interests: Annotated[list[Id], msgspec.Meta(max_length=20)] = []
    exclude_hashes: Annotated[list[Hash], msgspec.Meta(max_length=500)] = []
    similar_to: Id | None = None
    rank: Annotated[list[Id], msgspec.Meta(max_length=500)] | None = None
    diversity: Share | None = None
    fields: Annotated[list[Id], msgspec.Meta(max_length=64)] = []
    profile: bool = False
    if_clicked: Annotated[list[Id], msgspec.Meta(max_length=20)] = []
    at_least: Applied | None = None
    expires_at: Timestamp | None = None
    v: Literal[1] = 1

    @property
    def key(self) -> str:
        """What the record's key is, which decides its partition."""
        return self.request_id if self.user_id is None else self.user_id


# Lists are made of many small things that never point in circles: `gc=False` keeps the collector away.
class Trigger(msgspec.Struct, frozen=True, gc=False):
    """What made a list: the click or the request, with its event time."""

    kind: Literal["click", "request"]
    id: str
    timestamp: int


class Reason(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Why an item is in the list, and for `because_clicked` which of the user's items made it so.

    text: the same as a sentence, made of titles
    rule: what rules did to the item: pin, boost, bury, fill, with commas between
    """

    kind: Literal["because_clicked", "for_you", "popular", "new", "explore", "matches_query", "similar"]
    items: list[str] = []
    text: str = ""
    rule: str = ""


class ListedItem(msgspec.Struct, frozen=True, gc=False):
    """One place of a list. `source` names what proposed the item, `propensity` its chance of the place."""

    item_id: str
    score: float
    source: str
    reason: Reason
    propensity: float = 1.0
    fields: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET


class ProfileEvent(msgspec.Struct, frozen=True):
    """One event of a user's history."""

    item_id: str
    event: str
    timestamp: int
    value: float | None


class CategoryWeight(msgspec.Struct, frozen=True):
    """How much of what a user liked lately is of a category, 0 to 1."""

    name: str
    weight: float


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a user; `history` holds the newest 50 events, the newest first."""

    events: int
    consumed: int
    history: list[ProfileEvent]
    categories: list[CategoryWeight]
    release: str
    applied_offset: int | None


class Understood(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a query was read: as a filter, and as words whose meaning counts.

    years: first and last year, where only titles say when items came out
    without: words of which items were left out that say them all
    dropped: what was taken for a filter and would have left nothing, or has no field
    """

    filter: Filter | None
    text: str
    years: tuple[int | None, int | None] | None = None
    without: list[str] = []
    dropped: list[str] = []


class Recommendation(msgspec.Struct, frozen=True, kw_only=True):
    """One list: topic `recommendations`, key `user_id`, or `request_id` where nobody's list was asked for.

    rules: offset of the record of `scenarios` that the list obeys, or None
    unknown: of the items that the request named, those that cannot be listed
    """

    recommendation_id: str
    user_id: str | msgspec.UnsetType = msgspec.UNSET
    trigger: Trigger
    items: list[ListedItem]
    release: str
    policy: str
    scenario: str | None
    created_at: int
    rules: int | None = None
    unknown: list[str] | msgspec.UnsetType = msgspec.UNSET
    profile: Profile | msgspec.UnsetType = msgspec.UNSET
    understood: Understood | msgspec.UnsetType = msgspec.UNSET
    v: Literal[1] = 1

    @property
    def user(self) -> str:
        """Whose list it is; "" for a stranger's."""
        return "" if self.user_id is msgspec.UNSET else self.user_id


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
    lacks: Callable[[T], str | None] = lambda _: None,
) -> Decode[T]:  # fmt: skip
    """Decodes what others write. `ids`: fields limited in bytes, which the schema counts in characters.

    `flaw` says what else is wrong with a message, or None. All that is wrong raises one of `UNREADABLE`.
    `theirs`: producers of all kinds write it, so what is off the schema is read a second time, as what it
    probably is; `words` are those that its events may have. `lacks` names a field that a message ought to
    have, though its type does not ask for it.
    """
    decode = msgspec.json.Decoder(kind).decode
    fields = {field.name: field.required for field in msgspec.structs.fields(kind)}
    required = [name for name, needed in fields.items() if needed]

    def second(value: bytes, names: Mapping[str, str], *missing: str) -> T:
        needed = [*required, *missing]
        return msgspec.convert(reread(value, fields=fields, required=needed, words=words, names=names), kind)

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
        if (missing := lacks(message)) is not None:
            message = second(value, names, missing)
        wrong = _overlong(message, ids) or flaw(message)
        if wrong is not None:
            raise msgspec.ValidationError(wrong)
        return message

    return checked


def _overlong(message: msgspec.Struct, ids: tuple[str, ...]) -> str | None:
    for name in ids:
        text = getattr(message, name)
        if text is not None and (flaw := _long(text, name)) is not None:
            return flaw
    return None


def _long(text: str, name: str) -> str | None:
    if 4 * len(text) > MAX_ID_BYTES and (length := len(text.encode())) > MAX_ID_BYTES:  # of 4 bytes at most
        return f"{name} has {length} bytes; at most {MAX_ID_BYTES} are taken"
    return None


def _itemless(click: Click) -> str | None:
    return None if click.item_id or click.items else "item_id"


def _unclear(click: Click) -> str | None:
    """What is wrong with a click that its type cannot say."""
    if click.items and click.event != "impression":
        return f"items: an impression may name a whole list; a {click.event} names one item, as item_id"
    if (flaw := next((flaw for each in click.items if (flaw := _long(each, "items"))), None)) is not None:
        return flaw
    if click.undo and click.event == "impression":
        return "undo: an impression cannot be taken back; undo what the user has done"
    return None


def _self_made(merge: Merge) -> str | None:
    return "into: a user cannot be merged into itself" if merge.into == merge.user_id else None


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


def _unasked(request: Request) -> str | None:
    """What is wrong with a request that its type cannot say."""
    if request.rank is not None and (request.similar_to is not None or request.query is not None):
        return "rank orders the items that it names, similar_to and query find others; ask for one of them"
    if request.similar_to is not None and request.query is not None:
        return "similar_to and query in one request; ask for one of them"
    if any(isinstance(each, int) and not 0 <= each < 2**64 for each in request.exclude_hashes):
        return "exclude_hashes are numbers of 64 bits, or 16 hexadecimal digits"
    if request.filter is not None:
        try:
            parse(request.filter)
        except FilterError as error:
            return str(error)
    return None if request.rules is None else flaw_of_rules(request.rules, "rules.")


encode = msgspec.json.Encoder().encode
decode_click = _decoder(
    Click, "event_id", "user_id", "item_id", flaw=_unclear, words=EVENT_WORDS, lacks=_itemless
)
decode_forget = _decoder(Forget, "user_id")
decode_merge = _decoder(Merge, "user_id", "into", flaw=_self_made, theirs=False)
# Workers write it, in parts of some 50 KB.
decode_merged = _decoder(Merged, "user_id", limit=8 * MAX_RECORD_BYTES, theirs=False)
decode_request = _decoder(Request, "request_id", "user_id", flaw=_unasked)
# Ten thousand ids of a block list fit in, and Kafka's usual limit of a record is not reached.
decode_rules = _decoder(Rules, "scenario", flaw=flaw_of_rules, limit=MAX_RULES_BYTES, theirs=False)
decode_item = _decoder(Item, "item_id", flaw=lambda item: _unfit(item.attributes))
decode_key = _decoder(KeyRecord, "name", theirs=False)
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
