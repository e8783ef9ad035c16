"""A release's two models at work: the calls into ONNX Runtime, and what a model must be to be taken.

Owns the sessions and the wording of a misfit. Knows no catalogue and no items. Free of torch.
"""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from learner.graphs.running import session
from learner.ranking.columns import FEATURES
from learner.ranking.features import Features
from learner.ranking.own_items import LAYER, OwnItemLayer
from learner.release.bundle import Dims, ReleaseError

Floats = NDArray[np.float32]
_STEP_OUTPUTS, _RANK_OUTPUTS = ["hidden_after", "user_vector"], ["scores"]
_RANKED_AT_ONCE = 8  # lists: what the ranker computes of more does not stay in the cache


class StudentSession:
    """One step of a student. Errors name `path`."""

    def __init__(self, model: bytes, path: Path) -> None:
        self._path, self._session = path, _session(model, path)

    def step(
        self, item_vectors: Floats, kinds: NDArray[np.int64], log_gaps: Floats, values: Floats, hidden: Floats
    ) -> tuple[Floats, Floats]:
        """One event for each of B users.

        item_vectors (B, D), kinds (B,) codes, log_gaps (B,), values (B,) normalised, hidden (B, S) from
        before -> hidden (B, S) after and user vectors (B, D).
        """
        inputs = {
            "item_vector": item_vectors,
            "kind": kinds,
            "log_gap": log_gaps,
            "value": values,
            "hidden": hidden,
        }
        after, vectors = self._session.run(_STEP_OUTPUTS, inputs)
        return after, vectors

    def try_out(self, dims: Dims) -> None:
        """Runs once: it must fit the manifest, and the first run is the slow one. Raises ReleaseError."""
        one = np.zeros(1, np.float32)
        try:
            hidden, vectors = self.step(
                np.zeros((1, dims.vector), np.float32), np.ones(1, np.int64), one, one,
                np.zeros((1, dims.hidden), np.float32),
            )  # fmt: skip
        except Exception as error:  # ONNX Runtime's exceptions have no base of their own
            raise _unfit(
                self._path, f"vectors of {dims.vector} and states of {dims.hidden}", error
            ) from error
        if hidden.shape != (1, dims.hidden) or vectors.shape != (1, dims.vector):
            came = f"{hidden.shape} and {vectors.shape}"
            raise _unfit(self._path, f"states of {dims.hidden}, vectors of {dims.vector}", came)


class RankerSession:
    """A ranker; what it sums over own items is computed before, where its graph says how."""

    def __init__(self, model: bytes, path: Path) -> None:
        self._path, self._session = path, _session(model, path)
        self._layer: OwnItemLayer | None = None
        if set(LAYER) <= {output.name for output in self._session.get_outputs()}:
            try:
                nothing = np.zeros((1, 1, len(FEATURES)), np.float32)
                self._layer = OwnItemLayer.of(*self._session.run(LAYER, {"features": nothing}))
            except Exception as error:  # ONNX Runtime's exceptions have no base of their own
                raise _unfit(path, f"a layer over own items of {len(FEATURES)} features", error) from error

    def scores(self, features: Features | Floats) -> Floats:
        """Scores (B, C) float32 of lists of candidates, with features in parts or all columns (B, C, F)."""
        if isinstance(features, Features) and self._layer is None:
            features = features.table()
        if not len(features):  # sums of no list look like sums that are not given
            table = features.alone if isinstance(features, Features) else features
            return np.zeros(table.shape[:2], np.float32)
        parts = [
            self._session.run(_RANK_OUTPUTS, self._feed(features, k, k + _RANKED_AT_ONCE))[0]
            for k in range(0, len(features), _RANKED_AT_ONCE)
        ]
        scores: Floats = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return scores

    def try_out(self, features: int) -> None:
        """Runs once, with so many columns, as the student does. Raises ReleaseError."""
        try:
            scores = self.scores(np.zeros((1, 2, features), np.float32))
        except Exception as error:  # ONNX Runtime's exceptions have no base of their own
            raise _unfit(self._path, f"{features} features", error) from error
        if scores.shape != (1, 2):
            raise _unfit(self._path, "one score a candidate", scores.shape)

    def _feed(self, features: Features | Floats, first: int, last: int) -> dict[str, Floats]:
        if isinstance(features, Features):
            assert self._layer is not None
            return {
                "features": features.alone[first:last],
                "summed": self._layer.sums(features, first, last),
            }
        return {"features": features[first:last]}


def _session(model: bytes, path: Path) -> Any:
    options = onnxruntime.SessionOptions()
    # One thread: batches are small, and workers scale by processes.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    # Batches come in all sizes, and a plan of memory kept for each would grow without end.
    options.enable_mem_pattern = False
    options.log_severity_level = 3  # else each load warns of the ranker's input that may be left out
    options.enable_cpu_mem_arena = False  # as fast without, and what it has taken it keeps
    try:
        return session(model, options)
    except Exception as error:  # ONNX Runtime's exceptions have no base of their own
        raise _unfit(path, "an ONNX model", error) from error


def _unfit(path: Path, expected: str, came: object) -> ReleaseError:
    text = " ".join(str(came).split())[:200]
    return ReleaseError(f"{path}: expected {expected}, got {text}; copy the release again or train a new one")
