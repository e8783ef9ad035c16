"""What a worker knows of each user, in arrays with a slot per user.

Owns histories (the last 128 events), consumed items, the student's hidden state, applied offsets,
and their changelog form. Knows no Kafka: `changelog` moves the records, `recommend` folds clicks in.

Histories lie in blocks of 16 events that users take as they need them, so a user with five events
costs one block and not eight. Nine blocks a user, the oldest recycled: at least 128 events stay.
"""

import base64
from collections.abc import Iterable
from hashlib import blake2b
from typing import Any, NamedTuple

import msgspec
import numba
import numpy as np
from numpy.typing import NDArray

from learner.data.catalogue import Catalogue
from learner.data.events import AVERSION, CONSUMPTION, Kind

HISTORY = 128  # events that lists are computed from
DEDUPLICATED = 64  # last events whose ids are remembered
_BLOCK = 16
_BLOCKS = HISTORY // _BLOCK + 1
_OUT_OF_HISTORY = np.zeros(0, np.int64)


class StateRecord(msgspec.Struct, kw_only=True):
    """A user state on the changelog: topic `user-states`, key `user_id`. Arrays are base64, little-endian."""

    user_id: str
    applied: int  # offset in `clicks` up to which this state knows the user's partition
    release: str  # whose student the hidden state belongs to
    events: int  # events ever folded
    items: list[str]  # of the history, oldest first
    times: str  # int64, Unix ms
    kinds: str  # uint8, learner.data.events.Kind
    values: str  # float32, NaN where the event had none
    event_ids: str  # uint64 hashes, parallel to the history
    older: list[str]  # consumed before the history begins
    refused: list[str]  # disliked or hidden before the history begins
    hidden: str  # float32
    vector: str  # float32, the user's embedding
    v: int = 1

    def history(self) -> list[dict[str, Any]]:
        """The events as a reader wants them, oldest first."""
        times, kinds = _unpack(self.times, np.int64), _unpack(self.kinds, np.uint8)
        values = _unpack(self.values, np.float32)
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
        """Time of the last event, 0 without any."""
        times = _unpack(self.times, np.int64)
        return int(times[-1]) if len(times) else 0

    def consumed(self, views_consume: bool) -> list[str]:
        """Ids of all items consumed so far, in the order of their last consumption."""
        kinds = CONSUMPTION | {Kind.VIEW} if views_consume else CONSUMPTION
        marks = _unpack(self.kinds, np.uint8)
        recent = [item for item, kind in zip(self.items, marks, strict=True) if kind in kinds]
        return list(dict.fromkeys(self.older + recent))

    def hidden_state(self) -> NDArray[np.float32]:
        """The student's hidden state (S,) float32."""
        return _unpack(self.hidden, np.float32)


decode_state = msgspec.json.Decoder(StateRecord).decode
_encode_state = msgspec.json.Encoder().encode


def event_hash(event_id: str) -> int:
    """64 bits of an event id; never 0, which marks an empty place."""
    return int.from_bytes(blake2b(event_id.encode(), digest_size=8).digest(), "little") or 1


class Histories:
    """Histories of a batch of users, as the kernels take them: left-aligned, oldest first."""

    __slots__ = ("events", "items", "kinds", "length", "times", "values")

    def __init__(self, rows: int) -> None:
        self.items = np.full((rows, HISTORY), -1, np.int32)
        self.times = np.zeros((rows, HISTORY), np.int64)
        self.kinds = np.zeros((rows, HISTORY), np.uint8)
        self.values = np.full((rows, HISTORY), np.nan, np.float32)
        self.length = np.zeros(rows, np.int32)
        self.events = np.zeros(rows, np.int64)


# What a click changes in a user's row.
_UNDONE = ("hidden", "vector", "applied", "events", "last_ms", "release", "_length", "_blocks")


class Checkpoint(NamedTuple):
    """States of some users as they were: what `UserStates.undo` brings back."""

    slots: NDArray[np.int64]
    rows: list[NDArray[Any]]  # of the arrays named by `_UNDONE`
    older: list[NDArray[np.int64] | None]


class UserStates:
    """States of the users of a worker's partitions.

    `hidden_size` S and `vector_size` D are the live student's; `fit` makes room for others. `views_consume`
    says whether a view makes an item consumed (data without any stronger event).
    """

    def __init__(self, hidden_size: int, vector_size: int, *, views_consume: bool = False) -> None:
        self.views_consume = views_consume
        self.index: dict[str, int] = {}
        self.users: list[str] = []
        self.releases: list[str] = [""]
        self._release_number = {"": 0}
        self._sizes: list[tuple[int, int]] = [(hidden_size, vector_size)]  # by the release's number
        self.reencoded = 0  # states computed anew from their histories so far
        self._free: list[int] = []
        self._free_blocks: list[int] = []
        self._held: list[int] | None = None  # blocks that a checkpoint may still need
        # Items that fell out of a history: (item << 1 | refused), only for users with long histories.
        self._older: dict[int, NDArray[np.int64]] = {}
        users, blocks = 64, 128
        self.hidden = np.zeros((users, hidden_size), np.float32)
        self.vector = np.zeros((users, vector_size), np.float32)
        self.applied = np.full(users, -1, np.int64)
        self.events = np.zeros(users, np.int64)
        self.last_ms = np.zeros(users, np.int64)
        self.release = np.zeros(users, np.int16)
        self._length = np.zeros(users, np.int32)
        self._blocks = np.full((users, _BLOCKS), -1, np.int32)
        self._items = np.zeros((blocks, _BLOCK), np.int32)
        self._times = np.zeros((blocks, _BLOCK), np.int64)
        self._kinds = np.zeros((blocks, _BLOCK), np.uint8)
        self._values = np.zeros((blocks, _BLOCK), np.float32)
        self._hashes = np.zeros((blocks, _BLOCK), np.uint64)
        self._free_blocks.extend(range(blocks - 1, -1, -1))

    def __len__(self) -> int:
        return len(self.index)

    def slot(self, user_id: str) -> int:
        """The user's slot, taken now if the user is new."""
        slot = self.index.get(user_id)
        if slot is not None:
            return slot
        if self._free:
            slot = self._free.pop()
            self.users[slot] = user_id
        else:
            slot = len(self.users)
            self.users.append(user_id)
            if slot >= len(self.applied):
                self._grow_users()
        self.index[user_id] = slot
        return slot

    def forget(self, user_id: str) -> None:
        """Frees a user's slot and blocks (the partition went to another worker)."""
        slot = self.index.pop(user_id, None)
        if slot is None:
            return
        self._release_blocks(slot)
        self.applied[slot] = -1
        self.events[slot] = self.last_ms[slot] = self.release[slot] = 0
        self.hidden[slot] = 0
        self.vector[slot] = 0
        self._older.pop(slot, None)
        self.users[slot] = ""
        self._free.append(slot)

    def is_repeat(self, slot: int, digest: int) -> bool:
        """Whether an event of this id is among the user's last 64."""
        length = int(self._length[slot])
        return bool(_contains(self._blocks[slot], length, self._hashes, np.uint64(digest)))

    def append(self, slot: int, item: int, time_ms: int, kind: int, value: float, digest: int) -> None:
        """Appends one event to a user's history; the oldest falls out, what it consumed does not.

        `value` NaN where the event has none. Hidden state and applied offset are the caller's part.
        """
        length = int(self._length[slot])
        if length == _BLOCKS * _BLOCK:
            self._drop_oldest_block(slot)
            length -= _BLOCK
        block, place = divmod(length, _BLOCK)
        if place == 0:
            self._blocks[slot, block] = self._take_block()
        at = self._blocks[slot, block], place
        self._items[at] = item
        self._times[at] = time_ms
        self._kinds[at] = kind
        self._values[at] = value
        self._hashes[at] = digest
        self._length[slot] = length + 1
        self.events[slot] += 1
        self.last_ms[slot] = time_ms

    def gather(self, slots: NDArray[np.int64]) -> Histories:
        """The last 128 events of each slot; a slot of -1 is a user without history."""
        batch = Histories(len(slots))
        _gather(
            slots, self._length, self._blocks, self._items, self._times, self._kinds, self._values,
            self.events, batch.items, batch.times, batch.kinds, batch.values, batch.length, batch.events,
        )  # fmt: skip
        return batch

    def barred(self, slot: int, histories: Histories, row: int, *, consumed: bool) -> NDArray[np.int32]:
        """Items a list for this user must not hold: disliked or hidden, and consumed ones if `consumed`.

        `histories` is `gather`'s result, `row` the user's row in it. Events between the 128th and the
        oldest kept one count too.
        """
        older = self._older.get(slot, _OUT_OF_HISTORY) if slot >= 0 else _OUT_OF_HISTORY
        if not consumed:
            older = older[(older & 1) == 1]
        length = int(histories.length[row])
        kinds = histories.kinds[row, :length]
        bars = _BARS[int(consumed) + int(consumed and self.views_consume)]
        recent = histories.items[row, :length][bars[kinds]]
        extra = _OUT_OF_HISTORY
        if slot >= 0 and self._length[slot] > HISTORY:
            extra = self._between(slot, consumed)
        if len(older) or len(extra):
            return np.concatenate([(older >> 1), extra, recent]).astype(np.int32)
        return recent

    def stamp(self, slots: int | NDArray[np.int64], release: str) -> None:
        """Notes whose student the hidden states of slots belong to."""
        self.release[slots] = self.number_of(release)

    def fit(self, release: str, hidden_size: int, vector_size: int) -> None:
        """Makes room for a release's hidden states (S,) and user vectors (D,), beside those of others.

        A slot's row is as wide as the widest release; its release's sizes say how much of it counts.
        """
        self._sizes[self.number_of(release)] = hidden_size, vector_size
        self.hidden = _widened(self.hidden, hidden_size)
        self.vector = _widened(self.vector, vector_size)

    def resize(self, hidden_size: int, vector_size: int) -> None:
        """Makes room for another student's hidden states alone; the old ones are to be re-encoded."""
        users = len(self.applied)
        self._sizes[0] = hidden_size, vector_size
        if self.hidden.shape[1] != hidden_size:
            self.hidden = np.zeros((users, hidden_size), np.float32)
            self.release[:] = 0
        if self.vector.shape[1] != vector_size:
            self.vector = np.zeros((users, vector_size), np.float32)

    def foreign(self, users: Iterable[str], release: str) -> set[int]:
        """Slots of those of the users whose hidden state belongs to another release."""
        number = self.number_of(release)
        slots = {self.index.get(user, -1) for user in users}
        return {slot for slot in slots if slot >= 0 and self.events[slot] and self.release[slot] != number}

    def stale(self, releases: Iterable[str]) -> NDArray[np.int64]:
        """Slots whose hidden state belongs to none of the releases, in no particular order."""
        used = [self.number_of(release) for release in releases]
        users = len(self.users)
        return np.flatnonzero((self.events[:users] > 0) & ~np.isin(self.release[:users], used))

    def idle(self, before_ms: float) -> NDArray[np.int64]:
        """Slots of users whose last event lies before that time, in no particular order."""
        users = len(self.users)
        return np.flatnonzero((self.events[:users] > 0) & (self.last_ms[:users] < before_ms))

    def checkpoint(self, users: Iterable[str]) -> "Checkpoint":
        """Notes the states of users, for `undo` or `keep`: one of the two must follow before the next."""
        slots = np.array([self.slot(user) for user in dict.fromkeys(users)], np.int64)
        self._held = []
        rows = [getattr(self, name)[slots] for name in _UNDONE]
        return Checkpoint(slots, rows, [self._older.get(slot) for slot in slots.tolist()])

    def keep(self) -> None:
        """What has been folded in since the checkpoint stays."""
        self._free_blocks.extend(self._held or ())
        self._held = None

    def undo(self, before: "Checkpoint") -> None:
        """Brings the noted users back to the checkpoint."""
        old = before.rows[_UNDONE.index("_blocks")]
        for row, slot in enumerate(before.slots.tolist()):
            kept = set(old[row].tolist())
            self._free_blocks.extend(
                int(block) for block in self._blocks[slot] if block >= 0 and int(block) not in kept
            )
            older = before.older[row]
            if older is None:
                self._older.pop(slot, None)
            else:
                self._older[slot] = older
        taken = {int(block) for row in old for block in row}
        self._free_blocks.extend(block for block in self._held or () if block not in taken)
        self._held = None
        for name, rows in zip(_UNDONE, before.rows, strict=True):
            array = getattr(self, name)
            if rows.ndim > 1 and rows.shape[1] < array.shape[1]:  # made wider meanwhile
                array[before.slots] = 0
                array[before.slots, : rows.shape[1]] = rows
            else:
                array[before.slots] = rows

    def encode(self, slot: int, catalogue: Catalogue) -> bytes:
        """The slot as a changelog record, UTF-8 JSON."""
        length = int(self._length[slot])
        flat = self._flat(slot, length)
        older = self._older.get(slot, _OUT_OF_HISTORY)
        ids = catalogue.ids
        hidden, vector = self._sizes[self.release[slot]]
        return _encode_state(
            StateRecord(
                user_id=self.users[slot],
                applied=int(self.applied[slot]),
                release=self.releases[self.release[slot]],
                events=int(self.events[slot]),
                items=[ids[item] for item in self._items[flat].tolist()],
                times=_pack(self._times[flat]),
                kinds=_pack(self._kinds[flat]),
                values=_pack(self._values[flat]),
                event_ids=_pack(self._hashes[flat]),
                older=[ids[item >> 1] for item in older.tolist() if not item & 1],
                refused=[ids[item >> 1] for item in older.tolist() if item & 1],
                hidden=_pack(self.hidden[slot, :hidden]),
                vector=_pack(self.vector[slot, :vector]),
            )
        )

    def restore(self, record: StateRecord, catalogue: Catalogue) -> int:
        """Puts a changelog record in its user's slot; returns the slot."""
        self.forget(record.user_id)
        slot = self.slot(record.user_id)
        items = [catalogue.intern(item) for item in record.items]
        columns = zip(
            items,
            _unpack(record.times, np.int64).tolist(),
            _unpack(record.kinds, np.uint8).tolist(),
            _unpack(record.values, np.float32).tolist(),
            _unpack(record.event_ids, np.uint64).tolist(),
            strict=True,
        )
        for item, time_ms, kind, value, digest in columns:
            self.append(slot, item, time_ms, kind, value, digest)
        older = [catalogue.intern(item) << 1 for item in record.older]
        refused = [catalogue.intern(item) << 1 | 1 for item in record.refused]
        if older or refused:
            self._older[slot] = np.array(older + refused, np.int64)
        self.applied[slot] = record.applied
        self.events[slot] = record.events
        hidden, vector = _unpack(record.hidden, np.float32), _unpack(record.vector, np.float32)
        number = self._release_number.get(record.release)
        known = number is None or self._sizes[number] == (len(hidden), len(vector))
        # A state that finds no room belongs to a release that is not in use: it is re-encoded.
        if known and len(hidden) <= self.hidden.shape[1] and len(vector) <= self.vector.shape[1]:
            self.fit(record.release, len(hidden), len(vector))
            self.hidden[slot, : len(hidden)], self.vector[slot, : len(vector)] = hidden, vector
            self.stamp(slot, record.release)
        return slot

    def number_of(self, release: str) -> int:
        """The number that stands for a release in `release`."""
        number = self._release_number.get(release)
        if number is None:
            number = self._release_number[release] = len(self.releases)
            self.releases.append(release)
            self._sizes.append(self._sizes[0])
        return number

    def _flat(self, slot: int, length: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        places = np.arange(length)
        return self._blocks[slot, places // _BLOCK].astype(np.int64), places % _BLOCK

    def _between(self, slot: int, consumed: bool) -> NDArray[np.int64]:
        flat = self._flat(slot, int(self._length[slot]) - HISTORY)
        bars = _BARS[int(consumed) + int(consumed and self.views_consume)]
        return self._items[flat][bars[self._kinds[flat]]].astype(np.int64)

    def _drop_oldest_block(self, slot: int) -> None:
        block = self._blocks[slot, 0]
        kinds = self._kinds[block]
        kept = _BARS[1 + int(self.views_consume)][kinds]
        marks = self._items[block][kept].astype(np.int64) << 1 | _BARS[0][kinds[kept]]
        self._older[slot] = np.unique(np.concatenate([self._older.get(slot, _OUT_OF_HISTORY), marks]))
        (self._free_blocks if self._held is None else self._held).append(int(block))
        self._blocks[slot, :-1] = self._blocks[slot, 1:]
        self._blocks[slot, -1] = -1
        self._length[slot] -= _BLOCK

    def _release_blocks(self, slot: int) -> None:
        self._free_blocks.extend(int(block) for block in self._blocks[slot] if block >= 0)
        self._blocks[slot] = -1
        self._length[slot] = 0

    def _take_block(self) -> int:
        if not self._free_blocks:
            old = len(self._items)
            for name in ("_items", "_times", "_kinds", "_values", "_hashes"):
                setattr(self, name, _doubled(getattr(self, name)))
            self._free_blocks.extend(range(2 * old - 1, old - 1, -1))
        return self._free_blocks.pop()

    def _grow_users(self) -> None:
        old = len(self.applied)
        for name in ("hidden", "vector", "applied", "events", "last_ms", "release", "_length", "_blocks"):
            setattr(self, name, _doubled(getattr(self, name)))
        self.applied[old:] = -1
        self._blocks[old:] = -1


def _bars() -> list[NDArray[np.bool_]]:
    """Which kinds bar an item: [aversion], [and consumption], [and views]."""
    kinds = list(Kind)
    aversion = np.array([kind in AVERSION for kind in kinds])
    consumption = aversion | np.array([kind in CONSUMPTION for kind in kinds])
    return [aversion, consumption, consumption | (np.array(kinds) == Kind.VIEW)]


_BARS = _bars()


def _doubled(array: NDArray[Any]) -> NDArray[Any]:
    grown = np.zeros((2 * len(array), *array.shape[1:]), array.dtype)
    grown[: len(array)] = array
    return grown


def _widened(array: NDArray[Any], width: int) -> NDArray[Any]:
    if width <= array.shape[1]:
        return array
    wider = np.zeros((len(array), width), array.dtype)
    wider[:, : array.shape[1]] = array
    return wider


def _pack(array: NDArray[Any]) -> str:
    return base64.b64encode(array.tobytes()).decode()


def _unpack(text: str, dtype: Any) -> NDArray[Any]:
    return np.frombuffer(base64.b64decode(text), dtype)


@numba.njit(cache=True, nogil=True)
def _contains(blocks, length, hashes, digest):  # type: ignore[no-untyped-def]
    for place in range(max(0, length - DEDUPLICATED), length):
        if hashes[blocks[place // _BLOCK], place % _BLOCK] == digest:
            return True
    return False


@numba.njit(cache=True, nogil=True)
def _gather(  # type: ignore[no-untyped-def]
    slots, lengths, blocks, items, times, kinds, values, events,
    out_items, out_times, out_kinds, out_values, out_length, out_events,
):  # fmt: skip
    for row in range(slots.shape[0]):
        slot = slots[row]
        if slot < 0:
            continue
        length = lengths[slot]
        first = max(0, length - HISTORY)
        out_length[row] = length - first
        out_events[row] = events[slot]
        for place in range(first, length):
            block, at, to = blocks[slot, place // _BLOCK], place % _BLOCK, place - first
            out_items[row, to] = items[block, at]
            out_times[row, to] = times[block, at]
            out_kinds[row, to] = kinds[block, at]
            out_values[row, to] = values[block, at]
