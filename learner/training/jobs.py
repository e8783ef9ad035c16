"""The jobs of a training: what each trains, on which clicks, and what it leaves behind.

Owns the parts that can be done beside each other; `train` says when and with how much time. Each starts
from its seed alone, so it does not matter which process does it. Lists and models are left in files: lists
are large, and who plans a training is not to load torch for its models.
"""

import math
import pickle
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from learner.data.catalogue import Catalogue
from learner.models.calibration import Calibration
from learner.models.cold_start import fit_cold_start
from learner.models.distill import ensemble_scores, teacher_targets, train_teachers
from learner.models.next_item_loss import SoftTargets
from learner.models.ranker import Ranker
from learner.models.ranker_training import train_ranker
from learner.models.retrieval import retrieval_ndcg
from learner.models.run import Clock, Run
from learner.models.sequences import encode_histories
from learner.models.settings import StudentConfig
from learner.models.student import Student
from learner.models.student_training import TrainingReport, train_student
from learner.models.unclicked import Unclicked
from learner.ranking.columns import FEATURES, LAYOUT
from learner.ranking.lists import Lists, Wanted, let_go
from learner.release.bundle import release_id
from learner.release.files import write_release
from learner.release.live import LiveRelease
from learner.signals.settings import DEPTH_HALF_LIVES, SignalSettings
from learner.text.card import EncoderError
from learner.text.content import HASHED
from learner.text.export_encoder import exported
from learner.training.crew import Telling, trim
from learner.training.packing import Trained, pack
from learner.training.shared import Made, Shared, keep_lists, lists_in
from learner.training.time_plan import Stage, slowness_of
from learner.training.tuning import Tuning

CALIBRATED = 8000  # newest answered lists that an item's offset is learned from: some seconds
NEGATIVES = 48  # candidates kept beside the clicked one
PRIOR_TRIAL_EVENTS = 40_000  # newest events that the prior's weight is chosen on
PRIOR_TRIAL_EPOCHS = 4
TEACHER_SHARE = 0.8  # of the final student's time, at most, where teachers are trained before it

torch.set_num_threads(1)  # models are small: a second thread costs more than it brings


def probe_job(shared: Shared, tell: Telling, clock: Clock, config: StudentConfig) -> tuple[float, float]:
    """How slow this machine makes lists; and seconds of the first, tiny run, which compiles what it uses."""
    data = shared.material.data
    torch.manual_seed(shared.seed)
    student = Student(shared.material.content, config)
    bundle = pack("r-trial", shared.material, Trained(student, shared.ease(0)), seed=shared.seed)
    tell("lists", 0.0, "warming up")

    def seconds_for(stop: int, lists: int) -> float:
        live = LiveRelease(bundle, Catalogue())
        begun = clock()
        shared.collect(live, data, stop - lists, stop, Wanted(lists, NEGATIVES, shared.seed))
        return clock() - begun

    warming_s = seconds_for(300, 20)
    return slowness_of(seconds_for(1000, 200), 1000, 200), warming_s


def prior_job(shared: Shared, tell: Telling, clock: Clock, config: StudentConfig, budget_s: float) -> float:
    """NDCG@10 of a short-trained student on the last tenth of the newest clicks."""
    material = shared.material
    data = material.data.at(slice(max(0, len(material.data) - PRIOR_TRIAL_EVENTS), None))
    split = int(0.9 * len(data))
    student, _ = train_student(
        data, split, material.content, material.scale, replace(config, epochs=PRIOR_TRIAL_EPOCHS),
        Run(shared.seed, budget_s, clock, name="student"),
    )  # fmt: skip
    score = retrieval_ndcg(student, data, split, len(data), material.scale, limit=1000)
    tell("prior", 0.5, f"weight {config.prior_weight}: NDCG@10 {score:.4f}")
    return round(score, 5)


def stage_job(
    shared: Shared, tell: Telling, clock: Clock, config: StudentConfig, stage: Stage, student_s: float,
    lists_s: float,
) -> tuple[Path, int]:  # fmt: skip
    """A stage's answered lists, made by the serving pipeline with models that know nothing from its start on.

    Returns the folder where they are, and their number.
    """
    run = Run(shared.seed, max(student_s, 0.0), clock, partial(tell, f"student {stage.name}"), name="student")
    student, _ = _student(shared, config, stage.start, run)
    material, data = shared.material, shared.material.data
    begun = clock()
    tell(f"lists {stage.name}", 0.0, f"up to {stage.lists:,}")
    folder = shared.scratch / f"lists-{stage.name}"
    folder.mkdir()
    bundle = pack("r-stage", material, Trained(student, shared.ease(stage.start)), seed=shared.seed)
    vectors = encode_histories(student, data, material.scale, start=stage.start, stop=stage.stop)
    del student
    trim()
    left_s = max(lists_s - (clock() - begun), 0.5 * lists_s)
    found = shared.collect(
        LiveRelease(bundle, Catalogue()), data.at(slice(stage.begin, None)), stage.start - stage.begin,
        stage.stop - stage.begin,
        Wanted(stage.lists, NEGATIVES, shared.seed, left_s, clock, folder),
        vectors,
    ).answered()  # fmt: skip
    keep_lists(found, folder)
    tell(f"lists {stage.name}", 1.0, f"{len(found):,} answered")
    return folder, len(found)


def final_job(
    shared: Shared, tell: Telling, clock: Clock, config: StudentConfig, budget_s: float
) -> tuple[Path, dict[str, Any]]:
    """The file of the student that serves and the item-item model beside it, and figures of the training."""
    data = shared.material.data
    begun = clock()
    ease = shared.ease(len(data))
    soft = None
    if shared.settings.distil:
        soft = _taught(shared, tell, clock, config, TEACHER_SHARE * (budget_s - (clock() - begun)))
    left = max(budget_s - (clock() - begun), 0.0)
    run = Run(shared.seed, left, clock, partial(tell, "student"), tell.note, "student")
    student, trained = _student(shared, config, len(data), run, soft)
    figures = {
        "steps": trained.steps,
        "epochs": round(trained.epochs, 2),
        "seconds": round(trained.seconds, 1),
        "loss": round(trained.loss, 4) if math.isfinite(trained.loss) else None,
        "cut_by_time": trained.cut_by_time,
        "skipped": trained.skipped,
    }
    return _left((student, ease), shared.scratch / "final"), figures


def ranker_job(
    shared: Shared, tell: Telling, clock: Clock, folder: Path | None, number: int, budget_s: float,
    ensemble: Sequence[Path] = (),
) -> tuple[Path, dict[str, float], int]:  # fmt: skip
    """The file of one of the rankers, figures of its training and how many lists it had.

    It learns from the lists in `folder`, and from the scores of an ensemble too, where there is one.
    """
    lists = _no_lists() if folder is None else lists_in(folder)
    soft = ensemble_scores([_read(file) for file in ensemble], lists) if ensemble else None
    run = Run(shared.seed + number, budget_s, clock, partial(tell, "ranker"), tell.note, f"ranker/{number}")
    ranker, trained = train_ranker(
        lists, shared.settings.ranker, run, soft=soft, start=_blend(shared.material.tuning), layout=LAYOUT
    )
    if number == 0 and len(lists):  # the others read the same lists, and an average has the first one's
        material, deviation = shared.material, (1 / ranker.inverse).numpy()
        begin = newcomers_order(material.signals, material.tuning.popular_now, deviation)
        ranker.cold_start = fit_cold_start(lists, ranker.standardise, FEATURES.index("user_events"), begin)
    figures = {"epochs": round(trained.epochs, 2), "seconds": round(trained.seconds, 1)}
    if math.isfinite(trained.loss):
        figures["loss"] = round(trained.loss, 4)
    return _left(ranker, shared.scratch / f"ranker-{number}"), figures, len(lists)


def release_job(shared: Shared, tell: Telling, _clock: Clock, out: Path, made: Made) -> str:
    """Packs the models into a release in the folder `out`; returns its id."""
    student, ease = _read(made.final)
    rankers = [_read(file) for file in made.rankers]
    parts = [] if made.lists is None else lists_in(made.lists).parts(made.sizes)
    offsets, unclicked = calibration_of(parts, rankers, len(shared.material.records))
    release = release_id(int(time.time() * 1000))
    bundle = pack(
        release, shared.material, Trained(student, ease, rankers, offsets, unclicked), seed=shared.seed,
        metrics=made.metrics, distil=shared.settings.distil,
    )  # fmt: skip
    encoder = shared.material.encoder
    if encoder.name != HASHED:
        kept = (encoder.cache.folder or shared.scratch) / "encoders"
        try:
            bundle.query_encoder = exported(encoder.card, encoder.folder, kept)
        except (EncoderError, OSError) as error:  # queries are then read by their words
            tell("release", 0.5, f"without an encoder of queries: {error}")
    write_release(out, bundle)
    return release


def _left(model: Any, file: Path) -> Path:
    file.write_bytes(pickle.dumps(model))
    return file


def _read(file: Path) -> Any:
    """A model that another job of this training has left."""
    return pickle.loads(file.read_bytes())  # noqa: S301 (our own)


def calibration_of(
    parts: Sequence[Lists], rankers: Sequence[Ranker], items: int
) -> tuple[NDArray[np.float32], float]:
    """What the newest lists, `parts` in order of time, say of each item (items,) beyond the rankers' scores,
    and of those that nobody has clicked yet.

    They are lists that the rankers have learned from, so they say less than new ones would.
    """
    calibration, unclicked, newest, left = Calibration(), Unclicked(), list[Lists](), CALIBRATED
    for lists in reversed(parts):
        newest.insert(0, lists.part(slice(max(len(lists) - left, 0), None)))
        left -= len(newest[0])
        if not left:
            break
    for part in newest:
        scores = np.mean([ranker.scores(part.features) for ranker in rankers], axis=0).astype(np.float32)
        calibration.learn(part, scores)
        unclicked.learn(part, scores)
        let_go(part.features)
    return calibration.offsets(items), unclicked.offset()


def _student(
    shared: Shared, config: StudentConfig, stop: int, run: Run, soft: SoftTargets | None = None
) -> tuple[Student, TrainingReport]:
    material = shared.material
    student, report = train_student(
        material.data, stop, material.content, material.scale, config, run, soft=soft
    )
    learned = f"loss {report.loss:.3f} after {report.epochs:.1f} epochs"
    run.tell(1.0, learned if report.steps else "no time was left to learn in, or nothing to learn from")
    return student, report


def _taught(
    shared: Shared, tell: Telling, clock: Clock, config: StudentConfig, budget_s: float
) -> SoftTargets:
    """What teachers, trained for it, say of all clicks."""
    material, data = shared.material, shared.material.data
    teachers, reports = train_teachers(
        data, len(data), material.content, material.scale, config,
        Run(shared.seed, max(budget_s, 0.0), clock, partial(tell, "teacher")),
    )  # fmt: skip
    tell("teacher", 1.0, " and ".join(f"{report.epochs:.1f}" for report in reports) + " epochs")
    return teacher_targets(teachers, data, len(data), material.scale)


def _no_lists() -> Lists:
    return Lists(
        np.zeros((0, 2, len(FEATURES)), np.float32), np.zeros(0, np.int64), np.zeros((0, 2), np.bool_)
    )


def newcomers_order(
    signals: SignalSettings, popular_now: int, deviation: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Weights (F,) of standardised features: the geometric mean of popularity among all and among newcomers.

    `popular_now` is the place of the half-life; `deviation` (F,) what features were divided by.
    """
    nearest = DEPTH_HALF_LIVES[signals.depth_columns()[popular_now]]
    weights = np.zeros(len(FEATURES), np.float32)
    for name in (f"popularity_{popular_now}", f"popularity_depth_{nearest}"):
        weights[FEATURES.index(name)] = 0.5 * deviation[FEATURES.index(name)]
    return weights


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
