"""What a worker knows of each user, in arrays with a slot per user.

Owns histories (the last 128 events), consumed items, the student's hidden state and applied offsets, and the
way back from a round that fails. Knows no Kafka: `changelog` moves the records, `fold` folds clicks in.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from msgspec import UNSET
from numpy.typing import NDArray

from learner.data.catalogue import Catalogue
from learner.data.times import DAY_MS
from streams.hot_path import fallen, impressions, state_record
from streams.hot_path.columns import Columns, column
from streams.hot_path.fallen import BAR_OF_KIND, BARRING, Fallen
from streams.hot_path.histories import BLOCK, BLOCKS, HISTORY, EventBlocks, Events, Histories
from streams.hot_path.state_record import MAX_OTHER_IDS, ClicksTopic, StateRecord, encode_state, pack

# Releases whose students' states lie side by side. In use are three at most; states of all others wait to be
# re-encoded, and beyond this many the oldest forget whose they were.
MOST_RELEASES = 32
_MANY = 1024  # older items, from which on their ids are kept as they are written


class Moved(NamedTuple):
    """Into whom a user was merged, and when."""

    into: str
    since_ms: int


class Checkpoint(NamedTuple):
    """States of some users as they were: what `UserStates.undo` brings back."""

    slots: NDArray[np.int64]
    rows: dict[str, NDArray[Any]]


class UserStates(Columns):
    """States of the users of a worker's partitions.

    `hidden_size` S and `vector_size` D are the live student's; `fit` makes room for others.

    aside: users whose state this program cannot keep, and why; nothing is folded in and nothing written
    """

    # All that is known of a user, by slot. An entry here is grown, forgotten and undone with the others; what
    # is to outlive the worker has a field in `StateRecord` too, which `encode` and `restore` see to.
    hidden: NDArray[np.float32] = column(np.float32, width=0)  # (users, S) the student's hidden state
    vector: NDArray[np.float32] = column(np.float32, width=0)  # (users, D) the user's embedding
    release: NDArray[np.int16] = column(np.int16)  # whose student both are of: a number, see `number_of`
    applied: NDArray[np.int64] = column(np.int64, new=-1)  # offset in `clicks` that the state has come to
    partition: NDArray[np.int32] = column(np.int32, new=-1)  # of `clicks`, -1 of a user without any
    events: NDArray[np.int64] = column(np.int64)  # ever folded
    last_ms: NDArray[np.int64] = column(np.int64)  # time of the last one
    _length: NDArray[np.int32] = column(np.int32)  # of the history
    _blocks: NDArray[np.int32] = column(np.int32, width=BLOCKS, new=-1)  # where it lies
    _older: NDArray[np.object_] = column(object, new=None)  # what fell out of the history: `Fallen`, or None
    shown: NDArray[np.object_] = column(
        object, new=None
    )  # without a click since: `impressions.Shown`, or None
    moved: NDArray[np.object_] = column(object, new=None)  # `Moved` of who was merged into another, or None
    _other_ids: NDArray[np.object_] = column(object, new=None)  # (n,) uint64, of what was taken back, or None

    def __init__(self, hidden_size: int, vector_size: int) -> None:
        super().__init__(64)
        self.topic = ClicksTopic()  # whose offsets are applied
        self.aside: dict[str, str] = {}
        self.index: dict[str, int] = {}
        self.users: list[str] = []
        self.releases: list[str] = [""]
        self.reencoded = 0  # states computed anew from their histories so far
        self.brought = 0  # states that came from elsewhere so far: whose student's they are is to be seen
        self._release_number = {"": 0}
        self._sizes: list[tuple[int, int]] = [(0, 0)]  # of hidden state and vector, by the release's number
        self._free: list[int] = []
        self._histories = EventBlocks()
        self._texts = fallen.Texts()
        self._before: Checkpoint | None = None  # until `keep` or `undo`
        self.fit("", hidden_size, vector_size)

    def __len__(self) -> int:
        return len(self.index)

    @property
    def nbytes(self) -> int:
        """Memory of all arrays of states and events, also of the rows that wait for further users."""
        return super().nbytes + self._histories.nbytes

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
        self.aside.pop(user_id, None)
        slot = self.index.pop(user_id, None)
        if slot is None:
            return
        self._texts.drop(slot)
        self._histories.give_back(self._blocks[slot].tolist())
        self.clear(slot)
        self.users[slot] = ""
        self._free.append(slot)

    def erase(self, slot: int, partition: int, offset: int) -> None:
        """Nothing is known of the user any more, but that clicks up to this one were."""
        for block in self._blocks[slot].tolist():
            if block >= 0:
                self._histories.drop(block)
        self._texts.drop(slot)
        self.clear(slot)
        self.note_applied(slot, partition, offset)

    def set_aside(self, user_id: str, why: str) -> None:
        """The user's state is not kept here: lists come from the signals alone."""
        self.forget(user_id)
        self.aside[user_id] = why

    # -- events -------------------------------------------------------------------------------------

    def stand_on(self, topic: ClicksTopic) -> None:
        """What `clicks` is from now on. Where it was made anew no offset of the old one is applied."""
        if topic.id and self.topic.id:
            if topic.id != self.topic.id:
                self.applied[:] = -1
        else:
            for partition, end in topic.ends.items():
                self.applied[(self.partition == partition) & (self.applied >= end)] = -1
        self.topic = topic

    def note_applied(self, slot: int, partition: int, offset: int) -> None:
        """The user's state knows the clicks of its partition up to this one."""
        self.partition[slot], self.applied[slot] = partition, offset

    def is_repeat(self, slot: int, digest: int) -> bool:
        """Whether an event of this id is among the user's last 64, or was taken back, or took one back."""
        if (others := self._other_ids[slot]) is not None and (others == np.uint64(digest)).any():
            return True
        return self._histories.repeats(self._blocks[slot], int(self._length[slot]), digest)

    def remember_id(self, slot: int, digest: int) -> None:
        """An event of this id that leaves nothing in the history is a repeat from now on."""
        others = self._other_ids[slot]
        known = np.zeros(0, np.uint64) if others is None else others
        self._other_ids[slot] = np.append(known, np.uint64(digest))[-MAX_OTHER_IDS:]

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
        if (shown := self.shown[slot]) is not None:
            self.shown[slot] = shown.without(item)

    def take_back(self, slot: int, item: int, kind: int) -> bool:
        """Takes back the user's newest event with that item and of that kind; False where there is none.

        Of what fell out of the history all goes that was known of the item, see `Fallen.without`. The hidden
        state is nobody's then: it is to be encoded anew.
        """
        history = self._histories.read(self._blocks[slot], int(self._length[slot]))
        same = np.flatnonzero((history.items == item) & (history.kinds == kind))
        if len(same):
            self.remember_id(slot, int(history.hashes[same[-1]]))
            self._rewrite(slot, Events._make(np.delete(each, same[-1]) for each in history))
        else:
            older = self._fallen_out(slot).without(item, fallen.Bar(BAR_OF_KIND[kind]))
            if older is None:
                return False
            self._older[slot] = older
        self.events[slot] = max(int(self.events[slot]) - 1, int(self._length[slot]))
        self.release[slot] = 0
        return True

    def _rewrite(self, slot: int, events: Events) -> None:
        """Gives a user another history, in other blocks: an undo may bring the old ones back."""
        for block in self._blocks[slot].tolist():
            if block >= 0:
                self._histories.drop(block)
        length = len(events.items)
        self._blocks[slot] = -1
        self._blocks[slot, : -(-length // BLOCK)] = [self._histories.take() for _ in range(0, length, BLOCK)]
        for n, (item, time_ms, kind, value, digest) in enumerate(zip(*events, strict=True)):
            self._histories.put(self._blocks[slot, n // BLOCK], n % BLOCK, item, time_ms, kind, value, digest)
        self._length[slot] = length
        self.last_ms[slot] = events.times[-1] if length else 0

    def see(self, slot: int, items: Sequence[int], time_ms: int) -> None:
        """Notes an impression of a list of items, the first one first."""
        self.shown[slot] = impressions.seen(self.shown[slot], items, time_ms)
        if not self.events[slot]:  # who has done nothing else is here for as long as others are
            self.last_ms[slot] = max(int(self.last_ms[slot]), time_ms)

    def shown_too_often(self, slot: int, times: int, within_ms: float, now_ms: float) -> NDArray[np.int32]:
        """Items (n,) shown to the user so often without a click, all less than so long ago."""
        return impressions.too_often(None if slot < 0 else self.shown[slot], times, within_ms, now_ms)

    def gather(self, slots: NDArray[np.int64]) -> Histories:
        """The last 128 events of each slot; a slot of -1 is a user without history."""
        return self._histories.gather(slots, self._length, self._blocks, self.events)

    def barred(
        self, slot: int, histories: Histories, row: int, least: fallen.Bar, back_before_ms: int | None = None
    ) -> NDArray[np.int32]:
        """Items a list for this user must not hold: what was met with this bar or a stronger one.

        `histories` is `gather`'s result, `row` the user's row in it. Events between the 128th and the
        oldest kept one count too. `back_before_ms`: what was met last before that time comes back, but not
        what was refused; of what fell out of the history the day is known.
        """
        length = int(histories.length[row])
        kinds = histories.kinds[row, :length]
        met = BARRING[least][kinds]
        if back_before_ms is not None:
            met &= BARRING[fallen.Bar.REFUSED][kinds] | (histories.times[row, :length] >= back_before_ms)
        recent: NDArray[np.int32] = histories.items[row, :length][met]
        if slot < 0:
            return recent
        older, between = self._fallen_out(slot).barred(least, back_before_ms), fallen.NOTHING
        beyond = int(self._length[slot]) - HISTORY
        if beyond > 0:  # at most a block: the first
            first = self._blocks[slot, 0]
            kinds = self._histories.kinds[first, :beyond]
            met = BARRING[least][kinds]
            if back_before_ms is not None:
                times = self._histories.times[first, :beyond]
                met &= BARRING[fallen.Bar.REFUSED][kinds] | (times >= back_before_ms)
            between = self._histories.items[first, :beyond][met]
        if len(older) or len(between):
            recent = np.concatenate([older, between, recent]).astype(np.int32)
        return recent

    def idle(self, before_ms: float) -> NDArray[np.int64]:
        """Slots of users whose last event lies before that time, in no particular order."""
        users = len(self.users)
        return np.flatnonzero(self._known(users) & (self.last_ms[:users] < before_ms))

    def _known(self, users: int) -> NDArray[np.bool_]:
        """Whether anything was heard of each of the first slots (users,): an impression, perhaps."""
        known: NDArray[np.bool_] = (self.events[:users] > 0) | (self.partition[:users] >= 0)
        return known

    def longest_away(self, count: int) -> NDArray[np.int64]:
        """Slots (n,) of at most so many users, those whose last events are the oldest, in no order."""
        there = np.flatnonzero(self._known(len(self.users)))
        if count >= len(there):
            return there
        return there[np.argpartition(self.last_ms[there], count)[:count]]

    # -- whose student a hidden state is of ---------------------------------------------------------

    def number_of(self, release: str) -> int:
        """The number that stands for a release in `release`: a new one, or one that no state is of."""
        number = self._release_number.get(release)
        if number is None:
            if len(self.releases) < MOST_RELEASES:
                number = len(self.releases)
                self.releases.append(release)
                self._sizes.append(self._sizes[0])
            else:
                number = self._freed_number()
                del self._release_number[self.releases[number]]
                self.releases[number], self._sizes[number] = release, self._sizes[0]
            self._release_number[release] = number
        return number

    def _freed_number(self) -> int:
        """A number that stands for no state; else the states of the one longest unused become nobody's."""
        used = set(np.unique(self.release[: len(self.users)]).tolist())
        if self._before is not None:  # they may come back
            used.update(self._before.rows["release"].tolist())
        names = iter(self._release_number.items())  # the longest unused first
        number = next((number for _, number in names if number and number not in used), None)
        if number is None:
            kept = set() if self._before is None else set(self._before.rows["release"].tolist())
            number = next(each for each in self._release_number.values() if each and each not in kept)
            self.release[self.release == number] = 0
        return number

    def stamp(self, slots: int | NDArray[np.int64], release: str) -> None:
        """Notes whose student the hidden states of slots belong to."""
        self.release[slots] = self.number_of(release)

    def fit(self, release: str, hidden_size: int, vector_size: int) -> None:
        """Makes room for a release's hidden states (S,) and user vectors (D,), beside those of others.

        A slot's row is as wide as the widest release; its release's sizes say how much of it counts.
        """
        self._sizes[self.number_of(release)] = hidden_size, vector_size
        self._release_number[release] = self._release_number.pop(release)  # the last one in use
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
        number = self._release_number.get(release, -1)
        slots = {self.index.get(user, -1) for user in users}
        return {slot for slot in slots if slot >= 0 and self.events[slot] and self.release[slot] != number}

    def stale(self, releases: Iterable[str], slots: range | None = None) -> NDArray[np.int64]:
        """Slots whose hidden state belongs to none of the releases, ascending; of a stretch, or of all."""
        place = slice(0, len(self.users)) if slots is None else slice(slots.start, slots.stop)
        of_none = self.events[place] > 0
        for release in releases:
            of_none &= self.release[place] != self._release_number.get(release, -1)
        return np.flatnonzero(of_none) + place.start

    # -- the way back -------------------------------------------------------------------------------

    def checkpoint(self, users: Iterable[str], slots: Iterable[int] = ()) -> Checkpoint:
        """Notes the states of users and slots, for `undo` or `keep`: one must follow before the next."""
        noted = dict.fromkeys(self.slot(user) for user in users if user not in self.aside)
        noted.update(dict.fromkeys(slots))
        rows = np.array(list(noted), np.int64)
        self._histories.hold()
        self._before = Checkpoint(rows, self.copied(rows))
        return self._before

    def keep(self) -> None:
        """What has been folded in since the checkpoint stays."""
        self._before = None
        self._histories.give_back(self._histories.end_hold())

    def undo(self, before: Checkpoint) -> None:
        """Brings the noted users back to the checkpoint."""
        dropped = np.array(self._histories.end_hold(), np.int32)
        taken = np.concatenate([self._blocks[before.slots].ravel(), dropped])
        self._histories.give_back(np.setdiff1d(taken, before.rows["_blocks"]).tolist())
        self.bring_back(before.slots, before.rows)
        self._before = None
        self.brought += 1

    # -- the way through the changelog --------------------------------------------------------------

    def encode(self, slot: int, catalogue: Catalogue) -> bytes:
        """The slot as a changelog record, UTF-8 JSON."""
        history = self._histories.read(self._blocks[slot], int(self._length[slot]))
        older, shown, others = self._fallen_out(slot), self.shown[slot], self._other_ids[slot]
        moved: Moved | None = self.moved[slot]
        counted = shown is not None and shown.last_ms.any()
        marks = older.every
        ids = catalogue.ids
        hidden, vector = self._sizes[self.release[slot]]
        return encode_state(
            StateRecord(
                user_id=self.users[slot],
                topic=self.topic.id,
                partition=int(self.partition[slot]),
                applied=int(self.applied[slot]),
                release=self.releases[self.release[slot]],
                events=int(self.events[slot]),
                items=[ids[item] for item in history.items.tolist()],
                times=pack(history.times),
                kinds=pack(history.kinds),
                values=pack(history.values),
                event_ids=pack(history.hashes),
                hidden=pack(self.hidden[slot, :hidden]),
                vector=pack(self.vector[slot, :vector]),
                shown=[] if shown is None else [ids[item] for item in shown.items.tolist()],
                shown_counts=pack(shown.counts) if counted else UNSET,
                shown_ms=pack(shown.last_ms) if counted else UNSET,
                shown_before_ms=pack(shown.before_ms) if counted and shown.tells_before else UNSET,
                moved_to=UNSET if moved is None else moved.into,
                moved_ms=UNSET if moved is None else moved.since_ms,
                other_ids=UNSET if others is None else pack(others),
                older_days=pack(fallen.days_of(marks)),
                older_bars=pack(fallen.bars_of(marks)),
            ),
            *self._texts_of(slot, older, ids),
        )

    def restore(self, record: StateRecord, catalogue: Catalogue, partition: int | None = None) -> int:
        """Puts a changelog record in its user's slot; returns the slot.

        `partition`: the user's, by default the record's own. Raises StateError, and leaves the user unknown,
        where the record is not whole.
        """
        self.forget(record.user_id)
        columns = state_record.columns(record)
        slot = self.slot(record.user_id)
        numbers = [catalogue.intern(item) for item in record.items]
        events = (each.tolist() for each in (columns.times, columns.kinds, columns.values, columns.event_ids))
        for item, time_ms, kind, value, digest in zip(numbers, *events, strict=True):
            self.append(slot, item, time_ms, kind, value, digest)
        if record.older:
            older = [catalogue.intern(item) for item in record.older]
            self._older[slot] = fallen.as_read(older, columns.older_days, columns.older_bars)
        if record.shown:
            numbers = [catalogue.intern(item) for item in record.shown]
            shown = impressions.unsaid(numbers)
            if columns.shown_counts is not None and columns.shown_ms is not None:
                counts, last_ms, before_ms = columns.shown_counts, columns.shown_ms, columns.shown_before_ms
                shown = impressions.as_read(numbers, counts, last_ms, before_ms)
            self.shown[slot] = shown
            if not record.events:
                self.last_ms[slot] = shown.last_ms.max()
        self._other_ids[slot] = columns.other_ids
        if record.moved_to is not UNSET and record.moved_ms is not UNSET:
            self.moved[slot] = Moved(record.moved_to, record.moved_ms)
        partition = record.partition if partition is None else partition
        self.note_applied(slot, partition, self.topic.applied(record, partition))
        self.events[slot] = record.events
        self.brought += 1
        self._take_hidden(slot, record.release, columns.hidden, columns.vector)
        return slot

    def join(self, slot: int, record: StateRecord, catalogue: Catalogue) -> None:
        """Takes in what was known of another user; events in order of time, none that is there already.

        The hidden state is nobody's then: it is to be encoded anew. Raises StateError, and changes nothing,
        where the record is not whole.
        """
        columns = state_record.columns(record)
        mine = self._histories.read(self._blocks[slot], int(self._length[slot]))
        items = np.array([catalogue.intern(item) for item in record.items], np.int32)
        theirs = Events(items, columns.times, columns.kinds, columns.values, columns.event_ids)
        new = ~np.isin(theirs.hashes, mine.hashes)
        both = Events._make(
            np.concatenate([getattr(mine, name), getattr(theirs, name)[new]]) for name in Events._fields
        )
        both = Events._make(each[np.argsort(both.times, kind="stable")] for each in both)
        kept = len(both.items) - BLOCKS * BLOCK
        if kept > 0:
            self._let_fall(slot, Events._make(each[:kept] for each in both))
            both = Events._make(each[kept:] for each in both)
        self._rewrite(slot, both)
        if record.older:
            older = np.array([catalogue.intern(item) for item in record.older], np.int32)
            times = columns.older_days.astype(np.int64) * DAY_MS
            self._older[slot] = self._fallen_out(slot).and_these(older, times, columns.older_bars)
        if record.shown and columns.shown_counts is not None and columns.shown_ms is not None:
            numbers = [catalogue.intern(item) for item in record.shown]
            counts, last_ms, before_ms = columns.shown_counts, columns.shown_ms, columns.shown_before_ms
            shown = impressions.as_read(numbers, counts, last_ms, before_ms)
            self.shown[slot] = impressions.together(self.shown[slot], shown)
            if not len(both.items):
                self.last_ms[slot] = shown.last_ms.max()
        for digest in () if columns.other_ids is None else columns.other_ids.tolist():
            self.remember_id(slot, digest)
        self.events[slot] += record.events - len(record.items) + int(np.count_nonzero(new))
        self.release[slot] = 0

    def _take_hidden(
        self, slot: int, release: str, hidden: NDArray[np.float32], vector: NDArray[np.float32]
    ) -> None:
        """A state that finds no room belongs to a release that is not in use: it is re-encoded."""
        number = self._release_number.get(release)
        if number is None and len(self.releases) >= MOST_RELEASES:
            return
        known = number is None or self._sizes[number] == (len(hidden), len(vector))
        if known and len(hidden) <= self.hidden.shape[1] and len(vector) <= self.vector.shape[1]:
            self.fit(release, len(hidden), len(vector))
            self.hidden[slot, : len(hidden)], self.vector[slot, : len(vector)] = hidden, vector
            self.stamp(slot, release)

    # -- what falls out of a history ----------------------------------------------------------------

    def _fallen_out(self, slot: int) -> Fallen:
        older: Fallen | None = self._older[slot]
        return fallen.NONE if older is None else older

    def _texts_of(self, slot: int, older: Fallen, ids: list[str]) -> Sequence[bytes]:
        """The ids of what fell out, as JSON in parts."""
        if len(older) < _MANY:
            return (fallen.text_of(older.every, ids),)
        settled, loose = self._texts.of(slot, older.settled, ids), fallen.text_of(older.loose, ids)
        return settled, b"," if settled and loose else b"", loose

    def _let_fall(self, slot: int, events: Events) -> None:
        bars = BAR_OF_KIND[events.kinds]
        met = bars > 0
        fell = self._fallen_out(slot).and_these(events.items[met], events.times[met], bars[met])
        self._older[slot] = fell

    def _drop_oldest_block(self, slot: int) -> None:
        """The items that may be barred are noted, the block is somebody else's."""
        block = int(self._blocks[slot, 0])
        self._let_fall(slot, self._histories.read(self._blocks[slot], BLOCK))
        self._histories.drop(block)
        self._blocks[slot, :-1] = self._blocks[slot, 1:]
        self._blocks[slot, -1] = -1
        self._length[slot] -= BLOCK
