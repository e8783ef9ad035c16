"""Makes a release from recorded clicks: the steps in their order, and what each may see.

Owns which part of the clicks each model sees. The ranker learns from lists that the serving pipeline
itself makes (`collect`, injected by `streams`), with models trained only on what came before them:

    0          25 %        45 %           70 %          100 %
    |- student A -| lists of A |
    |------ student B ---------|  lists of B  |
    |----------- student C -------------------| lists of C |
    |----------------- final student -----------------------|

These four are jobs of their own (`jobs`), as are the rankers that then learn from all lists; a
`Crew` does them beside each other where there are cores. Then this process trains nothing and loads no
torch: it would take hundreds of MB beside theirs. Does not know candidates, features beyond their names, or
Kafka.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from learner.data.catalogue import Item
from learner.data.dataset import Interactions
from learner.training.collect import Collect
from learner.training.crew import Crew, Job, Tell
from learner.training.material import prepare
from learner.training.options import TrainingOptions
from learner.training.settings import TrainingSettings
from learner.training.shared import Made, Shared, join_lists
from learner.training.time_plan import (
    CONTENT_SHARE,
    LIST_S,
    LISTS_SHARE,
    REPLAY_S,
    STUDENT_S,
    Budget,
    Stage,
    plan_stages,
    shares_of,
    texts_within,
)

PRIOR_WEIGHTS = (0.0, 0.3, 1.0)
MIN_TRIAL_EVENTS = 2_000  # below, a trial says nothing and the prior is used: popularity is safe
RANKER_SEEDS = 2  # rankers that are averaged
ENSEMBLE = 4  # rankers that teach them, where they are taught
# Times a student's cost that one with teachers takes: a transformer's 5, a recurrence's 1, its own 1.5.
TAUGHT = 8.0
LEAST_LEARNING = 0.3  # of the models' time, for the students
LATE = 1.5  # times its planned time that a stage's list making may take at least before it passes over asks


def train_release(
    data: Interactions, items: Sequence[Item], out: Path, collect: Collect,
    options: TrainingOptions | None = None, progress: Tell | None = None,
) -> str:  # fmt: skip
    """Train on all of `data` and write a release to the folder `out`; return its id.

    `data` in any order, of any size from one click on; `items` may be empty, and need not have all items
    that were clicked. The same arguments give the same models where time does not cut training short.
    """
    options = options or TrainingOptions()
    budget = Budget(60 * options.budget_minutes, options.clock)
    report = progress or _silent
    report("content", 0.0, f"{len(data):,} clicks, {len(items):,} announced items")
    read = texts_within(CONTENT_SHARE * budget.seconds)
    material = prepare(data, items, options, read)
    report("content", 1.0, f"{len(material.records):,} items")
    out.parent.mkdir(parents=True, exist_ok=True)
    # Beside the release and not among the system's temporary files, which may lie in memory; what a killed
    # training leaves is swept when the release is written.
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", suffix=".partial", dir=out.parent) as scratch:
        settings = options.settings or TrainingSettings()
        shared = Shared(material, collect, settings, options.seed, budget.seconds, Path(scratch))
        with Crew(shared, options.processes, report, options.clock, options.noted) as crew:
            release = _Training(shared, crew, budget, report, out).run()
    report("release", 1.0, release)
    return release


def _silent(_step: str, _share: float, _text: str) -> None:
    """Progress that nobody wants to see."""


class _Training:
    """One run: what its jobs share, the time and what has been found out so far."""

    def __init__(self, shared: Shared, crew: Crew[Shared], budget: Budget, report: Tell, out: Path) -> None:
        self.shared, self.crew, self.budget = shared, crew, budget
        self.report, self.out = report, out
        self.metrics: dict[str, Any] = {}
        material, settings = shared.material, shared.settings
        self.config = replace(
            settings.student,
            prior_half_life_ms=material.signals.half_lives_ms[material.tuning.popular_now],
            prior_weight=1.0 if settings.prior is None else settings.prior,
            event_weights=material.event_weights,
        )

    def run(self) -> str:
        """All steps; returns the release's id."""
        slowness = self._try_collect()
        self._choose_prior(self.budget.take("prior"))
        # What is left now is shared by models and rankers; lists are a part of the former's time.
        seconds = LISTS_SHARE * self.budget.left * self.crew.processes
        stages = plan_stages(len(self.shared.material.data), seconds, slowness)
        final, folders = self._models(stages, self.budget.take("models"), slowness)
        lists, sizes = self.shared.scratch / "lists" if folders else None, list[int]()
        if lists is not None:
            sizes = join_lists(folders, lists)
        rankers = self._rankers(lists, self.budget.take("ranker"))
        made = Made(final, rankers, lists, sizes, self.metrics)
        return str(self.crew.run([_job("release_job", self.out, made)])[0])

    def _try_collect(self) -> float:
        """How slow this machine makes lists.

        Compiling is done once an installation, takes half a minute, and is not held against the budget: a
        release for two minutes should not be a worse one the first time.
        """
        if len(self.shared.material.data) < MIN_TRIAL_EVENTS:
            return 1.0
        slowness, warming_s = self.crew.apart(_job("probe_job", self.config))
        self.budget.forgive(warming_s)
        self.report("lists", 1.0, f"{slowness:.1f} times the time of a quiet machine")
        return float(slowness)

    def _choose_prior(self, budget_s: float) -> None:
        """Tries each weight of the popularity prior on the newest clicks."""
        found: dict[str, float] = {}
        if self.shared.settings.prior is None and len(self.shared.material.data) >= MIN_TRIAL_EVENTS:
            costs = [1.0] * len(PRIOR_WEIGHTS)
            jobs = [
                _job("prior_job", replace(self.config, prior_weight=weight), seconds)
                for weight, seconds in zip(
                    PRIOR_WEIGHTS, shares_of(costs, budget_s, self.crew.processes), strict=True
                )
            ]
            scores = self.crew.run(jobs)
            found = {str(weight): score for weight, score in zip(PRIOR_WEIGHTS, scores, strict=True)}
            best = max(PRIOR_WEIGHTS, key=lambda weight: found[str(weight)])
            self.config = replace(self.config, prior_weight=best)
        weight = self.config.prior_weight
        self.report("prior", 1.0, f"weight {weight}")
        self.metrics["prior"] = {"weight": weight, "ndcg@10": found}

    def _models(self, stages: Sequence[Stage], budget_s: float, slowness: float) -> tuple[Path, list[Path]]:
        """The file of final student and item-item model, and the folders of each stage's lists."""
        events, epochs = len(self.shared.material.data), self.config.epochs
        learning = [STUDENT_S * epochs * stop for stop in (*(stage.start for stage in stages), events)]
        if self.shared.settings.distil:
            learning[-1] *= TAUGHT
        listing = [
            slowness * (REPLAY_S * (stage.stop - stage.begin) + LIST_S * stage.lists) for stage in stages
        ]
        # Lists come first: they are as many as there is time for, and a student with less of it still learns.
        processes = self.crew.processes
        # How many times over the time holds what is planned, where it does.
        slack = max(1.0, budget_s * processes / (sum(learning) + sum(listing) or 1.0))
        left = max(budget_s - slack * sum(listing) / processes, LEAST_LEARNING * budget_s)
        times = shares_of(learning, left, processes)
        late = max(LATE, slack)
        jobs = [
            _job("stage_job", self.config, stage, student_s, late * lists_s, cost=cost + lists_s)
            for stage, student_s, lists_s, cost in zip(
                stages, times[:-1], listing, learning[:-1], strict=True
            )
        ]
        jobs.append(_job("final_job", self.config, times[-1], cost=learning[-1]))
        *made, (final, self.metrics["student"]) = self.crew.run(jobs)
        self.metrics["lists"] = {
            "slowness": slowness,
            "stages": [
                {"from": stage.start, "to": stage.stop, "asked": stage.lists, "answered": answered}
                for stage, (_, answered) in zip(stages, made, strict=True)
            ],
        }
        return final, [folder for folder, answered in made if answered]

    def _rankers(self, lists: Path | None, budget_s: float) -> list[Path]:
        """The files of the rankers that are averaged."""
        count = RANKER_SEEDS if lists is not None else 1
        teachers = ENSEMBLE if lists is not None and self.shared.settings.distil else 0
        processes = self.crew.processes
        waves = -(-teachers // processes) + -(-count // processes)  # the ones come after the others
        seconds = budget_s / waves if teachers else shares_of([1.0] * count, budget_s, processes)[0]
        taught = self.crew.run([_job("ranker_job", lists, count + k, seconds) for k in range(teachers)])
        ensemble = [ranker for ranker, _, _ in taught]
        made = self.crew.run([_job("ranker_job", lists, k, seconds, ensemble) for k in range(count)])
        total = made[0][2]
        self.metrics["ranker"] = {"lists": total, "seeds": [figures for _, figures, _ in made]}
        self.report("ranker", 1.0, f"{total:,} lists")
        return [ranker for ranker, _, _ in made]


def _job(name: str, *arguments: Any, cost: float = 1.0) -> Job[Shared]:
    """One of `jobs`, by name: their module loads torch, which only who does them is to do."""
    return Job(f"learner.training.jobs:{name}", arguments, cost)
