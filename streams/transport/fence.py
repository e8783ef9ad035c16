"""Keeps a process that has lost its place in a consumer group from writing.

A process that was paused past its session wakes up believing that it owns what another one owns by now;
what it appended would stand after the new owner's records. Knows no topics.
"""

import os
import time
from typing import Any

from aiokafka.errors import KafkaError


class Fenced(KafkaError):  # type: ignore[misc] # noqa: N818 (a state of the process, and read aloud so)
    """Another process may own what this one was about to write. A KafkaError that no client retries."""

    exit_code = os.EX_TEMPFAIL  # 75: a start again is what helps


def alive_clock() -> float:
    """Seconds that also pass while the machine sleeps, as a session at the broker does."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Fence:
    """Open while heartbeats of the group's member succeed at least every `session_seconds`."""

    def __init__(self, session_seconds: float) -> None:
        self.session_seconds = session_seconds
        self.last_heartbeat = alive_clock()

    def renew(self) -> None:
        """The coordinator has just confirmed the membership."""
        self.last_heartbeat = alive_clock()

    def check(self) -> None:
        """Raises `Fenced` where the session has ended as far as this process can know."""
        silent = alive_clock() - self.last_heartbeat
        if silent > self.session_seconds:
            raise Fenced(
                f"no heartbeat for {silent:.1f} s, longer than the session of {self.session_seconds:.0f} s: "
                "another process may have taken over. Restart this one; nothing is lost."
            )

    def watch(self, consumer: Any) -> None:
        """Notes the heartbeats of a started aiokafka consumer, as of the moment each was sent."""
        coordinator = consumer._coordinator
        beat = coordinator._do_heartbeat

        async def heartbeat() -> bool:
            sent = alive_clock()
            success = bool(await beat())
            if success:
                self.last_heartbeat = sent
            return success

        coordinator._do_heartbeat = heartbeat
