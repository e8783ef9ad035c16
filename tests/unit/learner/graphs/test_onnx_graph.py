"""Graphs written by hand: what is put together runs, and says what it is."""

import numpy as np
import onnxruntime
import pytest

onnx = pytest.importorskip("onnx")

from learner.graphs.onnx_graph import FLOAT, FUSED, Graph  # noqa: E402

pytestmark = pytest.mark.learner


def session(graph: Graph) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(graph.model("test"), providers=["CPUExecutionProvider"])


def test_nodes_constants_and_parts_make_a_model() -> None:
    graph = Graph()
    first, second = graph.split(graph.input("x", FLOAT, ["B", 4]), 2)
    # A scalar stays one, and an array that lies otherwise in memory means the same.
    scaled = graph.add("Mul", first, graph.constant(np.array(2.0, np.float32)))
    turned = graph.add("MatMul", second, graph.constant(np.arange(4, dtype=np.float32).reshape(2, 2).T))
    graph.add("Add", scaled, turned, out="y")
    graph.output("y", FLOAT, ["B", 2])
    x = np.array([[1, 2, 3, 4]], np.float32)
    np.testing.assert_array_equal(session(graph).run(["y"], {"x": x}), [[[2 * 1 + 4, 2 * 2 + 3 * 2 + 4 * 3]]])


@pytest.mark.parametrize(("given", "answer"), [(None, 3.0), (7.0, 7.0)])
def test_a_branch_is_taken_and_may_use_what_is_around_it(given: float | None, answer: float) -> None:
    graph = Graph()
    x = graph.input("x", FLOAT, [1])
    hint = graph.input("hint", FLOAT, ["N"])
    graph.constant(np.zeros(0, np.float32), hint)  # where it is not given
    otherwise, then = Graph("given_"), Graph("computed_")
    then.output(then.add("Add", x, then.constant(np.ones(1, np.float32))), FLOAT, ["N"])
    otherwise.output(otherwise.add("Identity", hint), FLOAT, ["N"])
    missing = graph.add("Equal", graph.add("Size", hint), graph.constant(np.array(0)))
    graph.add("Identity", graph.either(missing, then, otherwise), out="y")
    graph.output("y", FLOAT, ["N"])
    feed = {"x": np.full(1, 2.0, np.float32)}
    if given is not None:
        feed["hint"] = np.full(1, given, np.float32)
    assert session(graph).run(["y"], feed)[0].tolist() == [answer]


def test_what_is_no_model_is_refused_and_what_is_asks_for_what_it_uses() -> None:
    graph = Graph()
    graph.add("Gelu", graph.input("x", FLOAT, [1]), domain=FUSED, out="y")
    graph.output("y", FLOAT, [1])
    opsets = onnx.load_from_string(graph.model("fused")).opset_import
    assert {opset.domain for opset in opsets} == {"", FUSED}
    graph.add("Relu", "nowhere")
    with pytest.raises(onnx.checker.ValidationError):
        graph.model("broken")
