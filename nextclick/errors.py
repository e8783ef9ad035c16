"""What may go wrong, as exceptions: problems that the server tells (RFC 9457), and lines that break.

Owns reading `application/problem+json`. Whether something is tried again is `nextclick.exchange`'s business.
"""

from collections.abc import Mapping, Sequence

import msgspec

from nextclick.records import Click


class NextclickError(Exception):
    """Whatever this package raises."""


class Unreachable(NextclickError):  # noqa: N818 (what is so, not what raised it)
    """No answer came, however often it was tried; the cause says why."""


class BadAnswer(NextclickError):  # noqa: N818 (what is so, not what raised it)
    """An answer that is none of Nextclick's: is there something else at this address?"""


class Fault(msgspec.Struct, frozen=True):
    """One thing that is wrong with a body: where, as a JSON pointer, and what."""

    pointer: str
    detail: str


class Problem(NextclickError):  # noqa: N818 (as the RFC calls it)
    """The server says no. `detail` is meant for people; `errors` name places in what was sent."""

    def __init__(
        self, status: int, title: str, detail: str, errors: Sequence[Fault] = (), *, type_: str = "",
        instance: str = "", retry_after_s: float | None = None,
    ) -> None:  # fmt: skip
        places = "".join(f"\n  {each.pointer or '/'}: {each.detail}" for each in errors)
        super().__init__(f"{status} {title}: {detail}{places}")
        self.status, self.title, self.detail, self.errors = status, title, detail, list(errors)
        self.type, self.instance, self.retry_after_s = type_, instance, retry_after_s


class BadRequest(Problem):
    """400: no JSON, or a cursor or token that nobody gave out."""


class Unauthorized(Problem):
    """401: no key, or one that is not known."""


class Forbidden(Problem):
    """403: the key may not do this."""


class NotFound(Problem):
    """404: no such item, scenario, release or path."""


class Conflict(Problem):
    """409: what is so now forbids it."""


class PreconditionFailed(Problem):
    """412: somebody has changed it meanwhile."""


class TooLarge(Problem):
    """413: a body of more than 1 MiB."""


class UnsupportedMediaType(Problem):
    """415: the body's content type."""


class Unprocessable(Problem):
    """422: what was sent breaks the schema; `errors` says where."""


class RateLimited(Problem):
    """429: too many requests; `retry_after_s` says when to come back."""


class ServerFault(Problem):
    """500 and what is like it."""


class Unavailable(Problem):
    """503: the broker or the workers do not answer now."""


class ClicksNotSent(NextclickError):  # noqa: N818 (what is so, not what raised it)
    """Clicks of the buffer that did not arrive: `refused`, each with what is wrong, and `unsent` ones.

    Nothing is wrong with `unsent`: they can be sent later with their event ids, and count once.
    """

    def __init__(self, refused: Sequence[tuple[Click, str]], more: int, unsent: Sequence[Click]) -> None:
        told = [f"{len(refused) + more} refused, the first: {refused[0][1]}"] if refused else []
        told += [f"{len(unsent)} not sent, as the server was not reached"] if unsent else []
        super().__init__("clicks: " + "; ".join(told))
        self.refused, self.more_refused, self.unsent = list(refused), more, list(unsent)


class BufferFull(NextclickError):  # noqa: N818 (what is so, not what raised it)
    """There is no room for another click: the server has not taken any for too long."""


_KINDS: dict[int, type[Problem]] = {
    400: BadRequest, 401: Unauthorized, 403: Forbidden, 404: NotFound, 409: Conflict,
    412: PreconditionFailed, 413: TooLarge, 415: UnsupportedMediaType, 422: Unprocessable, 429: RateLimited,
    503: Unavailable,
}  # fmt: skip


class _Details(msgspec.Struct, frozen=True):
    title: str = ""
    detail: str = ""
    type: str = ""
    instance: str = ""
    errors: list[Fault] = []


def problem_of(status: int, headers: Mapping[str, str], body: bytes) -> Problem:
    """The exception for an answer of 400 or more; also one of a proxy, that has no such body."""
    try:
        told = msgspec.json.decode(body, type=_Details)
    except (msgspec.DecodeError, UnicodeDecodeError):
        told = _Details(detail=body[:200].decode("utf-8", "replace").strip())
    kind = _KINDS.get(status, ServerFault if status >= 500 else Problem)
    return kind(
        status, told.title or "no success", told.detail, told.errors, type_=told.type,
        instance=told.instance, retry_after_s=seconds_of(headers.get("retry-after")),
    )  # fmt: skip


def seconds_of(retry_after: str | None) -> float | None:
    """`Retry-After` in seconds; None where there is none that can be read. Dates are not: no server here
    sends them, and they would have to be compared with a clock that is another one's."""
    text = (retry_after or "").strip()
    return float(text) if text.isascii() and text.isdigit() and len(text) < 9 else None
