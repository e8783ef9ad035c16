"""How long a request waits for a click that its answer must know, and when nobody waits for its answer.

Owns both moments. Its click may come later, for topics overtake each other: until then the request stands in
nobody's way. It waits until all records up to the click's offset stand in the rounds; it then goes to the end
of its user's line, behind the click. Knows no states and no Kafka.
"""

import asyncio
import heapq
import time
from collections.abc import Callable, Sequence
from itertools import count
from typing import TypeVar

from streams.wire.contract import Request
from streams.wire.intake import Arrival
from streams.worker.rounds import Pending

WAIT_S = 10.0  # by then whoever asked has given up, and what stands behind the request is not marked
MOST = 8192  # that wait at once, as many as may be pending: of more the first one goes on
_EARLY_S = 0.05  # before `expires_at`: an answer must be made and sent by then
_LOOK_S = 0.02  # between two looks while some wait
_GONE = 64  # entries of those that wait no longer, beside as many as wait

N = TypeVar("N", int, float)


class Patience:
    """`reached(partition)`: the offset in `clicks` before which all stands in the rounds.

    `again` is given what has waited. `counts`: the worker's, which this raises two of: `expired_requests`
    were dropped, `behind_requests` went on without the click. `wall_s` tells Unix time whatever clock decays
    go by, for whoever asks waits in it; `clock` tells any time. Both in seconds.
    """

    def __init__(
        self, reached: Callable[[int], int], again: Callable[[Pending[Arrival]], None],
        counts: dict[str, int],
        wall_s: Callable[[], float] = time.time, clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._reached = reached
        self._again = again
        self._counts = counts
        self._wall_s, self._clock = wall_s, clock
        self._numbers = count()
        self._waiting: dict[int, Pending[Arrival]] = {}  # by their numbers, the first come first
        # Heaps, also of those that have gone: by partition one of (offset, number), and one of (end, number).
        self._by_offset: dict[int, list[tuple[int, int]]] = {}
        self._by_end: list[tuple[float, int]] = []
        self._some = asyncio.Event()

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def keeps(self, record: Pending[Arrival]) -> bool:
        """Whether a record that has just come waits here for now."""
        message = record.payload.message
        if not isinstance(message, Request) or (wish := message.at_least) is None:
            return False
        if self._reached(wish.partition) > wish.offset:
            return False
        left_s = WAIT_S
        if message.expires_at is not None:
            left_s = message.expires_at / 1000 - self._wall_s()
            left_s = min(left_s - min(_EARLY_S, left_s / 2), WAIT_S)
            if left_s <= 0:
                return False
        number = next(self._numbers)
        self._waiting[number] = record
        heapq.heappush(self._by_offset.setdefault(wish.partition, []), (wish.offset, number))
        heapq.heappush(self._by_end, (self._clock() + left_s, number))
        self._forget_gone()
        if len(self._waiting) > MOST:
            self._go_without(next(iter(self._waiting)))
        self._some.set()
        return True

    def release(self, partition: int) -> None:
        """More of a partition's clicks stands in the rounds."""
        offsets = self._by_offset.get(partition)
        if not offsets:
            return
        reached = self._reached(partition)
        while offsets and offsets[0][0] < reached:
            record = self._waiting.pop(heapq.heappop(offsets)[1], None)
            if record is not None:
                self._again(record)

    def look(self) -> None:
        """Lets go whose click has been passed by, and who has waited long enough."""
        for partition in list(self._by_offset):
            self.release(partition)
            if not self._by_offset[partition]:
                del self._by_offset[partition]
        now = self._clock()
        while self._by_end and (self._by_end[0][0] <= now or self._by_end[0][1] not in self._waiting):
            number = heapq.heappop(self._by_end)[1]
            if number in self._waiting:
                self._go_without(number)

    def awaited(self, taken: Sequence[Pending[Arrival]]) -> list[Pending[Arrival]]:
        """Those whose answers somebody waits for; the others are dropped and done."""
        left = []
        for record in taken:
            message = record.payload.message
            if (
                isinstance(message, Request)
                and message.expires_at is not None
                and message.expires_at < self._wall_s() * 1000
            ):
                self._counts["expired_requests"] += 1
                record.done()
            else:
                left.append(record)
        return left

    def clear(self) -> None:
        """Forgets all that waits: its partitions are given away."""
        self._waiting.clear()
        self._by_offset.clear()
        self._by_end.clear()

    async def run(self) -> None:
        """Looks while some wait; until cancelled."""
        while True:
            await self._some.wait()
            while self._waiting:
                self.look()
                await asyncio.sleep(_LOOK_S)
            self._some.clear()

    def _forget_gone(self) -> None:
        """Who has gone on stays in the heaps: until an offset that may never come, or an end far away."""
        most = 2 * len(self._waiting) + _GONE
        if len(self._by_end) > most:
            self._by_end = self._still(self._by_end)
        if sum(map(len, self._by_offset.values())) > most:
            self._by_offset = {partition: self._still(heap) for partition, heap in self._by_offset.items()}

    def _still(self, heap: list[tuple[N, int]]) -> list[tuple[N, int]]:
        left = [each for each in heap if each[1] in self._waiting]
        heapq.heapify(left)
        return left

    def _go_without(self, number: int) -> None:
        self._counts["behind_requests"] += 1
        self._again(self._waiting.pop(number))
