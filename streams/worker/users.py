"""The users of a worker's partitions: their states in memory, and on disk those of users away for long.

Owns which users are here: they come with their partitions, read from the changelog, stay over a rebalance
that leaves them here, and go with their partitions. Knows no lists and no clicks.
"""

import asyncio
import sqlite3
from collections.abc import Iterable, Sequence
from itertools import islice

import structlog

from learner.data.catalogue import Catalogue
from learner.data.times import DAY_MS
from streams.hot_path.serving import Serving
from streams.hot_path.state_record import decode_state
from streams.hot_path.user_states import UserStates
from streams.hot_path.world import World
from streams.transport.changelog import Changelog, Restored
from streams.wire.partitioner import partition_of
from streams.worker.spill import Spill

log = structlog.get_logger()

# States of idle users that go to disk between two rounds: some 3 ms in all.
SPILLED_AT_ONCE = 50
_STATES_A_TURN = 200  # restored between two turns for heartbeats
_NO_GENERATION = -2  # none follows it


class Users:
    """`partitions`: how many the topic `clicks` has. `idle_days`: without an event, and a state goes to disk.

    owned: the partitions whose users are here
    """

    def __init__(self, spill: Spill, partitions: int, idle_days: float) -> None:
        self.states = UserStates(0, 0)  # nobody's, until the first partitions come
        self.owned: frozenset[int] = frozenset()
        self._generation = _NO_GENERATION
        self._spill = spill
        self._partitions = partitions
        self._idle_ms = idle_days * DAY_MS

    @property
    def away(self) -> int:
        """How many states are on disk."""
        return len(self._spill)

    async def take_over(
        self, changelog: Changelog, partitions: frozenset[int], generation: int, serving: Serving,
        lock: asyncio.Lock,
    ) -> int:  # fmt: skip
        """Reads the states of partitions that are new here, and drops those of others; returns how many came.

        Where this worker has missed a generation somebody else may have owned any of them: all are read.
        """
        if generation != self._generation + 1:
            self.states = _no_states(serving.world)
            self._spill.clear()
            self.owned = frozenset()
        self._forget(self.owned - partitions)
        users = 0
        async for restored in changelog.restore(sorted(partitions), generation):
            if restored.partition not in self.owned:
                await self._restore(restored, serving.world)
                users += len(restored.states)
                async with lock:
                    for live in serving.loaded:
                        live.follow()
        self.owned, self._generation = partitions, generation
        return users

    def bring_back(self, users: Iterable[str], catalogue: Catalogue) -> None:
        """Those of the users whose states are on disk have come back."""
        if not len(self._spill):
            return
        for user in users:
            if user not in self.states.index and (value := self._spill.take(user)) is not None:
                self.states.restore(decode_state(value), catalogue)

    def spill_idle(self, world: World) -> int:
        """Puts states of some idle users on disk; returns how many."""
        states = self.states
        slots = states.idle(self._away_ms(world))[:SPILLED_AT_ONCE].tolist()
        users = [states.users[slot] for slot in slots]
        away = [
            (user, partition_of(user.encode(), self._partitions), states.encode(slot, world.catalogue))
            for user, slot in zip(users, slots, strict=True)
        ]
        if not self._spilled(away):
            return 0
        for user in users:
            states.forget(user)
        if users:
            log.info("states of idle users spilled", users=len(users), in_all=len(self._spill))
        return len(users)

    def _forget(self, partitions: frozenset[int]) -> None:
        if not partitions:
            return
        for user in list(self.states.index):
            if partition_of(user.encode(), self._partitions) in partitions:
                self.states.forget(user)
        self._spill.forget(partitions)

    async def _restore(self, restored: Restored, world: World) -> None:
        away_ms = self._away_ms(world)
        values = iter(restored.states.values())
        while some := [(decode_state(value), value) for value in islice(values, _STATES_A_TURN)]:
            away = [(state, value) for state, value in some if state.last_ms < away_ms]
            spilled = self._spilled([(state.user_id, restored.partition, value) for state, value in away])
            for state, _ in some:
                if not spilled or state.last_ms >= away_ms:
                    self.states.restore(state, world.catalogue)
            await asyncio.sleep(0)

    def _away_ms(self, world: World) -> float:
        """The event time before which a user's last event makes the user an idle one."""
        return world.signals.now_ms - self._idle_ms

    def _spilled(self, states: Sequence[tuple[str, int, bytes]]) -> bool:
        """Whether states could be put on disk; where not they stay in memory."""
        try:
            self._spill.put(states)
        except sqlite3.Error as error:
            log.warning("states of idle users stay in memory", error=str(error), mend="is the disk full?")
            return False
        return True


def _no_states(world: World) -> UserStates:
    release = world.live.release
    return UserStates(release.hidden_size, release.vector_size, views_consume=release.manifest.views_consume)
