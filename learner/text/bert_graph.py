"""BERT and its like as an ONNX graph, from the names that the weights have: no torch, no tracing.

Owns the network of `bert`, `roberta`, `xlm-roberta` and `camembert` with absolute positions, in any size,
written with the fused operators that ONNX Runtime has for such networks, and the pooling behind it. Texts
come in equal length, so there is no padding and no mask. Knows no texts.

Source: Devlin et al. 2019, "BERT", section 3; Liu et al. 2019, "RoBERTa", whose positions begin behind the
padding's.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learner.graphs.onnx_graph import FLOAT, FUSED, INT64, Graph
from learner.text.architectures import GELUS, first_place

IDS, POSITIONS, VECTOR = "ids", "positions", "vector"


def bert_model(
    weights: Mapping[str, NDArray[Any]], config: Mapping[str, Any], places: int, pooling: str,
    projection: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None,
) -> bytes:  # fmt: skip
    """The network, for texts of at most `places` tokens.

    ids (B, L) int64, positions (L,) int64 -> vector (B, D) float32, not yet of length 1; turned by
    `projection`, a matrix (D, E) and what is added (E,), into (B, E).
    Raises KeyError where `weights` lack one that `config` promises.
    """
    return _Network(weights, config).model(places, pooling, projection)


def pooled(graph: Graph, x: str, pooling: str, out: str = VECTOR) -> str:
    """The value `out` (B, D) of all tokens' (B, L, D)."""
    if pooling == "mean":
        axis = graph.constant(np.array([1], np.int64))
        return graph.add("ReduceMean", x, axis, out=out, keepdims=0)
    if pooling == "max":
        axis = graph.constant(np.array([1], np.int64))
        return graph.add("ReduceMax", x, axis, out=out, keepdims=0)
    place = graph.constant(np.array(0 if pooling == "cls" else -1, np.int64))
    return graph.add("Gather", x, place, out=out, axis=1)


class _Network:
    def __init__(self, weights: Mapping[str, NDArray[Any]], config: Mapping[str, Any]) -> None:
        self.prefix = next((name[: -len(_WORDS)] for name in weights if name.endswith(_WORDS)), "")
        self.weights, self.config, self.graph = weights, config, Graph()
        self.epsilon = float(config.get("layer_norm_eps", 1e-12))
        self.heads = int(config["num_attention_heads"])

    def model(
        self, places: int, pooling: str, projection: tuple[NDArray[np.float32], NDArray[np.float32]] | None
    ) -> bytes:
        graph, words = self.graph, self.array("embeddings.word_embeddings.weight")
        ids = graph.input(IDS, INT64, ["B", "L"])
        positions = graph.input(POSITIONS, INT64, ["L"])
        width = words.shape[1] if projection is None else projection[0].shape[1]
        graph.output(VECTOR, FLOAT, ["B", width])
        # All texts are of one segment: its embedding is a constant that joins the positions'.
        first = first_place(self.config)
        place = self.array("embeddings.position_embeddings.weight")[first : first + places]
        if f"{self.prefix}embeddings.token_type_embeddings.weight" in self.weights:
            place = place + self.array("embeddings.token_type_embeddings.weight")[0]
        x = graph.add(
            "Add",
            graph.add("Gather", graph.constant(words), ids),
            graph.add("Gather", graph.constant(place), positions),
        )
        scale, shift = self.weight("embeddings.LayerNorm.weight"), self.weight("embeddings.LayerNorm.bias")
        x = graph.add("LayerNormalization", x, scale, shift, epsilon=self.epsilon)
        for layer in range(int(self.config["num_hidden_layers"])):
            x = self.layer(x, f"encoder.layer.{layer}")
        if projection is None:
            pooled(graph, x, pooling)
        else:
            turned = graph.add("MatMul", pooled(graph, x, pooling, "pooled"), graph.constant(projection[0]))
            graph.add("Add", turned, graph.constant(projection[1]), out=VECTOR)
        return graph.model("encoder", checked=False)

    def layer(self, x: str, at: str) -> str:
        """Attention and the feed-forward network behind it, each added to what it read."""
        graph = self.graph
        parts = [f"{at}.attention.self.{part}" for part in ("query", "key", "value")]
        asked = [self.turned(x, part) for part in parts]
        bias = graph.constant(np.concatenate([self.array(f"{part}.bias") for part in parts]))
        attended = self.fused("MultiHeadAttention", *asked, bias, num_heads=self.heads)
        mixed = self.turned(attended, f"{at}.attention.output.dense")
        x = self.normalised_sum(mixed, x, f"{at}.attention.output")
        wide = self.turned(x, f"{at}.intermediate.dense")
        wide = self.activated(wide, self.weight(f"{at}.intermediate.dense.bias"))
        narrow = self.turned(wide, f"{at}.output.dense")
        return self.normalised_sum(narrow, x, f"{at}.output")

    def activated(self, value: str, bias: str) -> str:
        kind = self.config.get("hidden_act", "gelu")
        if kind == "gelu":
            return self.fused("BiasGelu", value, bias)
        summed = self.graph.add("Add", value, bias)
        if kind == "relu":
            return self.graph.add("Relu", summed)
        return self.graph.add("Gelu", summed, approximate=GELUS[kind])

    def array(self, name: str) -> NDArray[np.float32]:
        return np.asarray(self.weights[self.prefix + name], np.float32)

    def weight(self, name: str) -> str:
        return self.graph.constant(self.array(name))

    def turned(self, value: str, dense: str) -> str:
        """A value times a layer's weights, without the bias, which a fused operator adds."""
        return self.graph.add("MatMul", value, self.graph.constant(self.array(f"{dense}.weight").T))

    def fused(self, op: str, *inputs: str, **attributes: Any) -> str:
        return self.graph.add(op, *inputs, domain=FUSED, **attributes)

    def normalised_sum(self, branch: str, trunk: str, at: str) -> str:
        scale, shift = self.weight(f"{at}.LayerNorm.weight"), self.weight(f"{at}.LayerNorm.bias")
        bias = self.weight(f"{at}.dense.bias")
        return self.fused("SkipLayerNormalization", branch, trunk, scale, shift, bias, epsilon=self.epsilon)


_WORDS = "embeddings.word_embeddings.weight"
