"""The ranker's layer over a user's own items, for lists that are served.

Owns the same sums as the nodes of `ranker.ranker_model`, from the columns' parts instead of all columns: what
is said of an own item alone is weighed once a list, what is said of a candidate alone once a candidate, and
of each pair two columns are left. Knows neither where weights come from nor what reads the sums.
"""

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from learner.ranking.columns import ITEM_CLICKS, OWN_ITEM_COLUMNS, OWN_ITEMS
from learner.ranking.features import Features

Floats = NDArray[np.float32]

# A ranker's graph tells what its layer is made of by these outputs.
LAYER = ("layer_mean", "layer_inverse", "layer_limit", "layer_weights", "layer_bias")


@dataclass(frozen=True)
class OwnItemLayer:
    """relu(standardised columns @ weights + bias), summed over the own items there are; all float32.

    mean, inverse (`OWN_ITEMS`, K): of the standardisation, K columns by place; limit: where it cuts;
    weights (K, W); bias (W,).
    """

    mean: Floats
    inverse: Floats
    limit: float
    weights: Floats
    bias: Floats

    @staticmethod
    def of(mean: Floats, inverse: Floats, limit: Floats, weights: Floats, bias: Floats) -> "OwnItemLayer":
        """From what a ranker's graph tells of itself, columns of all places in a row.

        Raises ValueError where they are not the columns of this version, or no numbers.
        """
        columns = len(OWN_ITEM_COLUMNS)
        if mean.size != OWN_ITEMS * columns or weights.shape != (columns, len(bias)):
            raise ValueError(
                f"expected {OWN_ITEMS} own items with {columns} columns each, got {mean.size} columns in all "
                f"and weights of shape {weights.shape}"
            )
        if not all(np.isfinite(part).all() for part in (mean, inverse, limit, weights, bias)):
            raise ValueError("expected finite numbers, got nan or infinity")
        shape = (OWN_ITEMS, columns)
        return OwnItemLayer(mean.reshape(shape), inverse.reshape(shape), float(limit), weights, bias)

    def sums(self, features: Features, first: int, last: int) -> Floats:
        """What own items say of each candidate of the lists [first, last): (n · C, W), 0 where none is."""
        alone, rows = features.alone, slice(first, last)
        out = np.zeros((*alone[rows].shape[:2], len(self.bias)), np.float32)
        _sums(
            features.own[rows], features.pairs[rows], alone[rows, :, ITEM_CLICKS], features.count[rows],
            self.mean, self.inverse, np.float32(self.limit), self.weights, self.bias, out,
        )  # fmt: skip
        return out.reshape(-1, len(self.bias))


@numba.njit(cache=True, nogil=True, inline="always")
def _cut(x, mean, inverse, limit):  # type: ignore[no-untyped-def]
    return min(max((x - mean) * inverse, -limit), limit)


# Ten arguments: the layer's five arrays, what they weigh, and where the sums go.
@numba.njit(cache=True, nogil=True, fastmath={"contract", "nsz"})  # none that takes nan for impossible
def _sums(own, pairs, clicks, count, mean, inverse, limit, weights, bias, out):  # type: ignore[no-untyped-def]
    places, width = mean.shape[0], bias.shape[0]
    alone = mean.shape[1] - 3  # columns of the own item alone; then the candidate's and two of the pair
    of_place = np.empty((places, width), np.float32)
    there = np.empty(places, np.float32)
    for b in range(own.shape[0]):
        found = 0
        while found < places and own[b, found, 0] > 0:
            d = found
            there[d] = _cut(own[b, d, 0], mean[d, 0], inverse[d, 0], limit)
            of_place[d] = bias
            for k in range(alone):
                x = _cut(own[b, d, k], mean[d, k], inverse[d, k], limit)
                for w in range(width):
                    of_place[d, w] += x * weights[k, w]
            found += 1
        for c in range(count[b]):
            for d in range(found):
                x = _cut(clicks[b, c], mean[d, alone], inverse[d, alone], limit)
                y = _cut(pairs[b, c, d], mean[d, alone + 1], inverse[d, alone + 1], limit)
                z = _cut(pairs[b, c, places + d], mean[d, alone + 2], inverse[d, alone + 2], limit)
                share = there[d]
                for w in range(width):
                    said = of_place[d, w] + x * weights[alone, w]
                    said += y * weights[alone + 1, w] + z * weights[alone + 2, w]
                    out[b, c, w] += max(said, np.float32(0.0)) * share
