"""A release refreshed from the live one: the same student, a ranker that has learned from newer lists.

Owns the cheap way to a candidate, seconds instead of minutes: lists that were answered since the student
was trained, made by the serving pipeline with that student (so no model is newer than its lists), teach
the ranker a little more; items that have come since join with the vectors that their texts give them.
A full training is `learner.training.train`'s.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from learner.data.catalogue import Catalogue, Item
from learner.data.dataset import Interactions
from learner.data.event_weights import EventWeights
from learner.models.calibration import Calibration
from learner.models.ranker_export import ranker_from_model, ranker_model
from learner.models.ranker_training import refresh
from learner.ranking.lists import Wanted
from learner.release.bundle import Bundle, Manifest, ReleaseError, Window, release_id
from learner.release.files import write_release
from learner.release.live import LiveRelease
from learner.release.text_vectors import TextVectors
from learner.signals.settings import SignalSettings
from learner.text.content import ContentEncoder
from learner.training.collect import Collect

LISTS = 20_000  # newest ones at most that are made: half a minute on one core
NEGATIVES = 64
EPOCHS = 4  # 1, 2, 4 gave +2.5, +4.2, +5.0 % on ml-100k (docs/log.md)
STUDENT_MS = "student_ms"  # of `Manifest.training`: time of the newest click that the student has seen


def refresh_release(
    live: Bundle, data: Interactions, items: Sequence[Item], out: Path, collect: Collect, *,
    encoder: ContentEncoder, epochs: int = EPOCHS, seed: int = 0, event_weights: EventWeights | None = None,
) -> str:  # fmt: skip
    """Writes a refreshed release to the folder `out` and returns its id.

    `data` in order of time, with what came before the live release's training too, since states and
    signals begin there; `items` the catalogue's records as of now; `event_weights` those of now, None: as the
    live release was trained. Raises ReleaseError where the live
    ranker is not of the kind that this version trains, or nothing is newer than the student.
    """
    torch.set_num_threads(1)
    student_ms = student_time(live.manifest)
    start = int(np.searchsorted(data.time_ms, student_ms, "right"))
    ranker = ranker_from_model(live.ranker or b"")
    bundle = with_items(live, data, items, encoder)
    if event_weights is not None:
        signals = replace(SignalSettings.from_dict(live.manifest.signals), event_weights=event_weights)
        manifest = msgspec.structs.replace(bundle.manifest, signals=signals.as_dict())
        bundle = replace(bundle, manifest=manifest)
    begun = time.process_time()
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{out.name}.", suffix=".partial", dir=out.parent) as scratch:
        wanted = Wanted(LISTS, NEGATIVES, seed, folder=Path(scratch))
        fresh = collect(LiveRelease(bundle, Catalogue()), data, start, len(data), wanted).answered()
        if not len(fresh):
            raise ReleaseError(f"{live.manifest.release}: no list was answered since its student was trained")
        made = time.process_time()
        begin = _begin_of(live, len(bundle.items))
        calibration = Calibration(begin)
        calibration.learn(fresh, ranker.scores(fresh.features))  # by the ranker that has answered
        refreshed, report = refresh(ranker, fresh, epochs=epochs, seed=seed)
    figures = {
        "lists": len(fresh), "loss": round(report.loss, 4), "epochs": report.epochs,
        "lists_seconds": round(made - begun, 1), "ranker_seconds": round(time.process_time() - made, 1),
    }  # fmt: skip
    now = int(time.time() * 1000)
    manifest = msgspec.structs.replace(
        bundle.manifest,
        release=release_id(now), created_at=now, parents=[live.manifest.release], files={},
        data=Window(
            first_ms=int(data.time_ms[0]), last_ms=int(data.time_ms[-1]), events=len(data),
            users=len(np.unique(data.user)),
        ),
        metrics=live.manifest.metrics | {"refresh": figures},
        training=live.manifest.training | {STUDENT_MS: student_ms, "seed": seed},
    )  # fmt: skip
    arrays = replace(bundle.arrays, calibration=calibration.offsets(len(begin)), calibration_begin=begin)
    write_release(out, replace(bundle, manifest=manifest, arrays=arrays, ranker=ranker_model([refreshed])))
    return manifest.release


def student_time(manifest: Manifest) -> int:
    """Time of the newest click that the release's student has seen, ms."""
    return int(manifest.training.get(STUDENT_MS, manifest.data.last_ms))


def with_items(live: Bundle, data: Interactions, items: Sequence[Item], encoder: ContentEncoder) -> Bundle:
    """The bundle with the newest records, and rows at its end for items that it does not hold.

    Those are announced items and clicked ones that nobody announced. A withdrawn item stays, as not
    available: histories name it; the next full training leaves it out.
    """
    catalogue = Catalogue()
    release = LiveRelease(live, catalogue)
    spoken = {item.item_id: item for item in items}
    known = [spoken.get(name, item) for name, item in zip(catalogue.ids, live.items, strict=True)]
    new = [item for item in items if item.item_id not in catalogue.index and item.available]
    names = {item.item_id for item in new}
    clicked = [data.item_ids[number] for number in np.unique(data.item).tolist()]
    new += [
        Item(item_id=name) for name in clicked
        if name not in names and name not in catalogue.index and name not in spoken
    ]  # fmt: skip
    arrays = live.arrays
    if new:
        contents = encoder.encode(new)
        texts = TextVectors(arrays.text_items, arrays.texts, arrays.text_scales).and_of(
            np.arange(len(known), len(known) + len(new), dtype=np.int32), encoder.said(new)
        )
        vectors = [
            release.embed(content, item.categories) for content, item in zip(contents, new, strict=True)
        ]
        arrays = replace(
            arrays,
            vectors=np.concatenate([arrays.vectors, np.array(vectors, np.float32)]),
            bias=np.concatenate([arrays.bias, np.full(len(new), arrays.cold_bias[0], np.float32)]),
            content=np.concatenate([arrays.content, contents]),
            text_items=texts.items,
            texts=texts.whole,
            text_scales=texts.scales,
            calibration=_padded(arrays.calibration, len(known) + len(new)),
            calibration_begin=_padded(arrays.calibration_begin, len(known) + len(new)),
        )
    manifest = msgspec.structs.replace(live.manifest, items=len(known) + len(new))
    return replace(live, manifest=manifest, arrays=arrays, items=[*known, *new])


def _begin_of(live: Bundle, size: int) -> NDArray[np.float32]:
    """Where calibration begins, (size,): with what the training of the release's student has left.

    Lists since then are learned from at each refresh, and none is to count twice.
    """
    arrays = live.arrays
    trained = arrays.calibration_begin if STUDENT_MS in live.manifest.training else arrays.calibration
    return _padded(trained, size)


def _padded(values: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """The values and zeros after them, (size,)."""
    return np.pad(values, (0, size - len(values)))
