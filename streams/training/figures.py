"""What a trainer measures: its trainings, and what the gate made of candidates.

Owns nothing else; what a figure means stands in `streams.figures.table`.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from streams.figures.registry import Figures


class Measured:
    """The trainer's figures.

    new_clicks: kept since the live release's training, None before it was looked at
    """

    def __init__(self) -> None:
        self.figures = figures = Figures("trainer")
        self.new_clicks: int | None = None
        self._training = False
        self._trainings = figures.counts("nextclick_trainings_total")
        self._seconds = figures.counts("nextclick_training_seconds_total")
        self._decisions = figures.counts("nextclick_gate_decisions_total")
        self._failures = 0
        figures.tells("nextclick_training", lambda: self._training)
        figures.tells("nextclick_new_clicks", lambda: self.new_clicks)
        figures.tells("nextclick_trainer_failures_total", lambda: self._failures)

    @contextmanager
    def training(self, kind: str) -> Iterator[None]:
        """Around a training: what it cost, and how it ended."""
        used, self._training = time.process_time(), True
        outcome = "failed"
        try:
            yield
            outcome = "done"
        finally:
            self._training = False
            self._trainings.add(kind, outcome)
            self._seconds.add(kind, by=time.process_time() - used)

    def judged(self, decision: str) -> None:
        """The gate has decided on a candidate: passed, refused, or waits."""
        self._decisions.add(decision)

    def failed(self) -> None:
        """A step has failed."""
        self._failures += 1
