"""Asks for a list through `requests`, and waits for the answer of a worker.

Owns how a request is made from what a person says, and the waiting. What it may ask for is the contract's
business; how lists come about it does not know.
"""

import contextlib
import time
import uuid
from pathlib import Path
from typing import Any

from learner.filters.language import FilterError
from learner.filters.short_form import read
from streams.operate.watching import Shown
from streams.settings import Settings
from streams.transport import clients
from streams.transport.topic_reader import follow
from streams.transport.topics import Names, check
from streams.wire.contract import (
    UNREADABLE,
    Request,
    Rules,
    decode_list,
    decode_request,
    decode_rules,
    encode,
)
from streams.wire.partitioner import partition_of


class NoAnswer(Exception):  # noqa: N818
    """Nobody answered a request in time: says what to look at."""


class NotAsked(ValueError):  # noqa: N818
    """A request that no worker would take: says what is wrong with it, and where."""


def request(user: str | None = None, **wanted: Any) -> Request:
    """A request with an id of its own; what is None or empty is left out. Raises NotAsked.

    But an empty `rank` asks for a list of no items, not for a user's list.
    """
    made = Request(
        request_id=f"q-{uuid.uuid4().hex}",
        user_id=user,
        **{
            name: value
            for name, value in wanted.items()
            if value not in (None, [], "", ()) or (name == "rank" and value is not None)
        },
    )
    try:  # as a worker will: a struct that is made here takes anything
        return decode_request(encode(made))
    except (*UNREADABLE, TypeError) as error:
        raise NotAsked(f"no worker would take this request: {error}") from error


def filter_of(text: str, where: str = "filter") -> dict[str, Any]:
    """A filter in its short form, or as JSON. Raises NotAsked."""
    import msgspec

    if text.lstrip().startswith("{"):
        try:
            found: dict[str, Any] = msgspec.json.decode(text, type=dict[str, Any])
        except UNREADABLE as error:
            raise NotAsked(f"{where}: {error}") from error
        return found
    try:
        return read(text, where)
    except FilterError as error:
        raise NotAsked(str(error)) from error


def rules_in(text: bytes, source: str) -> Rules:
    """Rules as JSON; `source` names where they stand. Raises NotAsked with the place of what is wrong."""
    import json

    try:
        json.loads(text)  # whose errors name the line
        return decode_rules(text)
    except json.JSONDecodeError as error:
        raise NotAsked(f"{source}, line {error.lineno}, column {error.colno}: {error.msg}") from error
    except UNREADABLE as error:
        raise NotAsked(f"{source}: {error}") from error


def rules_of(file: Path) -> Rules:
    """The rules in a file. Raises NotAsked."""
    return rules_in(file.read_bytes(), str(file))


def ask(settings: Settings, asked: Request, timeout_s: float = 10.0) -> Shown:
    """Send a request and wait for its answer. Raises NoAnswer after `timeout_s`."""
    return ask_all(settings, [asked], timeout_s)[0]


def ask_all(settings: Settings, asked: list[Request], timeout_s: float = 10.0) -> list[Shown]:
    """Send requests at once and wait for all answers, in their order. Raises NoAnswer after `timeout_s`."""
    names = Names(settings.prefix)
    with clients.admin(settings) as admin:
        count = check(admin, settings)
    answers = follow(settings, {names.recommendations: "end"})
    next(answers)  # places the reader at the end before anything is asked
    sent_ms = {}
    with clients.producer(settings, linger_ms=0) as sender:
        for each in asked:
            key = each.key.encode()
            sent = sender.send(
                names.requests, key=key, value=encode(each), partition=partition_of(key, count)
            )
            sent_ms[each.request_id] = sent.get(timeout=10).timestamp
    found: dict[str, Shown] = {}
    deadline = time.monotonic() + timeout_s
    keys = {each.key.encode() for each in asked}
    for record in answers:
        if record is not None and record.key in keys:
            with contextlib.suppress(*UNREADABLE):
                made = decode_list(record.value)
                if made.trigger.id in sent_ms:
                    ms = record.timestamp - sent_ms[made.trigger.id]
                    found[made.trigger.id] = Shown(made, record.value, None, ms)
        if len(found) == len(sent_ms):
            return [found[each.request_id] for each in asked]
        if time.monotonic() > deadline:
            break
    raise NoAnswer(
        f"no answer within {timeout_s:g} s: is a worker running on prefix {settings.prefix!r}? "
        "`nextclick doctor` looks at all of it; --timeout waits longer"
    )
