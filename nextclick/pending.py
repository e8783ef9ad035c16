"""Clicks that wait to be sent, in their order: when they are due, and what has become of them.

Owns the bounds and the bookkeeping; a thread or a task sends (`nextclick.client`, `nextclick.async_client`).
"""

import itertools
import logging
from collections import deque
from dataclasses import dataclass

from nextclick.errors import BufferFull, ClicksNotSent
from nextclick.records import Click, NotTaken, encode
from nextclick.sending import MOST_CLICKS, with_id

log = logging.getLogger("nextclick")

MOST_REFUSED = 1_000  # kept with what is wrong; further ones are logged and counted
_FIRST_PAUSE = 0.5  # seconds after a try that failed; twice as many after each further one


@dataclass(frozen=True)
class Bounds:
    """Of a buffer. size: clicks that make it send at once; seconds: how long a click waits before that.

    most: clicks that may wait; full_s: how long `add` waits for room before it says BufferFull
    """

    size: int = 100
    seconds: float = 1.0
    most: int = 10_000
    full_s: float = 30.0

    def __post_init__(self) -> None:
        if not 0 < self.size <= self.most or self.seconds < 0 or self.full_s < 0:
            raise ValueError(f"{self}: expected 0 < size <= most, and no negative times")


class Pending:
    """What waits. Not safe for two threads at once: whoever has it holds a lock."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds, self.trouble = bounds, ""
        self._clicks: deque[Click] = deque()
        self._since = 0.0  # when the first of them came
        self._failed, self._failed_at = 0, 0.0
        self._refused: list[tuple[Click, str]] = []
        self._more_refused = 0

    def __len__(self) -> int:
        return len(self._clicks)

    @property
    def is_full(self) -> bool:
        """Whether there is no room for another one."""
        return len(self._clicks) >= self.bounds.most

    def full(self) -> BufferFull:
        """What `add` says when there was no room for too long."""
        why = f"; the last try: {self.trouble}" if self.trouble else ""
        return BufferFull(f"{len(self)} clicks wait, and the server has not taken any for too long{why}")

    def add(self, click: Click, now: float) -> None:
        """Another one. Raises TypeError or ValueError where it cannot be written as JSON."""
        encode(made := with_id(click))
        if not self._clicks:
            self._since = now
        self._clicks.append(made)

    def due_in(self, now: float, *, at_once: bool = False) -> float | None:
        """Seconds until there is something to send; None where nothing waits."""
        if not self._clicks:
            return None
        full = at_once or len(self._clicks) >= self.bounds.size
        due = now if full else self._since + self.bounds.seconds
        patience = _FIRST_PAUSE if at_once else min(10.0, _FIRST_PAUSE * 2.0 ** min(self._failed, 8))
        return max(0.0, max(due, self._failed_at + patience if self._failed else 0.0) - now)

    def first(self) -> list[Click]:
        """What is to be sent now. It waits on until it is settled."""
        return list(itertools.islice(self._clicks, MOST_CLICKS))

    def settle(self, sent: list[Click], errors: list[NotTaken], now: float) -> None:
        """What became of `sent`, which are the first ones: taken, refused, or to be sent again."""
        wrong = {each.index: each for each in errors}
        again = []
        for index, click in enumerate(sent):
            self._clicks.popleft()
            error = wrong.get(index)
            if error is not None and error.retry:
                again.append(click)
            elif error is not None:
                self._refuse(click, f"{error.pointer or '/'}: {error.detail}")
        self._clicks.extendleft(reversed(again))
        self._since = now
        if again:
            self.failed(wrong[next(n for n, each in wrong.items() if each.retry)].detail, now)
        else:
            self._failed, self.trouble = 0, ""

    def failed(self, why: str, now: float) -> None:
        """Nothing of it was taken; the next try comes later, up to ten seconds."""
        if not self._failed:
            log.warning("clicks wait, as the server does not take them: %s", why)
        self.trouble, self._failed = why, self._failed + 1
        self._failed_at = now

    def told(self, *, ending: bool) -> ClicksNotSent | None:
        """What went wrong since it was last told: refused ones, and at the end those that were not sent."""
        refused, more = self._refused, self._more_refused
        unsent = list(self._clicks) if ending else []
        self._refused, self._more_refused = [], 0
        if ending:
            self._clicks.clear()
        return ClicksNotSent(refused, more, unsent) if refused or unsent else None

    def _refuse(self, click: Click, why: str) -> None:
        log.error("a click was refused: %s", why)  # of whom and on what is nobody's business in a log
        if len(self._refused) < MOST_REFUSED:
            self._refused.append((click, why))
        else:
            self._more_refused += 1


def joined(*some: ClicksNotSent | None) -> ClicksNotSent | None:
    """What went wrong in all of them; None where nothing did."""
    found = [each for each in some if each is not None]
    if not found:
        return None
    return ClicksNotSent(
        [one for each in found for one in each.refused], sum(each.more_refused for each in found),
        [one for each in found for one in each.unsent],
    )  # fmt: skip
