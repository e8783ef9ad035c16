"""A user's state as it stands on the changelog: topic `user-states`, key `user_id`, UTF-8 JSON, version 2.

Owns the record's form, which outlives every worker: what is written today is read for years, and version 1 is
read still. Knows no arrays of users; `user_states` fills records and takes them up.
"""

import base64
import binascii
from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple

import msgspec
import numpy as np
from msgspec import UNSET, Meta, UnsetType
from numpy.typing import NDArray

from learner.data.events import CONSUMPTION, Kind
from streams.hot_path.fallen import Bar
from streams.hot_path.impressions import times_before
from streams.wire.contract import UNREADABLE

# A larger state is set aside: the topic takes 8 MiB, and a worker should not spend its time on one user.
MAX_STATE_BYTES = 4 * 1024 * 1024
MAX_SHOWN = 64  # items that the user was shown, of those that are kept
MAX_OTHER_IDS = 64  # of events that are remembered beside those of the history

_Offset = Annotated[int, Meta(ge=-1, le=2**53)]
_Time = Annotated[int, Meta(ge=0, le=2**53)]
_Count = Annotated[int, Meta(ge=0, le=2**53)]


class StateError(ValueError):
    """A record that is no state that this program knows: says what is wrong with it."""


class StateRecord(msgspec.Struct, kw_only=True, tag_field="v", tag=2):
    """A user's state. Arrays are base64, little-endian."""

    user_id: str
    topic: str = ""  # id of the topic `clicks` that `applied` is an offset of, "" where nobody knows it
    partition: int = -1  # of that topic, -1 where nobody knows it
    applied: _Offset  # offset up to which this state knows the user's clicks, -1 of none
    release: str  # whose student the hidden state belongs to
    events: _Count  # events ever folded
    items: list[str]  # of the history, oldest first
    times: str  # int64, Unix ms
    kinds: str  # uint8, learner.data.events.Kind
    values: str  # float32, NaN where the event had none
    event_ids: str  # uint64 hashes, parallel to the history
    hidden: str  # float32
    vector: str  # float32, the user's embedding
    # Shown to the user without a click since, the last shown last. Not written where there is nothing to say.
    shown: Annotated[list[str], Meta(max_length=MAX_SHOWN)] = []
    shown_counts: str | UnsetType = UNSET  # uint16, impressions of each of `shown`
    shown_ms: str | UnsetType = UNSET  # int64, Unix ms: the last one of each,
    shown_before_ms: str | UnsetType = UNSET  # and up to 7 before it, see `impressions.Shown`
    moved_to: str | UnsetType = UNSET  # the user whom this one was merged into,
    moved_ms: _Time | UnsetType = UNSET  # and when
    other_ids: str | UnsetType = UNSET  # uint64 hashes of events that were taken back, and of what did it
    older_days: str = ""  # uint16, days since 1970, 0 where nobody knows: when each of `older` was met last
    older_bars: str = ""  # uint8, streams.hot_path.fallen.Bar: which rules bar it
    older: list[str] = []  # met before the history begins, oldest first. Last: `encode_state` puts it there

    def history(self) -> list[dict[str, Any]]:
        """The events as a reader wants them, oldest first."""
        times, kinds = unpack(self.times, np.int64), unpack(self.kinds, np.uint8)
        values = unpack(self.values, np.float32)
        return [
            {
                "item_id": item,
                "event": Kind(kind).word,
                "timestamp": int(time),
                "value": None if np.isnan(value) else float(value),
            }
            for item, time, kind, value in zip(self.items, times, kinds, values, strict=True)
        ]

    @property
    def last_ms(self) -> int:
        """Time of the last event, without any of the last impression; 0 without those.

        Also 0 where `columns` finds that the times are none.
        """
        try:
            times = unpack(self.times, np.int64)
            if not len(times) and self.shown_ms is not UNSET:
                times = unpack(self.shown_ms, np.int64)
            return int(times[-1])
        except (ValueError, IndexError):
            return 0

    def consumed(self, views_consume: bool) -> list[str]:
        """Ids of all items consumed so far, in the order of their last consumption."""
        kinds = CONSUMPTION | {Kind.VIEW} if views_consume else CONSUMPTION
        bars = {Bar.CONSUMED, Bar.VIEWED} if views_consume else {Bar.CONSUMED}
        older = zip(self.older, unpack(self.older_bars, np.uint8).tolist(), strict=True)
        marks = unpack(self.kinds, np.uint8)
        recent = [item for item, kind in zip(self.items, marks, strict=True) if kind in kinds]
        return list(dict.fromkeys([item for item, bar in older if bar in bars] + recent))

    def hidden_state(self) -> NDArray[np.float32]:
        """The student's hidden state (S,) float32."""
        return unpack(self.hidden, np.float32)


class StateRecord1(msgspec.Struct, kw_only=True, tag_field="v", tag=1):
    """Version 1: it said neither which topic `clicks` it knew nor when an item had been met."""

    user_id: str
    applied: _Offset
    release: str
    events: _Count
    items: list[str]
    times: str
    kinds: str
    values: str
    event_ids: str
    older: list[str]  # consumed, by the rule of the release that was live when it fell out
    refused: list[str]
    hidden: str
    vector: str

    def today(self) -> StateRecord:
        """The same in the present version."""
        older = self.older + self.refused
        bars = np.repeat([Bar.CONSUMED, Bar.REFUSED], [len(self.older), len(self.refused)])
        kept = {name: getattr(self, name) for name in self.__struct_fields__ if name != "refused"}
        return StateRecord(**kept | {
            "older": older,
            "older_days": pack(np.zeros(len(older), np.uint16)),
            "older_bars": pack(bars.astype(np.uint8)),
        })  # fmt: skip


class ClicksTopic(NamedTuple):
    """The topic `clicks` as it is now: offsets of another one say nothing about it.

    id: "" where the broker gives topics none
    ends: of partitions, the offset that the next click will get
    """

    id: str = ""
    ends: Mapping[int, int] = {}

    def applied(self, record: StateRecord, partition: int) -> int:
        """The offset in this topic's partition up to which the record knows its user's clicks, -1 of none.

        A topic that was made anew has another id. Where one of the two is not known, an offset that the
        partition does not have yet says the same.
        """
        if record.partition not in (-1, partition):
            return -1
        if self.id and record.topic:
            return record.applied if self.id == record.topic else -1
        return -1 if record.applied >= self.ends.get(partition, record.applied + 1) else record.applied


class Columns(NamedTuple):
    """What a record holds, unpacked and found to be whole."""

    times: NDArray[np.int64]
    kinds: NDArray[np.uint8]
    values: NDArray[np.float32]
    event_ids: NDArray[np.uint64]
    older_days: NDArray[np.uint16]
    older_bars: NDArray[np.uint8]
    hidden: NDArray[np.float32]
    vector: NDArray[np.float32]
    shown_counts: NDArray[np.uint16] | None  # None where the record does not say
    shown_ms: NDArray[np.int64] | None
    shown_before_ms: NDArray[np.int64] | None
    other_ids: NDArray[np.uint64] | None


_decode = msgspec.json.Decoder(StateRecord | StateRecord1).decode
_encode = msgspec.json.Encoder().encode


def decode_state(value: bytes) -> StateRecord:
    """A record of any version that this program knows. Raises StateError for all else."""
    try:
        record = _decode(value)
    except UNREADABLE as error:
        raise StateError(f"no state that this version reads: {error}") from error
    return record if isinstance(record, StateRecord) else record.today()


def encode_state(record: StateRecord, *older: bytes) -> bytes:
    """The record as it is written; `older`: the ids of that field as JSON, with what stands between them.

    Of a user who has met many items they are most of the record, and the same from click to click.
    """
    value: bytes = _encode(record)
    return b"".join((value[:-2], *older, value[-2:])) if older else value


def columns(record: StateRecord) -> Columns:
    """What the record holds. Raises StateError where that does not fit together."""
    try:
        found = Columns(
            unpack(record.times, np.int64), unpack(record.kinds, np.uint8),
            unpack(record.values, np.float32), unpack(record.event_ids, np.uint64),
            unpack(record.older_days, np.uint16), unpack(record.older_bars, np.uint8),
            unpack(record.hidden, np.float32), unpack(record.vector, np.float32),
            _said(record.shown_counts, np.uint16), _said(record.shown_ms, np.int64),
            _said(record.shown_before_ms, np.int64), _said(record.other_ids, np.uint64),
        )  # fmt: skip
    except (binascii.Error, ValueError) as error:
        raise StateError(f"no numbers: {error}") from error
    lengths = [len(each) for each in found[:4]]
    if lengths != 4 * [len(record.items)]:
        raise StateError(f"{len(record.items)} items, but {lengths} times, kinds, values and event ids")
    if not len(record.older) == len(found.older_days) == len(found.older_bars):
        raise StateError(
            f"{len(record.older)} older items with {len(found.older_days)} days, {len(found.older_bars)} bars"
        )
    for said in (found.shown_counts, found.shown_ms):
        if said is not None and len(said) != len(record.shown):
            raise StateError(f"{len(record.shown)} items were shown, {len(said)} times or counts of them")
    if found.shown_before_ms is not None:
        kept = 0 if found.shown_counts is None else int(times_before(found.shown_counts).sum())
        if len(found.shown_before_ms) != kept:
            raise StateError(f"{len(found.shown_before_ms)} times of earlier impressions; expected {kept}")
    if found.other_ids is not None and len(found.other_ids) > MAX_OTHER_IDS:
        raise StateError(f"{len(found.other_ids)} other ids; at most {MAX_OTHER_IDS} are kept")
    if found.kinds.max(initial=0) >= len(Kind):
        raise StateError(f"an event of kind {found.kinds.max()}; expected 0 to {len(Kind) - 1}")
    if len(found.older_bars) and not 0 < found.older_bars.min() <= found.older_bars.max() <= max(Bar):
        raise StateError(f"bars of {sorted(set(found.older_bars.tolist()))}; expected 1 to {max(Bar)}")
    return found


def _said(text: str | UnsetType, dtype: Any) -> NDArray[Any] | None:
    return None if text is UNSET else unpack(text, dtype)


def pack(array: NDArray[Any]) -> str:
    """The numbers of an array as a record holds them."""
    return base64.b64encode(array.tobytes()).decode()


def unpack(text: str, dtype: Any) -> NDArray[Any]:
    """The numbers (n,) of a record's field, read-only."""
    return np.frombuffer(base64.b64decode(text), dtype)
