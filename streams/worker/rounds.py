"""The order in which pending records are worked on: fair to users, true to each user's order.

Users take turns, one record at a time, and a round takes little of any one user, so that a burst of a
thousand clicks holds nobody else up. Knows nothing of Kafka beyond batches to finish.
"""

import asyncio
import contextlib
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

ROUND = 32  # lists; the models gain little beyond, and the event loop waits for each round
OF_ONE = 4  # lists of one user in a round: others wait for that long
# A fetched slice reaches the rounds within this many turns of the event loop.
TURNS = 4


class Finishable(Protocol):
    """What pending records belong to: a fetched batch."""

    abandoned: bool

    def finish(self) -> None:
        """Everything that belonged to it is done."""


Payload = TypeVar("Payload")


@dataclass(slots=True, eq=False)
class Pending(Generic[Payload]):
    """A record of a user waiting for its round, or in one.

    waited: it has been parked once, and goes on the next time
    """

    user: str
    payload: Payload
    batch: "_Open"
    waited: bool = False

    def done(self) -> None:
        """All that follows from the record is acknowledged; the last one finishes the batch."""
        self.batch.open -= 1
        if self.batch.open == 0:
            self.batch.batch.finish()


@dataclass(slots=True, eq=False)
class _Open:
    batch: Finishable
    open: int  # records not yet done


class Rounds(Generic[Payload]):
    """Pending records of all owned partitions. Used by one event loop only.

    pending: records that wait for a round; parked: those of users whose turn does not come

    `capacity` bounds both: above it `put` waits, so that what is fetched stays in
    Kafka. `cost(payload)` is a record's work, in lists: 1 for each by default. Batches may finish in any
    order; offsets are marked in order by their source.
    """

    def __init__(self, capacity: int = 8192, cost: Callable[[Payload], float] = lambda _: 1.0) -> None:
        self.capacity = capacity
        self._cost = cost
        self.pending = 0
        self._of_user: dict[str, deque[Pending[Payload]]] = {}  # in the order of their next turn
        self.parked = 0
        self._parked: dict[str, deque[Pending[Payload]]] = {}  # lines that have no turn
        self._room = asyncio.Event()
        self._room.set()
        self._work = asyncio.Event()

    async def put(
        self, batch: Finishable, records: list[tuple[str, Payload]],
        keeps: Callable[[Pending[Payload]], bool] | None = None,
    ) -> None:  # fmt: skip
        """Queues a batch's (user, payload) in order; a batch without any is finished at once.

        What `keeps` takes waits elsewhere, and comes by `again`.
        """
        await self._room.wait()
        if batch.abandoned:
            return
        if not records:
            batch.finish()
            return
        opened = _Open(batch, len(records))
        for user, payload in records:
            record = Pending(user, payload, opened)
            if keeps is None or not keeps(record):
                self._queue(record)
        self._update()

    def again(self, record: Pending[Payload]) -> None:
        """A record that has waited elsewhere goes to the end of its user's line."""
        self._queue(record)
        self._update()

    def park(self, user: str, records: list[Pending[Payload]]) -> None:
        """Taken records of a user go back to the head of the line, and the line waits for `unpark`."""
        line = self._of_user.pop(user, deque())
        self.pending -= len(line)
        self.parked += len(records) + len(line)
        self._parked[user] = deque([*records, *line])
        self._update()

    def unpark(self, user: str) -> None:
        """The user's records take turns again."""
        line = self._parked.pop(user, None)
        if line is not None:
            self._of_user[user] = line
            self.pending += len(line)
            self.parked -= len(line)
            self._update()

    def line(self, user: str) -> int:
        """How many records of a user wait, with or without a turn."""
        return len(self._of_user.get(user, ())) + len(self._parked.get(user, ()))

    async def run(self, handle: Callable[[], Awaitable[None]]) -> None:
        """Calls `handle`, which takes a round, whenever something is pending, until cancelled.

        What was pending may be gone by then. Ends only between rounds: a state that was folded must reach the
        changelog. Raises what `handle` raises, also of the round in hand when it is cancelled.
        """
        while True:
            await self._work.wait()
            await self._gather()
            handling = asyncio.ensure_future(handle())
            try:
                await asyncio.shield(handling)
            except asyncio.CancelledError:
                while not handling.done():
                    with contextlib.suppress(asyncio.CancelledError):  # however often it is said
                        await asyncio.wait([handling])
                if not handling.cancelled() and (error := handling.exception()) is not None:
                    raise error from None
                raise

    def take(self, limit: float = ROUND) -> list[Pending[Payload]]:
        """The next round: a record of each user in turn, and again, each user's in order.

        It ends where the work comes to `limit`; that of one user comes to `OF_ONE` at most.
        Records of abandoned batches are passed over: they will be read again by their next owner.
        """
        taken: list[Pending[Payload]] = []
        work = 0.0
        of_user: defaultdict[str, float] = defaultdict(float)
        served: dict[str, deque[Pending[Payload]]] = {}
        while work < limit and self._of_user:
            user = next(iter(self._of_user))
            queue = self._of_user.pop(user)
            while queue:
                record = queue.popleft()
                self.pending -= 1
                if not record.batch.batch.abandoned:
                    taken.append(record)
                    cost = self._cost(record.payload)
                    work += cost
                    of_user[user] += cost
                    break
            if queue:  # to the end of the line, of this round or the next
                (served if of_user[user] >= OF_ONE else self._of_user)[user] = queue
        self._of_user.update(served)
        self._update()
        return taken

    def clear(self) -> None:
        """Forgets everything pending: their partitions are given away."""
        self._of_user.clear()
        self._parked.clear()
        self.pending = self.parked = 0
        self._update()

    def _queue(self, record: Pending[Payload]) -> None:
        if self._parked and record.user in self._parked:
            self._parked[record.user].append(record)
            self.parked += 1
            return
        self._of_user.setdefault(record.user, deque()).append(record)
        self.pending += 1

    async def _gather(self) -> None:
        """Lets in what has been fetched already: slices of one fetch come one after the other.

        Behind a backlog too: another user's click must not wait a round for each of the loop's turns.
        """
        before = -1
        while before < self.pending and before < ROUND:
            before = self.pending
            for _ in range(TURNS):
                await asyncio.sleep(0)

    def _update(self) -> None:
        _set(self._room, self.pending + self.parked < self.capacity)
        _set(self._work, self.pending > 0)


def _set(event: asyncio.Event, value: bool) -> None:
    if value:
        event.set()
    else:
        event.clear()
