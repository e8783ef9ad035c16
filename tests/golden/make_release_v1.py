"""Writes the golden bundle of format version 1: a tiny release that every later version must load.

Run once, by `python tests/golden/make_release_v1.py`; its output is committed and never written again.
Unit tests use `tiny_bundle` for bundles of their own.
"""

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from learner.data.catalogue import Item
from learner.release.bundle import Arrays, Bundle, Dims, Manifest, Window
from learner.release.files import write_release
from learner.text.card import EncoderCard

DIM, CONTENT, FEATURES = 4, 3, ("age", "popularity", "score")
ITEMS = [
    Item(item_id="a", title="Heat (1995)", categories=["crime", "drama"], tags=["heist"]),
    Item(
        item_id="b",
        title="Ran",
        categories=["drama"],
        attributes={"values": ["Toho"]},
        published_at=486_000_000_000,
    ),
    Item(item_id="c", available=False, price=2.5, image="c.png", description="gone"),
]


def model(nodes: list[tuple[str, list[str], str]], inputs: dict, outputs: dict, constants: dict) -> bytes:
    def described(ports: dict) -> list:
        return [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in ports.items()]

    graph = helper.make_graph(
        [helper.make_node(op, sources, [target]) for op, sources, target in nodes],
        "tiny",
        described(inputs),
        described(outputs),
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    return made.SerializeToString()


def tiny_student(dim: int = DIM) -> bytes:
    """hidden_after = hidden / 2 + item_vector · (1 + value); the user vector is the same."""
    floats = TensorProto.FLOAT
    return model(
        [
            ("Unsqueeze", ["value", "axis"], "column"),
            ("Add", ["column", "one"], "strength"),
            ("Mul", ["item_vector", "strength"], "push"),
            ("Mul", ["hidden", "half"], "kept"),
            ("Add", ["push", "kept"], "hidden_after"),
            ("Identity", ["hidden_after"], "user_vector"),
        ],
        {
            "item_vector": (floats, ["B", dim]),
            "kind": (TensorProto.INT64, ["B"]),
            "log_gap": (floats, ["B"]),
            "value": (floats, ["B"]),
            "hidden": (floats, ["B", dim]),
        },
        {"hidden_after": (floats, ["B", dim]), "user_vector": (floats, ["B", dim])},
        {"axis": np.array([1], np.int64), "one": np.ones(1, np.float32), "half": np.full(1, 0.5, np.float32)},
    )


def tiny_ranker(features: int = len(FEATURES)) -> bytes:
    """The score is the sum of the features, the k-th weighted k + 1."""
    floats = TensorProto.FLOAT
    return model(
        [("MatMul", ["features", "weights"], "column"), ("Squeeze", ["column", "axis"], "scores")],
        {"features": (floats, ["B", "C", features])},
        {"scores": (floats, ["B", "C"])},
        {"weights": np.arange(1, features + 1, dtype=np.float32)[:, None], "axis": np.array([2], np.int64)},
    )


def tiny_bundle(release: str = "r-20261123-041200-gold", items: list[Item] | None = None) -> Bundle:
    items = ITEMS if items is None else items
    rows = np.arange(len(items), dtype=np.float32)[:, None]
    manifest = Manifest(
        release=release,
        created_at=1_795_407_120_000,
        data=Window(first_ms=1, last_ms=2, events=3, users=2),
        items=len(items),
        dims=Dims(vector=DIM, hidden=DIM, content=CONTENT, features=len(FEATURES)),
        signals={"half_lives_ms": [1.0] * 8, "pair_half_life_ms": 1.0, "neighbours": None},
        encoder=EncoderCard(name="none", licence="none"),
        features=list(FEATURES),
        categories=["crime", "drama"],
        value_scale={"rating": (3.5, 0.5)},
        repeat_consumption=False,
        views_consume=True,
        prior_weight=0.25,
        popular_now=1,
        popular=3,
        metrics={"ndcg@10": 0.5},
    )
    arrays = Arrays(
        vectors=rows + np.array([[0.1, 0.2, 0.3, 0.4]], np.float32),
        bias=rows[:, 0] * np.float32(0.5),
        content=np.eye(CONTENT, dtype=np.float32)[np.arange(len(items)) % CONTENT],
        initial=np.array([1, -1, 1, -1], np.float32),
        tail_mean=np.full(DIM, 9, np.float32),
        cold_bias=np.array([-2], np.float32),
        category_means=np.array([[1, 1, 1, 1], [3, 3, 3, 3]], np.float32),
        category_parts=np.array([[0, 0, 0, 2], [0, 0, 0, 4]], np.float32),
        projection=np.eye(CONTENT, DIM, dtype=np.float32),
        ease_item=np.array([[1, -1], [0, 2]], np.int32),
        ease_weight=np.array([[0.5, 0], [0.25, -0.125]], np.float32),
        encoder={"mean": np.arange(2, dtype=np.float32)},
    )
    return Bundle(manifest, tiny_student(), tiny_ranker(), arrays, items)


if __name__ == "__main__":
    print(write_release(Path(__file__).parent / "release_v1", tiny_bundle()))
