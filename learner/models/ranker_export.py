"""Writes rankers as one ONNX graph, and reads them back.

features (B, C, F) float32 -> scores (B, C) float32, standardisation inside. What the layer over own items
sums up may be given as a second input, `summed` (B · C, W) float32: then features (B, C, A) are enough, the
columns before those by place, and much of the work is saved (`learner.ranking.own_items`). What that layer
is made of comes out as further outputs, `LAYER`, which cost nothing where nobody asks for them.

Knows nothing of release folders.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from learner.models.cold_start import ColdStart
from learner.models.ranker import LIMIT, Ranker, RankerConfig
from learner.ranking.layout import Layout
from learner.ranking.own_items import LAYER
from learner.release.bundle import RANKER, ReleaseError

OPSET = 20  # the first with Gelu; ONNX Runtime reads it since 1.17
IR_VERSION = 9

_Node = tuple[str, list[str], str]  # operator, inputs, output


@torch.no_grad()
def ranker_model(rankers: Sequence[Ranker]) -> bytes:
    """Return the mean of the rankers' scores as one serialised ONNX graph, with the first one's cold start.

    Their first layers stand side by side and their second layers block by block, so that several
    rankers over the same standardisation cost no more nodes than one.
    """
    head, share = rankers[0], 1.0 / len(rankers)
    for other in rankers[1:]:
        if not (torch.equal(other.mean, head.mean) and torch.equal(other.inverse, head.inverse)):
            raise ValueError(
                "rankers can be averaged only over one standardisation: train them on the same lists"
            )
    constants = {
        # Folding the standardisation into the first weights would save two passes over the features and
        # lose the digits of columns with a large mean: measured 2e-4 of a score, for 3 µs.
        "mean": head.mean,
        "inverse": head.inverse,
        "low": torch.tensor(-LIMIT),
        "high": torch.tensor(LIMIT),
        "first": torch.cat([ranker.wide.weight[:, : head.alone] for ranker in rankers]).T,
        "first_bias": torch.cat([ranker.wide.bias for ranker in rankers]),
        "second": torch.block_diag(*[ranker.narrow.weight for ranker in rankers]).T,  # type: ignore[no-untyped-call]
        "second_bias": torch.cat([ranker.narrow.bias for ranker in rankers]),
        "last": torch.cat([ranker.out.weight for ranker in rankers], 1).T * share,
        "skip": torch.stack([ranker.skip.weight[:, : head.alone] for ranker in rankers]).sum(0).T * share,
        "bias": sum((ranker.out.bias for ranker in rankers), torch.zeros(1)) * share,
        "backwards": torch.tensor([-1]),
        "zero": torch.tensor([0]),
        "two": torch.tensor([2]),
        "three": torch.tensor([3]),
    }
    nodes = _made(
        ("Shape", ["features"], "shape"),
        ("Slice", ["shape", "two", "three"], "columns"),
        ("Concat", ["backwards", "columns"], "flat"),
        ("Reshape", ["features", "flat"], "rows"),
    )
    columns = "F" if head.places else len(head.mean)
    inputs = [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["B", "C", columns])]
    outputs = [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["B", "C"])]
    layout = None if head.places is None else head.places.layout
    if layout is None:
        nodes += _made(
            *_standardised("rows", "mean", "inverse", "alone"),
            ("Gemm", ["alone", "first", "first_bias"], "a2"),
            ("Gemm", ["alone", "skip", "bias"], "c2"),
        )
    else:
        nodes += _with_places(rankers, constants)
        width = constants["read"].shape[1]
        inputs.append(helper.make_tensor_value_info("summed", TensorProto.FLOAT, ["R", width]))
        own = layout.places * layout.columns
        shapes: list[list[int]] = [[own], [own], [], [layout.columns, width], [width]]
        outputs += [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name, shape in zip(LAYER, shapes, strict=True)
        ]
    nodes += _made(
        ("Gelu", ["a2"], "a3"),
        ("Gemm", ["a3", "second", "second_bias"], "b1"),
        ("Gelu", ["b1"], "b2"),
        ("Gemm", ["b2", "last", "c2"], "c3"),
        ("Slice", ["shape", "zero", "two"], "lists"),
    )
    if head.cold_start is None:
        nodes += _made(("Reshape", ["c3", "lists"], "scores"))
    else:
        nodes += _cold(head, head.cold_start, constants)
    model = helper.make_model(
        helper.make_graph(
            nodes, "ranker", inputs, outputs,
            [
                numpy_helper.from_array(tensor.detach().contiguous().numpy(), name)
                for name, tensor in constants.items()
            ],
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="nextclick",
    )  # fmt: skip
    onnx.checker.check_model(model)
    serialised: bytes = model.SerializeToString()
    return serialised


def ranker_from_model(model: bytes) -> Ranker:
    """The ranker behind `ranker_model`'s graph, to be trained on; an average of several is one wider one.

    Raises ReleaseError where the graph is another one.
    """
    try:
        graph = onnx.load_from_string(model).graph
        arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        first, second = _part(arrays, "first"), _part(arrays, "second")
        widths = (first.shape[1], second.shape[1])
        layout, place_width = None, 0
        if "spoken_shape" in arrays:
            _, places, place_width = arrays["spoken_shape"].tolist()
            layout = Layout(int(arrays["begin"][0]), places, int(arrays["each"][1]))
        config = RankerConfig(widths=widths, place_width=place_width)
        ranker = Ranker(_part(arrays, "mean"), 1.0 / _part(arrays, "inverse"), config, layout=layout)
        with torch.no_grad():
            if ranker.places is not None:
                ranker.places.read.weight.copy_(torch.tensor(_part(arrays, "read").T))
                ranker.places.read.bias.copy_(torch.tensor(_part(arrays, "read_bias")))
            for weights, array in (
                (ranker.wide.weight, first.T), (ranker.wide.bias, _part(arrays, "first_bias")),
                (ranker.narrow.weight, second.T), (ranker.narrow.bias, _part(arrays, "second_bias")),
                (ranker.out.weight, _part(arrays, "last").T), (ranker.out.bias, _part(arrays, "bias")),
                (ranker.skip.weight, _part(arrays, "skip").T),
            ):  # fmt: skip
                if weights.shape != array.shape:
                    raise ValueError(f"expected weights {tuple(weights.shape)}, got {array.shape}")
                weights.copy_(torch.tensor(array))
        if "cold_start" in arrays:
            ranker.cold_start = ColdStart(int(arrays["known"][0]), _part(arrays, "cold_start")[:, 0].copy())
    except Exception as error:  # onnx's parser has exceptions of its own
        raise ReleaseError(
            f"{RANKER}: expected a ranker of this version, to be trained on, got another one ({error}); "
            "train a new release"
        ) from error
    return ranker.eval()


def _with_places(rankers: Sequence[Ranker], constants: dict[str, Tensor]) -> list[onnx.NodeProto]:
    """Nodes from `rows` to what the first layer and the skip give, with a layer over own items.

    The rankers' place layers stand side by side, and each one's first layer reads its own part of the sums.
    Adds to the constants, and to those of the layers above what they read of the sums.
    """
    head, share = rankers[0], 1.0 / len(rankers)
    places = [ranker.places for ranker in rankers if ranker.places is not None]
    layout = places[0].layout
    above = torch.block_diag(*[ranker.wide.weight[:, head.alone :] for ranker in rankers])  # type: ignore[no-untyped-call]
    skip = torch.cat([ranker.skip.weight[:, head.alone :] for ranker in rankers], 1)
    width = above.shape[1]
    constants["first"] = torch.cat([constants["first"], above.T])
    constants["skip"] = torch.cat([constants["skip"], skip.T * share])
    constants |= {
        "begin": torch.tensor([layout.begin]),
        "end": torch.tensor([layout.width]),
        "whole": torch.tensor([layout.begin + width]),
        "axis": torch.tensor([1]),
        "one": torch.tensor([1]),
        "each": torch.tensor([-1, layout.columns]),
        "there_shape": torch.tensor([-1, 1, layout.places]),
        "read": torch.cat([part.read.weight for part in places]).T,
        "read_bias": torch.cat([part.read.bias for part in places]),
        "spoken_shape": torch.tensor([-1, layout.places, width]),
        "summed": torch.zeros(0, width),  # where it is not given
        "nothing": torch.tensor(0),
    }
    computed = _made(
        ("Slice", ["rows", "begin", "end", "axis"], "own"),
        *_standardised("own", "own_mean", "own_inverse", "standardised"),
        ("Reshape", ["standardised", "each"], "places"),
        ("Gemm", ["places", "read", "read_bias"], "p1"),
        ("Relu", ["p1"], "p2"),
        ("Reshape", ["p2", "spoken_shape"], "spoken"),
        ("Slice", ["places", "zero", "one", "axis"], "p3"),
        ("Reshape", ["p3", "there_shape"], "there"),
        ("MatMul", ["there", "spoken"], "p4"),  # the sum over the places there are
        ("Squeeze", ["p4", "axis"], "computed"),
    )
    given = _made(("Identity", ["summed"], "given"))
    return [
        *_made(
            *_parted("mean", "alone_mean", "zero", "begin"),
            *_parted("inverse", "alone_inverse", "zero", "begin"),
            *_parted("mean", "own_mean", "begin", "end"),
            *_parted("inverse", "own_inverse", "begin", "end"),
            *_parted("first", "first_alone", "zero", "begin"),
            *_parted("first", "first_sums", "begin", "whole"),
            *_parted("skip", "skip_alone", "zero", "begin"),
            *_parted("skip", "skip_sums", "begin", "whole"),
            *(
                (("Identity", [name], told))
                for name, told in zip(
                    ("own_mean", "own_inverse", "high", "read", "read_bias"), LAYER, strict=True
                )
            ),
            ("Slice", ["rows", "zero", "begin", "axis"], "raw"),
            *_standardised("raw", "alone_mean", "alone_inverse", "alone"),
            ("Size", ["summed"], "size"),
            ("Equal", ["size", "nothing"], "missing"),
        ),
        helper.make_node(
            "If",
            ["missing"],
            ["sums"],
            then_branch=_branch("compute", computed, width),
            else_branch=_branch("take", given, width),
        ),
        *_made(
            ("Gemm", ["alone", "first_alone", "first_bias"], "a1"),
            ("Gemm", ["sums", "first_sums", "a1"], "a2"),
            ("Gemm", ["alone", "skip_alone", "bias"], "c1"),
            ("Gemm", ["sums", "skip_sums", "c1"], "c2"),
        ),
    ]


def _cold(head: Ranker, cold: ColdStart, constants: dict[str, Tensor]) -> list[onnx.NodeProto]:
    """Nodes from `c3` to `scores`, with the order of those who have no own items."""
    constants |= {
        "cold_start": torch.from_numpy(cold.weights)[:, None],
        "alone_columns": torch.tensor([head.alone]),
        "cold_rest": head.cold_order(cold)[1][None],
        "known": torch.tensor([cold.known]),
        "beyond": torch.tensor([cold.known + 1]),
        "second_axis": torch.tensor([1]),
        "none": torch.tensor(0.0),
    }
    return _made(
        *_parted("cold_start", "cold_alone", "zero", "alone_columns"),
        ("Slice", ["rows", "known", "beyond", "second_axis"], "past"),
        ("Equal", ["past", "none"], "unknown"),
        ("Gemm", ["alone", "cold_alone", "cold_rest"], "d1"),
        ("Where", ["unknown", "d1", "c3"], "d2"),
        ("Reshape", ["d2", "lists"], "scores"),
    )


def _standardised(value: str, mean: str, inverse: str, out: str) -> list[_Node]:
    return [
        ("Sub", [value, mean], f"{out}_centred"),
        ("Mul", [f"{out}_centred", inverse], f"{out}_scaled"),
        ("Clip", [f"{out}_scaled", "low", "high"], out),
    ]


def _parted(constant: str, out: str, begin: str, end: str) -> list[_Node]:
    """Rows of a constant: done once, when a session is made."""
    return [("Slice", [constant, begin, end, "zero"], out)]


def _made(*nodes: _Node) -> list[onnx.NodeProto]:
    attributes = {"Concat": {"axis": 0}}
    return [helper.make_node(op, inputs, [output], **attributes.get(op, {})) for op, inputs, output in nodes]


def _branch(name: str, nodes: list[onnx.NodeProto], width: int) -> onnx.GraphProto:
    out = helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, ["R", width])
    return helper.make_graph(nodes, name, [], [out])


def _part(arrays: dict[str, Any], name: str) -> NDArray[np.float32]:
    return np.asarray(arrays[name], np.float32)
