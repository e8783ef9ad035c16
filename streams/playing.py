"""Sends recorded clicks as live traffic, at the recorded pace or another.

Owns when each click is due. The clicks keep their recorded times, whatever the pace: with `clock = stream`
the newest of them is what now means. Knows nothing of how the file is read.

Played many times faster than they were recorded, users would click again before anybody could have shown them
a list. Patient ones wait for it, as people do.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass

import numpy as np
from aiokafka import AIOKafkaConsumer
from numpy.typing import NDArray

from learner.events import INTEREST, KIND_OF_WORD
from streams import kafka_client
from streams.contract import UNREADABLE, Click, decode_list, encode
from streams.delivery import Acknowledgement, Delivery, Outgoing, new_producer
from streams.feeds import new_reader
from streams.recorded import RecordedClicks
from streams.settings import Settings
from streams.topics import Names

# Clicks that fall due within a millisecond leave in one request: no reader could tell them apart.
TICK_S = 0.001
# Sent in one go at most: the pace below stays even, and stopping is quick.
SLICE = 1000
# Without a limit, what waits for acknowledgement would grow to the whole file.
MAX_UNACKNOWLEDGED = 20_000
# Then even a patient user clicks again: workers may be away, or refuse the click.
PATIENCE_S = 5.0


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
    *,
    patient: bool = False,
) -> int:
    """Send a part of the recorded clicks; returns when all are acknowledged, with their number.

    `progress` is called with the number of clicks sent so far. Where users are `patient`, no user clicks
    before the list that the click before led to has come; the clicks stay in their order, so one such user
    holds up all that come later.
    """
    with kafka_client.admin(settings) as admin:
        from streams.topics import create_missing

        create_missing(admin, settings)
    return asyncio.run(_play(settings, clicks, part, pace, progress, patient))


async def _play(
    settings: Settings, clicks: RecordedClicks, part: range, pace: Pace, progress: Callable[[int], None],
    patient: bool,
) -> int:  # fmt: skip
    producer = new_producer(kafka_client.async_connection(settings))
    await producer.start()
    try:
        async with _users(settings) if patient else nullcontext() as users:
            return await _send(Delivery(producer), settings, clicks, part, pace, progress, users)
    finally:
        await producer.stop()


async def _send(
    delivery: Delivery, settings: Settings, clicks: RecordedClicks, part: range, pace: Pace,
    progress: Callable[[int], None], users: "_Users | None",
) -> int:  # fmt: skip
    topic = Names(settings.prefix).clicks
    due_s = pace.due_s(clicks.time_ms[part.start : part.stop])
    waiting: deque[Acknowledgement] = deque()
    started, sent = time.monotonic(), 0
    while sent < len(part):
        now_s = time.monotonic() - started
        if due_s[sent] > now_s:
            await asyncio.sleep(max(TICK_S, due_s[sent] - now_s))
            continue
        ready = min(int(np.searchsorted(due_s, now_s, side="right")), sent + SLICE)
        group: list[Outgoing] = []
        for click in clicks.clicks(range(part.start + sent, part.start + ready), history=False):
            if users is not None:
                if users.waits(click.user_id):
                    waiting += await delivery.send(topic, group)
                    group = []
                    await users.shown(click.user_id)
                users.clicked(click)
            group.append(Outgoing(click.user_id.encode(), encode(click)))
        waiting += await delivery.send(topic, group)
        sent = ready
        progress(sent)
        while waiting and (waiting[0].done() or len(waiting) * 8 > MAX_UNACKNOWLEDGED):
            await waiting.popleft()
    for future in waiting:
        await future
    return sent


class _Users:
    """Who has clicked and waits for a list."""

    def __init__(self) -> None:
        self._waiting: dict[str, tuple[str, asyncio.Event]] = {}  # by user: event id of the last click

    def clicked(self, click: Click) -> None:
        """A click that calls for a list has been sent."""
        if KIND_OF_WORD[click.event] in INTEREST:
            self._waiting[click.user_id] = click.event_id, asyncio.Event()

    def waits(self, user_id: str) -> bool:
        """Whether the user's last click has not been answered."""
        return user_id in self._waiting

    async def shown(self, user_id: str) -> None:
        """Returns when the user has got the list, or out of patience."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._waiting[user_id][1].wait(), PATIENCE_S)
        self._waiting.pop(user_id, None)

    async def read(self, consumer: AIOKafkaConsumer) -> None:
        """Takes lists as they come, until cancelled."""
        async for record in consumer:
            with suppress(*UNREADABLE):
                made = decode_list(record.value)
                event_id, shown = self._waiting.get(made.user_id, ("", None))
                if shown is not None and made.trigger.id == event_id:
                    del self._waiting[made.user_id]
                    shown.set()


@asynccontextmanager
async def _users(settings: Settings) -> AsyncIterator[_Users]:
    consumer = new_reader(kafka_client.async_connection(settings), Names(settings.prefix).recommendations)
    await consumer.start()
    try:
        await consumer.seek_to_end()
        users = _Users()
        reading = asyncio.create_task(users.read(consumer))
        yield users
        reading.cancel()
    finally:
        await consumer.stop()
