"""Writes rankers as one ONNX graph, and reads them back.

features (B, C, F) float32 -> scores (B, C) float32, standardisation inside. What the layer over own items
sums up may be given as a second input, `summed` (B · C, W) float32: then features (B, C, A) are enough, the
columns before those by place, and much of the work is saved (`learner.ranking.own_items`). What that layer
is made of comes out as further outputs, `LAYER`, which cost nothing where nobody asks for them.

A ranker is read back from the graph's constants, so that their names are part of a release's format. Knows
nothing of release folders.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor

from learner.graphs.onnx_graph import FLOAT, Graph
from learner.models.cold_start import ColdStart
from learner.models.ranker import LIMIT, Ranker
from learner.models.settings import RankerConfig
from learner.ranking.layout import Layout
from learner.ranking.own_items import LAYER
from learner.release.bundle import RANKER, ReleaseError


@torch.no_grad()
def ranker_model(rankers: Sequence[Ranker]) -> bytes:
    """Return the mean of the rankers' scores as one serialised ONNX graph, with the first one's cold start.

    Their first layers stand side by side and their second layers block by block, so that several
    rankers over the same standardisation cost no more nodes than one.
    """
    head = rankers[0]
    for other in rankers[1:]:
        if not (torch.equal(other.mean, head.mean) and torch.equal(other.inverse, head.inverse)):
            raise ValueError(
                "rankers can be averaged only over one standardisation: train them on the same lists"
            )
    graph = Graph()
    for name, tensor in _weights(rankers).items():
        graph.constant(tensor.detach().numpy(), name)
    features = graph.input("features", FLOAT, ["B", "C", "F" if head.places else len(head.mean)])
    graph.output("scores", FLOAT, ["B", "C"])
    shape, two = graph.add("Shape", features), _number(graph, 2)
    columns = graph.add("Slice", shape, two, _number(graph, 3))
    rows = graph.add("Reshape", features, graph.add("Concat", _number(graph, -1), columns, axis=0))
    if head.places is None:
        alone = _standardised(graph, rows, "mean", "inverse")
        wide = graph.add("Gemm", alone, "first", "first_bias")
        skip = graph.add("Gemm", alone, "skip", "bias")
    else:
        width = sum(ranker.config.place_width for ranker in rankers)
        alone, wide, skip = _with_places(graph, rows, head.places.layout, width)
    narrow = graph.add("Gemm", graph.add("Gelu", wide), "second", "second_bias")
    scores = graph.add("Gemm", graph.add("Gelu", narrow), "last", skip)
    if head.cold_start is not None:
        scores = _with_cold_start(graph, head.alone, rows, alone, scores)
    graph.add("Reshape", scores, graph.add("Slice", shape, _number(graph, 0), two), out="scores")
    return graph.model("ranker")


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


def _weights(rankers: Sequence[Ranker]) -> dict[str, Tensor]:
    """All that the graph holds of the rankers, by the names that it is read back by."""
    head, share = rankers[0], 1.0 / len(rankers)
    weights = {
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
    }
    if places := [ranker.places for ranker in rankers if ranker.places is not None]:
        # The place layers stand side by side, and each one's first layer reads its own part of the sums.
        above = torch.block_diag(*[ranker.wide.weight[:, head.alone :] for ranker in rankers])  # type: ignore[no-untyped-call]
        skip = torch.cat([ranker.skip.weight[:, head.alone :] for ranker in rankers], 1)
        layout, width = places[0].layout, above.shape[1]
        weights["first"] = torch.cat([weights["first"], above.T])
        weights["skip"] = torch.cat([weights["skip"], skip.T * share])
        weights |= {
            "read": torch.cat([part.read.weight for part in places]).T,
            "read_bias": torch.cat([part.read.bias for part in places]),
            "begin": torch.tensor([layout.begin]),
            "each": torch.tensor([-1, layout.columns]),
            "spoken_shape": torch.tensor([-1, layout.places, width]),
        }
    if head.cold_start is not None:
        weights |= {
            "cold_start": torch.from_numpy(head.cold_start.weights)[:, None],
            "cold_rest": head.cold_order(head.cold_start)[1][None],
            "known": torch.tensor([head.cold_start.known]),
        }
    return weights


def _with_places(graph: Graph, rows: str, layout: Layout, width: int) -> tuple[str, str, str]:
    """With a layer over own items that gives `width` sums.

    Returns the columns before those by place, standardised, and what the first layer and the skip make.
    """
    summed = graph.input("summed", FLOAT, ["R", width])
    graph.constant(np.zeros((0, width), np.float32), summed)  # where it is not given
    zero, axis = _number(graph, 0), _number(graph, 1)
    end, whole = _number(graph, layout.width), _number(graph, layout.begin + width)

    def part(constant: str, begin: str, end: str) -> str:
        """Rows of a constant: done once, when a session is made."""
        return graph.add("Slice", constant, begin, end, zero)

    own_mean, own_inverse = part("mean", "begin", end), part("inverse", "begin", end)
    own = layout.places * layout.columns
    shapes: list[list[int]] = [[own], [own], [], [layout.columns, width], [width]]
    told = (own_mean, own_inverse, "high", "read", "read_bias")
    for value, name, shape in zip(told, LAYER, shapes, strict=True):
        graph.output(graph.add("Identity", value, out=name), FLOAT, shape)

    sums = _sums(graph, rows, layout, own_mean, own_inverse, summed, width)
    alone = graph.add("Slice", rows, zero, "begin", axis)
    alone = _standardised(graph, alone, part("mean", zero, "begin"), part("inverse", zero, "begin"))
    wide = graph.add("Gemm", alone, part("first", zero, "begin"), "first_bias")
    skip = graph.add("Gemm", alone, part("skip", zero, "begin"), "bias")
    return (
        alone,
        graph.add("Gemm", sums, part("first", "begin", whole), wide),
        graph.add("Gemm", sums, part("skip", "begin", whole), skip),
    )


def _sums(graph: Graph, rows: str, layout: Layout, mean: str, inverse: str, summed: str, width: int) -> str:
    """What the layer over own items sums up: `summed` where it is given, else computed from the columns."""
    zero, axis = _number(graph, 0), _number(graph, 1)
    computed = Graph("computed_")
    columns = computed.add("Slice", rows, "begin", _number(graph, layout.width), axis)
    places = computed.add("Reshape", _standardised(computed, columns, mean, inverse), "each")
    spoken = computed.add("Relu", computed.add("Gemm", places, "read", "read_bias"))
    spoken = computed.add("Reshape", spoken, "spoken_shape")
    there = computed.add("Slice", places, zero, axis, axis)
    there = computed.add("Reshape", there, computed.constant(np.array([-1, 1, layout.places])))
    sums = computed.add("MatMul", there, spoken)  # over the places there are
    computed.output(computed.add("Squeeze", sums, axis), FLOAT, ["R", width])
    given = Graph("given_")
    given.output(given.add("Identity", summed), FLOAT, ["R", width])
    missing = graph.add("Equal", graph.add("Size", summed), graph.constant(np.array(0)))
    return graph.either(missing, computed, given)


def _with_cold_start(graph: Graph, columns: int, rows: str, alone: str, scores: str) -> str:
    """The scores, but in the order of their own for those who have no own items."""
    zero, axis = _number(graph, 0), _number(graph, 1)
    weights = graph.add("Slice", "cold_start", zero, _number(graph, columns), zero)
    known = graph.add("Slice", rows, "known", graph.add("Add", "known", axis), axis)
    unknown = graph.add("Equal", known, graph.constant(np.array(0, np.float32)))
    return graph.add("Where", unknown, graph.add("Gemm", alone, weights, "cold_rest"), scores)


def _standardised(graph: Graph, value: str, mean: str, inverse: str) -> str:
    scaled = graph.add("Mul", graph.add("Sub", value, mean), inverse)
    return graph.add("Clip", scaled, "low", "high")


def _number(graph: Graph, number: int) -> str:
    return graph.constant(np.array([number], np.int64))


def _part(arrays: dict[str, Any], name: str) -> NDArray[np.float32]:
    return np.asarray(arrays[name], np.float32)
