"""Cursors: what a next page of a list must know, so that nothing is stored anywhere.

Owns their form: base64 of a version, a check of eight bytes, and the hashes of what has been shown with
scenario, filter and query. The check tells slips and damage; whoever forges one changes only the own list.
"""

import base64
from collections.abc import Iterable
from hashlib import blake2b
from typing import Any

import msgspec

from streams.api.problems import Malformed
from streams.wire.event_ids import event_hash

MOST_HASHES = 500  # the newest: as many as a request may leave out
_VERSION = b"\x01"
_CHECK_BYTES = 8
_HASH_BYTES = 8


class Cursor(msgspec.Struct, frozen=True, array_like=True):
    """What has been shown, as `event_hash`es one after the other, and what was asked for."""

    shown: bytes = b""
    scenario: str | None = None
    filter: dict[str, Any] | None = None
    query: str | None = None

    @property
    def hashes(self) -> list[int]:
        """What has been shown."""
        at = range(0, len(self.shown), _HASH_BYTES)
        return [int.from_bytes(self.shown[n : n + _HASH_BYTES], "little") for n in at]

    def beyond(self, item_ids: Iterable[str]) -> "Cursor":
        """The next page's."""
        more = b"".join(event_hash(each).to_bytes(_HASH_BYTES, "little") for each in item_ids)
        shown = (self.shown + more)[-MOST_HASHES * _HASH_BYTES :]
        return Cursor(shown, self.scenario, self.filter, self.query)


_decoder = msgspec.msgpack.Decoder(Cursor)


def written(cursor: Cursor | tuple[Any, ...]) -> str:
    """As text for a URL."""
    body = msgspec.msgpack.encode(cursor)
    return base64.urlsafe_b64encode(_VERSION + _check(body) + body).rstrip(b"=").decode()


def read_cursor(text: str) -> Cursor:
    """Raises Malformed for what no list gave out."""
    body = _body(text)
    try:
        cursor = _decoder.decode(body) if body is not None else None
    except (msgspec.DecodeError, UnicodeDecodeError):
        cursor = None
    if cursor is None or len(cursor.shown) % _HASH_BYTES:
        raise Malformed("next is no cursor; send what the list before gave as `next`, unchanged")
    return cursor


def page_after(key: str) -> str:
    """A cursor of a list of other things: the last key of this page."""
    return written((key,))


def read_page(text: str | None) -> str:
    """The key that a page begins after; "" for the first one. Raises Malformed."""
    if not text:
        return ""
    body = _body(text)
    try:
        (key,) = msgspec.msgpack.decode(body or b"", type=tuple[str])
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Malformed("cursor is no cursor; send what the page before gave as `next`, unchanged") from None
    return key


def _body(text: str) -> bytes | None:
    """What stands behind the check; None where it does not fit."""
    try:
        raw = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError:  # no ASCII, no base64
        return None
    body = raw[1 + _CHECK_BYTES :]
    return body if raw[:1] == _VERSION and raw[1 : 1 + _CHECK_BYTES] == _check(body) else None


def _check(body: bytes) -> bytes:
    return blake2b(body, digest_size=_CHECK_BYTES, person=b"nextclick-cursor").digest()
