"""Encoders made small: the weights of an ONNX graph as whole numbers of 8 bits, or as halves.

Owns the change from one graph to the other; works on any graph, written by hand or traced. Knows no texts.

8 bits: each block of up to 128 inputs of a matrix has a scale of its own, and ONNX Runtime (`MatMulNBits`)
quantises what is multiplied by it block by block too, so a text reads the same in any company. Scales for a
whole tensor, as dynamic quantisation has them, lose ten times as much (docs/texts.md). The table of words has
a scale a word. Sums, norms and attention stay in 32 bits.
"""

from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from learner.graphs.onnx_graph import FUSED

Numbers = Literal["fp32", "fp16", "int8"]
_BLOCK, _LEAST_BLOCK = 128, 16  # what ONNX Runtime takes: powers of two
_INT8_SUMS = 4  # MatMulNBits' accuracy_level: products of whole numbers, summed in 32 bits
_TABLE_ROWS = 256  # smaller tables (positions, segments) are not worth it


def compacted(model: bytes, numbers: Numbers) -> bytes:
    """The same network in fewer bytes; "fp32" leaves it as it is."""
    if numbers == "fp32":
        return model
    proto = onnx.load_model_from_string(model)
    change = _Change(proto)
    change.run(change.int8 if numbers == "int8" else change.fp16)
    serialised: bytes = proto.SerializeToString()
    return serialised


class _Change:
    """One graph on its way to smaller weights."""

    def __init__(self, proto: Any) -> None:
        self.proto, self.graph = proto, proto.graph
        self.constants = {each.name: each for each in proto.graph.initializer}
        self.added: list[Any] = []

    def run(self, change: Callable[[Any], list[Any] | None]) -> None:
        """Replaces nodes where `change` says by which, and throws away the constants that nobody uses."""
        nodes = [new for node in self.graph.node for new in (change(node) or [node])]
        used = {name for node in _all(nodes) for name in node.input} | {o.name for o in self.graph.output}
        constants = [each for each in (*self.constants.values(), *self.added) if each.name in used]
        for field, kept in (("node", nodes), ("initializer", constants)):
            self.graph.ClearField(field)
            getattr(self.graph, field).extend(kept)
        del self.graph.value_info[:]  # the kinds of values within, which are others now
        if not any(opset.domain == FUSED for opset in self.proto.opset_import):
            self.proto.opset_import.append(helper.make_opsetid(FUSED, 1))

    def int8(self, node: Any) -> list[Any] | None:
        """A multiplication by a constant matrix, or a look-up in a large table, in 8 bits."""
        if node.op_type == "MatMul" and (weights := self.matrix(node.input[1])) is not None:
            return self.blocks(node, weights, [])
        if node.op_type == "Gemm" and (weights := self.matrix(node.input[1])) is not None:
            given = {each.name: helper.get_attribute_value(each) for each in node.attribute}
            if given.get("transA", 0) or given.get("alpha", 1.0) != 1.0 or given.get("beta", 1.0) != 1.0:
                return None
            return self.blocks(node, weights.T if given.get("transB", 0) else weights, node.input[2:3])
        if node.op_type == "Gather" and (table := self.table(node)) is not None:
            scale = np.maximum(np.abs(table).max(axis=1, keepdims=True), 1e-12) / 127
            whole = self.constant(node.output[0] + "_whole", np.rint(table / scale).astype(np.int8))
            scales = self.constant(node.output[0] + "_scales", scale.astype(np.float32))
            ids, out = node.input[1], node.output[0]
            return [
                helper.make_node("Gather", [whole, ids], [out + "_q"], axis=0),
                helper.make_node("Cast", [out + "_q"], [out + "_f"], to=TensorProto.FLOAT),
                helper.make_node("Gather", [scales, ids], [out + "_s"], axis=0),
                helper.make_node("Mul", [out + "_f", out + "_s"], [out]),
            ]
        return None

    def blocks(self, node: Any, weights: NDArray[np.float32], bias: Any) -> list[Any] | None:
        """`weights` (K, N) in blocks of inputs that share a scale."""
        inputs, outputs = weights.shape
        block = _BLOCK
        while inputs % block and block > _LEAST_BLOCK:
            block //= 2
        if inputs % block:
            return None
        cut = weights.T.reshape(outputs, inputs // block, block)
        scale = np.maximum(np.abs(cut).max(axis=2, keepdims=True), 1e-12) / 127
        whole = (np.clip(np.rint(cut / scale), -127, 127) + 128).astype(np.uint8)  # 128 stands for 0
        name = node.output[0]
        given = [
            self.constant(name + "_whole", whole),
            self.constant(name + "_scales", scale.reshape(-1).astype(np.float32)),
        ]
        return [
            helper.make_node(
                "MatMulNBits", [node.input[0], *given, *(["", "", *bias] if bias else [])], [name],
                domain=FUSED, K=inputs, N=outputs, bits=8, block_size=block, accuracy_level=_INT8_SUMS,
            )
        ]  # fmt: skip

    def fp16(self, node: Any) -> list[Any] | None:
        """Large constants kept in 16 bits and widened when the graph is loaded."""
        casts = []
        for place, name in enumerate(node.input):
            if (array := self.matrix(name)) is not None and array.size > 1000:
                half = self.constant(f"{node.output[0]}_half{place}", array.astype(np.float16))
                casts.append(helper.make_node("Cast", [half], [half + "_f"], to=TensorProto.FLOAT))
                node.input[place] = half + "_f"
        return [*casts, node]

    def matrix(self, name: str) -> NDArray[np.float32] | None:
        """A constant matrix of floats by its name."""
        constant = self.constants.get(name)
        if constant is None or constant.data_type != TensorProto.FLOAT or len(constant.dims) != 2:
            return None
        array: NDArray[np.float32] = numpy_helper.to_array(constant)
        return array

    def table(self, node: Any) -> NDArray[np.float32] | None:
        """The large table that a node looks rows up in."""
        axis = next((each.i for each in node.attribute if each.name == "axis"), 0)
        found = self.matrix(node.input[0]) if axis == 0 else None
        return found if found is not None and len(found) >= _TABLE_ROWS else None

    def constant(self, name: str, array: NDArray[Any]) -> str:
        self.added.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name


def _all(nodes: list[Any]) -> Iterator[Any]:
    """Nodes and those of their branches."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _all(list(attribute.g.node))
