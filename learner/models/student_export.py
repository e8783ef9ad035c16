"""Writes a student as one ONNX step and as arrays: what a release holds of it.

step(item_vector (B, D) f32, kind (B,) i64, log_gap (B,) f32, value (B,) f32, hidden (B, S) f32)
-> hidden (B, S) f32, user_vector (B, D) f32. S = D · (layers + 1), zeros before the first event.

The graph is written by hand with fused weights: at one click the cost is the number of nodes, and an
exported trace has three times as many. Knows nothing of release folders.
"""

from dataclasses import dataclass
from typing import cast

import numpy as np
import onnx
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from learner.data.events import Kind
from learner.models.student import AVERSION_KEEP, AVERSION_KINDS, GAP_SCALE, Layer, Student

OPSET = 20  # the first with Gelu; ONNX Runtime reads it since 1.17
IR_VERSION = 9


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


class _Graph:
    """Nodes and constants of a graph under construction; every method returns the output's name."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, array: NDArray[np.float32] | NDArray[np.int64]) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def weight(self, tensor: torch.Tensor) -> str:
        return self.constant(tensor.detach().numpy().astype(np.float32))

    def add(self, op: str, *inputs: str, out: str = "", **attributes: object) -> str:
        name = out or f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], **attributes))
        return name

    def split(self, value: str, count: int) -> list[str]:
        names = [f"n{len(self.nodes)}_{k}" for k in range(count)]
        self.nodes.append(helper.make_node("Split", [value], names, axis=1, num_outputs=count))
        return names

    def linear(self, value: str, layer: torch.nn.Linear) -> str:
        return self.add("Gemm", value, self.weight(layer.weight.T), self.weight(layer.bias))

    def normalise(self, value: str, norm: torch.nn.LayerNorm) -> str:
        weights = self.weight(norm.weight), self.weight(norm.bias)
        return self.add("LayerNormalization", value, *weights, axis=-1, epsilon=norm.eps)


def _layer(graph: _Graph, layer: Layer, x: str, reads: str, state: str) -> tuple[str, str]:
    update, candidate, gate = graph.split(graph.linear(x, layer.gates), 3)
    update = graph.add("Mul", graph.add("Sigmoid", update), reads)
    state = graph.add("Add", state, graph.add("Mul", update, graph.add("Sub", candidate, state)))
    gate = graph.add("Mul", gate, graph.add("Sigmoid", gate))
    out = graph.linear(graph.add("Mul", state, gate), layer.out)
    x = graph.normalise(graph.add("Add", x, out), layer.norm)
    wide = graph.linear(graph.add("Gelu", graph.linear(x, layer.widen)), layer.narrow)
    return graph.normalise(graph.add("Add", x, wide), layer.norm_wide), state


@torch.no_grad()
def step_model(student: Student) -> bytes:
    """Return the step as a serialised ONNX model."""
    student.eval()
    dim, layers = student.config.dim, len(student.layers)
    graph = _Graph()
    kinds = len(Kind)
    *states, memory = graph.split("hidden", layers + 1)
    axis = graph.constant(np.array([1], np.int64))
    extra = [graph.add("Unsqueeze", name, axis) for name in ("log_gap", "value")]
    scales = student.gap_value * torch.tensor([[GAP_SCALE], [1.0]])
    event = graph.add(
        "Gemm",
        graph.add("Concat", *extra, axis=1),
        graph.weight(scales),
        graph.add("Gather", graph.weight(student.kind_part[:kinds]), "kind"),
    )
    x = graph.add("Add", graph.normalise("item_vector", student.norm_in), event)
    reads = graph.add("Gather", graph.weight(student.reads[:kinds, None]), "kind")
    after = []
    for layer, state in zip(student.layers, states, strict=True):
        x, state = _layer(graph, cast(Layer, layer), x, reads, state)
        after.append(state)
    averse = torch.from_numpy(AVERSION_KINDS[:kinds, None].astype(np.float32))
    push = graph.add("Gather", graph.weight(averse * F.softplus(student.push)), "kind")
    length = graph.add("ReduceL2", "item_vector", axis, keepdims=1)
    length = graph.add("Max", length, graph.constant(np.array([1e-6], np.float32)))
    pushed = graph.add("Mul", "item_vector", graph.add("Div", push, length))
    # START never comes here, so the memory always decays
    kept = graph.add("Mul", memory, graph.constant(np.array([AVERSION_KEEP], np.float32)))
    memory = graph.add("Add", kept, pushed)
    graph.add("Sub", x, memory, out="user_vector")
    graph.add("Concat", *after, memory, out="hidden_after", axis=1)
    size = student.hidden_size
    floats = TensorProto.FLOAT
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "student_step",
            [
                helper.make_tensor_value_info("item_vector", floats, ["B", dim]),
                helper.make_tensor_value_info("kind", TensorProto.INT64, ["B"]),
                helper.make_tensor_value_info("log_gap", floats, ["B"]),
                helper.make_tensor_value_info("value", floats, ["B"]),
                helper.make_tensor_value_info("hidden", floats, ["B", size]),
            ],
            [
                helper.make_tensor_value_info("hidden_after", floats, ["B", size]),
                helper.make_tensor_value_info("user_vector", floats, ["B", dim]),
            ],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="nextclick",
    )
    onnx.checker.check_model(model)
    serialised: bytes = model.SerializeToString()
    return serialised
