"""Bundles that this version serves, made without training: random vectors, and a linear ranker.

Sound ones, and ones with a fault that a gate or a worker must notice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import msgspec
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from learner.data.catalogue import Item
from learner.ranking.columns import FEATURES
from learner.release.bundle import Bundle
from learner.signals.settings import SignalSettings
from learner.text.content import DIMENSIONS, HASHED_CARD, ContentEncoder
from tests.golden import make_release_v1 as tiny

POPULAR = {"popularity_4": 1.0, "knn_10": 1.0, "rules": 1.0}


def linear_ranker(weights: Mapping[str, float]) -> bytes:
    """Scores are weighted sums of features."""
    column = np.zeros((len(FEATURES), 1), np.float32)
    for name, weight in weights.items():
        column[FEATURES.index(name)] = weight
    floats = TensorProto.FLOAT
    return tiny.model(
        [("MatMul", ["features", "weights"], "column"), ("Squeeze", ["column", "axis"], "scores")],
        {"features": (floats, ["B", "C", len(FEATURES)])},
        {"scores": (floats, ["B", "C"])},
        {"weights": column, "axis": np.array([2], np.int64)},
    )


def served_bundle(
    release: str, items: Sequence[Item], weights: Mapping[str, float] = POPULAR, **manifest: object
) -> Bundle:
    """A bundle over `items`, whose vectors are random and whose lists follow `weights`."""
    rng = np.random.default_rng(0)
    bundle = tiny.tiny_bundle(release, list(items))
    encoder = ContentEncoder(
        HASHED_CARD, np.zeros(512, np.float32), rng.standard_normal((512, DIMENSIONS)).astype(np.float32)
    )
    fields = msgspec.structs.asdict(bundle.manifest) | {
        "features": list(FEATURES),
        "encoder": HASHED_CARD,
        "dims": msgspec.structs.replace(
            bundle.manifest.dims, content=DIMENSIONS, features=len(FEATURES)
        ),
        "signals": SignalSettings().as_dict(),
        "views_consume": False,
        "popular_now": 2,
        "popular": 4,
    }  # fmt: skip
    bundle.manifest = type(bundle.manifest)(**fields | manifest)
    bundle.ranker = linear_ranker(weights)
    arrays = bundle.arrays
    arrays.vectors = rng.normal(size=(len(items), tiny.DIM)).astype(np.float32)
    arrays.bias = np.zeros(len(items), np.float32)
    arrays.content = rng.standard_normal((len(items), DIMENSIONS)).astype(np.float32)
    arrays.projection = rng.standard_normal((DIMENSIONS, tiny.DIM)).astype(np.float32)
    arrays.ease_item = np.full((0, 1), -1, np.int32)
    arrays.ease_weight = np.zeros((0, 1), np.float32)
    arrays.encoder = dict(encoder.arrays())
    return bundle


def poisoned(bundle: Bundle, *models: str) -> Bundle:
    """The bundle with nan among the weights of the models named: "student", "ranker"."""
    return replace(bundle, **{name: _with_nan(getattr(bundle, name)) for name in models})


def slowed(bundle: Bundle, times: int) -> Bundle:
    """The bundle with its ranker behind a chain of products that change nothing."""
    assert bundle.ranker is not None
    return replace(bundle, ranker=_behind_products(bundle.ranker, times))


def _with_nan(model: bytes) -> bytes:
    graph = onnx.load_from_string(model)
    for tensor in graph.graph.initializer:
        values = numpy_helper.to_array(tensor).copy()
        if values.dtype == np.float32:
            values.flat[0] = np.nan
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
            return bytes(graph.SerializeToString())
    raise AssertionError("no weights")


def _behind_products(model: bytes, times: int) -> bytes:
    graph = onnx.load_from_string(model)
    (score,) = (node for node in graph.graph.node if "scores" in node.output)
    score.output[0] = "slow_plain"
    size = 256
    constants = {
        "slow_table": np.full((size, size), 1 / size, np.float32),
        "slow_nothing": np.zeros(1, np.float32),
    }
    nodes = [  # a chain that hangs on the features, or it would be folded away
        helper.make_node("ReduceMean", ["features"], ["slow_mean"], keepdims=0),
        helper.make_node("Mul", ["slow_table", "slow_mean"], ["slow_0"]),
        *(helper.make_node("MatMul", [f"slow_{n}", "slow_table"], [f"slow_{n + 1}"]) for n in range(times)),
        helper.make_node("ReduceMean", [f"slow_{times}"], ["slow_one"], keepdims=0),
        helper.make_node("Mul", ["slow_one", "slow_nothing"], ["slow_nil"]),
        helper.make_node("Add", ["slow_plain", "slow_nil"], ["scores"]),
    ]
    tensors = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph.graph.initializer.extend(tensors)
    graph.graph.node.extend(nodes)
    return bytes(graph.SerializeToString())
