"""Keeps a process that may have lost its place in a consumer group from writing.

A process that was paused past its session wakes up believing that it owns what another one owns by now;
what it appended would stand after the new owner's records. A broker that was away looks the same from here.
So where no heartbeat came for a session nothing is written until the group says that the place is still this
process's (then it goes on as if nothing had been), or that it is lost. Knows no topics.
"""

import os
import time
from typing import Any

from aiokafka.errors import KafkaError


class Fenced(KafkaError):  # type: ignore[misc] # noqa: N818 (a state of the process, and read aloud so)
    """Another process may own what this one was about to write. A KafkaError that no client retries."""

    exit_code = os.EX_TEMPFAIL  # 75: a start again is what helps


class Unsure(Fenced):
    """Whether another process owns it is not known yet. What is to be written waits: clients try again."""

    retriable = True


def alive_clock() -> float:
    """Seconds that also pass while the machine sleeps, as a session at the broker does."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Fence:
    """Open while heartbeats of the group's member succeed at least every `session_seconds`.

    lost: the group has said that this process is no member any more; until `renew`
    """

    def __init__(self, session_seconds: float) -> None:
        self.session_seconds = session_seconds
        self.last_heartbeat = alive_clock()
        self.lost = False
        self._coordinator: Any = None

    @property
    def silent(self) -> float:
        """Seconds since the group's last word; 0 while this member waits for others to join."""
        coordinator = self._coordinator
        joining = (
            coordinator is not None and coordinator.coordinator_id is not None
            and coordinator._performed_join_prepare
        )  # fmt: skip
        return 0.0 if joining else alive_clock() - self.last_heartbeat

    def renew(self) -> None:
        """The coordinator has just confirmed the membership."""
        self.last_heartbeat = alive_clock()
        self.lost = False

    def check(self) -> None:
        """Raises `Fenced` where the place is lost: what is known here may be another's by now."""
        if self.lost:
            raise Fenced("the place in the group is lost: another process may have taken over")

    def hold(self) -> None:
        """Asked for each request as it is written: raises `Fenced`, or `Unsure` where the session is over."""
        self.check()
        silent = alive_clock() - self.last_heartbeat
        if silent > self.session_seconds:
            raise Unsure(
                f"no heartbeat for {silent:.1f} s, longer than the session of {self.session_seconds:.0f} s: "
                "another process may have taken over"
            )

    def watch(self, consumer: Any) -> None:
        """Notes the heartbeats of a started aiokafka consumer, as of the moment each was sent.

        And whether the group lets go of its member. May be called in a thread of the consumer's.
        """
        self._coordinator = coordinator = consumer._coordinator
        beat, reset = coordinator._do_heartbeat, coordinator.reset_generation

        async def heartbeat() -> bool:
            sent = alive_clock()
            success = bool(await beat())
            if success:
                self.last_heartbeat = sent
            return success

        def reset_generation() -> None:
            self.lost = True
            reset()

        coordinator._do_heartbeat = heartbeat
        coordinator.reset_generation = reset_generation
