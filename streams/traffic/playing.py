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
import structlog
from aiokafka import AIOKafkaConsumer
from numpy.typing import NDArray

from streams.recorded.clicks import RecordedClicks
from streams.settings import Settings
from streams.transport import clients
from streams.transport.delivery import Acknowledgement, Delivery, Outgoing
from streams.transport.feeds import new_reader
from streams.transport.sending import sending
from streams.transport.topics import Names, create_missing
from streams.wire.contract import UNREADABLE, Click, decode_list, encode

log = structlog.get_logger()

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
    with clients.admin(settings) as admin:
        create_missing(admin, settings)
    return asyncio.run(_play(settings, clicks, part, pace, progress, patient))


async def _play(
    settings: Settings, clicks: RecordedClicks, part: range, pace: Pace, progress: Callable[[int], None],
    patient: bool,
) -> int:  # fmt: skip
    async with sending(settings) as delivery, _users(settings) if patient else nullcontext() as users:
        return await _send(delivery, settings, clicks, part, pace, progress, users)


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
                    began = time.monotonic()
                    await users.shown(click.user_id)
                    started += time.monotonic() - began  # nobody makes up for the time that somebody waited
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
    """Who has clicked and waits for a list; `gave_up` counts those who got none in time."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self.gave_up = 0
        # By user: the last click's event id, and what is done when its list has come.
        self._waiting: dict[str, tuple[str, asyncio.Future[None]]] = {}
        self._reading = asyncio.create_task(self._read(consumer))

    def stop(self) -> None:
        """Takes no more lists."""
        self._reading.cancel()

    def clicked(self, click: Click) -> None:
        """A click is about to be sent; where it calls for a list, its user waits for that."""
        if click.is_interest:
            self._waiting[click.user_id] = click.event_id, asyncio.get_running_loop().create_future()

    def waits(self, user_id: str) -> bool:
        """Whether the user's last click has not been answered."""
        return user_id in self._waiting

    async def shown(self, user_id: str) -> None:
        """Returns when the user has got the list, or is out of patience. Raises what reading raised."""
        if user_id not in self._waiting:
            return
        event_id, shown = self._waiting[user_id]
        await asyncio.wait([shown, self._reading], timeout=PATIENCE_S, return_when=asyncio.FIRST_COMPLETED)
        if self._reading.done():
            self._reading.result()
        if self._waiting.pop(user_id, None) is not None:
            self.gave_up += 1
            if self.gave_up == 1:
                log.warning(
                    "a user clicks again without a list", user=user_id, event_id=event_id,
                    waited_s=PATIENCE_S,
                    mend="is a worker at work, with the same clock? Were these clicks played before?",
                )  # fmt: skip

    async def _read(self, consumer: AIOKafkaConsumer) -> None:
        async for record in consumer:
            with suppress(*UNREADABLE):
                made = decode_list(record.value)
                event_id, shown = self._waiting.get(made.user, ("", None))
                if shown is not None and made.trigger.id == event_id:
                    del self._waiting[made.user]
                    shown.set_result(None)


@asynccontextmanager
async def _users(settings: Settings) -> AsyncIterator[_Users]:
    consumer = new_reader(clients.async_connection(settings), Names(settings.prefix).recommendations)
    await consumer.start()
    try:
        await consumer.seek_to_end()
        users = _Users(consumer)
        try:
            yield users
        finally:
            users.stop()
            if users.gave_up:
                log.warning("users who clicked again without a list", clicks=users.gave_up)
    finally:
        await consumer.stop()
