"""The ranker: a small MLP that orders the candidates of a list by their features.

Owns its network. Training it is `learner.models.ranker_training`'s, writing it as ONNX
`learner.models.ranker_export`'s. Does not know what the features mean, but which of them are of one own
item of the user each: those go through one small layer, the same for all own items, and are summed (target
attention as in Zhou et al. 2018, "Deep Interest Network", without its softmax: a candidate that many own
items speak for is to score higher).
"""

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor, nn

from learner.models.cold_start import ColdStart
from learner.models.settings import RankerConfig
from learner.ranking.layout import Layout

LIMIT = 6.0  # standard deviations at which inputs are cut
SCORED_AT_ONCE = 16  # lists: what is between the layers stays in the cache (docs/log.md)
PLACE_SCALE = 0.25  # of what an own item adds: sums over all of them are to be about as large as other inputs


class _Places(nn.Module):
    """What a user's own items say of a candidate: one ReLU layer for each, summed over those there are."""

    def __init__(self, layout: Layout, width: int) -> None:
        super().__init__()
        self.layout = layout
        self.read = nn.Linear(layout.columns, width)

    def forward(self, standardised: Tensor) -> Tensor:
        """(…, F) standardised features -> (…, width)."""
        layout = self.layout
        columns = standardised[..., layout.begin :]
        columns = columns.reshape(*columns.shape[:-1], layout.places, layout.columns)
        summed: Tensor = (F.relu(self.read(columns)) * columns[..., :1]).sum(-2)
        return summed


class Ranker(nn.Module):
    """MLP with a linear skip over standardised, cut inputs; cold users have their own order.

    With a `layout` the columns by place are read by `_Places`, and what these give stands in their stead.
    `start` is about the other columns alone.
    """

    mean: Tensor
    inverse: Tensor
    cold_start: ColdStart | None = None

    def __init__(
        self, mean: NDArray[np.float32], deviation: NDArray[np.float32], config: RankerConfig,
        start: NDArray[np.float32] | None = None, layout: Layout | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        first, second = config.widths
        self.config = config
        self.register_buffer("mean", torch.from_numpy(mean.astype(np.float32)))
        self.register_buffer("inverse", torch.from_numpy((1.0 / deviation).astype(np.float32)))
        self.places = None if layout is None else _Places(layout, config.place_width)
        self.alone = len(mean) if layout is None else layout.begin  # columns that are read as they are
        inputs = self.alone + (0 if layout is None else config.place_width)
        self.wide = nn.Linear(inputs, first)
        self.narrow = nn.Linear(first, second)
        self.out = nn.Linear(second, 1)
        self.skip = nn.Linear(inputs, 1, bias=False)
        with torch.no_grad():  # begins as the linear blend `start`, nothing by default
            self.out.weight.zero_()
            self.out.bias.zero_()
            self.skip.weight.zero_()
            if start is not None:
                self.skip.weight[0, : self.alone] = torch.from_numpy(start[: self.alone])

    def standardise(self, features: Tensor) -> Tensor:
        """(…, F) raw features -> standardised and cut."""
        return torch.clamp((features - self.mean) * self.inverse, -LIMIT, LIMIT)

    def forward(self, standardised: Tensor) -> Tensor:
        """(…, F) standardised features -> scores (…)."""
        drop = self.config.dropout
        inputs = standardised[..., : self.alone]
        if self.places is not None:
            inputs = torch.cat([inputs, self.places(standardised)], -1)
        x = F.dropout(F.gelu(self.wide(inputs)), drop, self.training)
        x = F.dropout(F.gelu(self.narrow(x)), drop, self.training)
        scores: Tensor = (self.out(x) + self.skip(inputs))[..., 0]
        return scores

    @torch.no_grad()
    def scores(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """features (B, C, F) -> scores (B, C), float32."""
        self.eval()
        parts = [
            self._served(torch.from_numpy(features[k : k + SCORED_AT_ONCE].astype(np.float32)))
            for k in range(0, len(features), SCORED_AT_ONCE)
        ]
        return torch.cat(parts).numpy() if parts else np.zeros(features.shape[:2], np.float32)

    def _served(self, features: Tensor) -> Tensor:
        inputs = self.standardise(features)
        scores: Tensor = self(inputs)
        if self.cold_start is None:
            return scores
        weights, rest = self.cold_order(self.cold_start)
        linear = inputs[..., : self.alone] @ weights + rest
        return torch.where(features[..., self.cold_start.known] == 0, linear, scores)

    def cold_order(self, cold_start: ColdStart) -> tuple[Tensor, Tensor]:
        """Weights (A,) of the columns before those by place, and what the latter add where all are 0."""
        weights = torch.from_numpy(cold_start.weights)
        nothing = self.standardise(torch.zeros(len(self.mean)))[self.alone :]
        return weights[: self.alone], nothing @ weights[self.alone :]
