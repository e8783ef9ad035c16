"""Drift: whether lists have come to hit less often than they did.

Owns the detector on the live hit rate: ADWIN (Bifet & Gavalda, SIAM SDM 2007) as river has it. It takes
answers for independent, and a user's answers in a row are not: only every fifth of them counts.
(Means of blocks would not do: ADWIN's bound for values in [0, 1] sees no change in fifty of them.) Only a
fall is an alarm. Knows no releases.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

APART = 5  # answers of anybody from one answer of a user that counts to the next
DELTA = 0.002  # ADWIN's chance of a false alarm, river's default
LEAST_FALL = 0.1  # of the rate before; less is not worth a training


@dataclass(frozen=True)
class Alarm:
    """The hit rate before and since the change, and over how many answers each was measured."""

    before: float
    after: float
    answers_before: int
    answers_after: int

    def __str__(self) -> str:
        return (
            f"the hit rate fell from {self.before:.4f} (over {self.answers_before:,} answers) to "
            f"{self.after:.4f} (over {self.answers_after:,})"
        )


class HitRateDrift:
    """Feed it with every answer in order; not for two threads at once."""

    def __init__(self, *, apart: int = APART, delta: float = DELTA) -> None:
        from river.drift import ADWIN  # 3 s of imports, which only the learner needs

        self._kind: Any = ADWIN
        self._delta, self._apart = delta, apart
        self._detector: Any = None
        self._seen = 0  # answers
        self._recent: OrderedDict[str, int] = OrderedDict()  # users that counted: when, oldest first
        self._hits, self._answers = 0.0, 0  # in the detector's window
        self.reset()

    @property
    def rate(self) -> float:
        """The hit rate since the last change."""
        return float(self._detector.estimation)

    def observe(self, user_id: str, hit: bool) -> Alarm | None:
        """Takes one answer; returns an alarm where the rate has fallen."""
        self._seen += 1
        while self._recent and next(iter(self._recent.values())) <= self._seen - self._apart:
            self._recent.popitem(last=False)
        if user_id in self._recent:
            return None
        self._recent[user_id] = self._seen
        self._hits += hit
        self._answers += 1
        self._detector.update(float(hit))
        if not self._detector.drift_detected:
            return None
        after, width = self.rate, int(self._detector.width)
        gone = max(self._answers - width, 1)
        before = (self._hits - after * width) / gone
        self._hits, self._answers = after * width, width
        if after > before * (1 - LEAST_FALL):
            return None
        return Alarm(before, after, gone, width)

    def reset(self) -> None:
        """Another release is live: what was measured says nothing about it."""
        self._detector = self._kind(delta=self._delta)
        self._recent.clear()
        self._hits, self._answers = 0.0, 0
