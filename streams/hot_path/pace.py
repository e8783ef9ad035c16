"""Whether a release answers much more slowly than the one before it did.

Owns the rule: the median of a window against the usual one. Medians, since single rounds are long for many
reasons (garbage, other processes); by the work, since rounds come in all sizes, and a few who ask for much
must not make their release look slow. Pure: the caller measures.
"""

from collections import deque
from statistics import median

TIMES = 5.0  # so much slower is a fault and no noise
LEAST_MS = 5.0  # a list: below that nobody waits, however fast the release before was
WINDOW = 30  # rounds
_FIXED = 4  # what a round costs besides its lists, in lists


class Pace:
    """Times of rounds under one release."""

    def __init__(self) -> None:
        self._ms: deque[float] = deque(maxlen=WINDOW)

    def observe(self, seconds: float, lists: float) -> None:
        """A round of so much work, in usual lists, took `seconds`."""
        self._ms.append(1000 * seconds / (lists + _FIXED))

    @property
    def usual_ms(self) -> float | None:
        """Median milliseconds a list; None before there are enough rounds."""
        return median(self._ms) if len(self._ms) == WINDOW else None

    def slower_than(self, other: "Pace | None") -> str | None:
        """What to say where these rounds are several times slower than the other's; None where not."""
        if other is None or (now := self.usual_ms) is None or (usual := other.usual_ms) is None:
            return None
        if now < LEAST_MS or now < TIMES * usual:
            return None
        return f"a list takes {now:.1f} ms, against {usual:.1f} ms under the release before"
