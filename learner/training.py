"""Makes a release from recorded clicks: the steps in their order, and what each may see.

Owns which part of the clicks each model sees. The ranker learns from lists that the serving pipeline
itself makes (`collect`, injected by `streams`), with models trained only on what came before them:

    0          35 %          60 %                100 %
    |-- student A --|  lists of A  |
    |------- student B ------------|    lists of B    |
    |------------------- final student ---------------|

Does not know candidates, features beyond their names, or Kafka.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from learner.catalogue import Catalogue, Item
from learner.content import ContentEncoder
from learner.dataset import Interactions
from learner.ease import EaseRows, ease_rows, items_within
from learner.features import FEATURES
from learner.lists import Collect, Lists
from learner.material import Material, pack, prepare
from learner.ranker import Ranker, RankerConfig, train_ranker
from learner.release import LiveRelease, release_id, write_release
from learner.student import Student, StudentConfig
from learner.student_training import TrainingReport, retrieval_ndcg, train_student
from learner.time_plan import LISTS_SHARE, Budget, Stage, plan_stages, slowness_of
from learner.tuning import Tuning

Progress = Callable[[str, float, str], None]
"""Called with the step's name, its finished share (0 to 1) and a short text."""

PRIOR_WEIGHTS = (0.0, 0.3, 1.0)
PRIOR_TRIAL_EVENTS = 40_000  # newest events that the prior's weight is chosen on
MIN_TRIAL_EVENTS = 2_000  # below, a trial says nothing and the prior is used: popularity is safe
NEGATIVES = 64  # candidates kept beside the clicked one
RANKER_SEEDS = 2  # rankers that are averaged


def train_release(
    data: Interactions, items: Sequence[Item], out: Path, collect: Collect, *, budget_minutes: float = 6.0,
    seed: int = 0, progress: Progress | None = None, repeat_consumption: bool | None = None,
    encoder: ContentEncoder | None = None, writer: Any = None,
    clock: Callable[[], float] = time.perf_counter,
) -> str:  # fmt: skip
    """Train on all of `data` and write a release to the folder `out`; return its id.

    `data` in any order, of any size from one click on; `items` may be empty, and need not have all items
    that were clicked. `repeat_consumption` None decides from the data. `writer` is a TensorBoard
    `SummaryWriter`. The same arguments give the same models where time does not cut training short.
    """
    torch.set_num_threads(1)  # models are small: a second thread costs more than it brings
    budget = Budget(60 * budget_minutes, clock)
    report = progress or _silent
    report("content", 0.0, f"{len(data):,} clicks, {len(items):,} announced items")
    material = prepare(data, items, seed, repeat_consumption, encoder)
    report("content", 1.0, f"{len(material.records):,} items")
    training = _Training(material, collect, budget, seed, report, writer, clock)
    rankers, student = training.run()
    release = release_id(int(time.time() * 1000))
    ease = training.ease(len(material.data))
    write_release(out, pack(release, material, student, rankers, ease, seed, training.metrics))
    report("release", 1.0, release)
    return release


def _silent(_step: str, _share: float, _text: str) -> None:
    """Progress that nobody wants to see."""


class _Training:
    """One run: the material, the time and what has been found out so far."""

    def __init__(
        self, material: Material, collect: Collect, budget: Budget, seed: int, report: Progress, writer: Any,
        clock: Callable[[], float],
    ) -> None:  # fmt: skip
        self.material, self.collect, self.budget, self.seed = material, collect, budget, seed
        self.report, self.writer, self.clock = report, writer, clock
        self.metrics: dict[str, Any] = {}
        signals, tuning = material.signals, material.tuning
        self.config = StudentConfig(
            prior_half_life_ms=signals.half_lives_ms[tuning.popular_now], prior_weight=1.0
        )

    def run(self) -> tuple[list[Ranker], Student]:
        """All steps; returns the rankers and the final student."""
        events = len(self.material.data)
        slowness = self._try_collect()
        stages = plan_stages(events, LISTS_SHARE * self.budget.left, slowness)
        for name in "AB":
            if name not in [stage.name for stage in stages]:
                self.budget.skip(f"student {name}")
        self._choose_prior(self.budget.take("prior"))
        parts = [self._lists(stage) for stage in stages]
        self.metrics["lists"] = {
            "slowness": slowness,
            "stages": [
                {"from": stage.start, "to": stage.stop, "asked": stage.lists, "answered": len(part)}
                for stage, part in zip(stages, parts, strict=True)
            ],
        }
        self.budget.skip("lists")
        student, trained = self._student(events, "student", self.writer)
        self.metrics["student"] = _figures(trained)
        lists = Lists.join(parts) if parts else _no_lists()
        return self._rankers(lists, self.budget.take("ranker")), student

    def ease(self, stop: int) -> EaseRows:
        """The item-item model of the first `stop` clicks, of as many items as 3 % of the time allow."""
        limit = items_within(0.03 * self.budget.seconds)
        return ease_rows(self.material.data, stop, self.material.catalogue.size, limit=limit)

    def _try_collect(self) -> float:
        """How slow this machine makes lists. The first, tiny run compiles and warms what it uses."""
        data, config = self.material.data, self.config
        if len(data) < MIN_TRIAL_EVENTS:
            return 1.0
        torch.manual_seed(self.seed)
        student = Student(self.material.content, config)
        bundle = pack("r-trial", self.material, student, None, self.ease(0), self.seed, {})
        self.report("lists", 0.0, "warming up")
        seconds = 0.0
        for stop, lists in ((300, 20), (1000, 200)):
            live = LiveRelease(bundle, Catalogue())
            begun = self.clock()
            self.collect(live, data, stop - lists, stop, lists=lists, negatives=NEGATIVES, seed=self.seed)
            seconds = self.clock() - begun
        return slowness_of(seconds, 1000, 200)

    def _choose_prior(self, budget_s: float) -> None:
        """Try each weight of the popularity prior on the newest clicks: four epochs, then the last tenth."""
        material = self.material
        data = material.data.at(slice(max(0, len(material.data) - PRIOR_TRIAL_EVENTS), None))
        found: dict[str, float] = {}
        if len(data) >= MIN_TRIAL_EVENTS:
            split = int(0.9 * len(data))
            for done, weight in enumerate(PRIOR_WEIGHTS):
                student, _ = train_student(
                    data, split, material.content, material.scale,
                    replace(self.config, prior_weight=weight, epochs=4), seed=self.seed,
                    budget_s=budget_s / len(PRIOR_WEIGHTS), clock=self.clock,
                )  # fmt: skip
                score = retrieval_ndcg(student, data, split, len(data), material.scale, limit=1000)
                found[str(weight)] = round(score, 5)
                self.report("prior", (done + 1) / len(PRIOR_WEIGHTS), f"weight {weight}: NDCG@10 {score:.4f}")
            best = max(PRIOR_WEIGHTS, key=lambda weight: found[str(weight)])
            self.config = replace(self.config, prior_weight=best)
        self.metrics["prior"] = {"weight": self.config.prior_weight, "ndcg@10": found}

    def _student(self, stop: int, name: str, writer: Any = None) -> tuple[Student, TrainingReport]:
        material = self.material
        trained = train_student(
            material.data, stop, material.content, material.scale, self.config, seed=self.seed,
            budget_s=self.budget.take(name), clock=self.clock, writer=writer,
            progress=lambda share, text: self.report(name, share, text),
        )  # fmt: skip
        self.report(name, 1.0, f"loss {trained[1].loss:.3f} after {trained[1].epochs:.1f} epochs")
        return trained

    def _lists(self, stage: Stage) -> Lists:
        """A stage's lists, made by the serving pipeline with models that know nothing from its start on."""
        student, _ = self._student(stage.start, f"student {stage.name}")
        step = f"lists {stage.name}"
        self.report(step, 0.0, f"up to {stage.lists:,}")
        bundle = pack("r-stage", self.material, student, None, self.ease(stage.start), self.seed, {})
        live = LiveRelease(bundle, Catalogue())
        found = self.collect(
            live, self.material.data.at(slice(stage.begin, None)), stage.start - stage.begin,
            stage.stop - stage.begin, lists=stage.lists, negatives=NEGATIVES, seed=self.seed,
        ).answered()  # fmt: skip
        self.report(step, 1.0, f"{len(found):,} answered")
        return Lists(found.features.astype(np.float16), found.positive, found.mask)  # half the memory

    def _rankers(self, lists: Lists, budget_s: float) -> list[Ranker]:
        rankers: list[Ranker] = []
        figures: list[dict[str, float]] = []

        def tell(share: float, text: str) -> None:
            self.report("ranker", (len(rankers) + share) / RANKER_SEEDS, text)

        for k in range(RANKER_SEEDS if len(lists) else 1):
            ranker, trained = train_ranker(
                lists, RankerConfig(), seed=self.seed + k, start=_blend(self.material.tuning),
                budget_s=budget_s / RANKER_SEEDS, progress=tell, clock=self.clock,
            )  # fmt: skip
            rankers.append(ranker)
            figures.append({"epochs": round(trained.epochs, 2), "seconds": round(trained.seconds, 1)})
            if math.isfinite(trained.loss):
                figures[-1]["loss"] = round(trained.loss, 4)
        self.metrics["ranker"] = {"lists": len(lists), "seeds": figures}
        self.report("ranker", 1.0, f"{len(lists):,} lists")
        return rankers


def _no_lists() -> Lists:
    return Lists(
        np.zeros((0, 2, len(FEATURES)), np.float32), np.zeros(0, np.int64), np.zeros((0, 2), np.bool_)
    )


def _figures(trained: TrainingReport) -> dict[str, Any]:
    return {
        "steps": trained.steps,
        "epochs": round(trained.epochs, 2),
        "seconds": round(trained.seconds, 1),
        "loss": round(trained.loss, 4) if math.isfinite(trained.loss) else None,
        "cut_by_time": trained.cut_by_time,
    }


def _blend(tuning: Tuning) -> NDArray[np.float32]:
    """Weights of the linear blend that the ranker begins with: popularity, the memory models, the student.

    It is what stands where there are too few lists to learn from.
    """
    start = np.zeros(len(FEATURES), np.float32)
    for name, weight in (
        ("student", 0.3), (f"popularity_{tuning.popular_now}", 0.5), (f"popularity_{tuning.popular}", 0.2),
        ("knn_10", 0.5), ("rules", 0.5),
    ):  # fmt: skip
        start[FEATURES.index(name)] = weight
    return start
