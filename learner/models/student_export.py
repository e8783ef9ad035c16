"""Writes a student as one ONNX step and as arrays: what a release holds of it.

step(item_vector (B, D) f32, kind (B,) i64, log_gap (B,) f32, value (B,) f32, hidden (B, S) f32)
-> hidden (B, S) f32, user_vector (B, D) f32. S = D · (layers + 1), zeros before the first event.

The graph is written by hand with fused weights: at one click the cost is the number of nodes, and an
exported trace has three times as many. Knows nothing of release folders.
"""

from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray

from learner.data.events import Kind
from learner.graphs.onnx_graph import FLOAT, INT64, Graph
from learner.models.student import AVERSION_KEEP, AVERSION_KINDS, GAP_SCALE, Layer, Student


@dataclass(frozen=True)
class StudentArrays:
    """A student's item side, float32.

    vectors (V, D), bias (V,), initial (D,): the user vector before the first event; projection (T, D):
    an item's content to its vector; category_vectors (C, D): their mean is added; cold_bias: of an item
    that training has not seen.
    """

    vectors: NDArray[np.float32]
    bias: NDArray[np.float32]
    initial: NDArray[np.float32]
    projection: NDArray[np.float32]
    category_vectors: NDArray[np.float32]
    cold_bias: float


@torch.no_grad()
def student_arrays(student: Student) -> StudentArrays:
    """Read the item side off a trained student."""
    student.eval()
    unseen = ~student.seen
    cold = student.bias[unseen].mean() if bool(unseen.any()) else student.bias.min()
    return StudentArrays(
        vectors=student.table().numpy().copy(),
        bias=student.bias.numpy().copy(),
        initial=student.initial.numpy().copy(),
        projection=student.projection.numpy().copy(),
        category_vectors=student.category_part.numpy().copy(),
        cold_bias=float(cold),
    )


def _weight(graph: Graph, tensor: torch.Tensor) -> str:
    return graph.constant(tensor.detach().numpy().astype(np.float32))


def _linear(graph: Graph, value: str, layer: torch.nn.Linear) -> str:
    return graph.add("Gemm", value, _weight(graph, layer.weight.T), _weight(graph, layer.bias))


def _normalised(graph: Graph, value: str, norm: torch.nn.LayerNorm) -> str:
    weights = _weight(graph, norm.weight), _weight(graph, norm.bias)
    return graph.add("LayerNormalization", value, *weights, axis=-1, epsilon=norm.eps)


def _layer(graph: Graph, layer: Layer, x: str, reads: str, state: str) -> tuple[str, str]:
    update, candidate, gate = graph.split(_linear(graph, x, layer.gates), 3)
    update = graph.add("Mul", graph.add("Sigmoid", update), reads)
    state = graph.add("Add", state, graph.add("Mul", update, graph.add("Sub", candidate, state)))
    gate = graph.add("Mul", gate, graph.add("Sigmoid", gate))
    out = _linear(graph, graph.add("Mul", state, gate), layer.out)
    x = _normalised(graph, graph.add("Add", x, out), layer.norm)
    wide = _linear(graph, graph.add("Gelu", _linear(graph, x, layer.widen)), layer.narrow)
    return _normalised(graph, graph.add("Add", x, wide), layer.norm_wide), state


@torch.no_grad()
def step_model(student: Student) -> bytes:
    """Return the step as a serialised ONNX model."""
    student.eval()
    dim, layers, kinds = student.config.dim, len(student.layers), len(Kind)
    graph = Graph()
    item_vector = graph.input("item_vector", FLOAT, ["B", dim])
    kind = graph.input("kind", INT64, ["B"])
    log_gap = graph.input("log_gap", FLOAT, ["B"])
    value = graph.input("value", FLOAT, ["B"])
    hidden = graph.input("hidden", FLOAT, ["B", student.hidden_size])
    graph.output("hidden_after", FLOAT, ["B", student.hidden_size])
    graph.output("user_vector", FLOAT, ["B", dim])

    *states, memory = graph.split(hidden, layers + 1)
    axis = graph.constant(np.array([1], np.int64))
    extra = [graph.add("Unsqueeze", name, axis) for name in (log_gap, value)]
    scales = student.gap_value * torch.tensor([[GAP_SCALE], [1.0]])
    event = graph.add(
        "Gemm",
        graph.add("Concat", *extra, axis=1),
        _weight(graph, scales),
        graph.add("Gather", _weight(graph, student.kind_part[:kinds]), kind),
    )
    x = graph.add("Add", _normalised(graph, item_vector, student.norm_in), event)
    reads = graph.add("Gather", _weight(graph, student.reads[:kinds, None]), kind)
    after = []
    for layer, state in zip(student.layers, states, strict=True):
        x, state = _layer(graph, cast(Layer, layer), x, reads, state)
        after.append(state)
    memory = _aversion(graph, student, item_vector, kind, memory)
    graph.add("Sub", x, memory, out="user_vector")
    graph.add("Concat", *after, memory, out="hidden_after", axis=1)
    return graph.model("student_step")


def _aversion(graph: Graph, student: Student, item_vector: str, kind: str, memory: str) -> str:
    """The memory of what was pushed away, after the event."""
    averse = torch.from_numpy(AVERSION_KINDS[: len(Kind), None].astype(np.float32))
    push = graph.add("Gather", _weight(graph, averse * F.softplus(student.push)), kind)
    length = graph.add("ReduceL2", item_vector, graph.constant(np.array([1], np.int64)), keepdims=1)
    length = graph.add("Max", length, graph.constant(np.array([1e-6], np.float32)))
    pushed = graph.add("Mul", item_vector, graph.add("Div", push, length))
    # START never comes here, so the memory always decays
    kept = graph.add("Mul", memory, graph.constant(np.array([AVERSION_KEEP], np.float32)))
    return graph.add("Add", kept, pushed)
