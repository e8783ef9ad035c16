"""A command that sends: it waits for a broker that goes away while it does, and says so.

Owns the producer's life. Knows no records.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaProducer

from streams.settings import Settings
from streams.transport import clients
from streams.transport.absence import Absence
from streams.transport.delivery import Acknowledgement, Delivery, Outgoing, new_producer

STOP_SECONDS = 5.0  # for a producer whose command has been told to end


class _Heard(Delivery):
    """Knows for how long the brokers have acknowledged nothing."""

    def __init__(self, producer: AIOKafkaProducer) -> None:
        super().__init__(producer)
        self._owed = 0
        self._heard = time.monotonic()  # the last acknowledgement, or when something was owed again

    def silent(self) -> float:
        """Seconds without an acknowledgement; 0 where none is owed."""
        return time.monotonic() - self._heard if self._owed else 0.0

    async def send(
        self, topic: str, records: Iterable[Outgoing], *, compressed: bool = False
    ) -> list[Acknowledgement]:
        """As `Delivery` does."""
        self._owe()
        try:
            futures = await super().send(topic, records, compressed=compressed)
        finally:
            self._owed -= 1
        for future in futures:
            self._owe()
            future.add_done_callback(self._paid)
        return futures

    def _owe(self) -> None:
        if not self._owed:
            self._heard = time.monotonic()
        self._owed += 1

    def _paid(self, _: Acknowledgement) -> None:
        self._owed -= 1
        self._heard = time.monotonic()


@asynccontextmanager
async def sending(settings: Settings) -> AsyncIterator[Delivery]:
    """A delivery through a producer of its own; what is not acknowledged when the block fails is given up."""
    producer = new_producer(clients.async_connection(settings))
    try:
        await producer.start()
    except BaseException:
        await producer.stop()
        raise
    delivery = _Heard(producer)
    absence = Absence(settings.bootstrap_servers, delivery.silent)
    watching = asyncio.create_task(absence.watch())
    try:
        yield delivery
    except BaseException:
        with contextlib.suppress(TimeoutError):  # it would wait for the broker
            await asyncio.wait_for(producer.stop(), STOP_SECONDS)
        raise
    else:
        await producer.stop()
        absence.look()  # it may have come back for the last of it
    finally:
        watching.cancel()
