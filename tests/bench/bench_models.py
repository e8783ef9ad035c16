"""Microseconds of the models in ONNX Runtime: a student's step and the ranker over 200 candidates.

    python tests/bench/bench_models.py

One thread, random weights (their values do not matter for speed). Prints the least and the median of many
calls, since on a shared machine only the least repeats.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

from learner.models.item_table import ItemContent
from learner.models.ranker import Ranker, RankerConfig
from learner.models.ranker_export import ranker_model
from learner.models.student import Student, StudentConfig
from learner.models.student_export import step_model
from learner.ranking.columns import FEATURES, LAYOUT, OWN_ITEMS
from learner.ranking.features import Features
from learner.release.sessions import RankerSession

CANDIDATES, CALLS = 200, 2000


def session(model: bytes) -> onnxruntime.InferenceSession:
    """The model as `learner.release.live` runs it."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_mem_pattern = False
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def report(name: str, model: bytes, feed: dict[str, Any], calls: int = CALLS) -> None:
    """Prints the time of one call in µs."""
    running = session(model)
    timed(name, lambda: running.run(model_outputs(running), feed), calls)


def model_outputs(running: onnxruntime.InferenceSession) -> list[str]:
    """What is asked for in service: not what a ranker's layer is made of."""
    return [output.name for output in running.get_outputs() if not output.name.startswith("layer_")]


def timed(name: str, call: Callable[[], object], calls: int) -> None:
    """Prints the time of one call in µs."""
    taken = []
    for _ in range(calls):
        start = time.perf_counter()
        call()
        taken.append((time.perf_counter() - start) * 1e6)
    print(f"{name:44s} least {min(taken):8.1f}  median {np.median(taken):8.1f} µs")


def main() -> None:
    """Prints everything."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    student = Student(ItemContent.empty(10), StudentConfig())
    step = step_model(student)
    for batch in (1, 8, 64):
        feed = {
            "item_vector": rng.normal(size=(batch, 64)).astype(np.float32),
            "kind": np.ones(batch, np.int64),
            "log_gap": np.ones(batch, np.float32),
            "value": np.zeros(batch, np.float32),
            "hidden": rng.normal(size=(batch, student.hidden_size)).astype(np.float32),
        }
        report(f"student step, {batch} users", step, feed)
    width = len(FEATURES)
    rankers = [
        Ranker(np.zeros(width, np.float32), np.ones(width, np.float32), RankerConfig(), layout=LAYOUT)
        for _ in range(2)
    ]
    for count in (1, 2):
        model = ranker_model(rankers[:count])
        for batch in (1, 8, 64):
            features = rng.normal(size=(batch, CANDIDATES, width)).astype(np.float32)
            name = f"ranker of {count}, {batch} x {CANDIDATES} x {width}"
            report(name, model, {"features": features}, CALLS // batch + 20)
            given = Features(
                features[..., : LAYOUT.begin].copy(),
                np.ones((batch, OWN_ITEMS, 5), np.float32),
                rng.normal(size=(batch, CANDIDATES, 2 * OWN_ITEMS)).astype(np.float32),
                np.full(batch, CANDIDATES, np.int32),
            )
            ranker = RankerSession(model, Path("ranker.onnx"))
            timed(f"{name}, as served", lambda r=ranker, f=given: r.scores(f), CALLS // batch + 20)


if __name__ == "__main__":
    main()
