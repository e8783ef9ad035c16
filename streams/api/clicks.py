"""Clicks as they come in by HTTP: from a body to records of `clicks`, each with an id and a time.

Owns the forms of a body, what is filled in, and what is refused before the broker sees it, so that nothing
which was accepted ends as a dead letter. Sending is `streams.api.brokers`' business.
"""

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Annotated, Any

import msgspec

from learner.data.catalogue import Timestamp
from learner.filters.language import milliseconds
from streams.api.bodies import LINE_TYPES
from streams.api.problems import Fault, Malformed, Problem, fault_of
from streams.settings import Settings
from streams.wire.clock import Clock
from streams.wire.contract import UNREADABLE, Click, Id, decode_click, encode

MOST_CLICKS = 1_000


@dataclass(frozen=True)
class Taken:
    """A click that may be sent, and its place in the body."""

    index: int
    click: Click
    value: bytes


@dataclass(frozen=True)
class Refused:
    """One that may not; `fault` names the place below the click."""

    index: int
    fault: Fault


class ClickIn(Click, frozen=True, omit_defaults=True, kw_only=True):
    """A click as it is sent: id and time may be left out, and the time may be ISO 8601."""

    event_id: Id | None = None  # type: ignore[assignment]
    timestamp: Timestamp | str | None = None  # type: ignore[assignment]
    user_token: str | None = None


class ClicksIn(msgspec.Struct, frozen=True):
    """Several of them."""

    clicks: Annotated[list[ClickIn], msgspec.Meta(min_length=1, max_length=MOST_CLICKS)]
    user_token: str | None = None


class Intake:
    """`observe` is told of lists, whose times are the newest events' where `clock` is `stream`."""

    def __init__(self, settings: Settings) -> None:
        self._clock = Clock(settings.clock, settings.max_future_ms)
        self._names: Mapping[str, str] = settings.event_names

    def observe(self, timestamp_ms: int, user_id: str) -> None:
        """A list answers an event of this time."""
        if self._clock.kind == "stream":
            self._clock.observe(timestamp_ms, user_id)

    def now_ms(self) -> int:
        """The time of what happens now: with a stream's clock that of the newest event."""
        return self._clock.now_ms(int(time.time() * 1000))

    def read(self, found: list[Any], key: str | None) -> tuple[list[Taken], list[Refused]]:
        """The clicks of a body. `key`: its `Idempotency-Key`."""
        wall_ms = int(time.time() * 1000)
        taken: list[Taken] = []
        refused: list[Refused] = []
        for index, each in enumerate(found):
            if isinstance(each, Malformed):
                refused.append(Refused(index, Fault("", each.detail)))
                continue
            made = self._one(each, index, key, wall_ms)
            if isinstance(made, Fault):
                refused.append(Refused(index, made))
            else:
                taken.append(Taken(index, made, encode(made)))
        return taken, refused

    def _one(self, found: Any, index: int, key: str | None, wall_ms: int) -> Click | Fault:
        if not isinstance(found, dict):
            return Fault("", f"expected an object, got {str(found)[:40]}")
        record = dict(found)
        timed = record.get("timestamp") is not None
        if timed:
            record["timestamp"] = _milliseconds(record["timestamp"])
        else:
            record["timestamp"] = self._clock.now_ms(wall_ms)
        if record.get("event_id") is None:
            record["event_id"] = _event_id(record, index, key, timed)
        try:
            click = decode_click(msgspec.json.encode(record), self._names)
        except UNREADABLE as error:
            return fault_of(error)
        wrong = self._clock.refuses(click.timestamp, wall_ms)
        return click if wrong is None else Fault("/timestamp", wrong)


def clicks_in(body: bytes, kind: str) -> tuple[list[Any], bool]:
    """What stands in a body, and whether it is one object alone. Raises a Problem."""
    if kind in LINE_TYPES:
        return _bounded([_line(each) for each in body.split(b"\n") if each.strip()]), False
    try:
        found = msgspec.json.decode(body)
    except UNREADABLE as error:
        raise Malformed(f"the body is no JSON: {error}") from error
    if isinstance(found, dict) and "clicks" in found:
        clicks = found["clicks"]
        if not isinstance(clicks, list):
            raise Problem(
                422, "clicks is no list", [Fault("/clicks", f"expected a list, got {str(clicks)[:40]}")]
            )
        if "user_token" in found:  # all of the same user
            shared = {"user_token": found["user_token"]}
            clicks = [shared | each if isinstance(each, dict) else each for each in clicks[: MOST_CLICKS + 1]]
        return _bounded(clicks), False
    if isinstance(found, dict):
        return [found], True
    raise Problem(422, 'expected an object: a click, or {"clicks": [...]}', [Fault("", "no object")])


def _line(line: bytes) -> Any:
    try:
        return msgspec.json.decode(line)
    except UNREADABLE as error:
        return Malformed(f"no JSON: {error}")


def _bounded(clicks: list[Any]) -> list[Any]:
    if not 0 < len(clicks) <= MOST_CLICKS:
        detail = f"{len(clicks)} clicks; expected 1 to {MOST_CLICKS:,}"
        raise Problem(422, detail, [Fault("/clicks", detail)])
    return clicks


def _milliseconds(told: Any) -> Any:
    """A time in ISO 8601 as Unix ms, so that ids are the same; in UTC without a zone, as in filters."""
    if not isinstance(told, str) or told.strip().isdigit():
        return told
    try:
        return int(milliseconds(told.strip()))
    except (ValueError, OverflowError):
        return told  # the schema says what is wrong


def _event_id(record: dict[str, Any], index: int, key: str | None, timed: bool) -> str:
    """The same for the same click at the same place of a body, so that a repeat counts once."""
    if key is not None:
        parts = [key, index]
    elif timed:
        parts = [*(record.get(name) for name in ("user_id", "item_id", "items", "event", "timestamp")), index]
    else:
        return f"h-{uuid.uuid4().hex}"
    return f"h-{blake2b(msgspec.json.encode(parts), digest_size=16).hexdigest()}"
