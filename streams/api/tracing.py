"""OpenTelemetry's `traceparent`: what a request carries goes on with the records that it leads to.

Owns the header's name and its check; makes no spans of its own.
"""

import re
from collections.abc import Iterable
from contextvars import ContextVar

HEADER = "traceparent"
_RAW = HEADER.encode()
_FORM = re.compile(rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_current: ContextVar[bytes | None] = ContextVar("traceparent", default=None)


def note(headers: Iterable[tuple[bytes, bytes]]) -> None:
    """A request begins, with these headers; what it starts inherits its trace."""
    found = next((value for name, value in headers if name == _RAW), None)
    _current.set(found if found is not None and _FORM.fullmatch(found) else None)


def record_headers() -> list[tuple[str, bytes]]:
    """The headers of a record that is sent for the present request."""
    found = _current.get()
    return [] if found is None else [(HEADER, found)]
