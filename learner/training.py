"""Makes a release from recorded clicks: the order of the steps and the time each may take.

Owns which part of the clicks each model may see. The ranker learns from lists that the serving pipeline
itself makes (`collect`, injected by `streams`) with models trained only on what came before them:

    0          35 %          60 %                100 %
    |-- student A --|  lists of A  |
    |------- student B ------------|    lists of B    |
    |------------------- final student ---------------|

Does not know candidates or features beyond their names, nor Kafka.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from learner.catalogue import Catalogue, Item
from learner.content import ContentEncoder
from learner.dataset import Interactions
from learner.ease import EaseRows, ease_rows, items_within
from learner.events import Kind
from learner.features import FEATURES
from learner.inputs import INTEREST_KINDS
from learner.lists import Collect, Lists
from learner.ranker import Ranker, RankerConfig, ranker_model, train_ranker
from learner.release import (
    Arrays,
    Bundle,
    Dims,
    EncoderCard,
    LiveRelease,
    Manifest,
    Window,
    mean_vectors,
    release_id,
    write_release,
)
from learner.repeats import consuming_kinds
from learner.signals import SignalSettings
from learner.student import ItemContent, Student, StudentConfig
from learner.student_export import step_model, student_arrays
from learner.student_training import TrainingReport, retrieval_ndcg, train_student
from learner.tuning import Tuning, tune

Progress = Callable[[str, float, str], None]
"""Called with the step's name, its finished share (0 to 1) and a short text."""

LIST_STARTS = (0.35, 0.60)  # shares of the clicks at which lists begin that students A and B help to make
PRIOR_WEIGHTS = (0.0, 0.3, 1.0)
PRIOR_TRIAL_EVENTS = 40_000  # newest events that the prior's weight is chosen on
MIN_TRIAL_EVENTS = 2_000  # below, a trial says nothing and the prior is used: popularity is safe
NEGATIVES = 64  # candidates kept beside the clicked one
MIN_LISTS = 20  # below, a stage is left out
SECONDS_A_LIST = 1e-3  # nominal, so that the number of lists depends on the budget and not on the machine
RANKER_SEEDS = 2

# What each step may take of the time that is left, relative to the steps still to come.
SHARES = {
    "prior": 8,
    "student A": 10,
    "lists A": 10,
    "student B": 16,
    "lists B": 14,
    "student": 24,
    "ranker": 18,
}


@dataclass(frozen=True)
class _Material:
    """All that the models are trained from; rows are item numbers."""

    data: Interactions
    catalogue: Catalogue
    records: list[Item]
    content: ItemContent
    encoder: ContentEncoder
    scale: dict[str, tuple[float, float]]
    repeats: bool
    signals: SignalSettings
    tuning: Tuning


def _silent(_step: str, _share: float, _text: str) -> None:
    """Progress that nobody wants to see."""


class _Budget:
    """Shares out the time that is left among the steps still to come."""

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self.seconds, self.clock, self.begun = seconds, clock, clock()
        self.left = dict(SHARES)

    def take(self, step: str) -> float:
        """Seconds for `step`, which is over afterwards."""
        share = self.left[step] / sum(self.left.values())
        del self.left[step]
        return max(self.seconds - (self.clock() - self.begun), 0.02 * self.seconds) * share

    def nominal(self, step: str) -> float:
        """Seconds that `step` would get of the whole budget: the same on every machine."""
        return self.seconds * SHARES[step] / sum(SHARES.values())


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
    report = progress or _silent
    budget = _Budget(60 * budget_minutes, clock)
    material = _prepare(data, items, seed, repeat_consumption, encoder, report)
    n = len(material.data)
    config = StudentConfig(
        prior_half_life_ms=material.signals.half_lives_ms[material.tuning.popular_now],
        prior_weight=1.0,
    )
    metrics: dict[str, Any] = {}
    config, metrics["prior_trial"] = _choose_prior(material, config, budget.take("prior"), seed, report)
    parts, starts = [], [int(share * n) for share in LIST_STARTS]
    metrics["lists"] = []
    for name, start, stop in zip("AB", starts, [*starts[1:], n], strict=True):
        wanted = min(int(budget.nominal(f"lists {name}") / SECONDS_A_LIST), 40_000)
        student, _ = _student(
            material, start, config, budget.take(f"student {name}"), seed, f"student {name}", report
        )
        report(f"lists {name}", 0.0, f"up to {wanted:,}")
        budget.take(f"lists {name}")
        lists = _lists(material, student, start, stop, budget, collect, wanted, seed)
        metrics["lists"].append({"from": start, "to": stop, "answered": len(lists)})
        report(f"lists {name}", 1.0, f"{len(lists):,} lists")
        if len(lists) >= MIN_LISTS:
            parts.append(lists)
    student, training = _student(material, n, config, budget.take("student"), seed, "student", report, writer)
    metrics["student"] = _figures(training)
    rankers = _rankers(parts, material, budget.take("ranker"), seed, report, metrics)
    release = release_id(int(time.time() * 1000))
    bundle = _bundle(release, material, student, rankers, _ease(material, n, budget), seed, metrics)
    write_release(out, bundle)
    report("release", 1.0, release)
    return release


def _prepare(
    data: Interactions, items: Sequence[Item], seed: int, repeat_consumption: bool | None,
    encoder: ContentEncoder | None, report: Progress,
) -> _Material:  # fmt: skip
    """Order the clicks, number the items as the data does, encode content and choose settings."""
    ordered = _clicked_only(data.in_order(seed))
    catalogue = Catalogue()
    for item_id in ordered.item_ids:
        catalogue.intern(item_id)
    for item in items:
        catalogue.admit(item)
    size = catalogue.size
    report("content", 0.0, f"{size:,} items")
    known = [catalogue.records.get(number) or Item(item_id=catalogue.ids[number]) for number in range(size)]
    encoder = encoder or ContentEncoder.fit(known)
    text = encoder.encode(known)
    content = ItemContent(text, catalogue.categories[:size].copy())
    report("settings", 0.0, "")
    repeats = ordered.repeats() if repeat_consumption is None else repeat_consumption
    signals = SignalSettings()
    tuning = tune(ordered, len(ordered), size, signals.half_lives_ms, repeats=repeats)
    signals = replace(signals, pair_half_life_ms=min(tuning.pair_half_life_ms, 1e15))
    return _Material(
        ordered, catalogue, known, content, encoder, ordered.value_scale(), repeats, signals, tuning
    )


def _clicked_only(data: Interactions) -> Interactions:
    """The same events, items numbered by first appearance; ids that only later events bring are dropped.

    A part of a longer stream still carries the ids of all of it, and an item that nobody has clicked or
    announced yet must not be in the release.
    """
    numbers, first = np.unique(data.item, return_index=True)
    order = numbers[np.argsort(first, kind="stable")]
    renumbered = np.zeros(len(data.item_ids), np.int32)
    renumbered[order] = np.arange(len(order), dtype=np.int32)
    return replace(data, item=renumbered[data.item], item_ids=[data.item_ids[number] for number in order])


def _choose_prior(
    material: _Material, config: StudentConfig, budget_s: float, seed: int, report: Progress
) -> tuple[StudentConfig, dict[str, float]]:
    """Try each weight of the popularity prior on the newest clicks: four epochs, then the last tenth."""
    data = material.data.at(slice(max(0, len(material.data) - PRIOR_TRIAL_EVENTS), None))
    if len(data) < MIN_TRIAL_EVENTS:
        return config, {}
    split = int(0.9 * len(data))
    found: dict[str, float] = {}
    for done, weight in enumerate(PRIOR_WEIGHTS):
        trial = replace(config, prior_weight=weight, epochs=4)
        student, _ = train_student(
            data,
            split,
            material.content,
            material.scale,
            trial,
            seed=seed,
            budget_s=budget_s / len(PRIOR_WEIGHTS),
        )
        found[str(weight)] = retrieval_ndcg(student, data, split, len(data), material.scale, limit=1000)
        report("prior", (done + 1) / len(PRIOR_WEIGHTS), f"weight {weight}: NDCG@10 {found[str(weight)]:.4f}")
    best = max(PRIOR_WEIGHTS, key=lambda weight: found[str(weight)])
    return replace(config, prior_weight=best), found


def _student(
    material: _Material, stop: int, config: StudentConfig, budget_s: float, seed: int, name: str,
    report: Progress, writer: Any = None,
) -> tuple[Student, TrainingReport]:  # fmt: skip
    return train_student(
        material.data, stop, material.content, material.scale, config, seed=seed, budget_s=budget_s,
        progress=lambda share, text: report(name, share, text), writer=writer,
    )  # fmt: skip


def _ease(material: _Material, stop: int, budget: _Budget) -> EaseRows:
    limit = items_within(0.03 * budget.seconds)
    return ease_rows(material.data, stop, material.catalogue.size, limit=limit)


def _lists(
    material: _Material, student: Student, start: int, stop: int, budget: _Budget, collect: Collect,
    wanted: int, seed: int,
) -> Lists:  # fmt: skip
    """Lists of [start, stop), made by the serving pipeline with models that know nothing from `start` on."""
    bundle = _bundle("r-stage", material, student, None, _ease(material, start, budget), seed, {})
    live = LiveRelease(bundle, Catalogue())
    lists = collect(live, material.data, start, stop, lists=wanted, negatives=NEGATIVES, seed=seed).answered()
    return Lists(lists.features.astype(np.float16), lists.positive, lists.mask)  # half the memory


def _no_lists() -> Lists:
    return Lists(
        np.zeros((0, 2, len(FEATURES)), np.float32), np.zeros(0, np.int64), np.zeros((0, 2), np.bool_)
    )


def _rankers(
    parts: list[Lists],
    material: _Material,
    budget_s: float,
    seed: int,
    report: Progress,
    metrics: dict[str, Any],
) -> list[Ranker]:
    lists = Lists.join(parts) if parts else _no_lists()
    rankers: list[Ranker] = []
    figures: list[dict[str, float]] = []

    def tell(share: float, text: str) -> None:
        report("ranker", (len(rankers) + share) / RANKER_SEEDS, text)

    for k in range(RANKER_SEEDS if len(lists) else 1):
        ranker, trained = train_ranker(
            lists, RankerConfig(), seed=seed + k, start=_blend(material.tuning),
            budget_s=budget_s / RANKER_SEEDS, progress=tell,
        )  # fmt: skip
        rankers.append(ranker)
        figures.append({"loss": trained.loss, "epochs": trained.epochs, "seconds": trained.seconds})
    metrics["ranker"] = {"lists": len(lists), "dropped": 0, "seeds": figures}
    return rankers


def _figures(training: TrainingReport) -> dict[str, Any]:
    return {
        "steps": training.steps,
        "epochs": round(training.epochs, 2),
        "seconds": round(training.seconds, 1),
        "loss": round(training.loss, 4) if math.isfinite(training.loss) else None,
        "cut_by_time": training.cut_by_time,
    }


def _bundle(
    release: str, material: _Material, student: Student, rankers: Sequence[Ranker] | None, ease: EaseRows,
    seed: int, metrics: dict[str, Any],
) -> Bundle:  # fmt: skip
    """The release's parts, rows in the order of the material's items; without rankers between the stages."""
    made, data, content = student_arrays(student), material.data, material.content
    names = list(material.catalogue.category_names)
    clicks = np.bincount(data.item[INTEREST_KINDS[data.kind]], minlength=len(content.text))
    means, tail = mean_vectors(made.vectors, content.categories, clicks, len(names))
    encoder = material.encoder
    manifest = Manifest(
        release=release,
        created_at=int(time.time() * 1000),
        data=Window(
            first_ms=int(data.time_ms[0]) if len(data) else 0,
            last_ms=int(data.time_ms[-1]) if len(data) else 0,
            events=len(data),
            users=len(np.unique(data.user)),
        ),
        items=len(material.records),
        dims=Dims(
            vector=made.vectors.shape[1],
            hidden=student.hidden_size,
            content=content.text.shape[1],
            features=len(FEATURES),
        ),
        signals=material.signals.as_dict(),
        encoder=EncoderCard(name=encoder.name, licence=encoder.info["license"]),
        features=list(FEATURES),
        categories=names,
        value_scale=material.scale,
        repeat_consumption=material.repeats,
        views_consume=bool(consuming_kinds(data.kind)[Kind.VIEW]),
        prior_weight=student.config.prior_weight,
        popular_now=material.tuning.popular_now,
        popular=material.tuning.popular,
        metrics=metrics,
        training={"seed": seed, "tuning": asdict(material.tuning), "torch": str(torch.__version__)},
    )
    arrays = Arrays(
        vectors=made.vectors,
        bias=made.bias,
        content=content.text,
        initial=made.initial,
        tail_mean=tail,
        cold_bias=np.array([made.cold_bias], np.float32),
        category_means=means,
        category_parts=_rows(made.category_vectors, len(names)),
        projection=made.projection,
        ease_item=ease.item,
        ease_weight=ease.weight,
        encoder=dict(encoder.arrays()),
    )
    ranker = None if rankers is None else ranker_model(rankers)
    return Bundle(manifest, step_model(student), ranker, arrays, material.records)


def _rows(array: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """The first `count` rows, zeros where there are fewer: no item has such a category among its first six."""
    return np.concatenate([array[:count], np.zeros((max(count - len(array), 0), array.shape[1]), np.float32)])


def _blend(tuning: Tuning) -> NDArray[np.float32]:
    """Weights of the linear blend that the ranker begins with: the memory models and the student, evenly.

    It is what stands where there are too few lists to learn from.
    """
    start = np.zeros(len(FEATURES), np.float32)
    for name, weight in (
        ("student", 0.3), (f"popularity_{tuning.popular_now}", 0.5), (f"popularity_{tuning.popular}", 0.2),
        ("knn_10", 0.5), ("rules", 0.5),
    ):  # fmt: skip
        start[FEATURES.index(name)] = weight
    return start
