"""Keys as an operator sees them: making, listing and revoking them by records of the topic `keys`.

Owns what is refused before anything is sent. What is kept of a key is `streams.wire.keys`' business.
"""

from streams.settings import Settings
from streams.transport import clients
from streams.transport.key_table import standing_keys
from streams.transport.topics import Names, create_missing
from streams.wire.contract import UNREADABLE, decode_key, encode
from streams.wire.keys import MOST_ORIGINS, KeyRecord, NewKey, Scope, made, origin_of

_DAY_MS = 86_400_000


class NoKey(LookupError):  # noqa: N818 (it names what is the matter)
    """A key that there is not: says which there are."""


class NotFit(ValueError):  # noqa: N818
    """A key that cannot be made: says what is wrong."""


def add(
    settings: Settings, name: str, scope: Scope, origins: list[str], expires_days: float | None, now_ms: int
) -> NewKey:
    """Makes a key and sends what is kept of it: the key itself is kept nowhere. Raises NotFit."""
    if origins and scope != "public":
        raise NotFit(f"--origin is for public keys; a key of scope {scope} has no place in a browser")
    if len(origins) > MOST_ORIGINS:
        raise NotFit(f"{len(origins)} origins; a key takes at most {MOST_ORIGINS}")
    try:
        known = sorted({origin_of(each) for each in origins})
    except ValueError as error:
        raise NotFit(f"--origin: {error}") from None
    expires_at = None if expires_days is None else now_ms + round(expires_days * _DAY_MS)
    new = made(name, scope, known, now_ms, expires_at)
    value = encode(new.record)
    try:
        decode_key(value)
    except UNREADABLE as error:
        raise NotFit(
            f"{name[:80]!r} cannot be a key's name ({error}); expected 1 to 64 letters, digits, points, "
            "dashes and underscores"
        ) from error
    _prepare(settings)
    if name in standing_keys(settings).by_name:
        raise NotFit(
            f"there is a key {name} already; choose another name, or `nextclick keys revoke {name}` first"
        )
    _send(settings, name, value)
    return new


def listed(settings: Settings) -> list[KeyRecord]:
    """All keys by name."""
    found = standing_keys(settings).by_name
    return [found[name] for name in sorted(found)]


def revoke(settings: Settings, name: str) -> int:
    """Takes a key out of force; returns how many are left. Raises NoKey."""
    known = standing_keys(settings).by_name
    if name not in known:
        others = f"; there are {', '.join(sorted(known))}" if known else "; there are none"
        raise NoKey(f"there is no key {name!r}{others}")
    _send(settings, name, None)
    return len(known) - 1


def _prepare(settings: Settings) -> None:
    with clients.admin(settings) as admin:
        create_missing(admin, settings)


def _send(settings: Settings, name: str, value: bytes | None) -> None:
    with clients.producer(settings, linger_ms=0) as sender:
        sender.send(Names(settings.prefix).keys, key=name.encode(), value=value).get(timeout=30)
