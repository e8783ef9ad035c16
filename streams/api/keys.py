"""Who asks, and whether he may: keys as their topic tells them, scopes, and what a public key sees.

Owns 401, 403 and 429. A handler says in its `Doc` which scopes it takes; else `read` and above,
or `admin` where it changes something. Origins are `streams.api.origins`' business.
"""

import hmac
import math
import time
from typing import Any

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from streams.api.limits import Limits, network_of
from streams.api.openapi import Doc
from streams.api.problems import Away, Fault, Problem
from streams.settings import Settings
from streams.transport.key_table import KeyTable
from streams.wire.contract import Request
from streams.wire.keys import KeyRecord, Scope, digest, is_token

TOKEN_HEADER = "nextclick-user-token"  # noqa: S105 (a header's name)
TOKEN = "user_token"  # noqa: S105 (a parameter's name)
_SCHEME = "bearer "
_MOST_TEXT = 512  # of what is presented as a key
_CALLER = "nextclick.caller"
_BARE = "item_id"  # a field that stands in every list

Asking = ASGIConnection[Any, Any, Any, Any]


class Keys:
    """`on_record` takes the records of `keys`, `begin` and `reached` frame a reading from the beginning.

    needs_key: also while there are none; else whoever can reach this process may ask for everything then
    """

    def __init__(self, settings: Settings, needs_key: bool = False) -> None:
        self.needs_key = needs_key
        self.is_read = False
        self.table = KeyTable()
        self._reading = self.table
        self._settings = settings
        self._limits = Limits()

    def begin(self) -> None:
        """The topic is read from its beginning; what was known stands until all of it has come."""
        self._reading = KeyTable()

    def on_record(self, record: Any) -> None:
        """A record of `keys`."""
        self._reading.take(record)

    def reached(self) -> None:
        """All that there was is read."""
        self.table, self.is_read = self._reading, True

    @property
    def is_open(self) -> bool:
        """Whether no key is needed. Not before it is known that there are none."""
        return self.is_read and not self.needs_key and not self.table.by_name

    @property
    def origins(self) -> set[str]:
        """Of all public keys in force."""
        now_ms = _now_ms()
        return {
            origin
            for each in self.table.by_name.values() if each.in_force(now_ms)
            for origin in each.origins
        }  # fmt: skip

    def holds(self, caller: "Caller") -> bool:
        """Whether what let the caller in does so still: a stream may outlive it."""
        record = caller.record
        if record is None:
            return self.is_open
        return self.table.by_digest.get(record.sha256) == record and record.in_force(_now_ms())

    def caller(self, asking: Asking, doc: Doc | None, method: str, is_stream: bool) -> "Caller":
        """Who asks. Raises a Problem: 401, 403, 429, or 503 as long as the keys are not read."""
        record = None
        if not self.is_open:
            if not self.is_read:
                raise Away(
                    "the keys are not read yet; this process goes on by itself once the broker answers"
                )
            record = self._record(asking, is_stream)
            _check_scope(record, doc, method)
            _check_origin(record, asking.headers.get("origin"))
        self._limit(record, "" if asking.client is None else asking.client.host)
        return Caller(record, self._settings, asking)

    def _record(self, asking: Asking, is_stream: bool) -> KeyRecord:
        text = asking.headers.get("authorization", "")
        given = text[len(_SCHEME) :].strip() if text[: len(_SCHEME)].lower() == _SCHEME else ""
        in_address = "" if given or not is_stream else asking.query_params.get("key", "")
        text = given or in_address
        if not text:
            raise _unknown("this needs a key: `Authorization: Bearer KEY`; `nextclick keys add` makes one")
        known = digest(text[:_MOST_TEXT])
        # The table is looked up by a digest: how long that takes tells nothing of any key.
        record = self.table.by_digest.get(known)
        if record is None or not hmac.compare_digest(record.sha256, known):
            raise _unknown("this key is not known; it may have been revoked", "invalid_token")
        if not record.in_force(_now_ms()):
            raise _unknown(f"the key {record.name} has expired", "invalid_token")
        if in_address and record.scope != "public":
            raise _unknown("only a public key may stand in an address; send `Authorization: Bearer KEY`")
        return record

    def _limit(self, record: KeyRecord | None, address: str) -> None:
        settings = self._settings
        is_public = record is not None and record.scope == "public"
        rate = settings.api_rate_public if is_public else settings.api_rate
        if not rate:
            return
        name = "" if record is None else record.name
        if record is None or is_public:  # many share it
            name += f" {network_of(address)}"
        if wait := self._limits.wait(name, rate, time.monotonic()):
            raise Problem(429, f"more than {rate:g} requests a second", retry_s=math.ceil(wait))


class Caller:
    """Who asks, as handlers see it. A public key may name and see some things, others everything."""

    def __init__(self, record: KeyRecord | None, settings: Settings, asking: Asking) -> None:
        self.record = record
        self._settings = settings
        self._asking = asking

    @property
    def is_public(self) -> bool:
        """Whether it is a browser's key."""
        return self.record is not None and self.record.scope == "public"

    def check_user(self, user_id: str | None, token: str | None = None) -> None:
        """Whether it may speak for the user; `token`: what the body gave. Raises a Problem (403)."""
        if not self.is_public or user_id is None or self._settings.trust_user_ids:
            return
        assert self.record is not None
        given = token or self._asking.headers.get(TOKEN_HEADER) or self._asking.query_params.get(TOKEN)
        if given is None:
            raise forbidden(
                "a public key needs `user_token`, which your server makes: HMAC-SHA256 of user_id with the "
                "key's secret"
            )
        if not is_token(self.record, user_id, given):
            raise forbidden("user_token is not of this user, or not made with this key's secret")

    def check(self, asked: Request, token: str | None = None) -> None:
        """Whether it may ask for such a list. Raises a Problem (403)."""
        self.check_user(asked.user_id, token)
        if not self.is_public:
            return
        if asked.rules is not None:
            raise forbidden("a public key cannot bring rules of its own")
        self.check_fields(asked.fields)
        if asked.filter is not None:
            self.check_fields(_fields_in(asked.filter))

    def check_fields(self, names: "list[str] | set[str]") -> None:
        """Whether it may see these fields of items. Raises a Problem (403)."""
        if not self.is_public:
            return
        allowed = {_BARE, *self._settings.public_fields}
        for name in names:
            if name not in allowed and name.removeprefix("attributes.") not in allowed:
                shown = ", ".join(self._settings.public_fields)
                raise forbidden(f"a public key cannot read the field {name[:80]!r}; it may read {shown}")


async def guard(connection: Asking, handler: BaseRouteHandler) -> None:
    """Before each handler: who asks, and whether he may."""
    doc = handler.opt.get("doc")
    doc = doc if isinstance(doc, Doc) else None
    if handler.opt.get("open") or (doc is not None and doc.scopes == ()):
        return
    keys: Keys = connection.app.state.parts.keys
    is_stream = doc is not None and doc.media == "text/event-stream"
    method = str(connection.scope.get("method", "GET"))
    connection.scope[_CALLER] = keys.caller(connection, doc, method, is_stream)  # type: ignore[literal-required]


def caller_of(connection: Asking) -> Caller:
    """Who asks, as the guard found it."""
    caller: Caller = connection.scope[_CALLER]  # type: ignore[literal-required]
    return caller


def scopes_of(doc: Doc | None, method: str) -> tuple[Scope, ...]:
    """Which keys a handler takes; none where it needs no key."""
    if doc is not None and doc.scopes is not None:
        return doc.scopes
    return ("read", "write", "admin") if method in ("GET", "HEAD") else ("admin",)


def _check_scope(record: KeyRecord, doc: Doc | None, method: str) -> None:
    allowed = scopes_of(doc, method)
    if record.scope not in allowed:
        raise forbidden(f"a key of scope {record.scope} may not do this; it takes {' or '.join(allowed)}")


def _check_origin(record: KeyRecord, origin: str | None) -> None:
    """Pages of other origins may not use a public key. (Whoever is no browser says what he likes.)"""
    if record.scope == "public" and origin is not None and origin not in record.origins:
        raise forbidden(
            f"pages of {origin[:100]} may not use this key; `nextclick keys add --origin` says which"
        )


def _fields_in(tree: Any) -> set[str]:
    """The fields that a filter reads; of a broken one those that can be seen."""
    if isinstance(tree, list):
        return set().union(*map(_fields_in, tree))
    if not isinstance(tree, dict):
        return set()
    named = {tree["field"]} if isinstance(tree.get("field"), str) else set()
    return named.union(*(_fields_in(value) for value in tree.values()))


def _unknown(detail: str, error: str = "") -> Problem:
    said = f'Bearer realm="nextclick"{f", error={chr(34)}{error}{chr(34)}" if error else ""}'
    return Problem(401, detail, headers={"WWW-Authenticate": said})


def forbidden(detail: str, errors: list[Fault] | None = None) -> Problem:
    """403: the key is known, and may not do this. `errors` name what of a body."""
    said = 'Bearer realm="nextclick", error="insufficient_scope"'
    return Problem(403, detail, errors, headers={"WWW-Authenticate": said})


def _now_ms() -> int:
    return int(time.time() * 1000)
