"""What a request says: bodies and query strings, read into msgspec types, and what is wrong with them.

Owns the limits of a body, the content types that are taken, and 400, 413, 415 and 422.
"""

import asyncio
from typing import Any, TypeVar

import msgspec
from litestar import Request, Response
from litestar.exceptions import ClientException, HTTPException

from learner.filters.language import FilterError
from learner.filters.short_form import read
from streams.api.problems import Malformed, OffSchema, Problem

MAX_BODY_BYTES = 1 << 20
BODY_SECONDS = 20.0  # of a body that comes bit by bit, or by half
JSON_TYPES = ("application/json", "text/plain", "")  # a browser's beacon sends text
LINE_TYPES = ("application/x-ndjson", "application/ndjson", "application/jsonl")

T = TypeVar("T")
_LISTS = ("exclude", "fields")  # of query strings: repeated, or with commas between


async def body_of(request: Request[Any, Any, Any], *types: str) -> tuple[bytes, str]:
    """The body and its content type. Raises a Problem: 413, 415, 400 or 408 for one that was sent by half."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in types and not kind.endswith("+json"):
        raise Problem(415, f"the body is {kind}; expected {' or '.join(each for each in types if each)}")
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > MAX_BODY_BYTES:
        raise _too_large(int(length))
    parts, size = [], 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for part in request.stream():
                size += len(part)
                if size > MAX_BODY_BYTES:
                    raise _too_large(size)
                parts.append(part)
    except TimeoutError as error:
        closing = {"Connection": "close"}  # nobody waits for the rest
        raise Problem(408, f"the body did not come within {BODY_SECONDS:g} s", headers=closing) from error
    except (ClientException, HTTPException) as error:
        raise Malformed("the body ended before its end") from error
    return b"".join(parts), kind


async def read_body(request: Request[Any, Any, Any], kind: type[T]) -> T:
    """A JSON body as `kind`."""
    body, _ = await body_of(request, *JSON_TYPES)
    return decoded(body, kind)


def decoded(body: bytes | msgspec.Raw, kind: type[T], where: str = "") -> T:
    """JSON as `kind`. Raises Malformed for what is no JSON, OffSchema for the rest.

    where: the body's place in a greater one, as a JSON pointer
    """
    try:
        try:
            return msgspec.json.decode(body, type=kind)
        except msgspec.ValidationError as error:
            msgspec.json.decode(body)  # what stands behind the fault may be no JSON
            raise OffSchema(error, where) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(f"the body is no JSON: {error}") from error


def read_query(request: Request[Any, Any, Any], kind: type[T]) -> T:
    """The query string as `kind`. Raises OffSchema."""
    found: dict[str, Any] = {}
    for name, value in request.query_params.multi_items():
        if name in _LISTS:
            found.setdefault(name, []).extend(each for each in str(value).split(",") if each)
        else:
            found[name] = value
    try:
        return msgspec.convert(found, kind, strict=False)
    except msgspec.ValidationError as error:
        raise OffSchema(error) from error


def filter_of(given: str | dict[str, Any] | None) -> dict[str, Any] | None:
    """A filter as JSON, or in its short form. Raises OffSchema, and Malformed where it is nested too deep."""
    if given is None or isinstance(given, dict):
        return given
    text = given.strip()
    if not text:
        return None
    try:
        if text.startswith("{"):
            found: dict[str, Any] = msgspec.json.decode(text, type=dict[str, Any])
            return found
        return read(text, "filter")
    except (FilterError, msgspec.DecodeError) as error:
        raise OffSchema(str(error) if isinstance(error, FilterError) else f"filter: {error}") from error
    except RecursionError as error:
        raise Malformed(f"filter: {error}") from error


def answer(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response[bytes]:
    """A JSON answer."""
    body = content if isinstance(content, bytes) else msgspec.json.encode(content)
    return Response(body, media_type="application/json", status_code=status, headers=headers)


def _too_large(size: int) -> Problem:
    return Problem(413, f"the body has {size} bytes or more; at most {MAX_BODY_BYTES} are taken")
