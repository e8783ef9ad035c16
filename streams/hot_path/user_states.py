"""What a worker knows of each user, in arrays with a slot per user.

Owns histories (the last 128 events), consumed items, the student's hidden state and applied offsets, and the
way back from a round that fails. Knows no Kafka: `changelog` moves the records, `fold` folds clicks in.
"""

from collections.abc import Collection, Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from learner.data.catalogue import Catalogue
from learner.data.events import AVERSION, CONSUMPTION, Kind
from streams.hot_path.columns import Columns, column
from streams.hot_path.histories import BLOCK, BLOCKS, HISTORY, EventBlocks, Histories
from streams.hot_path.state_record import StateRecord, encode_state, pack, unpack

_NO_ITEMS = np.zeros(0, np.int64)


def _by_code(kinds: Collection[Kind]) -> NDArray[np.bool_]:
    return np.array([kind in kinds for kind in Kind])


# Which kinds of events bar their item from lists, by the kind's code: at any rate; also, where consumed items
# do not come again; and the same where a view makes an item consumed.
_REFUSED = _by_code(AVERSION)
_CONSUMED = _by_code(AVERSION | CONSUMPTION)
_CONSUMED_OR_VIEWED = _by_code(AVERSION | CONSUMPTION | {Kind.VIEW})


class Checkpoint(NamedTuple):
    """States of some users as they were: what `UserStates.undo` brings back."""

    slots: NDArray[np.int64]
    rows: dict[str, NDArray[Any]]


class UserStates(Columns):
    """States of the users of a worker's partitions.

    `hidden_size` S and `vector_size` D are the live student's; `fit` makes room for others. `views_consume`
    says whether a view makes an item consumed (data without any stronger event).
    """

    # All that is known of a user, by slot. An entry here is grown, forgotten and undone with the others; what
    # is to outlive the worker has a field in `StateRecord` too, which `encode` and `restore` see to.
    hidden: NDArray[np.float32] = column(np.float32, width=0)  # (users, S) the student's hidden state
    vector: NDArray[np.float32] = column(np.float32, width=0)  # (users, D) the user's embedding
    release: NDArray[np.int16] = column(np.int16)  # whose student both are of: a number, see `number_of`
    applied: NDArray[np.int64] = column(np.int64, new=-1)  # offset in `clicks` that the state has come to
    events: NDArray[np.int64] = column(np.int64)  # ever folded
    last_ms: NDArray[np.int64] = column(np.int64)  # time of the last one
    _length: NDArray[np.int32] = column(np.int32)  # of the history
    _blocks: NDArray[np.int32] = column(np.int32, width=BLOCKS, new=-1)  # where it lies
    # Items that fell out of the history, (item << 1 | refused) int64, or None: few users have any.
    _older: NDArray[np.object_] = column(object, new=None)

    def __init__(self, hidden_size: int, vector_size: int, *, views_consume: bool = False) -> None:
        super().__init__(64)
        self.views_consume = views_consume
        self.index: dict[str, int] = {}
        self.users: list[str] = []
        self.releases: list[str] = [""]
        self.reencoded = 0  # states computed anew from their histories so far
        self._release_number = {"": 0}
        self._sizes: list[tuple[int, int]] = [(0, 0)]  # of hidden state and vector, by the release's number
        self._free: list[int] = []
        self._histories = EventBlocks()
        self.fit("", hidden_size, vector_size)

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
                self.grow(2 * len(self.applied))
        self.index[user_id] = slot
        return slot

    def forget(self, user_id: str) -> None:
        """Frees a user's slot and blocks (the partition went to another worker)."""
        slot = self.index.pop(user_id, None)
        if slot is None:
            return
        self._histories.give_back(self._blocks[slot].tolist())
        self.clear(slot)
        self.users[slot] = ""
        self._free.append(slot)

    # -- events -------------------------------------------------------------------------------------

    def is_repeat(self, slot: int, digest: int) -> bool:
        """Whether an event of this id is among the user's last 64."""
        return self._histories.repeats(self._blocks[slot], int(self._length[slot]), digest)

    def append(self, slot: int, item: int, time_ms: int, kind: int, value: float, digest: int) -> None:
        """Appends one event to a user's history; the oldest falls out, what it consumed does not.

        `value` NaN where the event has none. Hidden state and applied offset are the caller's part.
        """
        length = int(self._length[slot])
        if length == BLOCKS * BLOCK:
            self._drop_oldest_block(slot)
            length -= BLOCK
        block, place = divmod(length, BLOCK)
        if place == 0:
            self._blocks[slot, block] = self._histories.take()
        self._histories.put(self._blocks[slot, block], place, item, time_ms, kind, value, digest)
        self._length[slot] = length + 1
        self.events[slot] += 1
        self.last_ms[slot] = time_ms

    def gather(self, slots: NDArray[np.int64]) -> Histories:
        """The last 128 events of each slot; a slot of -1 is a user without history."""
        return self._histories.gather(slots, self._length, self._blocks, self.events)

    def barred(self, slot: int, histories: Histories, row: int, *, consumed: bool) -> NDArray[np.int32]:
        """Items a list for this user must not hold: disliked or hidden, and consumed ones if `consumed`.

        `histories` is `gather`'s result, `row` the user's row in it. Events between the 128th and the
        oldest kept one count too.
        """
        bars = self._bars(consumed)
        length = int(histories.length[row])
        recent = histories.items[row, :length][bars[histories.kinds[row, :length]]]
        if slot < 0:
            return recent
        older, between = self._fallen_out(slot), _NO_ITEMS
        if not consumed:
            older = older[(older & 1) == 1]
        if self._length[slot] > HISTORY:
            kept = self._histories.read(self._blocks[slot], int(self._length[slot]) - HISTORY)
            between = kept.items[bars[kept.kinds]].astype(np.int64)
        if len(older) or len(between):
            return np.concatenate([older >> 1, between, recent]).astype(np.int32)
        return recent

    def idle(self, before_ms: float) -> NDArray[np.int64]:
        """Slots of users whose last event lies before that time, in no particular order."""
        users = len(self.users)
        return np.flatnonzero((self.events[:users] > 0) & (self.last_ms[:users] < before_ms))

    # -- whose student a hidden state is of ---------------------------------------------------------

    def number_of(self, release: str) -> int:
        """The number that stands for a release in `release`."""
        number = self._release_number.get(release)
        if number is None:
            number = self._release_number[release] = len(self.releases)
            self.releases.append(release)
            self._sizes.append(self._sizes[0])
        return number

    def stamp(self, slots: int | NDArray[np.int64], release: str) -> None:
        """Notes whose student the hidden states of slots belong to."""
        self.release[slots] = self.number_of(release)

    def fit(self, release: str, hidden_size: int, vector_size: int) -> None:
        """Makes room for a release's hidden states (S,) and user vectors (D,), beside those of others.

        A slot's row is as wide as the widest release; its release's sizes say how much of it counts.
        """
        self._sizes[self.number_of(release)] = hidden_size, vector_size
        self.widen("hidden", hidden_size)
        self.widen("vector", vector_size)

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

    # -- the way back -------------------------------------------------------------------------------

    def checkpoint(self, users: Iterable[str]) -> Checkpoint:
        """Notes the states of users, for `undo` or `keep`: one of the two must follow before the next."""
        slots = np.array([self.slot(user) for user in dict.fromkeys(users)], np.int64)
        self._histories.hold()
        return Checkpoint(slots, self.copied(slots))

    def keep(self) -> None:
        """What has been folded in since the checkpoint stays."""
        self._histories.give_back(self._histories.end_hold())

    def undo(self, before: Checkpoint) -> None:
        """Brings the noted users back to the checkpoint."""
        dropped = np.array(self._histories.end_hold(), np.int32)
        taken = np.concatenate([self._blocks[before.slots].ravel(), dropped])
        self._histories.give_back(np.setdiff1d(taken, before.rows["_blocks"]).tolist())
        self.bring_back(before.slots, before.rows)

    # -- the way through the changelog --------------------------------------------------------------

    def encode(self, slot: int, catalogue: Catalogue) -> bytes:
        """The slot as a changelog record, UTF-8 JSON."""
        history = self._histories.read(self._blocks[slot], int(self._length[slot]))
        older = self._fallen_out(slot).tolist()
        ids = catalogue.ids
        hidden, vector = self._sizes[self.release[slot]]
        return encode_state(
            StateRecord(
                user_id=self.users[slot],
                applied=int(self.applied[slot]),
                release=self.releases[self.release[slot]],
                events=int(self.events[slot]),
                items=[ids[item] for item in history.items.tolist()],
                times=pack(history.times),
                kinds=pack(history.kinds),
                values=pack(history.values),
                event_ids=pack(history.hashes),
                older=[ids[item >> 1] for item in older if not item & 1],
                refused=[ids[item >> 1] for item in older if item & 1],
                hidden=pack(self.hidden[slot, :hidden]),
                vector=pack(self.vector[slot, :vector]),
            )
        )

    def restore(self, record: StateRecord, catalogue: Catalogue) -> int:
        """Puts a changelog record in its user's slot; returns the slot."""
        self.forget(record.user_id)
        slot = self.slot(record.user_id)
        items = [catalogue.intern(item) for item in record.items]
        columns = zip(
            items,
            unpack(record.times, np.int64).tolist(),
            unpack(record.kinds, np.uint8).tolist(),
            unpack(record.values, np.float32).tolist(),
            unpack(record.event_ids, np.uint64).tolist(),
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
        hidden, vector = unpack(record.hidden, np.float32), unpack(record.vector, np.float32)
        number = self._release_number.get(record.release)
        known = number is None or self._sizes[number] == (len(hidden), len(vector))
        # A state that finds no room belongs to a release that is not in use: it is re-encoded.
        if known and len(hidden) <= self.hidden.shape[1] and len(vector) <= self.vector.shape[1]:
            self.fit(record.release, len(hidden), len(vector))
            self.hidden[slot, : len(hidden)], self.vector[slot, : len(vector)] = hidden, vector
            self.stamp(slot, record.release)
        return slot

    # -- what falls out of a history ----------------------------------------------------------------

    def _bars(self, consumed: bool) -> NDArray[np.bool_]:
        """Which kinds of events bar their item, consumption included or not."""
        if not consumed:
            return _REFUSED
        return _CONSUMED_OR_VIEWED if self.views_consume else _CONSUMED

    def _fallen_out(self, slot: int) -> NDArray[np.int64]:
        older: NDArray[np.int64] | None = self._older[slot]
        return _NO_ITEMS if older is None else older

    def _drop_oldest_block(self, slot: int) -> None:
        """The items that it bars are noted, the block is somebody else's."""
        block = int(self._blocks[slot, 0])
        kinds = self._histories.kinds[block]
        kept = self._bars(consumed=True)[kinds]
        marks = self._histories.items[block][kept].astype(np.int64) << 1 | _REFUSED[kinds[kept]]
        self._older[slot] = np.unique(np.concatenate([self._fallen_out(slot), marks]))
        self._histories.drop(block)
        self._blocks[slot, :-1] = self._blocks[slot, 1:]
        self._blocks[slot, -1] = -1
        self._length[slot] -= BLOCK
