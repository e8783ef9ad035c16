"""ONNX graphs written by hand: nodes, constants, inputs and outputs, and the model made of them.

Owns how a graph is put together, for the networks that are written node by node instead of traced. Knows
no network.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

OPSET = 20  # the first with Gelu; ONNX Runtime reads it since 1.17
IR_VERSION = 9
FUSED = "com.microsoft"  # the domain of ONNX Runtime's own operators
FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64

Shape: TypeAlias = Sequence[int | str]  # a name stands for a size that may vary


class Graph:
    """A graph under construction. Methods that make a value return its name.

    `prefix` of the names that nobody chose: a branch must not use its parent's.
    """

    def __init__(self, prefix: str = "") -> None:
        self._prefix = prefix
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []

    def input(self, name: str, dtype: int, shape: Shape) -> str:
        """What is fed in under `name`. With a constant of the same name it may be left out."""
        self._inputs.append(helper.make_tensor_value_info(name, dtype, shape))
        return name

    def output(self, name: str, dtype: int, shape: Shape) -> None:
        """Says that the value `name` comes out."""
        self._outputs.append(helper.make_tensor_value_info(name, dtype, shape))

    def constant(self, array: NDArray[Any], name: str = "") -> str:
        """An array, of its own dtype."""
        name = name or f"{self._prefix}c{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.asarray(array, order="C"), name))
        return name

    def add(self, op: str, *inputs: str, out: str = "", **attributes: Any) -> str:
        """A node and its one output, named `out` where it is an output of the graph."""
        out = out or f"{self._prefix}n{len(self._nodes)}"
        self._nodes.append(helper.make_node(op, inputs, [out], **attributes))
        return out

    def split(self, value: str, count: int) -> list[str]:
        """`count` equal parts of a value (B, …) along its second axis."""
        parts = [f"{self._prefix}n{len(self._nodes)}_{k}" for k in range(count)]
        self._nodes.append(helper.make_node("Split", [value], parts, axis=1, num_outputs=count))
        return parts

    def either(self, condition: str, then: "Graph", otherwise: "Graph") -> str:
        """The output of one graph or of the other, which may use all values of this one."""
        branches = then._proto("then"), otherwise._proto("otherwise")
        return self.add("If", condition, then_branch=branches[0], else_branch=branches[1])

    def model(self, name: str, *, checked: bool = True) -> bytes:
        """The serialised model. `checked`: raises where it is no valid one, at the cost of a second copy."""
        domains = sorted({"", *(node.domain for node in self._nodes)})
        model = helper.make_model(
            self._proto(name),
            opset_imports=[helper.make_opsetid(domain, 1 if domain else OPSET) for domain in domains],
            ir_version=IR_VERSION,
            producer_name="nextclick",
        )
        if checked:
            onnx.checker.check_model(model)
        serialised: bytes = model.SerializeToString()
        return serialised

    def _proto(self, name: str) -> Any:
        return helper.make_graph(self._nodes, name, self._inputs, self._outputs, self._constants)
