"""`POST /v1/clicks`: a click that was answered by 202 is on the broker, on all its replicas."""

from typing import Any, Literal

import msgspec
from litestar import Request, Response, post
from litestar.datastructures import State
from msgspec import UNSET, UnsetType

from streams.api.bodies import JSON_TYPES, LINE_TYPES, answer, body_of, read_query
from streams.api.clicks import ClickIn, ClicksIn, Refused, Taken, clicks_in
from streams.api.ids import checked_id, token_of
from streams.api.keys import TOKEN, Caller, caller_of, forbidden
from streams.api.openapi import CLICKS, Doc
from streams.api.parts import Parts, here
from streams.api.problems import Away, Fault, NotTaken, Problem
from streams.wire.steering import DEFAULT

SEEN = "Nextclick-Seen"


class ClicksQuery(msgspec.Struct, frozen=True, kw_only=True):
    """`tokens=true`: the answer also has the token of each user's last click."""

    tokens: Literal["true", "false"] = "false"


class Accepted(msgspec.Struct):
    """How many clicks the broker has. seen: the token of the last one; tokens: of each user's last one."""

    accepted: int
    seen: str
    errors: list[NotTaken] = []
    tokens: dict[str, str] | UnsetType = UNSET


@post(
    "/v1/clicks", status_code=202,
    opt={
        "doc": Doc(
            "clicks", query=ClicksQuery, body=(ClickIn, ClicksIn), answer=Accepted, status=202, lines=True,
            errors=(400, 413, 415, 422, 503),
            example={"user_id": "u1", "item_id": "i9", "event": "click"}, scopes=CLICKS,
        )
    },
)  # fmt: skip
async def clicks(request: Request[Any, Any, State]) -> Response[bytes]:
    """Send clicks: one object, {"clicks": [...]} or NDJSON, at most 1,000.

    Answered once the broker has them. Without `event_id` a click gets a hash of what it says and of its
    place, or of the header Idempotency-Key; without `timestamp` it is of now. `seen` and the header
    Nextclick-Seen are the last click's token: a read that sends it gets a list that knows the click.
    """
    parts, asked = here(request), read_query(request, ClicksQuery)
    body, kind = await body_of(request, *JSON_TYPES, *LINE_TYPES)
    key = request.headers.get("idempotency-key")
    found, alone = clicks_in(body, kind)
    taken, refused = parts.intake.read(found, None if key is None else checked_id(key, "Idempotency-Key"))
    taken, not_spoken_for = _spoken_for(caller_of(request), found, taken, alone)
    if not taken and not refused:
        detail = f"this key may not speak for the users of any of {len(not_spoken_for)} clicks"
        raise forbidden(detail, _places(not_spoken_for))
    refused += not_spoken_for
    if alone and refused:
        raise Problem(422, refused[0].fault.detail, [refused[0].fault])
    placed = await _sent(parts, taken)
    seen = next((place for place in reversed(placed) if place is not None), None)
    if seen is None:
        raise _none_taken(taken, refused)
    lost = [each.index for each, place in zip(taken, placed, strict=True) if place is None]
    errors = [NotTaken(each.index, each.fault.detail, each.fault.pointer) for each in refused]
    errors += [NotTaken(index, "the broker has not acknowledged it", "", True) for index in lost]
    parts.measured.clicks += len(taken) - len(lost)
    token = token_of(*seen)
    told = Accepted(len(taken) - len(lost), token, sorted(errors, key=lambda each: each.index))
    if asked.tokens == "true":
        told.tokens = {
            each.click.user_id: token_of(*place)
            for each, place in zip(taken, placed, strict=True)
            if place is not None
        }
    return answer(told, 202, {SEEN: token})


def _spoken_for(
    caller: Caller, found: list[Any], taken: list[Taken], alone: bool
) -> tuple[list[Taken], list[Refused]]:
    """The clicks of users for whom a public key may speak, and the others; each may carry its user's token.

    One of many must not hold up the others, whose senders know nothing of it. Raises a Problem (403) for one
    that is alone.
    """
    if not caller.is_public:
        return taken, []
    allowed: list[Taken] = []
    refused: list[Refused] = []
    for each in taken:
        token = found[each.index].get(TOKEN)
        try:
            caller.check_user(each.click.user_id, token if isinstance(token, str) else None)
        except Problem as problem:
            if alone:
                raise
            refused.append(Refused(each.index, Fault(f"/{TOKEN}", problem.detail)))
        else:
            allowed.append(each)
    return allowed, refused


async def _sent(parts: Parts, taken: list[Taken]) -> list[tuple[int, int] | None]:
    """Where the clicks stand; None of each that the broker has not said that it has."""
    records = [(each.click.user_id.encode(), each.value) for each in taken]
    placed = await parts.brokers.send_many(parts.names.clicks, records)
    for each, place in zip(taken, placed, strict=True):
        if place is not None:
            click = each.click
            listed = click.is_interest and not click.history
            coming = (click.scenario or DEFAULT) if listed else ""
            parts.lists.held.clicked(click.user_id, place[1], coming)
    return placed


def _none_taken(taken: list[Taken], refused: list[Refused]) -> Problem:
    """422 where all clicks are at fault, 503 where the broker has not acknowledged any."""
    if taken:
        return Away("the broker has not acknowledged any click; send them again, each counts once", 1)
    return Problem(422, f"none of {len(refused)} clicks can be used", _places(refused))


def _places(refused: list[Refused]) -> list[Fault]:
    return [Fault(f"/clicks/{each.index}{each.fault.pointer}", each.fault.detail) for each in refused]


ROUTES = [clicks]
