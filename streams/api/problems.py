"""What went wrong, as RFC 9457 has it: `application/problem+json`.

Owns the types of problems, their status codes, and how a fault in a body names its place (a JSON pointer).
"""

import re
import traceback
from typing import Any, ClassVar

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException
from msgspec import UNSET, UnsetType

from streams.wire.second_reading import Misread

log = structlog.get_logger()

TYPE = "application/problem+json"
_PLACES = re.compile(r" - at `(?:key in )?\$([^`]*)`$")
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]")
_MEMBER = re.compile(r"^Object (?:missing required|contains unknown) field `([^`]*)`")
# What messages of ours say first is a place where one of these follows; else it is a word as any other.
_NAMED = re.compile(r"^([a-z_][\w.\[\]]*)(?::|,| (?:is|are|has|holds?|lies|orders|and)\b)")
_TITLES = {
    400: "malformed", 401: "no key", 403: "not allowed", 404: "not found", 405: "method not allowed",
    408: "too slow", 409: "conflict", 412: "changed meanwhile", 413: "too large", 414: "address too long",
    415: "unknown content type", 422: "off the schema", 429: "too many requests",
    431: "headers too large", 500: "fault of this server", 501: "not built", 503: "not available now",
}  # fmt: skip


class Fault(msgspec.Struct, frozen=True):
    """One thing that is wrong with a body: where, as a JSON pointer, and what."""

    pointer: str
    detail: str


class NotTaken(msgspec.Struct, frozen=True):
    """One of several records that was not taken; with `retry` it may be sent again as it is."""

    index: int
    detail: str
    pointer: str = ""
    retry: bool | UnsetType = UNSET


class ProblemDetails(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """An error's body."""

    type: str
    title: str
    status: int
    detail: str
    instance: str = ""
    errors: list[Fault] = []


class Problem(Exception):  # noqa: N818 (as the RFC calls it)
    """Ends a request; `retry_s` becomes `Retry-After`."""

    def __init__(
        self, status: int, detail: str, errors: list[Fault] | None = None, retry_s: int | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(detail)
        self.status, self.detail, self.errors = status, detail, errors or []
        self.headers = (headers or {}) | ({} if retry_s is None else {"Retry-After": str(retry_s)})


class Malformed(Problem):
    """400: no JSON, a cursor or token that is none, a parameter that cannot be read."""

    status_code: ClassVar[int] = 400

    def __init__(self, detail: str) -> None:
        super().__init__(400, detail)


class OffSchema(Problem):
    """422: JSON that breaks the schema; `where` is the place in the body that the error is relative to."""

    def __init__(self, error: Exception | str, where: str = "") -> None:
        super().__init__(422, str(error), [fault_of(error, where)])


class Away(Problem):
    """503: the broker or the workers do not answer now."""

    def __init__(self, detail: str, retry_s: int = 1) -> None:
        super().__init__(503, detail, retry_s=retry_s)


def fault_of(error: Exception | str, where: str = "") -> Fault:
    """The place that an error of msgspec or of the contract names, as a pointer below `where`."""
    message = str(error)
    if isinstance(error, Misread) and error.field:
        return Fault(where + _pointer("." + error.field), message)
    found = _PLACES.search(message)
    place, message = (_pointer(found.group(1)), message[: found.start()]) if found else ("", message)
    member = _MEMBER.match(message)
    if found or member:
        return Fault(where + place + (_step(member.group(1)) if member else ""), message)
    named = _NAMED.match(message)
    return Fault(where + (_pointer("." + named.group(1)) if named else ""), message)


def details(
    status: int, detail: str, errors: list[Fault] | None = None, instance: str = ""
) -> ProblemDetails:
    """A problem's body."""
    title = _TITLES.get(status, "not done")
    kind = f"urn:nextclick:problem:{title.replace(' ', '-')}"
    return ProblemDetails(
        type=kind, title=title, status=status, detail=detail, instance=instance, errors=errors or []
    )


def problem_response(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Any exception as an answer; a fault of ours says nothing of its insides."""
    errors: list[Fault] = []
    headers: dict[str, str] = {}
    if isinstance(error, Problem):
        status, detail, errors, headers = error.status, error.detail, error.errors, error.headers
    elif isinstance(error, HTTPException):
        status, detail = error.status_code, _of_frame(error)
    else:
        last = traceback.extract_tb(error.__traceback__)[-1:]  # its words may name a user
        where = [f"{each.filename}:{each.lineno}" for each in last]
        log.error("a request failed", fault=type(error).__name__, where=where)
        status, detail = 500, "the log of this process says what happened"
    body = details(status, detail, errors, f"urn:nextclick:request:{id(request):x}")
    if status == 405:
        headers = dict(getattr(error, "headers", None) or {})
    return Response(msgspec.json.encode(body), media_type=TYPE, status_code=status, headers=headers)


def _of_frame(error: HTTPException) -> str:
    if error.status_code == 404:
        return "there is nothing at this path; /docs lists what there is"
    return error.detail


def _pointer(path: str) -> str:
    steps = [name or number for name, number in _STEP.findall(path)]
    return "".join(map(_step, steps))


def _step(name: str) -> str:
    return "/" + name.replace("~", "~0").replace("/", "~1")
