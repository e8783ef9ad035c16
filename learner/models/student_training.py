"""Training a sequence model on an event log: the student, and its teacher likewise.

Owns the steps over a log, the optimiser's care and early stopping. Knows neither candidates nor releases.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from learner.data.inputs import EventLog, ValueScale
from learner.models.item_content import ItemContent
from learner.models.lessons import Lessons, meet, settle
from learner.models.next_item_loss import NextItemLoss, SoftTargets
from learner.models.retrieval import retrieval_ndcg
from learner.models.run import Budget, Run
from learner.models.settings import StudentConfig
from learner.models.student import SequenceModel, Student
from learner.release.bundle import ReleaseError

MOST_SKIPPED = 0.02  # of the steps: above it the data, or the settings, are wrong
TOLD = 20  # steps between two words on the progress


@dataclass
class TrainingReport:
    """What happened in one training."""

    steps: int = 0
    epochs: float = 0.0
    seconds: float = 0.0
    loss: float = math.nan
    cut_by_time: bool = False
    skipped: int = 0  # steps whose gradient was not finite
    validation: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Check:
    """How good the model is, told by `measure` (more is better), so many times in a training."""

    measure: Callable[[], float]
    times: int = 4


def train_student(
    log: EventLog, stop: int, content: ItemContent, scale: ValueScale, config: StudentConfig,
    run: Run | None = None, *, soft: SoftTargets | None = None, validate_from: int | None = None,
) -> tuple[Student, TrainingReport]:  # fmt: skip
    """Train a new student on the first `stop` events of the log, as `train_model` says."""
    run = run or Run()
    torch.manual_seed(run.seed)
    student = Student(content, config)
    return student, train_model(student, log, stop, scale, run, soft=soft, validate_from=validate_from)


def train_model(
    model: SequenceModel, log: EventLog, stop: int, scale: ValueScale, run: Run | None = None, *,
    soft: SoftTargets | None = None, validate_from: int | None = None, check: Check | None = None,
) -> TrainingReport:  # fmt: skip
    """Train on the first `stop` events of the log; nothing later is looked at.

    With `validate_from` the events from there to `stop` are no targets; NDCG@10 on them is measured four
    times, training stops after `config.patience` checks without gain and the best weights are kept.
    `check` measures something else instead. `soft` are a teacher's targets beside the answers. The model
    comes freshly made, or trained before for a fine-tune. The result depends on the seed alone unless time
    cuts the plan short.
    """
    run = run or Run()
    begun, config = run.clock(), model.config
    rng = np.random.default_rng(run.seed)
    train_stop = stop if validate_from is None else validate_from
    lessons = Lessons.of(log, stop, train_stop, scale, model)
    meet(model, lessons)
    if not lessons.count.any():
        model.eval()
        return TrainingReport()
    if validate_from is not None and check is None:
        check = Check(
            lambda: retrieval_ndcg(
                model, log, train_stop, stop, scale, sequences=lessons.sequences, prior=lessons.prior
            )
        )
    loss = NextItemLoss(model, lessons.sequences, lessons.count, lessons.prior, soft, rng)
    epoch = sum(1 for _ in lessons.epoch(config.batch_events, np.random.default_rng(run.seed)))
    budget = Budget(epoch * config.epochs, run.budget_s - (run.clock() - begun), run.clock)
    best, descent = _Best(model, check), _Descent(model, budget, run)
    model.train()
    for start, length in lessons.epochs(config.batch_events, rng):
        going = budget.advance()
        best.look(budget.share if going else math.inf)
        if not going or best.waited >= config.patience:
            break
        descent.step(loss(start, length))
    best.restore()
    settle(model, lessons)
    model.eval()
    return TrainingReport(
        steps=budget.step, epochs=budget.step / epoch, seconds=run.clock() - begun, loss=descent.loss,
        cut_by_time=budget.cut, skipped=descent.skipped, validation=best.scores,
    )  # fmt: skip


class _Best:
    """Checks a model in training and keeps its best weights; `waited` checks have gone by without gain."""

    def __init__(self, model: SequenceModel, check: Check | None) -> None:
        self.model, self.check = model, check
        self.scores: list[float] = []
        self.waited = 0
        times = 0 if check is None else check.times
        self._due: list[float] = np.linspace(1.6 / max(times, 1), 1.0, times).clip(max=1.0).tolist()
        self._weights: dict[str, Tensor] | None = None

    def look(self, share: float) -> None:
        """Checks where one is due once `share` of the training is done."""
        if self.check is None or not self._due or share < self._due[0]:
            return
        self._due = [later for later in self._due if later > share]
        self.model.eval()
        score = self.check.measure()
        self.model.train()
        if score > max(self.scores, default=-1.0):
            self.waited = 0
            self._weights = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}
        else:
            self.waited += 1
        self.scores.append(score)

    def restore(self) -> None:
        """Gives the model its best weights back, if it has ever been checked."""
        if self._weights is not None:
            self.model.load_state_dict(self._weights)


class _Descent:
    """Steps of AdamW with warm-up and cosine; those without a finite gradient are left out."""

    def __init__(self, model: SequenceModel, budget: Budget, run: Run) -> None:
        config = model.config
        self.model, self.budget, self.run = model, budget, run
        self.skipped = 0
        self._losses: list[float] = []
        self._optimiser = torch.optim.AdamW(
            model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, betas=(0.9, 0.98)
        )

    @property
    def loss(self) -> float:
        """Mean of the last steps."""
        return float(np.mean(self._losses[-50:])) if self._losses else math.nan

    @property
    def rate(self) -> float:
        """Of learning, now."""
        config, budget = self.model.config, self.budget
        warm = min(1.0, budget.step / max(config.warmup_steps, 1))
        return config.learning_rate * (warm * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * budget.share))))

    def step(self, loss: Tensor) -> None:
        """Goes down the loss. Raises ReleaseError where too many steps cannot."""
        rate = self.rate
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        self._optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
        if torch.isfinite(norm):
            self._optimiser.step()
            self._losses.append(float(loss.detach()))
        else:  # one such step would make every weight NaN
            self._skip()
        step, losses = self.budget.step, self._losses
        if step % TOLD == 0 and losses:
            self.run.tell(self.budget.share, f"loss {np.mean(losses[-TOLD:]):.3f}")
            self.run.note("loss", losses[-1], step)
            self.run.note("learning_rate", rate, step)

    def _skip(self) -> None:
        self.skipped += 1
        if self.skipped > max(MOST_SKIPPED * self.budget.planned, 3):
            raise ReleaseError(
                f"{self.run.name}: {self.skipped} steps had no finite gradient: the training has diverged; "
                "lower the rate of learning, or look for values that are far out in the data"
            )
