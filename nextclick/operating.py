"""What an owner and an operator do: the catalogue, users' wishes, rules, releases, dead letters, the status.

Owns how each is asked for. Each function makes a call; `Client` and `AsyncClient` have them as methods.
"""

from collections.abc import Iterable
from typing import Any

import msgspec

from nextclick.events import Following
from nextclick.exchange import Call
from nextclick.paths import path
from nextclick.records import (
    DeadLetters,
    Item,
    ItemsPage,
    ItemsReceipt,
    Readiness,
    Recommendations,
    Release,
    Releases,
    Retried,
    Rules,
    Scenario,
    Scenarios,
    Status,
    Wished,
)

_ITEM_SECONDS = 30.0


def items(q: str = "", *, cursor: str | None = None, limit: int | None = None) -> Call[ItemsPage]:
    """A page of the catalogue; `q`: words of the title, or an id."""
    return Call("GET", "/v1/items", ItemsPage, {"q": q, "cursor": cursor, "limit": limit})


def item(item_id: str) -> Call[Item]:
    """One item; `etag` is its version. Raises NotFound."""
    return Call("GET", path("v1", "items", item_id), Item)


def put_item(item: Item, *, if_match: str | None = None) -> Call[Item]:
    """Say what an item is; with `if_match` (an `etag`) only where nobody has changed it since."""
    where = path("v1", "items", item.item_id)
    return _versioned(Call("PUT", where, Item, body=_told(item)), if_match)


def patch_item(item_id: str, change: dict[str, Any], *, if_match: str | None = None) -> Call[Item]:
    """Change some of an item: None takes a field away, objects are merged (RFC 7396)."""
    return _versioned(Call("PATCH", path("v1", "items", item_id), Item, body=change), if_match)


def delete_item(item_id: str, *, if_match: str | None = None) -> Call[None]:
    """Withdraw an item: no list holds it any more."""
    return _versioned(Call("DELETE", path("v1", "items", item_id), type(None)), if_match)


def put_items(items: Iterable[Item]) -> Call[ItemsReceipt]:
    """Say what many items are, at most 1,000; the receipt names those that were not taken."""
    told = {"items": [_told(each) for each in items]}
    return Call("POST", "/v1/items", ItemsReceipt, body=told, timeout_s=_ITEM_SECONDS)


def forget_user(user_id: str) -> Call[Wished]:
    """Have a user forgotten: what is kept of the user goes, once the workers have read it."""
    return Call("DELETE", path("v1", "users", user_id), Wished)


def merge_users(visitor: str, into: str) -> Call[Wished]:
    """Give a user what a visitor did before logging in; the visitor is emptied, and there is no way back."""
    return Call("POST", path("v1", "users", into, "merge"), Wished, body={"visitor": visitor})


def scenarios() -> Call[Scenarios]:
    """All scenarios and their rules."""
    return Call("GET", "/v1/scenarios", Scenarios)


def scenario(name: str) -> Call[Scenario]:
    """The rules of one. Raises NotFound."""
    return Call("GET", path("v1", "scenarios", name), Scenario)


def put_scenario(name: str, rules: Rules, *, if_match: str | None = None) -> Call[Scenario]:
    """Give a scenario rules; each list says by their offset (`rules`) whether it obeys them."""
    return _versioned(Call("PUT", path("v1", "scenarios", name), Scenario, body=rules), if_match)


def try_scenario(
    name: str, rules: Rules, *, user_id: str | None = None, k: int | None = None,
    timeout_ms: int | None = None,
) -> Call[Recommendations]:  # fmt: skip
    """A list as it would be under rules; nothing changes."""
    asked = {"dry_run": "true", "user_id": user_id, "k": k, "timeout_ms": timeout_ms}
    return Call("PUT", path("v1", "scenarios", name), Recommendations, asked, rules)


def delete_scenario(name: str, *, if_match: str | None = None) -> Call[None]:
    """Take a scenario's rules away. Raises NotFound where it has none."""
    call = Call("DELETE", path("v1", "scenarios", name), type(None), repeatable=False)
    return _versioned(call, if_match)


def releases() -> Call[Releases]:
    """All releases and their roles."""
    return Call("GET", "/v1/releases", Releases)


def release(release_id: str) -> Call[Release]:
    """One release. Raises NotFound."""
    return Call("GET", path("v1", "releases", release_id), Release)


def promote(release_id: str, reason: str) -> Call[Release]:
    """Make a release live."""
    return _decided(release_id, "promote", reason)


def rollback(release_id: str, reason: str) -> Call[Release]:
    """Take a release back. Raises Conflict where it is neither live nor canary, or there is no way back."""
    return _decided(release_id, "rollback", reason)


def pin(release_id: str, reason: str) -> Call[Release]:
    """Hold the live release where it is."""
    return _decided(release_id, "pin", reason)


def unpin(release_id: str, reason: str) -> Call[Release]:
    """No longer."""
    return _decided(release_id, "unpin", reason)


def dead_letters(*, cursor: str | None = None, limit: int | None = None) -> Call[DeadLetters]:
    """Records that could not be used, a page at a time."""
    return Call("GET", "/v1/dead-letters", DeadLetters, {"cursor": cursor, "limit": limit})


def retry_dead_letters(offsets: Iterable[int] | None = None) -> Call[Retried]:
    """Send records again; without offsets all that have not been."""
    told = {} if offsets is None else {"offsets": list(offsets)}
    return Call("POST", "/v1/dead-letters/retry", Retried, body=told, repeatable=False)


def status() -> Call[Status]:
    """What all processes say of themselves, and what an operator wants to know of it."""
    return Call("GET", "/v1/status", Status)


def status_stream(*, give_up_s: float = 300.0) -> Following[Status]:
    """What all processes say of themselves, once a second; it comes back as `stream` does."""
    return Following("/v1/status/stream", Status, "status", {}, give_up_s=give_up_s)


def ready() -> Call[Readiness]:
    """Whether the server can serve: true or false, and why."""
    return Call("GET", "/readyz", Readiness, also=(503,))


def _decided(release_id: str, action: str, reason: str) -> Call[Release]:
    where = path("v1", "releases", release_id, action)
    return Call("POST", where, Release, body={"reason": reason}, repeatable=False, timeout_s=_ITEM_SECONDS)


def _told(item: Item) -> dict[str, Any]:
    told: dict[str, Any] = msgspec.to_builtins(item)
    return {name: value for name, value in told.items() if name not in ("announced", "etag")}


def _versioned(call: Call[Any], if_match: str | None) -> Call[Any]:
    """With a version the second of two equal calls is refused, and would say that the first one was."""
    if if_match is not None:
        call.headers["If-Match"], call.repeatable = if_match, False
    return call
