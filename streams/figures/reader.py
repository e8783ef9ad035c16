"""Reads the topic `figures` from 15 s back, and goes on.

Owns a consumer of its own, without a group, and finding the broker again. What is heard is `heard`'s.
"""

import asyncio
import time

import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

from streams.figures.heard import Heard
from streams.figures.status import Status, status
from streams.settings import Settings
from streams.transport import clients
from streams.transport.feeds import new_reader
from streams.transport.topics import Names

log = structlog.get_logger()

BACK_MS = 15_000
_PAUSE_SECONDS = 0.5


class FiguresReader:
    """caught_up: set once all is read that stood there at the start."""

    def __init__(self, settings: Settings) -> None:
        self.heard = Heard()
        self.caught_up = asyncio.Event()
        self._settings, self._topic = settings, Names(settings.prefix).figures

    @property
    def status(self) -> Status:
        """What all say now, added up."""
        now_s = time.monotonic()
        return status(self.heard.living(now_s), self.heard.now_ms(now_s))

    async def run(self) -> None:
        """Until cancelled; goes on by itself when brokers come back."""
        while True:
            try:
                await self._read()
            except (KafkaError, OSError, LookupError) as error:
                log.debug("figures are not read while the broker does not answer", error=str(error))
            except Exception as error:  # a client's own fault must not end the reading for good
                log.warning("figures are read anew", fault=type(error).__name__, error=str(error))
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _read(self) -> None:
        consumer = new_reader(clients.async_connection(self._settings), self._topic)
        try:
            await consumer.start()
            ends = await self._seek(consumer)
            while True:
                if not self.caught_up.is_set() and await _is_behind(consumer, ends) is False:
                    self.caught_up.set()
                for records in (await consumer.getmany(timeout_ms=250)).values():
                    for record in records:
                        self.heard.hear(record.key, record.value, record.timestamp, time.monotonic())
        finally:
            await consumer.stop()

    async def _seek(self, consumer: AIOKafkaConsumer) -> dict[object, int]:
        """To where those who speak now have spoken: `BACK_MS` ago."""
        places = list(consumer.assignment())
        if not places:
            raise LookupError(f"there is no topic {self._topic} yet")
        ends = await consumer.end_offsets(places)
        since = int(time.time() * 1000) - BACK_MS
        found = await consumer.offsets_for_times(dict.fromkeys(places, since))
        for place in places:
            at = found.get(place)
            consumer.seek(place, ends[place] if at is None else at.offset)
        return dict(ends)


async def _is_behind(consumer: AIOKafkaConsumer, ends: dict[object, int]) -> bool:
    for place, end in ends.items():
        if await consumer.position(place) < end:
            return True
    return False
