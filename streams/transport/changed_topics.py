"""What becomes of the topics while a process runs on them: partitions are added, topics are made anew.

Owns when it is looked for and what is said. Knows no record.
"""

import asyncio
import os
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import structlog
from kafka.errors import KafkaError

from streams.settings import Settings, SettingsError
from streams.transport import clients
from streams.transport.growth import Grown
from streams.transport.topics import Names

log = structlog.get_logger()

LOOK_SECONDS = 20.0
TOLD_SECONDS = 60.0  # between two lines of the same


class MadeAnew(Exception):  # noqa: N818 (it names what is the matter)
    """A topic was deleted and made again: what this process knows of its offsets is of another one."""

    exit_code = os.EX_TEMPFAIL  # 75: a start again is what helps


class Gone(MadeAnew):
    """A topic is not there any more, also at a second look. The next start makes it."""


class Seen(NamedTuple):
    """What a topic is now; `identity` is empty where brokers tell none (before 2.8)."""

    partitions: int
    identity: str


Look = dict[str, Seen]


def look(settings: Settings) -> Look:
    """The topics as they are now, by name; those that are not there are left out. Blocks."""
    with clients.admin(settings) as admin:
        described: list[dict[str, Any]] = admin.describe_topics(list(Names(settings.prefix).all()))
    return {
        topic["name"]: Seen(len(topic["partitions"]), str(topic.get("topic_id") or ""))
        for topic in described if topic["error_code"] == 0
    }  # fmt: skip


class ChangedTopics:
    """Compares looks with the first one. `partitions` is what the process reads of each topic; None: all."""

    def __init__(
        self, settings: Settings, partitions: int | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings, self._partitions, self._clock = settings, partitions, clock
        self._first: Look = {}
        self._by_user = Names(settings.prefix).copartitioned
        self._states = Names(settings.prefix).user_states
        self._gone: set[str] = set()  # at the last look
        self._told_s: float | None = None

    def compare(self, seen: Look) -> None:
        """Says it where partitions are left unread, once a minute; raises MadeAnew, Gone or Grown."""
        gone = self._first.keys() - seen.keys()
        if again := sorted(gone & self._gone):
            raise Gone(
                f"the topic {again[0]} was deleted while this process ran on it; start it again, which makes "
                "the topic anew (`nextclick doctor` looks at all of them)"
            )
        self._gone = gone
        for name, topic in seen.items():
            before = self._first.setdefault(name, topic)
            if topic.identity != before.identity:
                raise MadeAnew(
                    f"the topic {name} was deleted and made anew while this process ran on it; start it "
                    "again (signals of the old topic: `nextclick reset` begins anew)"
                )
        if self._partitions is None:
            return
        states = seen.get(self._states)
        if states is not None and states.partitions > self._partitions:
            raise Grown(f"{self._states} has {states.partitions} partitions, not {self._partitions}")
        more = {
            name: seen[name].partitions for name in self._by_user
            if name in seen and seen[name].partitions > self._partitions
        }  # fmt: skip
        if more and (self._told_s is None or self._clock() - self._told_s >= TOLD_SECONDS):
            self._told_s = self._clock()
            log.error(
                "partitions were added, and are not read",
                topics=", ".join(f"{name} has {count}" for name, count in more.items()),
                read=self._partitions,
                mend="what is sent there waits: stop workers and learner, run `nextclick topics repair "
                f"--bootstrap-servers {self._settings.bootstrap_servers} --prefix {self._settings.prefix}`, "
                "and start them again",
            )

    async def watch(self) -> None:
        """Looks until it is cancelled; a broker that does not answer is none of its business."""
        while True:
            try:
                self.compare(await asyncio.to_thread(look, self._settings))
            except (KafkaError, clients.BrokerUnreachable, SettingsError, OSError) as error:
                # The broker is away, or a password is just being renewed.
                log.debug("the topics cannot be looked at", error=str(error))
            await asyncio.sleep(LOOK_SECONDS)
