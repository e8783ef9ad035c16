"""Releases and dead letters over HTTP: what an operator looks at and decides.

Owns nothing of what a decision means (`streams.releases.by_hand`, `streams.transport.letters`): what these do
takes connections of its own and runs in a thread, one change at a time.
"""

import asyncio
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import msgspec
from kafka.errors import KafkaError
from litestar import Request as HttpRequest
from litestar import Response, get, post
from litestar.datastructures import State
from msgspec import Meta

from learner.release.bundle import ReleaseError
from streams.api.bodies import JSON_TYPES, answer, body_of, decoded, read_query
from streams.api.cursors import page_after, read_page
from streams.api.ids import path_id
from streams.api.openapi import Doc
from streams.api.parts import Parts, here
from streams.api.problems import Away, Malformed, Problem
from streams.releases import by_hand
from streams.releases.roles import RoleError
from streams.releases.store import StoreError, StoreUnreachable
from streams.transport import letters
from streams.transport.clients import BrokerUnreachable
from streams.transport.topic_reader import ReadTimeout, TopicMissing

Asking = HttpRequest[Any, Any, State]
T = TypeVar("T")
ACTIONS = ("promote", "rollback", "pin", "unpin")
_REASON = "over HTTP"
_MOST_RETRIED = 10_000
_changing = asyncio.Lock()


class ReleaseView(msgspec.Struct, omit_defaults=True):
    """A release: its role, the decision behind it, and what its manifest says, or why there is none."""

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


class ReleasesOut(msgspec.Struct):
    """All that were announced or lie in the store, the last changed last."""

    items: list[ReleaseView]
    next: None = None


class Because(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why."""

    reason: Annotated[str, Meta(max_length=2000)] = _REASON


class LettersQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A page of dead letters."""

    cursor: str | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 50


class Place(msgspec.Struct, frozen=True):
    """Where a record stands."""

    partition: int
    offset: int


class LetterOut(msgspec.Struct):
    """A record that could not be used: as it came, from where, and what is wrong with it."""

    partition: int
    offset: int
    at: int
    topic: str
    source: Place
    error: str
    key: str | None
    value: str | None
    retried: bool


class LettersOut(msgspec.Struct):
    """Dead letters, the oldest first."""

    items: list[LetterOut]
    next: str | None


class RetryBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which to send again, by their offsets; without any, all that have not been."""

    offsets: Annotated[list[int], Meta(max_length=_MOST_RETRIED)] | None = None


class Retried(msgspec.Struct):
    """How many were sent again."""

    retried: int


@get("/v1/releases", opt={"doc": Doc("releases", answer=ReleasesOut, errors=(503,))})
async def releases(request: Asking) -> Response[bytes]:
    """All releases and their roles."""
    parts = here(request)
    found = await _in_thread(parts, lambda: by_hand.overview(parts.settings))
    return answer(ReleasesOut([_view(each) for each in found]))


@get("/v1/releases/{release:str}", opt={"doc": Doc("releases", answer=ReleaseView, errors=(404, 422, 503))})
async def release(request: Asking) -> Response[bytes]:
    """One release."""
    parts, name = here(request), path_id(request, "release")
    return answer(_view(await _known(parts, name)))


@post(
    [f"/v1/releases/{{release:str}}/{action}" for action in ACTIONS], status_code=200,
    opt={"doc": Doc("releases", body=Because, answer=ReleaseView, errors=(400, 404, 409, 413, 415, 422, 503),
                    example={"reason": "clicks fell"})},
)  # fmt: skip
async def decide(request: Asking) -> Response[bytes]:
    """Change a release's role: promote, rollback, pin or unpin."""
    parts, name = here(request), path_id(request, "release")
    action = request.url.path.rstrip("/").rpartition("/")[2]
    settings = parts.settings
    raw, _ = await body_of(request, *JSON_TYPES)
    reason = decoded(raw, Because).reason if raw.strip() else _REASON
    actions: dict[str, Callable[[], Any]] = {
        "promote": lambda: by_hand.promote_by_hand(settings, name, reason),
        "rollback": lambda: by_hand.roll_back(settings, name, reason),
        "pin": lambda: by_hand.pin(settings, name, reason=reason),
        "unpin": lambda: by_hand.pin(settings, name, off=True, reason=reason),
    }
    known = await _known(parts, name)
    if action == "unpin" and known.role != "live":
        raise Problem(409, f"it is {known.role}, not the live release, which alone may be pinned")
    async with _changing:
        await _in_thread(parts, actions[action])
    return answer(_view(await _known(parts, name)))


@get(
    "/v1/dead-letters",
    opt={"doc": Doc("dead letters", query=LettersQuery, answer=LettersOut, asks={"cursor": page_after("0")})},
)
async def dead_letters(request: Asking) -> Response[bytes]:
    """Records that could not be used, a page at a time."""
    parts, asked = here(request), read_query(request, LettersQuery)
    after = read_page(asked.cursor)
    if after and not after.isdigit():
        raise Malformed("cursor is no cursor; send what the page before gave as `next`, unchanged")

    def page() -> list[letters.Letter]:
        found = []
        for each in letters.read_letters(
            parts.settings, letters.Retried(parts.settings), int(after or -1) + 1
        ):
            found.append(each)
            if len(found) > asked.limit:
                break
        return found

    found = await _in_thread(parts, page)
    shown = [msgspec.convert(each.shown(), LetterOut) for each in found[: asked.limit]]
    more = len(found) > asked.limit
    return answer(LettersOut(shown, page_after(str(shown[-1].offset)) if more else None))


@post(
    "/v1/dead-letters/retry", status_code=200,
    opt={"doc": Doc("dead letters", body=RetryBody, answer=Retried, errors=(400, 404, 413, 415, 422, 503),
                    example={"offsets": [0]})},
)  # fmt: skip
async def retry(request: Asking) -> Response[bytes]:
    """Send records again, unchanged, to the topics they came from."""
    parts = here(request)
    raw, _ = await body_of(request, *JSON_TYPES)
    asked = decoded(raw, RetryBody) if raw.strip() else RetryBody()

    def again() -> int:
        known = letters.Retried(parts.settings)
        wanted = None if asked.offsets is None else set(asked.offsets)
        found = [
            each
            for each in letters.read_letters(parts.settings, known)
            if (not each.retried if wanted is None else each.place[1] in wanted)
        ]
        if wanted is not None and (missing := wanted - {each.place[1] for each in found}):
            raise Problem(404, f"there is no dead letter with offset {min(missing)}")
        return letters.retry(parts.settings, found, known)

    async with _changing:
        return answer(Retried(await _in_thread(parts, again)))


async def _known(parts: Parts, name: str) -> by_hand.Listed:
    try:
        return await asyncio.to_thread(by_hand.look_up, parts.settings, name)
    except by_hand.ReleasesError as error:
        raise Problem(404, str(error)) from error
    except (BrokerUnreachable, KafkaError, StoreUnreachable) as error:
        raise Away(str(error)) from error


async def _in_thread(parts: Parts, work: Callable[[], T]) -> T:
    """What is slow, beside the requests. Raises a Problem."""
    parts.needs_broker()
    try:
        return await asyncio.to_thread(work)
    except (BrokerUnreachable, KafkaError, ReadTimeout, StoreUnreachable) as error:
        raise Away(str(error)) from error
    except TopicMissing as error:
        raise Away(str(error)) from error
    except (by_hand.ReleasesError, RoleError, StoreError, ReleaseError, letters.LettersError) as error:
        raise Problem(409, str(error)) from error


def _view(listed: by_hand.Listed) -> ReleaseView:
    return msgspec.convert(listed.shown(), ReleaseView)


ROUTES = [releases, release, decide, dead_letters, retry]
