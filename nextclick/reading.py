"""What can be read: lists of users and strangers, like an item, in an order, by words; profiles.

Owns how each is asked for. Each function makes a call; `Client` and `AsyncClient` have them as methods.
"""

from collections.abc import Iterable
from typing import Any

from nextclick.events import Following
from nextclick.exchange import Call
from nextclick.paths import path
from nextclick.records import Filter, Known, Lists, Recommendations, Row, Rules, encode

_MARGIN_SECONDS = 5.0


def recommendations(
    user_id: str, *, k: int | None = None, scenario: str | None = None, filter: Filter | None = None,
    exclude: Iterable[str] = (), query: str | None = None, fields: Iterable[str] = (),
    next: str | None = None, seen: str | None = None, max_age_ms: int | None = None,
    timeout_ms: int | None = None, diversity: float | None = None,
) -> Call[Recommendations]:  # fmt: skip
    """A user's list, which knows the clicks that this client has sent for the user.

    `next` of a list, sent back, gives what follows it.
    """
    asked: dict[str, Any] = {
        "k": k, "scenario": scenario, "filter": _written(filter), "exclude": list(exclude), "query": query,
        "fields": list(fields), "next": next, "seen": seen, "max_age_ms": max_age_ms,
        "timeout_ms": timeout_ms, "diversity": diversity,
    }  # fmt: skip
    where = path("v1", "users", user_id, "recommendations")
    return Call(
        "GET", where, Recommendations, asked, user_id=user_id, asked=[(user_id, asked)],
        timeout_s=_patience(timeout_ms),
    )  # fmt: skip


def recommend(
    user_id: str | None = None, *, k: int | None = None, scenario: str | None = None,
    rules: Rules | None = None, filter: Filter | None = None, exclude: Iterable[str] = (),
    query: str | None = None, fields: Iterable[str] = (), next: str | None = None, seen: str | None = None,
    max_age_ms: int | None = None, timeout_ms: int | None = None, diversity: float | None = None,
    interests: Iterable[str] = (), if_clicked: Iterable[str] = (),
) -> Call[Recommendations]:  # fmt: skip
    """The same in a body: also a stranger's, under rules of its own, for interests, as if one had clicked."""
    row = Row(
        user_id=user_id, k=k, scenario=scenario, rules=rules, filter=filter, exclude=list(exclude),
        query=query, fields=list(fields), next=next, seen=seen, max_age_ms=max_age_ms, timeout_ms=timeout_ms,
        diversity=diversity, interests=list(interests), if_clicked=list(if_clicked),
    )  # fmt: skip
    body, asked = _body(row)
    return Call(
        "POST", "/v1/recommendations", Recommendations, body=body, user_id=user_id, asked=asked,
        timeout_s=_patience(timeout_ms),
    )  # fmt: skip


def batch(rows: Iterable[Row], *, distinct: bool = True) -> Call[Lists]:
    """The rows of one page at once, at most 20; `distinct`: what stands in one is not in those below it."""
    found = [(row, *_body(row)) for row in rows]
    told = {"requests": [body for _, body, _ in found], "distinct": distinct}
    named = [one for _, _, asked in found for one in asked]
    return Call(
        "POST", "/v1/batch", Lists, body=told, rows=named, asked=named,
        timeout_s=max((_patience(row.timeout_ms) for row, _, _ in found), default=0.0),
    )  # fmt: skip


def similar(
    item_id: str, *, k: int | None = None, user_id: str | None = None, filter: Filter | None = None,
    fields: Iterable[str] = (), scenario: str | None = None, timeout_ms: int | None = None,
) -> Call[Recommendations]:  # fmt: skip
    """Items like one, led by the user's taste where there is a user. Raises NotFound."""
    asked: dict[str, Any] = {
        "k": k, "user_id": user_id, "filter": _written(filter), "fields": list(fields), "scenario": scenario,
        "timeout_ms": timeout_ms,
    }  # fmt: skip
    where = path("v1", "items", item_id, "similar")
    return Call("GET", where, Recommendations, asked, user_id=user_id, timeout_s=_patience(timeout_ms))


def rank(
    user_id: str | None, items: Iterable[str], *, scenario: str | None = None, fields: Iterable[str] = (),
    timeout_ms: int | None = None,
) -> Call[Recommendations]:  # fmt: skip
    """These items, at most 500, in the user's order; `unknown` names those that cannot be listed."""
    told: dict[str, Any] = {
        "user_id": user_id,
        "items": list(items),
        "scenario": scenario,
        "fields": list(fields),
    }
    told |= {} if timeout_ms is None else {"timeout_ms": timeout_ms}
    return Call(
        "POST", "/v1/rank", Recommendations, body=told, user_id=user_id, timeout_s=_patience(timeout_ms)
    )


def search(
    q: str, *, user_id: str | None = None, k: int | None = None, filter: Filter | None = None,
    fields: Iterable[str] = (), scenario: str | None = None, next: str | None = None,
    timeout_ms: int | None = None,
) -> Call[Recommendations]:  # fmt: skip
    """Items by plain words, in the user's order where there is a user."""
    asked: dict[str, Any] = {
        "q": q, "user_id": user_id, "k": k, "filter": _written(filter), "fields": list(fields),
        "scenario": scenario, "next": next, "timeout_ms": timeout_ms,
    }  # fmt: skip
    return Call("GET", "/v1/search", Recommendations, asked, user_id=user_id, timeout_s=_patience(timeout_ms))


def popular(
    *, k: int | None = None, filter: Filter | None = None, scenario: str | None = None,
    fields: Iterable[str] = (), next: str | None = None, timeout_ms: int | None = None,
) -> Call[Recommendations]:  # fmt: skip
    """What strangers get."""
    asked: dict[str, Any] = {
        "k": k, "filter": _written(filter), "scenario": scenario, "fields": list(fields),
        "next": next, "timeout_ms": timeout_ms,
    }  # fmt: skip
    return Call("GET", "/v1/popular", Recommendations, asked, timeout_s=_patience(timeout_ms))


def user(user_id: str) -> Call[Known]:
    """What is known of a user: events, the newest of the history, categories."""
    return Call("GET", path("v1", "users", user_id), Known)


def stream(
    user_id: str, *, scenario: str | None = None, k: int | None = None, fields: Iterable[str] = (),
    last_event_id: str = "", give_up_s: float = 300.0,
) -> Following[Recommendations]:  # fmt: skip
    """A user's newest list at once, then each as it is made, for as long as one asks for the next.

    A line that breaks is opened again, with the id of the last list. Raises Unreachable where none could
    be opened for `give_up_s`, and a Problem where the server does not want to.
    """
    where = path("v1", "users", user_id, "recommendations", "stream")
    asked = {"scenario": scenario, "k": k, "fields": list(fields)}
    return Following(where, Recommendations, "recommendation", asked, user_id, last_event_id, give_up_s)


def _body(row: Row) -> tuple[dict[str, Any], list[tuple[str, dict[str, Any]]]]:
    """A row as JSON, and where the token of its user goes."""
    body = {name: value for name in row.__struct_fields__ if (value := getattr(row, name)) not in (None, [])}
    return body, [] if row.user_id is None else [(row.user_id, body)]


def _written(filter: Filter | None) -> str | None:
    return encode(filter).decode() if isinstance(filter, dict) else filter


def _patience(timeout_ms: int | None) -> float:
    return 0.0 if timeout_ms is None else timeout_ms / 1000 + _MARGIN_SECONDS
