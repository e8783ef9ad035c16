"""Says a process's figures once a second on the topic `figures`.

Owns a producer of its own: nobody waits for figures, and figures wait for nobody. While brokers are away
nothing is kept; what is said next is how things stand then. Knows no figure.
"""

import asyncio
import threading
import time

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from streams.figures.record import Speaker
from streams.settings import Settings
from streams.transport import clients
from streams.transport.topics import Names
from streams.wire.contract import encode

log = structlog.get_logger()

EVERY_SECONDS = 1.0
_PATIENCE_SECONDS = 5.0  # for one record's acknowledgement; then the next one is said
_END_SECONDS = 1.0  # nobody waits for a last record


async def say_figures(settings: Settings, speaker: Speaker, every_s: float = EVERY_SECONDS) -> None:
    """Until cancelled; goes on by itself when brokers come back, and ends no process, whatever happens."""
    topic, told = Names(settings.prefix).figures, False
    while True:
        try:
            await _speak(settings, topic, speaker, every_s)
        except (KafkaError, OSError, TimeoutError) as error:
            log.debug("figures are not said while the broker does not answer", error=str(error))
        except Exception as error:
            if not told:
                log.warning(
                    "figures cannot be said; all else goes on", error=f"{type(error).__name__}: {error}"
                )
            told = True
        await asyncio.sleep(every_s)


def say_figures_beside(settings: Settings, speaker: Speaker) -> None:
    """The same from a thread of its own, for a process without an event loop; ends with the process."""
    work = lambda: asyncio.run(say_figures(settings, speaker))  # noqa: E731
    threading.Thread(target=work, name="figures", daemon=True).start()


async def _speak(settings: Settings, topic: str, speaker: Speaker, every_s: float) -> None:
    producer = AIOKafkaProducer(acks=1, compression_type="gzip", **clients.async_connection(settings))
    clients.follow_moves(producer.client)
    try:
        await producer.start()
        due = time.monotonic()
        while True:
            value = encode(speaker.record())
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await producer.send_and_wait(topic, key=speaker.key.encode(), value=value)
            due = max(due + every_s, time.monotonic())  # late ones are left out, not made up for
            await asyncio.sleep(due - time.monotonic())
    finally:
        try:
            async with asyncio.timeout(_END_SECONDS):  # not wait_for: it may lose a cancellation
                await producer.stop()
        except (KafkaError, OSError, TimeoutError):
            await clients.abandon(producer)
            log.debug("the producer of figures did not end in time")
