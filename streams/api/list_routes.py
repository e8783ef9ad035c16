"""Lists over HTTP: of users and strangers, like an item, named ones in order, by words, several of a page."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import msgspec
from litestar import Request as HttpRequest
from litestar import Response, get, post
from litestar.datastructures import State
from msgspec import Meta

from streams.api.bodies import answer, filter_of, read_body, read_query
from streams.api.cursors import read_cursor
from streams.api.ids import checked_id, path_id, place_of
from streams.api.keys import Caller, caller_of
from streams.api.lists import ListOut, Wanted
from streams.api.openapi import LISTS, Doc
from streams.api.parts import Parts, here
from streams.api.problems import Fault, Problem, fault_of
from streams.wire.contract import Id, Profile, Request
from streams.wire.steering import Rules, Share

K = Annotated[int, Meta(ge=1, le=1000)]
Milliseconds = Annotated[int, Meta(ge=0, le=2**31)]
Timeout = Annotated[int, Meta(ge=1, le=60_000)]
Ids = Annotated[list[Id], Meta(max_length=1000)]
Fields = Annotated[list[Id], Meta(max_length=64)]
Query = Annotated[str, Meta(max_length=10_000)]
Name = Annotated[str, Meta(min_length=1, max_length=256)]
MOST_ROWS = 20
_LONGEST = 1_000


class ListQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What a read of a list may say in its query string.

    `filter` has the short form, or JSON; `exclude` and `fields` may be repeated, or have commas between.
    """

    k: K | None = None
    scenario: Name | None = None
    filter: Query | None = None
    exclude: Ids = []
    query: Query | None = None
    fields: Fields = []
    next: str | None = None
    seen: str | None = None
    max_age_ms: Milliseconds | None = None
    timeout_ms: Timeout | None = None
    diversity: Share | None = None
    user_token: str | None = None


class ListBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The same as a body; `filter` is an object or the short form."""

    user_id: Id | None = None
    k: K | None = None
    scenario: Name | None = None
    rules: Rules | None = None
    filter: dict[str, Any] | str | None = None
    exclude: Ids = []
    query: Query | None = None
    fields: Fields = []
    next: str | None = None
    seen: str | None = None
    max_age_ms: Milliseconds | None = None
    timeout_ms: Timeout | None = None
    diversity: Share | None = None
    interests: Annotated[list[Id], Meta(max_length=20)] = []
    if_clicked: Annotated[list[Id], Meta(max_length=20)] = []
    user_token: str | None = None


class SimilarQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What a read of similar items may say."""

    k: K | None = None
    user_id: Id | None = None
    filter: Query | None = None
    fields: Fields = []
    scenario: Name | None = None
    timeout_ms: Timeout | None = None
    user_token: str | None = None


class SearchQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What is looked for, in plain words."""

    q: Annotated[str, Meta(min_length=1, max_length=10_000)]
    user_id: Id | None = None
    k: K | None = None
    filter: Query | None = None
    fields: Fields = []
    scenario: Name | None = None
    next: str | None = None
    timeout_ms: Timeout | None = None
    user_token: str | None = None


class PopularQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What a read of strangers' lists may say."""

    k: K | None = None
    filter: Query | None = None
    scenario: Name | None = None
    fields: Fields = []
    next: str | None = None
    timeout_ms: Timeout | None = None


class RankBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Items to put in the user's order."""

    items: Annotated[list[Id], Meta(min_length=1, max_length=500)]
    user_id: Id | None = None
    scenario: Name | None = None
    fields: Fields = []
    timeout_ms: Timeout | None = None
    user_token: str | None = None


class BatchBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The rows of a page; `distinct`: no item twice."""

    requests: Annotated[list[ListBody], Meta(min_length=1, max_length=MOST_ROWS)]
    distinct: bool = True
    user_token: str | None = None


class Batch(msgspec.Struct):
    """A list for each row, in their order."""

    lists: list[ListOut]


class UserOut(Profile, frozen=True, kw_only=True):
    """What is known of a user: the fields of the profile, and the same as `profile`, as lists have it."""

    user_id: str
    profile: Profile


def wanted_of(
    parts: Parts, caller: Caller, asked: ListQuery | ListBody, user_id: str | None, token: str | None = None
) -> Wanted:
    """A read as it was asked for. `token`: the user's, where `asked` has none. Raises a Problem."""
    cursor = None if asked.next is None else read_cursor(asked.next)
    given = filter_of(asked.filter)
    body = asked if isinstance(asked, ListBody) else ListBody()
    request = Request(
        request_id="-", user_id=user_id, k=asked.k, exclude=list(asked.exclude), fields=list(asked.fields),
        scenario=asked.scenario if cursor is None else cursor.scenario,
        filter=given if cursor is None else cursor.filter,
        query=(asked.query or None) if cursor is None else cursor.query,
        exclude_hashes=[] if cursor is None else list(cursor.hashes),
        diversity=asked.diversity, rules=body.rules, interests=body.interests, if_clicked=body.if_clicked,
    )  # fmt: skip
    caller.check(request, asked.user_token or token)
    settings = parts.settings
    return Wanted(
        request=request, cursor=cursor, seen=None if asked.seen is None else place_of(asked.seen),
        max_age_ms=settings.max_age_ms if asked.max_age_ms is None else asked.max_age_ms,
        timeout_ms=asked.timeout_ms or settings.timeout_ms,
    )  # fmt: skip


async def _list(
    parts: Parts, caller: Caller, timeout_ms: int | None = None, token: str | None = None, **asked: Any
) -> ListOut:
    """The list that a request of these fields gets, with the settings' patience where none is given.

    `filter`, `fields`, `user_id` and `next` may stand as they came in; what a cursor brings goes first.
    """
    settings, following = parts.settings, asked.pop("next", None)
    cursor = None if following is None else read_cursor(following)
    asked["user_id"] = _known_id(asked.get("user_id"))
    asked["filter"] = filter_of(asked.get("filter"))
    asked["fields"] = list(asked.get("fields", ()))
    request = Request(request_id="-", **asked)
    if cursor is not None:
        request = msgspec.structs.replace(
            request, scenario=cursor.scenario, filter=cursor.filter, query=cursor.query,
            exclude_hashes=list(cursor.hashes),
        )  # fmt: skip
    caller.check(request, token)
    wanted = Wanted(
        request=request, cursor=cursor,
        max_age_ms=settings.max_age_ms, timeout_ms=timeout_ms or settings.timeout_ms,
    )  # fmt: skip
    return await parts.lists.get(wanted)


Asking = HttpRequest[Any, Any, State]


@get(
    "/v1/users/{user_id:str}/recommendations",
    opt={"doc": Doc("lists", query=ListQuery, answer=ListOut, scopes=LISTS)},
)
async def recommendations(request: Asking) -> Response[bytes]:
    """A user's list.

    Held ones are handed out as they are, where nothing newer is known; `served` says whether the list was
    held, computed or is stale. `next` of the answer, sent back, gives what follows.
    """
    parts = here(request)
    asked, user_id = read_query(request, ListQuery), path_id(request, "user_id")
    wanted = wanted_of(parts, caller_of(request), asked, user_id)
    return answer(parts.impressions.shown(await parts.lists.get(wanted)))


@post(
    "/v1/recommendations",
    status_code=200,
    opt={
        "doc": Doc(
            "lists", body=ListBody, answer=ListOut, errors=(400, 413, 415, 422, 503), example={"k": 5},
            scopes=LISTS,
        )
    },
)  # fmt: skip
async def recommendations_by_body(request: Asking) -> Response[bytes]:
    """A list, as it is asked for in a body; without user_id a stranger's."""
    parts = here(request)
    asked = await read_body(request, ListBody)
    wanted = wanted_of(parts, caller_of(request), asked, _known_id(asked.user_id))
    out = await parts.lists.get(wanted)
    return answer(out if asked.if_clicked else parts.impressions.shown(out))  # nobody sees what might be


@get(
    "/v1/items/{item_id:str}/similar",
    opt={
        "doc": Doc(
            "lists", query=SimilarQuery, answer=ListOut, errors=(400, 404, 422, 503), scopes=LISTS,
            asks={"item_id": "50"},
        )
    },
)  # fmt: skip
async def similar(request: Asking) -> Response[bytes]:
    """Items like one, led by the user's taste where user_id is given."""
    parts = here(request)
    item, asked = path_id(request, "item_id"), read_query(request, SimilarQuery)
    out = await _list(
        parts, caller_of(request), asked.timeout_ms, asked.user_token, user_id=asked.user_id,
        similar_to=item, k=asked.k, scenario=asked.scenario, filter=asked.filter, fields=asked.fields,
    )  # fmt: skip
    if isinstance(out.unknown, list) and item in out.unknown:
        raise Problem(404, f"there is no item {item!r}")
    return answer(parts.impressions.shown(out))


@post(
    "/v1/rank",
    status_code=200,
    opt={
        "doc": Doc(
            "lists", body=RankBody, answer=ListOut, errors=(400, 413, 415, 422, 503),
            example={"user_id": "u1", "items": ["1", "2"]}, scopes=LISTS,
        )
    },
)  # fmt: skip
async def rank(request: Asking) -> Response[bytes]:
    """Up to 500 items in the user's order; unknown and withdrawn ones are named in `unknown`."""
    parts = here(request)
    asked = await read_body(request, RankBody)
    named = [_checked(each, f"/items/{n}") for n, each in enumerate(asked.items)]
    out = await _list(
        parts, caller_of(request), asked.timeout_ms, asked.user_token, user_id=asked.user_id,
        scenario=asked.scenario, rank=named, fields=asked.fields,
    )  # fmt: skip
    return answer(parts.impressions.shown(out))


@get(
    "/v1/search",
    opt={
        "doc": Doc(
            "lists", query=SearchQuery, answer=ListOut, scopes=LISTS,
            asks={"q": "a funny film for a rainy evening"},
        )
    },
)  # fmt: skip
async def search(request: Asking) -> Response[bytes]:
    """Items by plain words, in the user's order where user_id is given."""
    parts, asked = here(request), read_query(request, SearchQuery)
    out = await _list(
        parts, caller_of(request), asked.timeout_ms, asked.user_token, user_id=asked.user_id,
        query=asked.q, k=asked.k, scenario=asked.scenario, filter=asked.filter, fields=asked.fields,
        next=asked.next,
    )  # fmt: skip
    return answer(parts.impressions.shown(out))


@get("/v1/popular", opt={"doc": Doc("lists", query=PopularQuery, answer=ListOut, scopes=LISTS)})
async def popular(request: Asking) -> Response[bytes]:
    """What strangers get: the same list for all of them, for ten seconds."""
    parts, asked = here(request), read_query(request, PopularQuery)
    out = await _list(
        parts, caller_of(request), asked.timeout_ms, k=asked.k, scenario=asked.scenario, filter=asked.filter,
        fields=asked.fields, next=asked.next,
    )  # fmt: skip
    return answer(out)


@post(
    "/v1/batch",
    status_code=200,
    opt={
        "doc": Doc(
            "lists", body=BatchBody, answer=Batch, errors=(400, 413, 415, 422, 503),
            example={"requests": [{"k": 3}, {"k": 5}], "distinct": True}, scopes=LISTS,
        )
    },
)  # fmt: skip
async def batch(request: Asking) -> Response[bytes]:
    """The rows of one page, all asked at once; what stands in two rows goes from the lower one."""
    parts = here(request)
    asked = await read_body(request, BatchBody)
    wanted, above = [], 0
    for n, row in enumerate(asked.requests):
        with _of_row(n):
            one = wanted_of(parts, caller_of(request), row, _known_id(row.user_id), asked.user_token)
        k = parts.lists.k_of(one.request)
        more = min(_LONGEST, k + above) if asked.distinct else k
        wanted.append((k, msgspec.structs.replace(one, request=msgspec.structs.replace(one.request, k=more))))
        above += k
    found = await asyncio.gather(*(_row(parts, n, one) for n, (_, one) in enumerate(wanted)))
    listed: set[str] = set()
    for out, (k, one) in zip(found, wanted, strict=True):
        is_full = out.next is not None or len(out.items) >= k
        if asked.distinct:
            out.items = [each for each in out.items if each.item_id not in listed]
        parts.lists.cut(out, k, one, is_full)
        listed.update(each.item_id for each in out.items)
        if not one.request.if_clicked:
            parts.impressions.shown(out)
    return answer(Batch(list(found)))


@get("/v1/users/{user_id:str}", opt={"doc": Doc("users", answer=UserOut)})
async def user(request: Asking) -> Response[bytes]:
    """What is known of a user."""
    parts, known = here(request), path_id(request, "user_id")
    out = await _list(parts, caller_of(request), user_id=known, k=1, profile=True)
    assert isinstance(out.profile, Profile)
    told = {name: getattr(out.profile, name) for name in out.profile.__struct_fields__}
    return answer(UserOut(user_id=known, profile=out.profile, **told))


async def _row(parts: Parts, number: int, wanted: Wanted) -> ListOut:
    with _of_row(number):
        return await parts.lists.get(wanted)


@contextmanager
def _of_row(number: int) -> Iterator[None]:
    """What is wrong with a row of a page is named with its place."""
    try:
        yield
    except Problem as problem:
        if problem.status >= 500:
            raise
        place = f"/requests/{number}"
        errors = [Fault(place + each.pointer, each.detail) for each in problem.errors]
        # A new one: rows that ask for the same may share it.
        raise Problem(
            problem.status, problem.detail, errors or [fault_of(problem.detail, place)],
            headers=problem.headers,
        ) from problem  # fmt: skip


def _known_id(given: str | None) -> str | None:
    """A user's id in a body or query string."""
    return None if given is None else _checked(given, "/user_id")


def _checked(given: str, pointer: str) -> str:
    """An id whose length the schema counts in characters."""
    try:
        return checked_id(given, "id")
    except Problem as problem:
        if problem.status == 422:
            problem.errors = [Fault(pointer, problem.detail)]
        raise


ROUTES = [recommendations, recommendations_by_body, similar, rank, search, popular, batch, user]
