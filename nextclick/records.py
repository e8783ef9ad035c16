"""What is sent and what comes back, as types; unknown fields of a newer server are passed over.

Owns the types alone. What a field means stands in docs/contract.md.
"""

from typing import Any, Literal

import msgspec
from msgspec import Struct

Event = Literal["view", "click", "purchase", "rating", "like", "dislike", "hide", "impression"]
Filter = dict[str, Any] | str
Rules = dict[str, Any]


class Click(Struct, omit_defaults=True, kw_only=True):
    """One event. Without `event_id` it gets one before it is first sent, so that it counts once.

    timestamp: Unix ms, or ISO 8601; without one the server's clock counts, as the click comes in
    value: a rating, seconds, or a price; history: a click of the past; undo: takes such an event back
    user_token: where a public key sends it and the client gives none by itself
    """

    user_id: str
    item_id: str = ""
    event: Event | str = msgspec.field(default_factory=lambda: "click")  # is sent, as it has to be named
    event_id: str = ""
    timestamp: int | str | None = None
    value: float | None = None
    scenario: str | None = None
    recommendation_id: str | None = None
    position: int | None = None
    history: bool = False
    undo: bool = False
    items: list[str] = []
    user_token: str | None = None


class NotTaken(Struct, frozen=True):
    """A click or item that was not taken, by its place among those sent; with `retry` it may go again."""

    index: int
    detail: str
    pointer: str = ""
    retry: bool = False


class Receipt(Struct, kw_only=True):
    """What the broker has of the clicks. seen: the last one's token; tokens: of each user's last one."""

    accepted: int
    seen: str = ""
    tokens: dict[str, str] = {}
    errors: list[NotTaken] = []


class Reason(Struct, frozen=True):
    """Why an item is in the list; `text` says it in words, `rule` what rules did."""

    kind: str
    items: list[str] = []
    text: str = ""
    rule: str = ""


class ListedItem(Struct, frozen=True):
    """One place of a list."""

    item_id: str
    score: float
    source: str
    reason: Reason
    fields: dict[str, Any] = {}


class Trigger(Struct, frozen=True):
    """What made a list: a click or a request."""

    kind: str
    id: str
    timestamp: int


class ProfileEvent(Struct, frozen=True):
    """One event of a user's history."""

    item_id: str
    event: str
    timestamp: int
    value: float | None = None


class CategoryWeight(Struct, frozen=True):
    """How much of what a user liked lately is of a category."""

    name: str
    weight: float


class Profile(Struct, frozen=True, kw_only=True):
    """What is known of a user; `history` holds the newest 50 events, the newest first."""

    events: int
    consumed: int
    history: list[ProfileEvent] = []
    categories: list[CategoryWeight] = []
    release: str = ""
    applied_offset: int | None = None


class Known(Struct, frozen=True):
    """A user and the profile."""

    user_id: str
    profile: Profile


class Wished(Struct, frozen=True):
    """The broker has the wish. seen: its place, as clicks have one."""

    seen: str


class Understood(Struct, frozen=True):
    """How a query was read: as a filter, and as words."""

    filter: dict[str, Any] | None
    text: str


class Recommendations(Struct, frozen=True, kw_only=True):
    """A list. served: held, computed or stale; behind: it may not know the newest click; next: a cursor."""

    recommendation_id: str
    items: list[ListedItem]
    release: str
    policy: str
    created_at: int
    trigger: Trigger
    user_id: str | None = None
    scenario: str | None = None
    rules: int | None = None
    served: str = "held"
    behind: bool = False
    next: str | None = None
    unknown: list[str] = []
    profile: Profile | None = None
    understood: Understood | None = None

    @property
    def ids(self) -> list[str]:
        """The items' ids, in their order."""
        return [item.item_id for item in self.items]


class Lists(Struct, frozen=True):
    """The rows of a page."""

    lists: list[Recommendations]


class Row(Struct, omit_defaults=True, kw_only=True):
    """What a list is asked for in a body: one alone, or one of a page's rows."""

    user_id: str | None = None
    k: int | None = None
    scenario: str | None = None
    rules: Rules | None = None
    filter: Filter | None = None
    exclude: list[str] = []
    query: str | None = None
    fields: list[str] = []
    next: str | None = None
    seen: str | None = None
    max_age_ms: int | None = None
    timeout_ms: int | None = None
    diversity: float | None = None
    interests: list[str] = []
    if_clicked: list[str] = []
    user_token: str | None = None


class Item(Struct, omit_defaults=True, kw_only=True):
    """An item. announced: false where only the live release knows it; etag: of the answer, its version."""

    item_id: str
    title: str | None = None
    description: str | None = None
    categories: list[str] = []
    tags: list[str] = []
    image: str | None = None
    attributes: dict[str, Any] = {}
    available: bool = True
    published_at: int | str | None = None
    price: float | None = None
    announced: bool = True
    etag: str = ""


class ItemsPage(Struct, frozen=True):
    """Items in the order of their ids; next: the cursor of what follows, None at the end."""

    items: list[Item]
    next: str | None = None


class ItemsReceipt(Struct, frozen=True):
    """How many items the broker has, and what is wrong with the others."""

    accepted: int
    errors: list[NotTaken] = []


class Scenario(Struct, kw_only=True):
    """Rules of a place. offset: of their record, None without any; broken: what is wrong with newer ones."""

    scenario: str
    rules: Rules
    offset: int | None = None
    said_at: int | None = None
    broken: str = ""
    etag: str = ""


class Scenarios(Struct, frozen=True):
    """All of them."""

    items: list[Scenario]


class Release(Struct, frozen=True, kw_only=True):
    """A release: its role, the decision behind it, and what its manifest says."""

    release: str
    role: str
    decision: str = ""
    reason: str = ""
    at: int | None = None
    url: str = ""
    sha256: str = ""
    evidence: dict[str, Any] = {}
    manifest: dict[str, Any] | None = None
    trouble: str = ""


class Releases(Struct, frozen=True):
    """All that were announced or lie in the store, the last changed last."""

    items: list[Release]


class Place(Struct, frozen=True):
    """Where a record stands."""

    partition: int
    offset: int


class DeadLetter(Struct, frozen=True, kw_only=True):
    """A record that could not be used, and what is wrong with it."""

    partition: int
    offset: int
    at: int
    topic: str
    source: Place
    error: str
    key: str | None = None
    value: str | None = None
    retried: bool = False


class DeadLetters(Struct, frozen=True):
    """A page of them, the oldest first."""

    items: list[DeadLetter]
    next: str | None = None


class Retried(Struct, frozen=True):
    """How many were sent again."""

    retried: int


class Process(Struct, frozen=True, kw_only=True):
    """What one process says of itself; its figures stand in docs/operating/metrics.md."""

    key: str
    process: str
    host: str = ""
    pid: int = 0
    started: int = 0
    version: str = ""
    release: str | None = None
    partitions: list[int] = []
    silent_ms: float = 0.0
    counters: dict[str, float] = {}
    per_second: dict[str, float] = {}
    gauges: dict[str, float] = {}
    freshness_ms: dict[str, float] | None = None


class Remark(Struct, frozen=True):
    """Something that an operator wants to know."""

    kind: str
    text: str


class Status(Struct, frozen=True, kw_only=True):
    """What all processes say, added up; per_second and freshness_ms are of the last ten seconds."""

    at: int | None = None
    processes: list[Process] = []
    counters: dict[str, float] = {}
    per_second: dict[str, float] = {}
    gauges: dict[str, float] = {}
    freshness_ms: dict[str, float] | None = None
    remarks: list[Remark] = []


class Readiness(Struct, frozen=True):
    """Whether the server can serve; lists: whether any came lately."""

    status: str
    broker: str
    catalogue: str
    lists: str

    def __bool__(self) -> bool:
        return self.status == "ok"


encode = msgspec.json.encode
