"""`nextclick tune`: which settings of student and ranker predict this data's own future best.

Owns the search: its spaces, how a trial is scored, and how the time is shared. A trial trains on the first
part of the clicks and is scored on the newest fifth, which nothing of it has seen; the clicks given are the
training part, so that no test is looked at. The defaults are the first trial of each search and stand where
nothing beats them. Knows no files and no Kafka.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import optuna
import torch
from numpy.typing import NDArray

from learner.data.catalogue import Catalogue, Item
from learner.data.dataset import Interactions
from learner.judging.metrics import ndcg
from learner.models.ease import ease_rows, items_within
from learner.models.ranker_training import train_ranker
from learner.models.retrieval import retrieval_ndcg
from learner.models.run import Clock, Run
from learner.models.settings import RankerConfig, StudentConfig
from learner.models.student_training import train_student
from learner.ranking.columns import LAYOUT
from learner.ranking.lists import Lists, Wanted
from learner.release.live import LiveRelease
from learner.training.collect import Collect
from learner.training.crew import Tell
from learner.training.material import Material, prepare
from learner.training.options import TrainingOptions
from learner.training.packing import Trained, pack
from learner.training.settings import TrainingSettings
from learner.training.time_plan import LIST_S, REPLAY_S

FIRST, SCORED = 0.5, 0.8  # shares of the clicks where lists and where the scored part begin
STUDENT_SHARE = 0.5  # of the time, for students; lists take what they take, rankers the rest
MIN_EVENTS = 500  # below, the scored fifth says nothing
SCORED_EVENTS = 1500
MOST_LISTS = 12_000
NEGATIVES = 64
MARGIN = 1.005  # a setting must beat the default by this factor: differences below are noise


@dataclass(frozen=True)
class Found:
    """The best settings, and the figures: NDCG@10 of default and best, trials made, for each model."""

    settings: TrainingSettings
    figures: dict[str, dict[str, float]]


def search(
    data: Interactions, items: Sequence[Item], collect: Collect, options: TrainingOptions, *,
    trials: int | None = None, progress: Tell | None = None,
) -> Found:  # fmt: skip
    """Search within the time; `trials` bounds the number of trials of each model as well."""
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    seed, clock = options.seed, options.clock
    begun, seconds = clock(), 60 * options.budget_minutes
    tell = progress or (lambda _step, _share, _text: None)
    material = prepare(data, items, options)
    if len(material.data) < MIN_EVENTS:
        return Found(TrainingSettings(), {})
    left = seconds - (clock() - begun)
    students = _Search("student", seed, STUDENT_SHARE * left, trials, tell, clock)
    config, student_figures = students.run(lambda trial: _student_trial(trial, material, seed, students))
    left = seconds - (clock() - begun)
    lists, scored = _lists(material, config, collect, seed, 0.5 * left)
    figures = {"student": student_figures}
    ranker = RankerConfig()
    if len(lists) > 50 and len(scored) > 20:
        rankers = _Search("ranker", seed, seconds - (clock() - begun), trials, tell, clock)
        ranker, figures["ranker"] = rankers.run(
            lambda trial: _ranker_trial(trial, lists, scored, seed, rankers)
        )
    plain = StudentConfig()
    own = replace(
        config, prior_weight=plain.prior_weight, prior_half_life_ms=plain.prior_half_life_ms,
        event_weights=plain.event_weights,
    )  # fmt: skip
    # Where the defaults stand, each training goes on choosing the prior's weight by itself.
    return Found(TrainingSettings(own, ranker, None if own == plain else config.prior_weight), figures)


class _Search:
    """One study: trials until the time or their number is up, the best settings and what they gain."""

    def __init__(
        self, name: str, seed: int, seconds: float, trials: int | None, tell: Tell,
        clock: Clock,
    ) -> None:  # fmt: skip
        self.name, self.seconds, self.trials, self.tell, self.clock = name, seconds, trials, tell, clock
        self.begun = clock()
        self.study = optuna.create_study(
            direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=6)
        )

    @property
    def left(self) -> float:
        """Seconds left, at least one."""
        return max(self.seconds - (self.clock() - self.begun), 1.0)

    def run(self, objective: Callable[[optuna.Trial], float]) -> tuple[Any, dict[str, float]]:
        """Returns the best configuration (kept by the trials as `config`) and the figures."""
        slowest, last = 0.0, self.clock()
        while self.trials is None or len(self.study.trials) < self.trials:
            self.study.optimize(objective, n_trials=1)
            now = self.clock()
            slowest, last = max(slowest, now - last), now
            best, done = self.study.best_value, len(self.study.trials)
            share = min((now - self.begun) / max(self.seconds, 1e-9), 1.0)
            self.tell(self.name, share, f"{done} trials, NDCG@10 {best:.4f}")
            if self.left < 1.2 * slowest or done >= 200:
                break
        default = self.study.trials[0]
        best_trial = self.study.best_trial
        assert default.value is not None
        assert best_trial.value is not None
        chosen = best_trial if best_trial.value > MARGIN * default.value else default
        figures = {
            "default": default.value,
            "best": best_trial.value,
            "trials": float(len(self.study.trials)),
        }
        self.tell(self.name, 1.0, f"NDCG@10 {default.value:.4f} → {best_trial.value:.4f}")
        return chosen.user_attrs["config"], figures


def _student_trial(trial: optuna.Trial, material: Material, seed: int, own: _Search) -> float:
    config = StudentConfig(
        prior_half_life_ms=material.signals.half_lives_ms[material.tuning.popular_now],
        prior_weight=1.0,
        event_weights=material.event_weights,
    )
    if trial.number > 0:
        config = replace(
            config,
            layers=trial.suggest_int("layers", 1, 3),
            dropout=trial.suggest_float("dropout", 0.0, 0.5),
            id_dropout=trial.suggest_float("id_dropout", 0.0, 0.3),
            learning_rate=trial.suggest_float("learning_rate", 1e-3, 6e-3, log=True),
            weight_decay=trial.suggest_float("weight_decay", 0.003, 0.3, log=True),
            epochs=trial.suggest_int("epochs", 6, 24),
            window=trial.suggest_categorical("window", [50, 100, 200]),
            prior_weight=trial.suggest_categorical("prior_weight", [0.0, 0.3, 0.6, 1.0]),
        )
    data = material.data
    split = int(SCORED * len(data))
    student, _ = train_student(
        data, split, material.content, material.scale, config,
        Run(seed, own.left / 3, own.clock, name="student"),
    )  # fmt: skip
    trial.set_user_attr("config", config)
    return retrieval_ndcg(student, data, split, len(data), material.scale, limit=SCORED_EVENTS)


def _lists(
    material: Material, config: StudentConfig, collect: Collect, seed: int, seconds: float
) -> tuple[Lists, Lists]:
    """Lists to train rankers on and newer ones to score them, both by one student that is older still."""
    data = material.data
    n, first = len(data), int(FIRST * len(data))
    student, _ = train_student(
        data, first, material.content, material.scale, config, Run(seed, 0.3 * seconds, name="student")
    )
    ease = ease_rows(data, first, material.catalogue.size, limit=items_within(0.1 * seconds))
    live = LiveRelease(pack("r-search", material, Trained(student, ease), seed=seed), Catalogue())
    wanted = int(np.clip((0.6 * seconds - n * REPLAY_S) / LIST_S, 500, MOST_LISTS))
    found = collect(live, data, first, n, Wanted(wanted, NEGATIVES, seed)).answered()
    cut = int(len(found) * (SCORED - FIRST) / (1 - FIRST))
    return found.part(slice(0, cut)), found.part(slice(cut, None))


def _ranker_trial(trial: optuna.Trial, lists: Lists, scored: Lists, seed: int, own: _Search) -> float:
    config = RankerConfig()
    if trial.number > 0:
        wide = trial.suggest_categorical("width", [32, 64, 96, 128])
        config = replace(
            config,
            widths=(wide, wide // 2),
            dropout=trial.suggest_float("dropout", 0.0, 0.3),
            learning_rate=trial.suggest_float("learning_rate", 1e-3, 6e-3, log=True),
            weight_decay=trial.suggest_float("weight_decay", 1e-3, 0.1, log=True),
            epochs=trial.suggest_int("epochs", 3, 14),
        )
    ranker, _ = train_ranker(lists, config, Run(seed, own.left / 3, own.clock), layout=LAYOUT)
    trial.set_user_attr("config", config)
    return list_ndcg(ranker.scores(scored.features), scored)


def list_ndcg(scores: NDArray[np.float32], lists: Lists) -> float:
    """Mean NDCG@10 of scores (n, C) within answered lists; ties at their expected position."""
    own = scores[np.arange(len(lists)), lists.positive][:, None]
    above = ((scores > own) & lists.mask).sum(1)
    equal = ((scores == own) & lists.mask).sum(1)
    return float(ndcg(1.0 + above + 0.5 * (equal - 1)).mean())
