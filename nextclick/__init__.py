"""A client of Nextclick's HTTP interface: `Client`, and `AsyncClient` for asyncio.

Needs httpx and msgspec alone.
docs/client.md has an example of each method.
"""

from nextclick.async_client import AsyncClient
from nextclick.client import Client
from nextclick.errors import (
    BadAnswer,
    BadRequest,
    BufferFull,
    ClicksNotSent,
    Conflict,
    Forbidden,
    NextclickError,
    NotFound,
    PreconditionFailed,
    Problem,
    RateLimited,
    ServerFault,
    TooLarge,
    Unauthorized,
    Unavailable,
    Unprocessable,
    Unreachable,
    UnsupportedMediaType,
)
from nextclick.exchange import Patience
from nextclick.pending import Bounds
from nextclick.records import Click, Item, Receipt, Recommendations, Row
from nextclick.tokens import user_token

__all__ = [
    "AsyncClient", "BadAnswer", "BadRequest", "Bounds", "BufferFull", "Click", "ClicksNotSent", "Client",
    "Conflict", "Forbidden", "Item", "NextclickError", "NotFound", "Patience", "PreconditionFailed",
    "Problem", "RateLimited", "Receipt", "Recommendations", "Row", "ServerFault", "TooLarge", "Unauthorized",
    "Unavailable", "Unprocessable", "Unreachable", "UnsupportedMediaType", "user_token",
]  # fmt: skip
