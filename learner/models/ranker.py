"""The ranker: a small MLP that orders the candidates of a list by their features.

Owns its network, listwise training and the warm refresh on newly answered lists; how it is written as ONNX
is `learner.models.ranker_export`'s. Does not know what the features mean, but which of them are of one own
item of the user each: those go through one small layer, the same for all own items, and are summed (target
attention as in Zhou et al. 2018, "Deep Interest Network", without its softmax: a candidate that many own
items speak for is to score higher).

The loss is the softmax cross-entropy of the clicked candidate within its list (ListNet's top-one form,
Cao et al. 2007), with an optional share of softened targets from a teacher (Hinton et al. 2015).
"""

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor, nn

from learner.models.cold_start import ColdStart
from learner.ranking.layout import Layout
from learner.ranking.lists import Lists

LIMIT = 6.0  # standard deviations at which inputs are cut
IMPOSSIBLE = -1e9  # score of a padded place
SCORED_AT_ONCE = 16  # lists: what is between the layers stays in the cache (docs/log.md)
PLACE_SCALE = 0.25  # of what an own item adds: sums over all of them are to be about as large as other inputs


@dataclass(frozen=True)
class RankerConfig:
    """Settings of network and training (docs/log.md has the measurements)."""

    widths: tuple[int, int] = (64, 32)
    place_width: int = 32  # of what is summed over a user's own items
    dropout: float = 0.2
    learning_rate: float = 3e-3
    refresh_rate: float = 5e-4
    weight_decay: float = 0.01
    epochs: int = 10
    batch: int = 64  # lists
    compared: int = 32  # candidates that a step sets beside an answer, drawn anew each time: as good as all
    soft_share: float = 0.5  # of the loss, where soft targets are given
    temperature: float = 1.0


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


@dataclass(frozen=True)
class RankerReport:
    """What happened in one training: lists used, lists dropped for want of a positive, the last loss."""

    lists: int
    dropped: int
    loss: float
    seconds: float
    epochs: float


Progress = Callable[[float, str], None]
_Log = Callable[[float, str, int, float], None]


def moments(
    lists: Lists, layout: Layout | None = None, sample: int = 2000
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and standard deviation (F,) of the features over the candidates of evenly spread lists.

    Columns by place share those of all places together, of the own items that there are; whether there is
    one becomes 0 or `PLACE_SCALE`. A feature that (almost) never varies gets deviation 1: dividing by nearly
    nothing would turn the first unusual value into a huge one.
    """
    step = max(1, -(-len(lists) // sample))
    rows = lists.features[::step][lists.mask[::step]].astype(np.float32)
    mean, deviation = rows.mean(0, dtype=np.float64), rows.std(0, dtype=np.float64)
    if layout is not None:
        own = rows[:, layout.begin :].reshape(-1, layout.columns)
        own = own[own[:, 0] > 0]
        own = own if len(own) else np.zeros((1, layout.columns), np.float32)
        center, spread = own.mean(0, dtype=np.float64), own.std(0, dtype=np.float64)
        mean[layout.begin :] = np.tile([0.0, *center[1:]], layout.places)
        deviation[layout.begin :] = np.tile([1 / PLACE_SCALE, *spread[1:]], layout.places)
    deviation = np.where(deviation < 1e-3 * (1 + np.abs(mean)), 1.0, deviation)
    return mean.astype(np.float32), deviation.astype(np.float32)


def train_ranker(
    lists: Lists, config: RankerConfig | None = None, *, seed: int = 0,
    soft: NDArray[np.float32] | None = None, start: NDArray[np.float32] | None = None,
    layout: Layout | None = None, budget_s: float = math.inf, progress: Progress | None = None,
    writer: Any = None, name: str = "ranker",
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[Ranker, RankerReport]:  # fmt: skip
    """Train a new ranker. `soft` (n, C) float32 are a teacher's scores of the candidates.

    `start` (F,) float32 are the weights of the linear blend that training begins with and that stands
    where there are few lists to learn from (over raw features where there is none at all). Lists
    without a positive are dropped and counted. `writer` is a TensorBoard `SummaryWriter`. Raises ValueError
    where the lists have other columns than `layout`.
    """

    def log(share: float, text: str, step: int, loss: float) -> None:
        if progress is not None:
            progress(share, text)
        if writer is not None:
            writer.add_scalar(f"{name}/loss", loss, step)

    settings = config or RankerConfig()
    if layout is not None and layout.width != lists.features.shape[2]:
        raise ValueError(
            f"the layout has {layout.width} columns, the lists have {lists.features.shape[2]}: "
            "make them anew with the features of now"
        )
    torch.manual_seed(seed)
    if not ((lists.positive >= 0) & (lists.mask.sum(1) > 1)).any():
        width = lists.features.shape[2]
        ranker = Ranker(np.zeros(width, np.float32), np.ones(width, np.float32), settings, start, layout)
        return ranker.eval(), RankerReport(0, len(lists), math.nan, 0.0, 0.0)
    ranker = Ranker(*moments(lists, layout), settings, start, layout)
    report = _fit(
        ranker, lists, settings.learning_rate, settings.epochs, 50, seed, soft, budget_s, log, clock
    )
    return ranker.eval(), report


def refresh(
    ranker: Ranker, fresh: Lists, replayed: Lists | None = None, *, epochs: int = 1, seed: int = 0,
    soft: NDArray[np.float32] | None = None, rate: float | None = None,
) -> tuple[Ranker, RankerReport]:  # fmt: skip
    """Return a copy of `ranker`, trained a little further on newly answered lists.

    `replayed` older lists keep it from forgetting. `rate` of learning is
    the configuration's where none is given. The standardisation stays, so refreshed and original rankers
    read the same inputs.
    """
    lists = Lists.join([fresh, replayed]) if replayed is not None and len(replayed) else fresh
    after = copy.deepcopy(ranker)
    rate = rate or ranker.config.refresh_rate
    report = _fit(after, lists, rate, epochs, 10, seed, soft, math.inf, None, time.perf_counter)
    return after.eval(), report


def list_losses(scores: NDArray[np.float32], lists: Lists) -> NDArray[np.float32]:
    """The answer's cross-entropy in its list, by the candidates' scores (n, C), for each answered list (n,).

    Every list must have its answer among the candidates.
    """
    masked = torch.from_numpy(scores).masked_fill(~torch.from_numpy(lists.mask), IMPOSSIBLE)
    losses: NDArray[np.float32] = F.cross_entropy(
        masked, torch.from_numpy(lists.positive), reduction="none"
    ).numpy()
    return losses


def _fit(
    ranker: Ranker, lists: Lists, rate: float, epochs: int, warmup: int, seed: int,
    soft: NDArray[np.float32] | None, budget_s: float, log: _Log | None, clock: Callable[[], float],
) -> RankerReport:  # fmt: skip
    begun, config = clock(), ranker.config
    use = np.flatnonzero((lists.positive >= 0) & (lists.mask.sum(1) > 1))
    if not len(use):
        return RankerReport(0, len(lists), math.nan, 0.0, 0.0)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    optimiser = torch.optim.AdamW(ranker.parameters(), lr=rate, weight_decay=config.weight_decay)
    steps = -(-len(use) // config.batch)
    planned, step, cut = steps * epochs, 0, False
    losses: list[float] = []
    ranker.train()
    for _ in range(epochs):
        order = rng.permutation(use)
        for k in range(0, len(order), config.batch):
            elapsed = clock() - begun
            # time is looked at late and only where the plan would not fit, as in `student.Schedule`
            cut = cut or (elapsed > 0.2 * budget_s and elapsed * planned > budget_s * step)
            share = max(step / planned, elapsed / budget_s if cut else 0.0)
            if share >= 1:
                break
            step += 1
            for group in optimiser.param_groups:
                group["lr"] = rate * min(1.0, step / warmup) * (1 - share) + rate * 0.003
            batch = order[k : k + config.batch]
            places, here = _drawn(lists, batch, config.compared, rng)
            mask = torch.from_numpy(here)
            features = torch.from_numpy(lists.features[batch[:, None], places].astype(np.float32, copy=False))
            with torch.no_grad():
                inputs = ranker.standardise(features)
            scores = ranker(inputs).masked_fill(~mask, IMPOSSIBLE)
            loss = F.cross_entropy(scores, torch.zeros(len(batch), dtype=torch.int64))
            if soft is not None:
                teacher = torch.from_numpy(soft[batch[:, None], places]).masked_fill(~mask, IMPOSSIBLE)
                loss = (1 - config.soft_share) * loss + config.soft_share * _distance(scores, teacher, config)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            losses.append(float(loss.detach()))
            if log and step % 50 == 0:
                mean = float(np.mean(losses[-50:]))
                log(share, f"loss {mean:.3f}", step, mean)
    return RankerReport(
        len(use), len(lists) - len(use), float(np.mean(losses[-100:])), clock() - begun, step / steps
    )


def _drawn(
    lists: Lists, batch: NDArray[np.int64], compared: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Places (B, 1 + n) of each list's answer and of n others, drawn uniformly; True where there is one."""
    width, answer = lists.mask.shape[1], lists.positive[batch][:, None]
    others = np.arange(width) if width <= compared + 1 else rng.choice(width, compared, replace=False)
    places = np.concatenate([answer, np.broadcast_to(others, (len(batch), len(others)))], axis=1)
    here = lists.mask[batch[:, None], places]
    here[:, 1:] &= others != answer
    return places, here


def _distance(scores: Tensor, teacher: Tensor, config: RankerConfig) -> Tensor:
    """KL(teacher ‖ ranker) at the temperature, scaled so that its gradient keeps its size."""
    heat = config.temperature
    return heat**2 * F.kl_div(
        torch.log_softmax(scores / heat, -1),
        torch.log_softmax(teacher / heat, -1),
        log_target=True,
        reduction="batchmean",
    )
