"""How long nothing has come from the learner, and a word on it while there is something to tell of.

Owns the warning. Lists go on from the signals known so far. Knows no signals.
"""

import time
from collections.abc import Callable

import structlog

log = structlog.get_logger()

STALE_SECONDS = 5.0


class Silence:
    """Begins with the process; `end()` whenever the learner is heard. `clock` in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._heard_at = clock()
        self._clicks = 0
        self._told = False

    @property
    def seconds(self) -> float:
        """Since the learner was last heard, while there are clicks for it to tell of."""
        return self._clock() - self._heard_at

    def end(self) -> None:
        """The learner has been heard."""
        self._heard_at = self._clock()

    def watch(self, clicks: int) -> None:
        """Warns when clicks flow and the learner is silent; `clicks`: how many there have been so far."""
        if clicks == self._clicks:
            self._heard_at = max(self._heard_at, self._clock() - STALE_SECONDS / 2)
        self._clicks = clicks
        silent = self.seconds
        if silent > STALE_SECONDS and not self._told:
            self._told = True
            log.warning(
                "signals are stale: nothing from the learner",
                seconds=round(silent, 1),
                mend="is `nextclick learner` running? Lists go on from the signals known so far",
            )
        elif self._told and silent < STALE_SECONDS:
            self._told = False
            log.info("signals are fresh again")
