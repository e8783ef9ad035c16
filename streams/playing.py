"""Sends recorded clicks as live traffic, at the recorded pace or another.

Owns when each click is due. The clicks keep their recorded times, whatever the pace: with `clock = stream`
the newest of them is what now means. Knows nothing of how the file is read.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streams import kafka_client
from streams.contract import encode
from streams.delivery import Acknowledgement, Delivery, Outgoing, new_producer
from streams.recorded import RecordedClicks
from streams.settings import Settings
from streams.topics import Names

# Clicks that fall due within a millisecond leave in one request: no reader could tell them apart.
TICK_S = 0.001
# Sent in one go at most: the pace below stays even, and stopping is quick.
SLICE = 1000
# Without a limit, what waits for acknowledgement would grow to the whole file.
MAX_UNACKNOWLEDGED = 20_000


@dataclass(frozen=True)
class Pace:
    """Times the recorded speed, or clicks a second (0: as fast as it goes)."""

    speed: float | None = None
    rate: float | None = None

    def due_s(self, time_ms: NDArray[np.int64]) -> NDArray[np.float64]:
        """When each click is due, in seconds after the first (n,) float64."""
        if self.rate is not None:
            return np.arange(len(time_ms)) / self.rate if self.rate else np.zeros(len(time_ms))
        due: NDArray[np.float64] = (time_ms - time_ms[0]) / 1000 / (self.speed or 1.0)
        return due


def play(
    settings: Settings,
    clicks: RecordedClicks,
    part: range,
    pace: Pace,
    progress: Callable[[int], None] = lambda _: None,
) -> int:
    """Send a part of the recorded clicks; returns when all are acknowledged, with their number.

    `progress` is called with the number of clicks sent so far.
    """
    with kafka_client.admin(settings) as admin:
        from streams.topics import create_missing

        create_missing(admin, settings)
    return asyncio.run(_play(settings, clicks, part, pace, progress))


async def _play(
    settings: Settings, clicks: RecordedClicks, part: range, pace: Pace, progress: Callable[[int], None]
) -> int:
    producer = new_producer(kafka_client.async_connection(settings))
    await producer.start()
    try:
        delivery, topic = Delivery(producer), Names(settings.prefix).clicks
        due_s = pace.due_s(clicks.time_ms[part.start : part.stop])
        waiting: deque[Acknowledgement] = deque()
        started, sent = time.monotonic(), 0
        while sent < len(part):
            now_s = time.monotonic() - started
            if due_s[sent] > now_s:
                await asyncio.sleep(max(TICK_S, due_s[sent] - now_s))
                continue
            ready = min(int(np.searchsorted(due_s, now_s, side="right")), sent + SLICE)
            places = range(part.start + sent, part.start + ready)
            waiting += await delivery.send(
                topic,
                [
                    Outgoing(click.user_id.encode(), encode(click))
                    for click in clicks.clicks(places, history=False)
                ],
            )
            sent = ready
            progress(sent)
            while waiting and (waiting[0].done() or len(waiting) * 8 > MAX_UNACKNOWLEDGED):
                await waiting.popleft()
        for future in waiting:
            await future
        return sent
    finally:
        await producer.stop()
