"""Microseconds of the learner's kernels: folding a click, candidates, features, records.

    python tests/bench/bench_features.py [DATA_SET]

One thread. On the recorded clicks of a data set, with made-up vectors (their values do not matter for
speed); users with at least 50 events, asks at batches of 1 and 64. Prints the least and the median of
many calls, since on a shared machine only the least repeats. Compilation is not counted.
"""

import sys
import time
from collections.abc import Callable

import numpy as np

from learner.data.catalogue import Catalogue
from learner.data.dataset import Interactions, load_interactions, load_items
from learner.ranking.arrays import Asks, ModelArrays
from learner.ranking.candidates import propose
from learner.ranking.columns import FEATURES
from learner.ranking.features import features
from learner.signals.settings import SignalSettings
from learner.signals.state import Signals
from tests.worlds.places import DATA

DIMENSIONS, CANDIDATES, HISTORY, EASE = 64, 200, 50, 64


def report(name: str, call: Callable[[int], object], divide: int = 1, repeat: int = 400) -> None:
    """Prints the time of `call(0), call(1), ...` in µs for each of `divide` parts."""
    for k in range(20):
        call(k)
    taken = []
    for k in range(repeat):
        start = time.perf_counter()
        call(k)
        taken.append((time.perf_counter() - start) / divide * 1e6)
    print(f"{name:36s} least {min(taken):7.1f}  median {np.median(taken):7.1f} µs")


def fold(data: Interactions, catalogue: Catalogue, signals: Signals) -> dict[int, list[tuple[int, int, int]]]:
    """Folds all clicks; returns each user's (item, time, kind)."""
    histories: dict[int, list[tuple[int, int, int]]] = {}
    numbers = [catalogue.intern(item) for item in data.item_ids]
    for k in np.argsort(data.time_ms, kind="stable").tolist():
        history = histories.setdefault(int(data.user[k]), [])
        item, at, kind = numbers[data.item[k]], int(data.time_ms[k]), int(data.kind[k])
        signals.learn(item, at, kind, 0.0, np.array([event[0] for event in history[-50:]], np.int32))
        history.append((item, at, kind))
    return histories


def asks_of(histories: list[list[tuple[int, int, int]]], now_ms: int, rng: np.random.Generator) -> Asks:
    """Asks of users with 50 events each, which exclude all they have clicked."""
    batch = len(histories)
    last = np.array([history[-HISTORY:] for history in histories])  # (B, 50, 3)
    excluded = [np.unique([event[0] for event in history]) for history in histories]
    asks = Asks(
        np.full((batch, 128), -1, np.int32), np.zeros((batch, 128), np.int64),
        np.zeros((batch, 128), np.uint8),
        np.zeros((batch, 128), np.float32), np.full(batch, HISTORY, np.int32),
        np.array([len(history) for history in histories]), np.full(batch, now_ms),
        rng.normal(size=(batch, DIMENSIONS)).astype(np.float32),
        np.cumsum([0, *map(len, excluded)]), np.concatenate(excluded).astype(np.int32),
    )  # fmt: skip
    asks.items[:, :HISTORY], asks.times[:, :HISTORY], asks.kinds[:, :HISTORY] = np.moveaxis(last, 2, 0)
    return asks


def main(name: str) -> None:
    """Measures on one data set."""
    catalogue, rng = Catalogue(), np.random.default_rng(0)
    for item in load_items(DATA / name / "items.csv.gz"):
        catalogue.announce(item)
    signals = Signals(SignalSettings(), catalogue)
    histories = fold(load_interactions(DATA / name / "interactions.csv.gz"), catalogue, signals)
    size = catalogue.size
    content = rng.normal(size=(size, DIMENSIONS)).astype(np.float32)
    model = ModelArrays(
        rng.normal(size=(size, DIMENSIONS)).astype(np.float32), np.zeros(size, np.float32),
        content / np.linalg.norm(content, axis=1, keepdims=True), 0.5,
        ease_item=rng.integers(0, size, (size, EASE)).astype(np.int32),
        ease_weight=rng.normal(size=(size, EASE)).astype(np.float32),
    )  # fmt: skip
    long = [history for history in histories.values() if len(history) >= HISTORY]
    print(
        f"{name}: {size} items, {signals.neighbours.limit} pairs an item, {signals.memory_bytes() >> 20} MiB"
        f", {len(FEATURES)} features, {CANDIDATES} candidates, history {HISTORY}"
    )
    for batch in (1, 64):
        many = [
            asks_of([long[k] for k in rng.integers(0, len(long), batch)], signals.now_ms, rng)
            for _ in range(max(4, 64 // batch))
        ]
        near = rng.integers(0, size, (batch, CANDIDATES)).astype(np.int32)
        found = [propose(asks, catalogue, signals, model, near) for asks in many]
        rounds = list(zip(many, found, strict=True)) * 20
        repeat = 1000 if batch == 1 else 40
        report(
            f"propose, batch {batch}, each",
            lambda k, rounds=rounds, near=near: propose(rounds[k][0], catalogue, signals, model, near),
            batch, repeat,
        )  # fmt: skip
        report(
            f"features, batch {batch}, each",
            lambda k, rounds=rounds: features(*rounds[k], catalogue, signals, model),
            batch, repeat,
        )  # fmt: skip
    history = np.array([event[0] for event in long[0][-HISTORY:]], np.int32)
    items = [event[0] for history in long for event in history][:5000]
    report("learn", lambda k: signals.learn(items[k], signals.now_ms, 1, 0.0, history), repeat=2000)
    worker = Signals(signals.settings, catalogue)
    report("record", lambda k: signals.record(items[k]), repeat=2000)
    records = [signals.record(item) for item in items[:2000]]
    for item, record in zip(items, records, strict=False):
        worker.apply(catalogue.ids[item], record)
    report("apply", lambda k: worker.apply(catalogue.ids[items[k]], records[k]), repeat=1900)
    print(f"a record: {np.mean([len(record) for record in records]):.0f} bytes")


if __name__ == "__main__":
    main(*(sys.argv[1:] or ["movietweetings-100k"]))
