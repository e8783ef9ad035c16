"""Keys for the interface over HTTP: topic `keys`, compacted, key = the key's name.

Owns the record's type, how a key and its secret are made, and how both are checked though nothing but their
SHA-256 is kept. Who may do what with which scope is `streams.api.keys`' business.

A public key stands in every browser that uses it. So what makes users' tokens is another text, the secret,
which stays on the shop's server. HMAC replaces a secret longer than its block (64 bytes) by its SHA-256: who
keeps that alone can check tokens that any HMAC-SHA256 has made with the secret itself.
"""

import hmac
import re
import secrets
from hashlib import sha256
from typing import Annotated, Literal, get_args
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

Scope = Literal["public", "read", "write", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
Digest = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]

MOST_ORIGINS = 64
_KEY_BYTES = 32
_SECRET_BYTES = 64  # as text more than HMAC's block, on which the check rests
_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]")


class KeyRecord(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What is kept of a key. sha256: of the key; secret_sha256: of the secret that a public one has.

    origins: of pages that may use a public key; expires_at: Unix ms, None for never
    """

    name: Name
    scope: Scope
    sha256: Digest
    created_at: int
    secret_sha256: Digest | None = None
    origins: Annotated[list[str], Meta(max_length=MOST_ORIGINS)] = []
    expires_at: int | None = None
    v: Literal[1] = 1

    def in_force(self, now_ms: int) -> bool:
        """Whether it has not expired."""
        return self.expires_at is None or now_ms < self.expires_at


class NewKey(msgspec.Struct, frozen=True):
    """A key as it is told once; `secret` is "" of one that is not public."""

    record: KeyRecord
    key: str
    secret: str


def made(name: str, scope: Scope, origins: list[str], created_at: int, expires_at: int | None) -> NewKey:
    """A new key."""
    key = f"nck_{scope}_{secrets.token_urlsafe(_KEY_BYTES)}"
    secret = f"ncs_{secrets.token_urlsafe(_SECRET_BYTES)}" if scope == "public" else ""
    record = KeyRecord(
        name=name, scope=scope, sha256=digest(key), created_at=created_at, origins=origins,
        expires_at=expires_at, secret_sha256=digest(secret) if secret else None,
    )  # fmt: skip
    return NewKey(record, key, secret)


def digest(text: str) -> str:
    """SHA-256 in hexadecimal digits. Enough for what has 256 random bits: there is no list to try."""
    return sha256(text.encode(errors="surrogateescape")).hexdigest()


def is_token(record: KeyRecord, user_id: str, token: str) -> bool:
    """Whether `token` is HMAC-SHA256 of the user's id with the key's secret, in hexadecimal digits."""
    if record.secret_sha256 is None:
        return False
    expected = hmac.new(bytes.fromhex(record.secret_sha256), user_id.encode(), sha256).hexdigest()
    return hmac.compare_digest(expected.encode(), token.lower().encode())


def origin_of(text: str) -> str:
    """An origin as browsers send it: scheme, host, and the port where it is not the usual one.

    Raises ValueError where it is none.
    """
    try:
        parts = urlsplit(text.strip())
        port = parts.port
    except ValueError as error:
        raise ValueError(f"{text[:100]!r} is no origin: {error}") from None
    host = parts.netloc.rpartition("@")[2]
    host = host if port is None else host.rpartition(":")[0]
    good = parts.scheme in _PORTS and _HOST.fullmatch(host.removesuffix(":")) and "@" not in parts.netloc
    if not good or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError(f"{text[:100]!r} is no origin; expected one such as https://shop.example")
    usual = port is None or port == _PORTS[parts.scheme]
    return f"{parts.scheme}://{host.removesuffix(':').lower()}" + ("" if usual else f":{port}")
