"""The catalogue over HTTP: pages, single items, and what its owner says of them.

Owns merging by RFC 7396, and waiting until this process has read what it wrote. The records are
`streams.wire.contract`'s business, versions `streams.api.versions`'.
"""

import asyncio
from typing import Annotated, Any

import msgspec
from litestar import Request as HttpRequest
from litestar import Response, delete, get, patch, post, put
from litestar.datastructures import State
from msgspec import Meta

from streams.api.bodies import JSON_TYPES, LINE_TYPES, answer, body_of, decoded, read_body, read_query
from streams.api.brokers import NotAcknowledged
from streams.api.catalogue import Entry
from streams.api.cursors import page_after, read_page
from streams.api.ids import path_id
from streams.api.openapi import ITEMS, Doc
from streams.api.parts import Parts, here
from streams.api.problems import Away, Fault, NotTaken, OffSchema, Problem, fault_of
from streams.api.versions import in_turn, matched, tagged
from streams.wire.contract import UNREADABLE, Item, decode_item, encode

MOST_ITEMS = 1_000
_PAGE = 50
Asking = HttpRequest[Any, Any, State]


class ItemView(Item, frozen=True, omit_defaults=False, kw_only=True):
    """An item as its owner told it. announced: whether he did; false where only the live release knows it."""

    announced: bool = True


class ItemsQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A page. q: words that the title has, or the id."""

    q: Annotated[str, Meta(max_length=1000)] = ""
    cursor: str | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = _PAGE


class ItemsPage(msgspec.Struct):
    """Items in the order of their ids; next: the cursor of what follows, null at the end."""

    items: list[ItemView]
    next: str | None


class ItemsIn(msgspec.Struct, frozen=True):
    """Several items."""

    items: Annotated[list[Item], Meta(min_length=1, max_length=MOST_ITEMS)]


class _Raws(msgspec.Struct, frozen=True):
    """The same, each to be read by itself."""

    items: list[msgspec.Raw]


class ItemsAccepted(msgspec.Struct):
    """How many items the broker has."""

    accepted: int
    errors: list[NotTaken] = []


@get("/v1/items", opt={"doc": Doc("items", query=ItemsQuery, answer=ItemsPage, errors=(400, 422))})
async def items(request: Asking) -> Response[bytes]:
    """The catalogue, a page at a time."""
    parts, asked = here(request), read_query(request, ItemsQuery)
    after = read_page(asked.cursor)
    parts.catalogue.flush()
    found = await asyncio.to_thread(parts.catalogue.page, after, asked.limit + 1, asked.q)
    more = len(found) > asked.limit
    views = [view for entry in found[: asked.limit] if (view := _view(entry)) is not None]
    return answer(ItemsPage(views, page_after(views[-1].item_id) if more else None))


@get("/v1/items/{item_id:str}", opt={"doc": Doc("items", answer=ItemView, errors=(404, 422))})
async def item(request: Asking) -> Response[bytes]:
    """One item. ETag is the offset of its record."""
    entry = _entry(here(request), path_id(request, "item_id"))
    return answer(_view(entry), 200, tagged(entry.offset) if entry.announced else {})


@put(
    "/v1/items/{item_id:str}",
    opt={"doc": Doc("items", body=Item, answer=ItemView, answers={201: ItemView},
                    errors=(400, 412, 413, 415, 422, 503), scopes=ITEMS,
                    example={"item_id": "tea-pot", "title": "Tea pot", "price": 12.5})},
)  # fmt: skip
async def put_item(request: Asking) -> Response[bytes]:
    """Say what an item is. With If-Match only where nobody has changed it since."""
    parts, item_id = here(request), path_id(request, "item_id")
    told = await read_body(request, dict[str, Any])
    async with in_turn(parts, request, parts.names.items, item_id):
        return await _write(parts, request, item_id, told)


@patch(
    "/v1/items/{item_id:str}",
    opt={"doc": Doc("items", body=dict[str, Any], answer=ItemView, answers={201: ItemView},
                    errors=(400, 404, 412, 413, 415, 422, 503), scopes=ITEMS,
                    example={"price": 9.5, "description": None})},
)  # fmt: skip
async def patch_item(request: Asking) -> Response[bytes]:
    """Change some of what is said of an item, as RFC 7396 merges: null takes a field away."""
    parts, item_id = here(request), path_id(request, "item_id")
    change = await read_body(request, dict[str, Any])
    async with in_turn(parts, request, parts.names.items, item_id, reads=True):
        before = _view(_entry(parts, item_id))
        told = merged(msgspec.to_builtins(before), change)
        return await _write(parts, request, item_id, told)


@delete(
    "/v1/items/{item_id:str}", status_code=200,
    opt={"doc": Doc("items", status=204, errors=(412, 422, 503), scopes=ITEMS)},
)  # fmt: skip
async def delete_item(request: Asking) -> Response[bytes]:
    """Withdraw an item: no list holds it any more."""
    parts, item_id = here(request), path_id(request, "item_id")
    async with in_turn(parts, request, parts.names.items, item_id):
        _matched(parts, request, item_id)
        offset = await _sent(parts, item_id, None)
        await parts.has_read(parts.names.items, 0, offset)
    return Response(b"", status_code=204, headers=tagged(offset))


@post(
    "/v1/items", status_code=202,
    opt={"doc": Doc("items", body=ItemsIn, answer=ItemsAccepted, status=202, lines=True,
                    errors=(400, 413, 415, 422, 503), scopes=ITEMS,
                    example={"items": [{"item_id": "tea-pot", "title": "Tea pot"}]})},
)  # fmt: skip
async def post_items(request: Asking) -> Response[bytes]:
    """Say what many items are: {"items": [...]} or NDJSON, at most 1,000."""
    parts = here(request)
    body, kind = await body_of(request, *JSON_TYPES, *LINE_TYPES)
    if kind in LINE_TYPES:
        raws = [line for line in body.split(b"\n") if line.strip()]
    else:
        raws = [bytes(raw) for raw in decoded(body, _Raws).items]
    if not 0 < len(raws) <= MOST_ITEMS:
        detail = f"{len(raws)} items; expected 1 to {MOST_ITEMS:,}"
        raise Problem(422, detail, [Fault("/items", detail)])
    errors: list[NotTaken] = []
    sending: list[tuple[int, Item]] = []
    for index, raw in enumerate(raws):
        try:
            sending.append((index, decode_item(raw)))
        except UNREADABLE as error:
            fault = fault_of(error)
            errors.append(NotTaken(index, fault.detail, fault.pointer))
    records = [(each.item_id.encode(), encode(each)) for _, each in sending]
    placed = await parts.brokers.send_many(parts.names.items, records)
    lost = [
        NotTaken(n, "the broker has not acknowledged it", "", True)
        for (n, _), place in zip(sending, placed, strict=True)
        if place is None
    ]
    if not sending:
        faults = [Fault(f"/items/{each.index}{each.pointer}", each.detail) for each in errors]
        raise Problem(422, f"none of {len(raws)} items can be used", faults)
    if len(lost) == len(sending):
        raise Away("the broker has not acknowledged any item; send them again", 1)
    offsets = [place[1] for place in placed if place is not None]
    await parts.has_read(parts.names.items, 0, max(offsets))
    told = ItemsAccepted(len(offsets), sorted(errors + lost, key=lambda each: each.index))
    return answer(told, 202)


def merged(target: Any, change: Any) -> Any:
    """RFC 7396: objects are merged, null takes away, anything else replaces."""
    if not isinstance(change, dict):
        return change
    found = dict(target) if isinstance(target, dict) else {}
    for name, value in change.items():
        if value is None:
            found.pop(name, None)
        else:
            found[name] = merged(found.get(name), value)
    return found


async def _write(parts: Parts, request: Asking, item_id: str, told: dict[str, Any]) -> Response[bytes]:
    told.pop("announced", None)  # as a read gives it
    if told.setdefault("item_id", item_id) != item_id:
        raise Problem(422, "item_id is not the path's", [Fault("/item_id", f"expected {item_id!r}")])
    try:
        item = decode_item(msgspec.json.encode(told))
    except UNREADABLE as error:
        raise OffSchema(error) from error
    known = _matched(parts, request, item_id)
    offset = await _sent(parts, item_id, encode(item))
    await parts.has_read(parts.names.items, 0, offset)
    view = _view(Entry(item_id, offset, item))
    return answer(view, 200 if known else 201, tagged(offset))


async def _sent(parts: Parts, item_id: str, value: bytes | None) -> int:
    try:
        _, offset = await parts.brokers.send(parts.names.items, item_id.encode(), value)
    except NotAcknowledged as error:
        raise Away("the broker has not acknowledged it; send it again", 1) from error
    return offset


def _matched(parts: Parts, request: Asking, item_id: str) -> bool:
    """Whether there is such an item. Raises a Problem (412) where If-Match or If-None-Match forbids it."""
    entry = parts.catalogue.get(item_id)
    known = entry is not None and entry.item is not None and entry.announced
    matched(request, entry.offset if entry is not None and known else None)
    return known


def _entry(parts: Parts, item_id: str) -> Entry:
    entry = parts.catalogue.get(item_id)
    if entry is None or entry.item is None:
        raise Problem(404, "there is no such item")
    return entry


def _view(entry: Entry) -> ItemView | None:
    if entry.item is None:
        return None
    return msgspec.convert(msgspec.to_builtins(entry.item) | {"announced": entry.announced}, ItemView)


ROUTES = [items, item, put_item, patch_item, delete_item, post_items]
