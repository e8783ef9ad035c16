"""What all models of a release are trained from, and how they are packed into one.

Owns the numbering of items for one training (rows), the settings chosen from the data, and the assembly
of a bundle from trained models. Does not know how long anything takes.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from learner.data.catalogue import Catalogue, Item
from learner.data.dataset import Interactions
from learner.data.events import Kind
from learner.data.inputs import INTEREST_KINDS
from learner.data.repeats import consuming_kinds
from learner.models.ease import EaseRows
from learner.models.item_table import ItemContent
from learner.models.ranker import Ranker
from learner.models.ranker_export import ranker_model
from learner.models.student import Student
from learner.models.student_export import step_model, student_arrays
from learner.ranking.columns import FEATURES
from learner.release.bundle import Arrays, Bundle, Dims, EncoderCard, Manifest, Window, mean_vectors
from learner.signals.settings import SignalSettings
from learner.text.content import DIMENSIONS, ContentEncoder, text_of
from learner.training.options import TrainingOptions
from learner.training.tuning import Tuning, tune

FOREVER_MS = 1e15  # 30,000 years: pairs that do not fade, as a number that JSON has


@dataclass(frozen=True)
class Material:
    """Clicks in order, content and settings; items are rows, the same as numbers in `catalogue`."""

    data: Interactions
    catalogue: Catalogue
    records: list[Item]
    content: ItemContent
    encoder: ContentEncoder
    scale: dict[str, tuple[float, float]]
    repeats: bool
    signals: SignalSettings
    tuning: Tuning


@dataclass(frozen=True)
class Trained:
    """Models that a training has made. Between its stages there are no `rankers`.

    `calibration` (items,) float32 is what is added to the rankers' scores, 0 by default.
    """

    student: Student
    ease: EaseRows
    rankers: Sequence[Ranker] | None = None
    calibration: NDArray[np.float32] | None = None


def prepare(
    data: Interactions, items: Sequence[Item], options: TrainingOptions, read: int | None = None
) -> Material:
    """Order the clicks, number the items as they come, encode their content and choose settings.

    Texts of the `read` most clicked items are read in full, and an encoder is fitted to them where none is
    given (None: as many as it likes); the others' are only glanced at. Where signals run already, they are
    what the models will see; else it is chosen how fast pairs fade.
    """
    seed, encoder, signals = options.seed, options.encoder, options.signals
    in_order = bool((np.diff(data.time_ms) >= 0).all())  # then ties have been broken already
    ordered = _clicked_only(data if in_order else data.in_order(seed))
    catalogue = Catalogue()
    for item_id in ordered.item_ids:
        catalogue.intern(item_id)
    for item in items:
        catalogue.admit(item)
    size = catalogue.size
    known = [catalogue.records.get(number) or Item(item_id=catalogue.ids[number]) for number in range(size)]
    order = _most_clicked_first(ordered, size)
    first, rest = order[:read], order[len(order[:read]) :]
    if encoder is None:
        encoder = ContentEncoder.fit([known[number] for number in first], cache=options.cache)
    text = np.zeros((size, DIMENSIONS), np.float32)
    text[first] = encoder.encode([known[number] for number in first])
    text[rest] = encoder.glance([text_of(known[number]) for number in rest])
    content = ItemContent(text, catalogue.categories[:size].copy())
    repeats = options.repeat_consumption
    repeats = ordered.repeats() if repeats is None else repeats
    tuning = tune(ordered, len(ordered), size, (signals or SignalSettings()).half_lives_ms, repeats=repeats)
    if signals is None:
        signals = SignalSettings(pair_half_life_ms=min(tuning.pair_half_life_ms, FOREVER_MS))
    scale = ordered.value_scale()
    return Material(ordered, catalogue, known, content, encoder, scale, repeats, signals, tuning)


def _most_clicked_first(data: Interactions, items: int) -> NDArray[np.int64]:
    """Item rows (items,), most clicked first, ties in their order."""
    clicks = np.bincount(data.item[INTEREST_KINDS[data.kind]], minlength=items)
    return np.argsort(-clicks, kind="stable")


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


def pack(
    release: str, material: Material, trained: Trained, *, seed: int,
    metrics: Mapping[str, Any] | None = None, distil: bool = False,
) -> Bundle:  # fmt: skip
    """The release's parts, rows in the order of the material's items."""
    student, ease, rankers = trained.student, trained.ease, trained.rankers
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
        encoder=EncoderCard(
            name=encoder.name, licence=encoder.info["license"], source=encoder.info.get("source", "")
        ),
        features=list(FEATURES),
        categories=names,
        value_scale=material.scale,
        repeat_consumption=material.repeats,
        views_consume=bool(consuming_kinds(data.kind)[Kind.VIEW]),
        prior_weight=student.config.prior_weight,
        popular_now=material.tuning.popular_now,
        popular=material.tuning.popular,
        metrics=dict(metrics or {}),
        training={
            "seed": seed,
            "tuning": asdict(material.tuning),
            "torch": str(torch.__version__),
            "distil": distil,
        },
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
        calibration=np.zeros(0, np.float32) if trained.calibration is None else trained.calibration,
        encoder=dict(encoder.arrays()),
    )
    ranker = None if rankers is None else ranker_model(rankers)
    return Bundle(manifest, step_model(student), ranker, arrays, material.records)


def _rows(array: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """The first `count` rows, zeros where there are fewer: some categories are no item's first six."""
    return np.concatenate([array[:count], np.zeros((max(count - len(array), 0), array.shape[1]), np.float32)])
