"""How one training goes: its seed, the time it may take, who watches it, and how its steps keep to the time.

Owns what trainings of all models share beside what they learn from. Knows no model.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

Clock = Callable[[], float]
Progress = Callable[[float, str], None]
"""Called with the finished share (0 to 1) and a short text."""
Note = Callable[[str, float, int], None]
"""Called with the name of a curve, a point's value and its step."""


@dataclass(frozen=True)
class Run:
    """One training. `noted` is told of its curves; `name` is what curves and errors call it."""

    seed: int = 0
    budget_s: float = math.inf
    clock: Clock = time.perf_counter
    progress: Progress | None = None
    noted: Note | None = None
    name: str = "model"

    def tell(self, share: float, text: str) -> None:
        """Tells of progress whoever wants to know."""
        if self.progress is not None:
            self.progress(share, text)

    def note(self, figure: str, value: float, step: int) -> None:
        """Adds a point to one of the run's curves."""
        if self.noted is not None:
            self.noted(f"{self.name}/{figure}", value, step)


class Budget:
    """Steps planned and the time for them: fewer are made once time proves too short.

    Time is looked at only after the share `patience` of it, and only shortens the plan where the steps would
    not fit: a training that fits its budget depends on its seed alone.

    step: steps begun; share: of the training that is done, 0 to 1; cut: the plan has been shortened
    """

    def __init__(self, steps: int, seconds: float, clock: Clock, patience: float = 0.1) -> None:
        self.planned, self.seconds, self.clock, self.patience = max(steps, 1), seconds, clock, patience
        self.begun = clock()
        self.step = 0
        self.share = 0.0
        self.cut = False

    @property
    def elapsed(self) -> float:
        """Seconds since it was made."""
        return self.clock() - self.begun

    def advance(self) -> bool:
        """Whether there is a next step, which then has begun."""
        if self.seconds <= 0:  # what came before has used it up
            self.cut = True
            return False
        elapsed = self.elapsed
        late = elapsed > self.patience * self.seconds
        self.cut = self.cut or (late and elapsed * self.planned > self.seconds * max(self.step, 1))
        self.share = max(self.share, self.step / self.planned, elapsed / self.seconds if self.cut else 0.0)
        if self.share >= 1:
            return False
        self.step += 1
        return True
