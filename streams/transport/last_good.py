"""Broken records of compacted topics, until the last good one of their key stands behind them again.

Compaction keeps the last record of a key, whatever it is: of a good and then a broken one only the broken one
would be left, and who starts later would begin without the good one. So the good one is written again, behind
the broken one. Owns which keys that is due for, and what becomes of a record that was written again while
another one came. Knows not what records say, nor who may write.

A record that is written again names the broken one, by its offset, in the header `restores`. Where a record
of the same key stands between them, it came too late: readers leave it out, and what is in force is written
again behind it in turn.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

HEADER = "restores"
VERSION = 1  # of the contract
_DIGITS = 19  # of the largest offset; the interpreter turns down to read thousands of them
# Keys that are remembered, the newest: a flood of broken records costs no more memory than that.
MOST_KEYS = 20_000


class Unknown(LookupError):  # noqa: N818 (it says what is the matter)
    """Nothing is to be written again: no good record of the key is known, or another one has come."""


@dataclass(frozen=True, slots=True)
class Due:
    """The broken record that is the last of its key."""

    key: bytes
    partition: int
    offset: int


@dataclass(slots=True)
class _Broken:
    """The last broken record of a key, and the offset of the key's last record of any kind."""

    due: Due
    last: int
    written: bool = False


class LastGood:
    """One topic's keys. `good(key)` is the value of the last good record, None where that is a tombstone.

    It raises Unknown where none is known. Tell it of each record with a key, in their order: `is_late` first,
    and then `came` or `broke`. Records are those of aiokafka or kafka-python.
    """

    def __init__(self, topic: str, good: Callable[[bytes], bytes | None]) -> None:
        self.topic = topic
        self._good = good
        self._broken: dict[bytes, _Broken] = {}

    def __len__(self) -> int:
        return len(self.due())

    def is_late(self, record: Any) -> bool:
        """Whether the record was written again, and another one had come meanwhile."""
        restored = restores(record.headers) if record.headers else None
        if restored is None:
            return False
        known = self._broken.get(record.key)
        return known is not None and known.due.partition == record.partition and known.last > restored

    def came(self, record: Any) -> None:
        """A record that can be used, and is in force from now on."""
        known = self._broken.get(record.key)
        if known is not None:
            known.last, known.written = record.offset, True

    def broke(self, record: Any) -> None:
        """A record that cannot be used, or that `is_late`.

        One of a later version of the contract is left as it is: others can use it.
        """
        if not record.key:
            return
        if _is_later(record.value):
            self.came(record)
            return
        self._broken.pop(record.key, None)
        due = Due(record.key, record.partition, record.offset)
        self._broken[record.key] = _Broken(due, record.offset)
        if len(self._broken) > MOST_KEYS:
            del self._broken[next(iter(self._broken))]

    def due(self) -> list[Due]:
        """The keys whose last record is broken."""
        return [each.due for each in self._broken.values() if not each.written]

    def value(self, due: Due) -> bytes | None:
        """What is to be written again behind a broken record. Raises Unknown where nothing is."""
        known = self._broken.get(due.key)
        if known is None or known.written or known.due != due:
            raise Unknown(f"{due.key!r}: another record has come")
        return self._good(due.key)

    def done(self, due: Due) -> None:
        """It was written, or there is nothing to write; a key is due again after its next broken record."""
        known = self._broken.get(due.key)
        if known is not None and known.due == due:
            known.written = True


class _Versioned(msgspec.Struct):
    v: int = VERSION


def _is_later(value: bytes | None) -> bool:
    try:
        return value is not None and msgspec.json.decode(value, type=_Versioned).v > VERSION
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


def restoring(due: Due) -> list[tuple[str, bytes]]:
    """Headers of the record that is written again behind a broken one."""
    return [(HEADER, str(due.offset).encode())]


def restores(headers: Iterable[tuple[str, bytes]]) -> int | None:
    """The offset of the broken record that one was written again for; None for any other."""
    for name, value in headers:
        if name == HEADER:
            return int(value) if value and value.isdigit() and len(value) <= _DIGITS else None
    return None
