"""How the models of a training are packed into a release.

Owns the assembly of a bundle from trained models. Does not know how they were trained.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from learner.data.events import Kind
from learner.data.inputs import INTEREST_KINDS
from learner.data.repeats import consuming_kinds
from learner.models.ease import EaseRows
from learner.models.ranker import Ranker
from learner.models.ranker_export import ranker_model
from learner.models.student import Student
from learner.models.student_export import step_model, student_arrays
from learner.ranking.columns import FEATURES
from learner.release.bundle import Arrays, Bundle, Dims, Manifest, Window, mean_vectors
from learner.training.material import Material


@dataclass(frozen=True)
class Trained:
    """Models that a training has made. Between its stages there are no `rankers`.

    `calibration` (items,) float32 is what is added to the rankers' scores, 0 by default; `unclicked` is added
    to those of items that nobody has clicked yet.
    """

    student: Student
    ease: EaseRows
    rankers: Sequence[Ranker] | None = None
    calibration: NDArray[np.float32] | None = None
    unclicked: float = 0.0


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
        encoder=encoder.card,
        features=list(FEATURES),
        categories=names,
        value_scale=material.scale,
        repeat_consumption=material.repeats,
        views_consume=bool(consuming_kinds(data.kind)[Kind.VIEW]),
        prior_weight=student.config.prior_weight,
        popular_now=material.tuning.popular_now,
        popular=material.tuning.popular,
        unclicked=trained.unclicked,
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
        text_items=material.texts.items,
        texts=material.texts.whole,
        text_scales=material.texts.scales,
        word_letters=material.words.letters(),
        words=material.words.rows.whole,
        word_scales=material.words.rows.scales,
    )
    ranker = None if rankers is None else ranker_model(rankers)
    return Bundle(manifest, step_model(student), ranker, arrays, material.records)


def _rows(array: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """The first `count` rows, zeros where there are fewer: some categories are no item's first six."""
    return np.concatenate([array[:count], np.zeros((max(count - len(array), 0), array.shape[1]), np.float32)])
