"""What one worker has to say to everybody, until it is on record.

Owns who says what every worker sees alike (a bad item, signal, release or scenario; a release that cannot be
loaded; a good record that is to be written again): the owner of partition 0. The others keep it, for the
partition may come to them before it is said. What happens to this worker alone is noted in its log of events.
"""

import asyncio
import time
from collections.abc import Callable, Sequence

import msgspec
from aiokafka import ConsumerRecord

from learner.data.times import DAY_MS
from streams.releases.events import Event, EventLog, folder_of
from streams.releases.roles import Roles
from streams.runtime.repeated import Repeated
from streams.settings import Settings
from streams.transport.dead_letters import SharedRefusals
from streams.transport.last_good import LastGood
from streams.transport.topics import Names
from streams.wire.contract import ReleaseRecord
from streams.worker.assignment import Assignment
from streams.worker.decisions import Decisions
from streams.worker.restoring import Restoring


class Reports:
    """`some()` is called when there is something to `send`; `slot` is this worker's number.

    `bad` tells of bad records.
    """

    def __init__(self, settings: Settings, slot: int, some: Callable[[], None], bad: Repeated) -> None:
        self._topic = Names(settings.prefix).releases
        self._slot = slot
        self._some = some
        self._bad = bad
        self._refusals = SharedRefusals(settings.retention_days * DAY_MS)
        self._decisions = Decisions()
        self._restoring = Restoring()
        self._events = EventLog(folder_of(settings), f"worker-{slot}")

    def __len__(self) -> int:
        return len(self._refusals) + len(self._decisions) + len(self._restoring)

    def refuse(self, record: ConsumerRecord, error: str) -> None:
        """A bad item, signal or release: every worker reads it, one of them sends it."""
        self._bad.note(f"{record.topic}: {error}", error=error, topic=record.topic, offset=record.offset)
        self._refusals.add(record, error, int(time.time() * 1000))
        self._some()

    def restore(self, topic: LastGood) -> None:
        """From now on what is due there is written again by the same worker."""
        self._restoring.add(topic)

    def watch(self) -> None:
        """To be called now and then: tells what there is in sums to tell."""
        self._bad.watch()
        self._restoring.told.watch()

    def decide(self, records: Sequence[ReleaseRecord], shared: bool) -> None:
        """Takes a failing release back for everybody; where all workers see it, one of them does."""
        self._decisions.add(records, shared)
        self._some()

    def note(self, event: Event) -> None:
        """Something that has happened to this worker."""
        self._events.append(msgspec.structs.replace(event, evidence={"slot": self._slot, **event.evidence}))

    async def send(self, assignment: Assignment, roles: Roles) -> None:
        """Sends what this worker may send now; the rest, and what cannot be sent, goes on waiting."""
        first = 0 in assignment.partitions
        sending = [self._decisions.send(assignment.delivery, self._topic, roles, first=first)]
        if first:
            sending.append(self._set_right(assignment))
        await asyncio.gather(*sending)

    async def _set_right(self, assignment: Assignment) -> None:
        """Letters first: the broken records that they are of go as soon as good ones stand behind them."""
        await self._refusals.send(assignment.letters, int(time.time() * 1000))
        await self._restoring.send(assignment.delivery)
