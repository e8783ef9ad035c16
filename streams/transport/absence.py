"""A broker that is away: said in one line, once a minute how long, and in one line when it is back.

Owns when and how it is said, and keeps the clients from saying it dozens of times. Going on is the
business of everyone who talks to brokers. Knows no records.
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable

import structlog

from streams.transport.refused import heard

log = structlog.get_logger()

# A heartbeat is sent every two seconds at most, and what holds up this process is no fault of the broker's.
AWAY_SECONDS = 5.0
LOOK_SECONDS = 1.0
TOLD_SECONDS = 60.0
# What of Kafka's clients tells of connections, groups' places and what is fetched: all of it is tried again.
_TOLD_HERE = (
    "aiokafka", "aiokafka.conn", "aiokafka.client", "aiokafka.consumer.fetcher",
    "aiokafka.consumer.group_coordinator", "aiokafka.producer.sender",
    "kafka.net", "kafka.cluster", "kafka.coordinator", "kafka.consumer.fetcher",
)  # fmt: skip


class Absence:
    """`silent()`: seconds since the last word of the brokers; `check()` raises what ends the process."""

    def __init__(
        self, brokers: str, silent: Callable[[], float], check: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._brokers, self._silent, self._check, self._clock = brokers, silent, check, clock
        self._looked: float | None = None
        self._suspected = False
        self._since: float | None = None  # when they went
        self._told = 0.0

    def look(self) -> None:
        """To be called every second. Says what there is to say; raises what `check` does."""
        self._check()
        now, silent = self._clock(), self._silent()
        held_up = self._looked is not None and now - self._looked > 2 * LOOK_SECONDS
        self._looked = now
        if silent < AWAY_SECONDS:
            self._suspected = False
            if self._since is not None:
                log.info("the broker answers again", away_s=round(now - silent - self._since))
                self._since = None
        elif self._since is None:
            if self._suspected and not held_up:  # not for having been held up itself
                self._since, self._told = now - silent, now
                log.warning(
                    "the broker does not answer", brokers=self._brokers, seconds=round(silent), **_why(),
                    mend="this process waits and goes on by itself; nothing is lost. Is the broker running?",
                )  # fmt: skip
            self._suspected = True
        elif now - self._told >= TOLD_SECONDS:
            self._told = now
            log.warning(
                "the broker is still away", brokers=self._brokers, seconds=round(now - self._since), **_why(),
                mend="start it again, or stop this process and name yours with --bootstrap-servers; "
                "`nextclick doctor` looks for the reason",
            )  # fmt: skip

    async def watch(self) -> None:
        """Looks until it is cancelled."""
        hush()
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self.look()


def hush() -> None:
    """Of what is told here Kafka's clients say nothing."""
    for client in ("aiokafka", "kafka"):
        for handler in logging.getLogger(client).handlers:
            if _elsewhere not in handler.filters:
                handler.addFilter(_elsewhere)


class _Elsewhere(logging.Filter):
    """Keeps out of the log what is told here, and remembers when a login or certificate was refused."""

    refusal, at = "", -math.inf

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is logged."""
        if refusal := heard(record):
            self.refusal, self.at = refusal, time.monotonic()
        return record.name not in ("aiokafka", "kafka") and not record.name.startswith(_TOLD_HERE)


_elsewhere = _Elsewhere()


def _why() -> dict[str, str]:
    """What the clients have heard lately of a refusal."""
    return {"why": _elsewhere.refusal} if time.monotonic() - _elsewhere.at < TOLD_SECONDS else {}
