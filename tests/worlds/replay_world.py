"""A small stream and a release that nobody trained, for replays that take seconds."""

from pathlib import Path

import msgspec
import numpy as np
from onnx import TensorProto

from learner.data.catalogue import Item
from learner.data.events import Kind
from learner.evaluation.system import FirstPart, Stream
from learner.ranking.columns import FEATURES
from learner.release.bundle import Dims
from learner.release.files import write_release
from learner.signals.settings import SignalSettings
from learner.text.content import DIMENSIONS, HASHED_CARD
from streams.hot_path.policy import Policy
from tests.golden.make_release_v1 import model as onnx_model
from tests.golden.make_release_v1 import tiny_bundle, tiny_student

DIM, USERS, ITEMS, EVENTS = 8, 12, 40, 400
MINUTE_MS = 60_000
POLICY = Policy(exploration=0.0, candidates=25)


def stream(seed: int = 0) -> Stream:
    """Users walk about the catalogue; a tenth of the events are no clicks; texts name the item's group."""
    rng = np.random.default_rng(seed)
    items = np.minimum(rng.geometric(0.08, EVENTS), ITEMS) - 1
    items[-EVENTS // 4 :: 7] = rng.integers(0, ITEMS, len(items[-EVENTS // 4 :: 7]))
    kinds = np.where(
        rng.random(EVENTS) < 0.1, rng.choice([Kind.DISLIKE, Kind.IMPRESSION], EVENTS), Kind.CLICK
    )
    ids = [f"i{n:02d}" for n in range(ITEMS)]
    groups = ("tall ships", "small cats", "old trains")
    return Stream(
        user=rng.integers(0, USERS, EVENTS).astype(np.int32),
        item=items.astype(np.int32),
        time_ms=1_600_000_000_000 + np.cumsum(rng.integers(1, 90, EVENTS)) * MINUTE_MS,
        kind=kinds.astype(np.uint8),
        value=np.full(EVENTS, np.nan, np.float32),
        scenario=[None] * EVENTS,
        user_ids=[f"u{n}" for n in range(USERS)],
        item_ids=ids,
        records=[Item(item_id=name, title=f"{groups[n % 3]} {n}") for n, name in enumerate(ids)],
    )


def ranker(seed: int = 1) -> bytes:
    """A linear ranker with weights of its own for every feature."""
    weights = np.random.default_rng(seed).normal(0, 0.1, (len(FEATURES), 1)).astype(np.float32)
    return onnx_model(
        [("MatMul", ["features", "weights"], "column"), ("Squeeze", ["column", "axis"], "scores")],
        {"features": (TensorProto.FLOAT, ["B", "C", len(FEATURES)])},
        {"scores": (TensorProto.FLOAT, ["B", "C"])},
        {"weights": weights, "axis": np.array([2], np.int64)},
    )


def untrained_release(first: FirstPart, folder: Path, known: int | None = None) -> str:
    """A release with random weights; `known`: that many items of the stream, not those of the first part."""
    if folder.exists():
        return str(folder)
    folder.parent.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    numbers = sorted(set(first.item.tolist())) if known is None else range(known)
    items = [first.records[n] or Item(item_id=first.item_ids[n]) for n in numbers]
    bundle = tiny_bundle(items=items)
    bundle.student, bundle.ranker = tiny_student(DIM), ranker()
    arrays = bundle.arrays
    arrays.vectors = rng.normal(size=(len(items), DIM)).astype(np.float32)
    arrays.bias = np.zeros(len(items), np.float32)
    arrays.content = np.zeros((len(items), DIMENSIONS), np.float32)
    arrays.initial, arrays.tail_mean = np.ones(DIM, np.float32), np.full(DIM, 0.1, np.float32)
    arrays.category_means = arrays.category_parts = np.zeros((0, 0), np.float32)
    arrays.projection = rng.normal(size=(DIMENSIONS, DIM)).astype(np.float32)
    arrays.ease_item, arrays.ease_weight = np.full((0, 1), -1, np.int32), np.zeros((0, 1), np.float32)
    arrays.encoder = {
        "mean": np.zeros(512, np.float32),
        "components": rng.normal(size=(512, DIMENSIONS)).astype(np.float32),
    }
    manifest = msgspec.structs.replace(
        bundle.manifest,
        dims=Dims(vector=DIM, hidden=DIM, content=DIMENSIONS, features=len(FEATURES)),
        features=list(FEATURES), categories=[], signals=SignalSettings().as_dict(),
        encoder=HASHED_CARD,
        repeat_consumption=first.repeats, training={"seed": first.seed},
        data=msgspec.structs.replace(
            bundle.manifest.data, last_ms=int(first.time_ms[-1]), events=first.size
        ),
    )  # fmt: skip
    bundle.manifest = manifest
    write_release(folder, bundle)
    return str(folder)
