"""Sends what has changed in the signals to topic `signals`, at most every interval.

Owns the order in which workers may rely on: items' records first, then the record under the key ""
that says up to which clicks everything has been sent. Knows nothing of clicks.
"""

import asyncio
import contextlib
import time
from collections.abc import Sequence

from learner.signals.record import FRONTIER
from learner.signals.state import Signals
from streams.transport.delivery import Acknowledgement, Delivery, Outgoing, acknowledged

_ENCODED_AT_ONCE = 64  # records between two turns for heartbeats
_SHARE = (
    4  # sending may take a fifth of the learner's time while old clicks are read, as in a load of history
)


class SignalsPublisher:
    """`interval_ms` 0: after every stretch of clicks, as soon as the one before has been acknowledged."""

    def __init__(self, signals: Signals, delivery: Delivery, topic: str, interval_ms: int) -> None:
        self.signals = signals
        self.published = 0  # records of items acknowledged
        self._delivery = delivery
        self._topic = topic
        self._interval = interval_ms / 1000
        self._changed = asyncio.Event()
        self._hurried = asyncio.Event()
        self._sent_offsets: dict[int, int] = {}

    def changed(self, *, old: bool = False) -> None:
        """Clicks have been counted, or an item has got a vector; `old`: by what nobody waits for any more."""
        self._changed.set()
        if not old:
            self._hurried.set()

    async def run(self) -> None:
        """Publishes until cancelled; raises what sending raises."""
        loop = asyncio.get_running_loop()
        while True:
            await self._changed.wait()
            started, worked = loop.time(), time.thread_time()
            await self.publish()
            await self._pause(loop.time() - started, time.thread_time() - worked)

    async def _pause(self, took: float, worked: float) -> None:
        """After a publishing of `took` seconds, `worked` of them by this thread.

        What has held it up (another thread's imports, a slow broker) is no reason for a longer pause, and
        somebody who clicks now does not wait for a pause that a load of history has earned.
        """
        if not self._interval:
            return
        least = max(self._interval - took, min(worked, self._interval))
        await asyncio.sleep(least)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._hurried.wait(), max(_SHARE * worked - least, 0))

    async def publish(self) -> int:
        """Sends the records of all items that changed, then the frontier; returns how many items.

        Clicks may be counted meanwhile: an item's record then knows more than the frontier says, which
        is sent as it was before the first of them was encoded. Items of one that fails or is cancelled on its
        way are sent again by the next: a frontier never says more than what has gone out.
        """
        self._changed.clear()
        self._hurried.clear()
        items, frontier = self.signals.drain(), self.signals.frontier_record()
        offsets = dict(self.signals.offsets)
        if not items and offsets == self._sent_offsets:
            return 0
        try:
            await self._send(items, frontier)
        except BaseException:
            self.signals.touched.update(items)
            raise
        self._sent_offsets = offsets
        self.published += len(items)
        return len(items)

    async def _send(self, items: Sequence[int], frontier: bytes) -> None:
        end = [Outgoing(FRONTIER.encode(), frontier)]
        # Within one partition the order of sending is the order of reading: no need to wait in between.
        one_partition = await self._delivery.partitions(self._topic) == 1
        futures: list[Acknowledgement] = []
        ids = self.signals.catalogue.ids
        for start in range(0, len(items), _ENCODED_AT_ONCE):
            records = [
                Outgoing(ids[item].encode(), self.signals.record(item))
                for item in items[start : start + _ENCODED_AT_ONCE]
            ]
            if one_partition and start + _ENCODED_AT_ONCE >= len(items):
                records, end = records + end, []
            futures += await self._delivery.send(self._topic, records)
            await asyncio.sleep(0)
        await acknowledged(futures)
        await acknowledged(await self._delivery.send(self._topic, end))
