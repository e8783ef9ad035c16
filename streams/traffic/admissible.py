"""Looks at clicks and items before anything is sent: what workers will refuse is named here.

Owns what is said of it, and which items are made to fit (a long description is cut). What is refused stands
in `streams.wire`. Knows no broker.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec
import numpy as np

from learner.data.catalogue import Item
from streams.recorded.clicks import RecordedClicks
from streams.settings import Settings
from streams.wire.clock import Clock
from streams.wire.contract import MAX_RECORD_BYTES, UNREADABLE, decode_item, encode

_NAMED = 5  # of the items or clicks that are wrong in the same way
# Bytes of a click's record beside its scenario, at most: ids of 256, each of which JSON may write as six.
_AROUND = 4096


class Inadmissible(ValueError):  # noqa: N818 (it names what is the matter)
    """Workers would refuse some of it: names which and why. Nothing was sent."""


@dataclass
class Prepared:
    """Items as they are sent, with a line for a person on each that was changed to fit."""

    records: list[tuple[Item, bytes]] = field(default_factory=list)
    told: list[str] = field(default_factory=list)


def check(settings: Settings, clicks: RecordedClicks, part: range) -> None:
    """Raises Inadmissible where workers will refuse clicks of this part: too long, or ahead of the clock."""
    limit = MAX_RECORD_BYTES - _AROUND
    if long := [text for text in clicks.scenarios(part) if len(encode(text)) > limit]:
        raise Inadmissible(
            f"{clicks.file}: scenario {_short(long[0])!r} has {len(encode(long[0])):,} bytes, and "
            f"{limit:,} are taken{_others(len(long) - 1)}; nothing was sent. Shorten it"
        )
    times = clicks.time_ms[part.start : part.stop]
    clock, wall_ms = Clock(settings.clock, settings.max_future_ms), int(time.time() * 1000)
    for place in (0, len(times) - 1):  # they ascend
        why = clock.refuses(int(times[place]), wall_ms)
        if why is not None:
            (click,) = clicks.clicks(range(part.start + place, part.start + place + 1), history=True)
            ahead = int(np.count_nonzero(times > wall_ms + clock.max_future_ms))
            many = f" ({ahead:,} clicks are ahead)" if ahead else ""
            mend = "Correct the column of times, or leave such clicks out with --from and --to"
            if times[place] == 0:
                mend = "Add to times that count from 0 the time they began, or set clock to stream"
            raise Inadmissible(
                f"{clicks.file}: workers would refuse the click of user {click.user_id!r} on item "
                f"{click.item_id!r}: {why}{many}; nothing was sent. {mend}"
            )


def prepare(items: Iterable[Item]) -> Prepared:
    """Encodes items and makes large ones fit. Raises Inadmissible, which names those that cannot be taken."""
    prepared, wrong = Prepared(), []
    for item in items:
        value = encode(item)
        size = len(value)
        if size > MAX_RECORD_BYTES and (shorter := _shortened(item, size - MAX_RECORD_BYTES)) is not None:
            prepared.told.append(
                f"item {item.item_id!r} has {size:,} bytes, and {MAX_RECORD_BYTES:,} are taken: of its "
                f"description the first {len(shorter.description or ''):,} of "
                f"{len(item.description or ''):,} characters are sent"
            )
            item, value = shorter, encode(shorter)
        if (flaw := _flaw(value)) is not None:
            wrong.append(f"item {_short(item.item_id)!r}: {flaw}")
        prepared.records.append((item, value))
    if wrong:
        raise Inadmissible(
            f"nothing was sent: {'; '.join(wrong[:_NAMED])}{_others(len(wrong) - _NAMED)}. "
            "Workers would refuse them; shorten or leave them out"
        )
    return prepared


def _shortened(item: Item, excess: int) -> Item | None:
    """The item with as much of its description as fits, or None where that is not what makes it large."""
    text = item.description or ""
    if len(encode(text)) - len('""') < excess:
        return None
    room = MAX_RECORD_BYTES - len(encode(msgspec.structs.replace(item, description="")))
    low, high = 0, len(text)  # the most characters whose JSON fits: escapes take more bytes than letters
    while low < high:
        middle = (low + high + 1) // 2
        if len(encode(text[:middle])) - len('""') <= room:
            low = middle
        else:
            high = middle - 1
    return msgspec.structs.replace(item, description=text[:low])


def _flaw(value: bytes) -> str | None:
    try:
        decode_item(value)
    except UNREADABLE as error:
        return str(error)
    return None


def _others(count: int) -> str:
    return f" (and {count:,} more)" if count > 0 else ""


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:60]}…"
