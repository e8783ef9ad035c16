"""Calls as httpx takes them, for both clients; nothing here sends anything."""

from typing import Any

import httpx

from nextclick.exchange import Call, Lost
from nextclick.records import encode

# Nothing of the call had left this machine.
_UNSENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
_AGENT = "nextclick-python"


def checked(url: str) -> str:
    """The server's address. Raises ValueError for what is none."""
    try:
        found = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ValueError(f"url is {url!r}: {error}") from error
    if found.scheme not in ("http", "https") or not found.host:
        raise ValueError(f"url is {url!r}; expected one such as http://127.0.0.1:8080")
    return url.rstrip("/")


def headers_of(key: str | None) -> dict[str, str]:
    """What goes with each call."""
    told = {"User-Agent": _AGENT, "Accept": "application/json"}
    return told | ({"Authorization": f"Bearer {key}"} if key else {})


def params_of(query: dict[str, Any]) -> dict[str, Any]:
    """A query string's; what is not given is left out."""
    return {name: value for name, value in query.items() if value not in (None, "", [])}


def request_of(call: Call[Any], url: str, headers: dict[str, str], timeout_s: float) -> dict[str, Any]:
    """The arguments of `httpx.Client.request`."""
    told: dict[str, Any] = {
        "method": call.method, "url": url + call.path, "params": params_of(call.query),
        "headers": headers | call.headers, "timeout": max(timeout_s, call.timeout_s),
    }  # fmt: skip
    if call.body is not None:
        told["content"] = encode(call.body)
        told["headers"] = told["headers"] | {"Content-Type": "application/json"}
    return told


def lost(error: httpx.RequestError) -> Lost:
    """What a conversation is told of an error; timeouts of httpx have no words of their own."""
    if not str(error):
        error.args = (type(error).__name__,)
    return Lost(error, not isinstance(error, _UNSENT))
