"""Pages of other origins: which ones browsers let speak to this process (CORS).

Owns the answers to preflights and the headers that let a page read an answer; public keys in force say which
pages. Without any key this process answers its own machine alone: a page from elsewhere, in a browser of this
machine, is no part of it, and neither is a name that somebody's DNS has pointed here.
"""

import ipaddress
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

import msgspec

from streams.api.keys import TOKEN_HEADER, Keys
from streams.api.problems import TYPE, details

App = Callable[[Any, Any, Any], Awaitable[None]]

_METHODS = b"GET, POST"
_HEADERS = (
    f"authorization, content-type, idempotency-key, last-event-id, traceparent, {TOKEN_HEADER}".encode()
)
_EXPOSED = b"Nextclick-Seen, Retry-After, WWW-Authenticate"
_HARMLESS = ("/healthz", "/readyz")  # probes come from anywhere, under any name
_MAX_AGE = b"600"  # seconds that a browser may remember a preflight


def with_origins(app: App, keys: Keys) -> App:
    """The application, as pages may ask it."""

    async def call(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        origin = headers.get(b"origin", b"").decode("latin-1")
        host = headers.get(b"host", b"").decode("latin-1")
        if keys.is_open and scope["path"] not in _HARMLESS and (stranger := _stranger(origin, host)):
            await _refuse(send, stranger)
            return
        allowed = bool(origin) and (is_local(origin) if keys.is_open else origin in keys.origins)
        if scope["method"] == "OPTIONS" and origin and b"access-control-request-method" in headers:
            if not allowed:
                await _refuse(
                    send,
                    f"pages of {origin[:100]} may not ask here; `nextclick keys add --origin` says which",
                )
                return
            said = [
                (b"access-control-allow-methods", _METHODS), (b"access-control-allow-headers", _HEADERS),
                (b"access-control-max-age", _MAX_AGE), *_letting(origin),
            ]  # fmt: skip
            await send({"type": "http.response.start", "status": 204, "headers": said})
            await send({"type": "http.response.body", "body": b""})
            return

        async def told(message: Any) -> None:
            if message["type"] == "http.response.start":
                more = _letting(origin) if allowed else [(b"vary", b"Origin")]
                message = {**message, "headers": [*message.get("headers", ()), *more]}
            await send(message)

        await app(scope, receive, told if origin else send)

    return call


def is_local(origin: str) -> bool:
    """Whether a page is of this machine."""
    try:
        host = urlsplit(origin).hostname or ""
        return host == "localhost" or host.endswith(".localhost") or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _stranger(origin: str, host: str) -> str:
    """Why the request is not of this machine; "" where it is."""
    mend = "without keys this machine alone is answered; `nextclick keys add` makes one"
    if host and not is_local(f"//{host}"):
        return f"the host that is asked for is {host[:100]}: {mend}"
    if origin and not is_local(origin):
        return f"the page is of {origin[:100]}: {mend}"
    return ""


def _letting(origin: str) -> list[tuple[bytes, bytes]]:
    return [
        (b"access-control-allow-origin", origin.encode("latin-1")),
        (b"access-control-expose-headers", _EXPOSED), (b"vary", b"Origin"),
    ]  # fmt: skip


async def _refuse(send: Any, detail: str) -> None:
    body = msgspec.json.encode(details(403, detail))
    headers = [
        (b"content-type", TYPE.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"vary", b"Origin"),
    ]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": body})
