"""OpenTelemetry's `traceparent`: by this header a trace goes on from one process to the next.

Owns its name and its form (W3C Trace Context). Makes no spans, and knows neither HTTP nor Kafka.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

HEADER = "traceparent"
_FORM = re.compile(rb"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_SAMPLED = 1


class Parent(NamedTuple):
    """The span of another process that led to what happens here; `sampled`: its trace is kept."""

    trace_id: int
    span_id: int
    sampled: bool


def parent_of(value: bytes | None) -> Parent | None:
    """What a header says, None where it is none or has another form: the trace begins here then."""
    found = None if value is None else _FORM.fullmatch(value)
    if found is None:
        return None
    trace_id, span_id, flags = (int(part, 16) for part in found.groups())
    return Parent(trace_id, span_id, bool(flags & _SAMPLED)) if trace_id and span_id else None


def parent_among(headers: Iterable[tuple[str, bytes | None]]) -> Parent | None:
    """The same from a record's headers; the last one of the name counts, as with Kafka's own clients."""
    found = None
    for name, value in headers:
        if name == HEADER:
            found = value
    return parent_of(found)


def written(parent: Parent) -> bytes:
    """The header that says this."""
    return f"00-{parent.trace_id:032x}-{parent.span_id:016x}-{int(parent.sampled):02x}".encode()
