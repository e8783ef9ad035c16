"""The users of a worker's partitions: their states in memory, and on disk those of users away for long.

Owns which users are here: they come with their partitions, read from the changelog, stay over a rebalance
that leaves them here, and go with their partitions. Knows no lists and no clicks.
"""

import asyncio
import math
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from learner.data.catalogue import Catalogue
from learner.data.times import DAY_MS
from streams.hot_path.serving import Serving
from streams.hot_path.state_record import MAX_STATE_BYTES, StateError, StateRecord, decode_state
from streams.hot_path.user_states import UserStates
from streams.hot_path.world import World
from streams.runtime.repeated import Repeated
from streams.transport.changelog import Changelog, Restored
from streams.wire.partitioner import partition_of
from streams.worker.aside import Aside
from streams.worker.ground import Ground
from streams.worker.spill import Spill

# States of idle users that go to disk between two rounds: some 3 ms in all.
SPILLED_AT_ONCE = 50
_SLACK = 16  # share of the users in memory that may be there beyond the most: they leave by and by
_STATES_A_TURN = 200  # restored between two turns for heartbeats
_NO_GENERATION = -2  # none follows it


class Users:
    """`partitions`: how many the topic `clicks` has. `idle_days`: without an event, and a state goes to disk.

    So do the states of those longest away where more than `most` are in memory.

    `ground(partitions)` asks the broker what states stand on, in a thread; `aside` is told of users whose
    states are set aside.

    owned: the partitions whose users are here
    """

    def __init__(
        self, spill: Spill, partitions: int, idle_days: float, most: int,
        ground: Callable[[frozenset[int]], Ground], aside: Aside,
    ) -> None:  # fmt: skip
        self.states = UserStates(0, 0)  # nobody's, until the first partitions come
        self.owned: frozenset[int] = frozenset()
        self._generation = _NO_GENERATION
        self._epochs: dict[int, int] = {}  # highest in each partition's log when it was read
        self._spill = spill
        self._partitions = partitions
        self._idle_ms = idle_days * DAY_MS
        self._most = most
        self._leaving = False  # since there were too many, until there are `most`
        self._oldest_ms = -math.inf  # of a last event; whose is older goes to disk as it is read
        self._ask_ground = ground
        self._state_bytes = MAX_STATE_BYTES
        self._aside = aside
        self._stay = Repeated("states of idle users stay in memory", "is the disk full?")

    @property
    def away(self) -> int:
        """How many states are on disk."""
        return len(self._spill)

    async def take_over(
        self, changelog: Changelog, partitions: frozenset[int], generation: int, serving: Serving,
        lock: asyncio.Lock,
    ) -> int:  # fmt: skip
        """Reads the states of partitions that are new here, and drops those of others; returns how many came.

        What stays here is not read: its log holds nothing that is not known.

        Where this worker has missed a generation somebody else may have owned any of them: all are read.
        """
        if generation != self._generation + 1:
            self.states = _no_states(serving.world)
            self._spill.clear()
            self.owned = frozenset()
        self._forget(self.owned - partitions)
        kept = self.owned & partitions
        for partition in kept:
            changelog.keep(partition, self._epochs[partition], generation)
        self._oldest_ms = -math.inf
        ground = await asyncio.to_thread(self._ask_ground, partitions)
        self.states.stand_on(ground.clicks)
        self._state_bytes = ground.state_bytes
        users = 0
        async for restored in changelog.restore(sorted(partitions - kept), generation):
            self._epochs[restored.partition] = restored.epoch
            await self._restore(restored, serving.world, lock)
            users += len(restored.states)
            async with lock:
                for live in serving.loaded:
                    live.follow()
        self.owned, self._generation = partitions, generation
        return users

    def distrust(self) -> None:
        """States may know of clicks whose lists are lost: all are read again with the next partitions."""
        self._generation = _NO_GENERATION

    def bring_back(self, users: Iterable[str], catalogue: Catalogue) -> None:
        """Those of the users whose states are on disk have come back; "" is nobody."""
        if not len(self._spill):
            return
        for user in users:
            if user and user not in self.states.index and (value := self._spill.take(user)) is not None:
                self._take_up(decode_state(value), self._home(user), catalogue)

    def encoded(self, user_id: str, catalogue: Catalogue) -> bytes | None:
        """The user's state as it is to be written; None where it must not be, and is set aside."""
        value = self.states.encode(self.states.index[user_id], catalogue)
        if len(value) + len(user_id.encode()) <= self._state_bytes:
            return value
        self._set_aside(user_id, f"{len(value):,} bytes; at most {self._state_bytes:,} are written")
        return None

    @property
    def crowded(self) -> bool:
        """Whether there are more in memory than may wait for a pause."""
        return len(self.states) > self._most + self._most // _SLACK

    def spill_idle(self, world: World) -> int:
        """Puts states of some idle users on disk, or of those longest away of too many; returns how many."""
        self._stay.watch()
        slots = self.states.idle(self._away_ms(world))[:SPILLED_AT_ONCE]
        over = len(self.states) - self._most
        self._leaving = over > 0 and (self._leaving or self.crowded)
        if not len(slots) and self._leaving:
            slots = self.states.longest_away(min(over, SPILLED_AT_ONCE))
        return self._put_away(slots, world)

    def _put_away(self, slots: NDArray[np.int64], world: World) -> int:
        """From memory to disk; returns how many."""
        states = self.states
        users = [states.users[slot] for slot in slots.tolist()]
        away = [
            (user, self._home(user), states.encode(slot, world.catalogue))
            for user, slot in zip(users, slots.tolist(), strict=True)
        ]
        if not self._spilled(away):
            return 0
        for user in users:
            states.forget(user)
        return len(users)

    def _forget(self, partitions: frozenset[int]) -> None:
        if not partitions:
            return
        for user in [*self.states.index, *self.states.aside]:
            if self._home(user) in partitions:
                self.states.forget(user)
        self._spill.forget(partitions)

    async def _restore(self, restored: Restored, world: World, lock: asyncio.Lock) -> None:
        records = iter(restored.states.items())
        while some := list(islice(records, _STATES_A_TURN)):
            away_ms = max(self._away_ms(world), self._oldest_ms)
            known = [(state, value) for key, value in some if (state := self._read(key, value)) is not None]
            away = [(state, value) for state, value in known if state.last_ms < away_ms]
            spilled = self._spilled([(state.user_id, restored.partition, value) for state, value in away])
            for state, _ in known:
                if not spilled or state.last_ms >= away_ms:
                    self._take_up(state, restored.partition, world.catalogue)
            await asyncio.sleep(0)
            if self.crowded:
                async with lock:
                    await self._make_room(world)

    async def _make_room(self, world: World) -> None:
        """Those longest away go to disk, so that memory holds at no moment more than it may for long."""
        slots = self.states.longest_away(len(self.states) - self._most)
        self._oldest_ms = max(self._oldest_ms, float(self.states.last_ms[slots].max(initial=0)))
        for first in range(0, len(slots), _STATES_A_TURN):
            if not self._put_away(slots[first : first + _STATES_A_TURN], world):
                return
            await asyncio.sleep(0)

    def _read(self, key: bytes, value: bytes) -> StateRecord | None:
        """The state of a record; None where it is set aside."""
        try:
            if len(value) > MAX_STATE_BYTES:
                raise StateError(f"{len(value):,} bytes; at most {MAX_STATE_BYTES:,} are read")
            return decode_state(value)
        except StateError as error:
            self._set_aside((key or b"").decode(errors="replace"), str(error))
            return None

    def _take_up(self, state: StateRecord, partition: int, catalogue: Catalogue) -> None:
        try:
            self.states.restore(state, catalogue, partition)
        except StateError as error:
            self._set_aside(state.user_id, str(error))

    def _set_aside(self, user_id: str, why: str) -> None:
        self.states.set_aside(user_id, why)
        self._aside.name(user_id, why)

    def _home(self, user_id: str) -> int:
        return partition_of(user_id.encode(), self._partitions)

    def _away_ms(self, world: World) -> float:
        """The event time before which a user's last event makes the user an idle one."""
        return world.signals.now_ms - self._idle_ms

    def _spilled(self, states: Sequence[tuple[str, int, bytes]]) -> bool:
        """Whether states could be put on disk; where not they stay in memory."""
        try:
            self._spill.put(states)
        except sqlite3.Error as error:
            self._stay.note(str(error), error=str(error))
            return False
        return True


def _no_states(world: World) -> UserStates:
    release = world.live.release
    return UserStates(release.hidden_size, release.vector_size)
