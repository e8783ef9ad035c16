"""What time it is for whatever decays: the wall clock's time, or the newest event time seen.

Owns which event times are bad input and how far one event may move the stream's clock. Pure: the wall
clock's time is an argument. Shared by worker and learner; the learner, which sees all partitions, tells
the workers its clock through `signals`.
"""

from typing import Literal

from learner.data.times import DAY_MS
from streams.wire.second_reading import unit_of

# Further ahead than this, one event is taken for a mistake of its producer...
LEAP_MS = 30 * DAY_MS
# ...until as many users agree that time has gone on.
WITNESSES = 10


class Clock:
    """`kind` "wall" (production) or "stream" (demo, replay: recorded clicks keep their own times).

    `max_future_ms`: how far ahead of the wall clock an event may be before it is bad input, for a
    producer's clock is never exact. With "stream" recorded times are compared, and nothing may be ahead.
    """

    def __init__(self, kind: Literal["wall", "stream"], max_future_ms: int = 300_000) -> None:
        self.kind = kind
        self.max_future_ms = max_future_ms if kind == "wall" else 0
        self._newest_ms: int | None = None
        self._ahead: dict[str, int] = {}  # users with an event more than a leap ahead: their earliest such
        # While fewer users than that are near the clock, a first event from the future can still be
        # put right: users near it, and times of those who lie a leap or more behind it.
        self._near: set[str] | None = set()
        self._behind: dict[str, int] = {}

    def refuses(self, timestamp_ms: int, wall_ms: int) -> str | None:
        """Why an event with this time is bad input, or None."""
        if timestamp_ms < 0:
            return f"timestamp lies before 1970; expected Unix milliseconds: {timestamp_ms}"
        if timestamp_ms == 0 and self.kind == "wall":
            return "timestamp is 0, which is what an unset field holds; send Unix milliseconds: 0"
        unit = unit_of(timestamp_ms)
        # Recorded times may begin at 0, so those of a stream are not taken for seconds.
        if unit is not None and (self.kind == "wall" or unit != "seconds"):
            return f"Unix {unit}? send milliseconds: timestamp is {timestamp_ms}"
        if timestamp_ms > wall_ms + self.max_future_ms:
            # In whole seconds: a division of integers without bound overflows a float.
            return (
                f"timestamp ahead of the clock; at most {self.max_future_ms // 1000} s are taken: "
                f"{timestamp_ms} is {(timestamp_ms - wall_ms) // 1000} s ahead (expected Unix milliseconds)"
            )
        return None

    def now_ms(self, wall_ms: int) -> int:
        """The time now, Unix ms; the wall clock's as long as a stream has not begun."""
        if self.kind == "wall" or self._newest_ms is None:
            return wall_ms
        return self._newest_ms

    def observe(self, timestamp_ms: int, user_id: str) -> None:
        """An event of the user with this time was seen."""
        now = self._newest_ms
        if now is None:
            now = timestamp_ms
        if timestamp_ms > now + LEAP_MS:
            self._witness(timestamp_ms, user_id, now)
            return
        if self._near is not None:
            now = self._settle(timestamp_ms, user_id, now)
        self._newest_ms = max(now, timestamp_ms)

    def hear(self, now_ms: int) -> None:
        """The learner's clock: it has seen events of all partitions."""
        if now_ms > 0:
            self._newest_ms = max(now_ms, self._newest_ms or 0)
            self._near = None

    def bounded(self, timestamp_ms: int) -> int:
        """The time as it may enter decayed sums: an event a leap ahead counts as of now."""
        if self._newest_ms is None or timestamp_ms <= self._newest_ms + LEAP_MS:
            return timestamp_ms
        return self._newest_ms

    def _witness(self, timestamp_ms: int, user_id: str, now: int) -> None:
        """Ten users a leap ahead move the clock to the earliest of their times."""
        self._ahead[user_id] = min(timestamp_ms, self._ahead.get(user_id, timestamp_ms))
        if len(self._ahead) < WITNESSES:
            return
        # The clock may have caught up with some of them in its own time: those witness nothing.
        self._ahead = {user: time_ms for user, time_ms in self._ahead.items() if time_ms > now + LEAP_MS}
        if len(self._ahead) < WITNESSES:
            return
        self._newest_ms = min(self._ahead.values())
        self._near = None
        # What is still a leap ahead goes on waiting for witnesses; the rest moves the clock as usual.
        waiting, self._ahead = sorted(self._ahead.items(), key=lambda entry: entry[1]), {}
        for user, time_ms in waiting:
            self.observe(time_ms, user)

    def _settle(self, timestamp_ms: int, user_id: str, now: int) -> int:
        """The clock after an event that is not ahead, while few users have confirmed the clock."""
        assert self._near is not None
        if timestamp_ms >= now - LEAP_MS:
            self._near.add(user_id)
            if len(self._near) >= WITNESSES:
                self._near, self._behind = None, {}
            return now
        self._behind[user_id] = max(timestamp_ms, self._behind.get(user_id, timestamp_ms))
        others = {user: time_ms for user, time_ms in self._behind.items() if user not in self._near}
        if len(others) < WITNESSES:
            return now
        self._near, self._behind = None, {}
        return max(others.values())
