"""Wishes about a user over HTTP: to be forgotten, and that a visitor turned out to be the user.

Both are records of `clicks`, which workers and learner obey in the order of the user's events.
"""

from typing import Any, NoReturn

import msgspec
from litestar import Request as HttpRequest
from litestar import Response, delete, get, post
from litestar.datastructures import State

from streams.api.bodies import answer, read_body
from streams.api.brokers import NotAcknowledged
from streams.api.ids import path_id, token_of
from streams.api.openapi import Doc
from streams.api.parts import Parts, here
from streams.api.problems import Away, OffSchema, Problem
from streams.wire.contract import UNREADABLE, Forget, Id, Merge, decode_forget, decode_merge, encode

Asking = HttpRequest[Any, Any, State]


class Wished(msgspec.Struct):
    """The broker has the wish. seen: its place, as clicks have one."""

    seen: str


class MergeBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The id that the user had before logging in."""

    visitor: Id


@delete(
    "/v1/users/{user_id:str}", status_code=202,
    opt={"doc": Doc("users", answer=Wished, status=202, errors=(422, 503), asks={"user_id": "visitor-1"})},
)  # fmt: skip
async def forget_user(request: Asking) -> Response[bytes]:
    """Have a user forgotten: state and what is remembered go, once the workers have read it."""
    parts, user_id = here(request), path_id(request, "user_id")
    value = encode(Forget(user_id=user_id, event="forget"))
    decode_forget(value)
    return answer(Wished(await _sent(parts, user_id, value, user_id)), 202)


@post(
    "/v1/users/{user_id:str}/merge", status_code=202,
    opt={"doc": Doc("users", body=MergeBody, answer=Wished, status=202, errors=(400, 413, 415, 422, 503),
                    example={"visitor": "visitor-1"})},
)  # fmt: skip
async def merge_user(request: Asking) -> Response[bytes]:
    """Give the user the events of a visitor, who is emptied. There is no way back."""
    parts, user_id = here(request), path_id(request, "user_id")
    asked = await read_body(request, MergeBody)
    merge = Merge(user_id=asked.visitor, event="merge", into=user_id, timestamp=parts.intake.now_ms())
    try:
        decode_merge(value := encode(merge))
    except UNREADABLE as error:
        raise OffSchema(str(error)) from error
    return answer(Wished(await _sent(parts, asked.visitor, value, asked.visitor, user_id)), 202)


@get("/v1/users/{user_id:str}/export")
async def export_user(request: Asking) -> NoReturn:
    """Reserved."""
    path_id(request, "user_id")
    raise Problem(501, "not over HTTP yet; `nextclick users export USER` reads all that is kept of a user")


async def _sent(parts: Parts, key: str, value: bytes, *users: str) -> str:
    """The place of the record; what is held of these users is none of theirs any more."""
    try:
        partition, offset = await parts.brokers.send(parts.names.clicks, key.encode(), value)
    except NotAcknowledged as error:
        raise Away("the broker has not acknowledged it; send it again", 1) from error
    for user in users:
        parts.lists.held.forget(user)
    parts.lists.held.clicked(key, offset)
    return token_of(partition, offset)


ROUTES = [forget_user, merge_user, export_user]
