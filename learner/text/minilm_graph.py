"""all-MiniLM-L6-v2 as an ONNX graph: 6 layers of BERT, from the names that its weights have.

Owns the network, written with the fused operators that ONNX Runtime has for such networks. Knows no texts.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from learner.graphs.onnx_graph import FLOAT, FUSED, INT64, Graph

_LAYERS, _HEADS, _EPSILON = 6, 12, 1e-12


def minilm_model(path: Path, places: int) -> bytes:
    """The network with the weights in `path`, for texts of at most `places` tokens.

    ids (B, L) int64, positions (L,) int64 -> mean (B, D) float32.
    """
    return _Network(safetensors.numpy.load_file(path)).model(places)


class _Network:
    def __init__(self, weights: Mapping[str, NDArray[Any]]) -> None:
        self.weights, self.graph = weights, Graph()

    def model(self, places: int) -> bytes:
        graph, words = self.graph, self.weights["embeddings.word_embeddings.weight"]
        ids = graph.input("ids", INT64, ["B", "L"])
        positions = graph.input("positions", INT64, ["L"])
        graph.output("mean", FLOAT, ["B", words.shape[1]])
        # All texts are of one segment: its embedding is a constant that joins the positions'.
        segment = self.weights["embeddings.token_type_embeddings.weight"][0]
        place = graph.constant(self.weights["embeddings.position_embeddings.weight"][:places] + segment)
        x = graph.add(
            "Add", graph.add("Gather", graph.constant(words), ids), graph.add("Gather", place, positions)
        )
        scale, shift = self.weight("embeddings.LayerNorm.weight"), self.weight("embeddings.LayerNorm.bias")
        x = graph.add("LayerNormalization", x, scale, shift, epsilon=_EPSILON)
        for layer in range(_LAYERS):
            x = self.layer(x, f"encoder.layer.{layer}")
        graph.add("ReduceMean", x, graph.constant(np.array([1], np.int64)), out="mean", keepdims=0)
        return graph.model("minilm", checked=False)

    def layer(self, x: str, at: str) -> str:
        """Attention and the feed-forward network behind it, each added to what it read."""
        graph = self.graph
        parts = [f"{at}.attention.self.{part}" for part in ("query", "key", "value")]
        heads = graph.constant(np.concatenate([self.weights[f"{part}.weight"] for part in parts]).T)
        bias = graph.constant(np.concatenate([self.weights[f"{part}.bias"] for part in parts]))
        attended = self.fused("Attention", x, heads, bias, num_heads=_HEADS)
        mixed = self.turned(attended, f"{at}.attention.output.dense")
        x = self.normalised_sum(mixed, x, f"{at}.attention.output")
        wide = self.turned(x, f"{at}.intermediate.dense")
        wide = self.fused("BiasGelu", wide, self.weight(f"{at}.intermediate.dense.bias"))
        narrow = self.turned(wide, f"{at}.output.dense")
        return self.normalised_sum(narrow, x, f"{at}.output")

    def weight(self, name: str) -> str:
        return self.graph.constant(self.weights[name])

    def turned(self, value: str, dense: str) -> str:
        """A value times a layer's weights, without the bias, which a fused operator adds."""
        return self.graph.add("MatMul", value, self.graph.constant(self.weights[f"{dense}.weight"].T))

    def fused(self, op: str, *inputs: str, **attributes: Any) -> str:
        return self.graph.add(op, *inputs, domain=FUSED, **attributes)

    def normalised_sum(self, branch: str, trunk: str, at: str) -> str:
        scale, shift = self.weight(f"{at}.LayerNorm.weight"), self.weight(f"{at}.LayerNorm.bias")
        bias = self.weight(f"{at}.dense.bias")
        return self.fused("SkipLayerNormalization", branch, trunk, scale, shift, bias, epsilon=_EPSILON)
