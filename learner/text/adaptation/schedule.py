"""When which step of an adaptation comes, how fast it learns, and when it has learned enough.

Owns the plan, the time and early stopping. Knows no network. Free of torch.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from learner.text.adaptation.options import AdaptationOptions

Kind = Literal["words", "twins", "clicks"]
JUDGED = 5  # times in each part of what clicks teach
_WARM_UP = 20  # steps
_SLOWEST = 0.05  # of the learning rate, at the end
_PATIENCE = 0.1  # of the time that passes before the plan is held against it


@dataclass(frozen=True)
class Stage:
    """A part of the plan: what teaches, how many layers learn, from which share of all to which."""

    kind: Kind
    layers: int
    begins: float
    ends: float


class Pace:
    """Steps planned, the stages they fall into, and the time for them.

    Fewer steps are made once time proves too short, each stage keeping its share: an adaptation that fits
    its time depends on its seed alone.
    """

    def __init__(
        self, options: AdaptationOptions, texts: int, clicked: int, clock: Callable[[], float], *,
        begun: float, step: int = 0, share: float = 0.0,
    ) -> None:  # fmt: skip
        """`texts` teach by themselves, the `clicked` first of them by clicks; `begun` by the clock."""
        parts: list[tuple[Kind, int, float]] = [
            ("words", max(options.layers), options.words * texts),
            ("twins", max(options.layers), options.twins * texts),
        ]
        parts += [
            ("clicks", layers, passes * clicked)
            for layers, passes in zip(options.layers, options.passes, strict=True)
        ]
        parts = [part for part in parts if part[2] > 0]
        self.planned = max(1, math.ceil(sum(part[2] for part in parts) / options.batch))
        total, ends = sum(part[2] for part in parts), 0.0
        self.stages: list[Stage] = []
        for kind, layers, work in parts:
            self.stages.append(Stage(kind, layers, ends, ends + work / total))
            ends += work / total
        self.seconds = 60 * options.minutes
        self._clock, self._begun = clock, begun
        self.step, self.cut = step, False
        self.share = max(share, step / self.planned)

    @property
    def spent_s(self) -> float:
        """Seconds, those of before a resumption too."""
        return self._clock() - self._begun

    def advance(self) -> bool:
        """Whether there is a next step, which then has begun."""
        spent = self.spent_s
        late = spent > _PATIENCE * self.seconds
        self.cut = self.cut or (late and spent * self.planned > self.seconds * max(self.step, 1))
        self.share = max(self.share, self.step / self.planned, spent / self.seconds if self.cut else 0.0)
        if self.share >= 1 - 1e-9:
            return False
        self.step += 1
        return True

    def skip(self) -> bool:
        """Goes on to the next stage; says whether there is one."""
        if self.stage is self.stages[-1]:
            return False
        self.share = self.stage.ends
        self.step = max(self.step, math.ceil(self.share * self.planned))
        return True

    @property
    def stage(self) -> Stage:
        """The one that the share falls into."""
        return next((each for each in self.stages if self.share < each.ends - 1e-9), self.stages[-1])

    @property
    def judgement(self) -> int:
        """How many judgements should have been: those of a stage by its share, none where no clicks teach."""
        stage = self.stage
        if stage.kind != "clicks":
            return 0
        done = (self.share - stage.begins) / (stage.ends - stage.begins)
        return JUDGED * self.stages.index(stage) + int(done * JUDGED + 1e-9)

    def rate(self, since: int) -> float:
        """Of the learning rate, after `since` steps of this kind: up at first, then down."""
        own = [each for each in self.stages if each.kind == self.stage.kind]
        done = (self.share - own[0].begins) / (own[-1].ends - own[0].begins)
        return min(1.0, (since + 1) / _WARM_UP) * max(_SLOWEST, 1 - done)


@dataclass
class Stopping:
    """Ends what no longer gets better. best: the figure so far; since: judgements after it."""

    patience: int
    best: float = field(default=-math.inf)
    since: int = 0

    def judged(self, figure: float) -> bool:
        """Takes a judgement; says whether it is the best one so far."""
        better = figure > self.best
        self.best, self.since = (figure, 0) if better else (self.best, self.since + 1)
        return better

    @property
    def ended(self) -> bool:
        """Whether enough judgements brought nothing."""
        return self.since >= self.patience
