"""Training the ranker on lists, and the warm refresh on newly answered ones.

Owns the loss, the softmax cross-entropy of the clicked candidate within its list (ListNet's top-one form,
Cao et al. 2007), with an optional share of softened targets from a teacher (Hinton et al. 2015). Does not
know where lists come from.
"""

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor

from learner.models.ranker import PLACE_SCALE, Ranker
from learner.models.run import Budget, Run
from learner.models.settings import RankerConfig
from learner.ranking.layout import Layout
from learner.ranking.lists import Lists, let_go

IMPOSSIBLE = -1e9  # score of a padded place
COLUMNS_AT_ONCE = 16
READ_AT_ONCE = 50  # lists: the system may map a megabyte of a file where one list is asked for
TOLD = 50  # steps between two words on the progress


@dataclass(frozen=True)
class RankerReport:
    """What happened in one training: lists used, lists dropped for want of a positive, the last loss."""

    lists: int
    dropped: int
    loss: float
    seconds: float
    epochs: float


@dataclass(frozen=True)
class _Pace:
    """How fast and how long: rate of learning, epochs over the lists, steps until the rate is whole."""

    rate: float
    epochs: int
    warmup: int


def moments(
    lists: Lists, layout: Layout | None = None, sample: int = 2000
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and standard deviation (F,) of the features over the candidates of evenly spread lists.

    Columns by place share those of all places together, of the own items that there are; whether there is
    one becomes 0 or `PLACE_SCALE`. A feature that (almost) never varies gets deviation 1: dividing by nearly
    nothing would turn the first unusual value into a huge one.
    """
    step = max(1, -(-len(lists) // sample))
    rows = _candidates(lists, np.arange(0, len(lists), step))
    mean, deviation = rows.mean(0, dtype=np.float64), _deviation(rows)
    if layout is not None:
        own = rows[:, layout.begin :].reshape(-1, layout.columns)
        own = own[own[:, 0] > 0]
        own = own if len(own) else np.zeros((1, layout.columns), np.float32)
        center, spread = own.mean(0, dtype=np.float64), _deviation(own)
        mean[layout.begin :] = np.tile([0.0, *center[1:]], layout.places)
        deviation[layout.begin :] = np.tile([1 / PLACE_SCALE, *spread[1:]], layout.places)
    deviation = np.where(deviation < 1e-3 * (1 + np.abs(mean)), 1.0, deviation)
    return mean.astype(np.float32), deviation.astype(np.float32)


def _candidates(lists: Lists, which: NDArray[np.int64]) -> NDArray[np.float32]:
    """Features (n, F) of all candidates of some of the lists."""
    found: list[NDArray[Any]] = []
    for k in range(0, len(which), READ_AT_ONCE):
        some = which[k : k + READ_AT_ONCE]
        found.append(lists.features[some][lists.mask[some]].astype(np.float32))
        let_go(lists.features)
    return np.concatenate(found)


def _deviation(rows: NDArray[np.float32]) -> NDArray[np.float64]:
    """Standard deviations (F,) of rows (n, F), some columns at a time: doubles are large."""
    columns = range(0, rows.shape[1], COLUMNS_AT_ONCE)
    return np.concatenate([rows[:, k : k + COLUMNS_AT_ONCE].std(0, dtype=np.float64) for k in columns])


def train_ranker(
    lists: Lists, config: RankerConfig | None = None, run: Run | None = None, *,
    soft: NDArray[np.float32] | None = None, start: NDArray[np.float32] | None = None,
    layout: Layout | None = None,
) -> tuple[Ranker, RankerReport]:  # fmt: skip
    """Train a new ranker. `soft` (n, C) float32 are a teacher's scores of the candidates.

    `start` (F,) float32 are the weights of the linear blend that training begins with and that stands
    where there are few lists to learn from (over raw features where there is none at all). Lists
    without a positive are dropped and counted. Raises ValueError where the lists have other columns than
    `layout`.
    """
    settings, run = config or RankerConfig(), run or Run()
    width = lists.features.shape[2]
    if layout is not None and layout.width != width:
        raise ValueError(
            f"the layout has {layout.width} columns, the lists have {width}: "
            "make them anew with the features of now"
        )
    torch.manual_seed(run.seed)
    if not len(_useful(lists)):
        ranker = Ranker(np.zeros(width, np.float32), np.ones(width, np.float32), settings, start, layout)
        return ranker.eval(), RankerReport(0, len(lists), math.nan, 0.0, 0.0)
    ranker = Ranker(*moments(lists, layout), settings, start, layout)
    report = _fit(ranker, lists, _Pace(settings.learning_rate, settings.epochs, 50), run, soft)
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
    report = _fit(after, lists, _Pace(rate or ranker.config.refresh_rate, epochs, 10), Run(seed=seed), soft)
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


def _useful(lists: Lists) -> NDArray[np.int64]:
    """Lists that have an answer and something to tell it from."""
    return np.flatnonzero((lists.positive >= 0) & (lists.mask.sum(1) > 1))


def _fit(
    ranker: Ranker, lists: Lists, pace: _Pace, run: Run, soft: NDArray[np.float32] | None
) -> RankerReport:
    use, config = _useful(lists), ranker.config
    if not len(use):
        return RankerReport(0, len(lists), math.nan, 0.0, 0.0)
    torch.manual_seed(run.seed)
    rng = np.random.default_rng(run.seed)
    optimiser = torch.optim.AdamW(ranker.parameters(), lr=pace.rate, weight_decay=config.weight_decay)
    epoch = -(-len(use) // config.batch)
    budget = Budget(epoch * pace.epochs, run.budget_s, run.clock, patience=0.2)
    losses: list[float] = []
    ranker.train()
    for batch in _batches(use, config.batch, pace.epochs, rng):
        if not budget.advance():
            break
        for group in optimiser.param_groups:
            warm = min(1.0, budget.step / pace.warmup)
            group["lr"] = pace.rate * warm * (1 - budget.share) + pace.rate * 0.003
        loss = _loss(ranker, lists, batch, soft, rng)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        losses.append(float(loss.detach()))
        let_go(lists.features)
        if budget.step % TOLD == 0:
            mean = float(np.mean(losses[-TOLD:]))
            run.tell(budget.share, f"loss {mean:.3f}")
            run.note("loss", mean, budget.step)
    return RankerReport(
        len(use), len(lists) - len(use), float(np.mean(losses[-100:])), budget.elapsed, budget.step / epoch
    )


def _batches(
    use: NDArray[np.int64], size: int, epochs: int, rng: np.random.Generator
) -> Iterator[NDArray[np.int64]]:
    for _ in range(epochs):
        order = rng.permutation(use)
        for k in range(0, len(order), size):
            yield order[k : k + size]


def _loss(
    ranker: Ranker, lists: Lists, batch: NDArray[np.int64], soft: NDArray[np.float32] | None,
    rng: np.random.Generator,
) -> Tensor:  # fmt: skip
    """Mean loss of some lists, (B,), over candidates drawn anew."""
    config = ranker.config
    places, here = _drawn(lists, batch, config.compared, rng)
    mask = torch.from_numpy(here)
    features = torch.from_numpy(lists.features[batch[:, None], places].astype(np.float32, copy=False))
    with torch.no_grad():
        inputs = ranker.standardise(features)
    scores = ranker(inputs).masked_fill(~mask, IMPOSSIBLE)
    first = torch.zeros(len(batch), dtype=torch.int64)
    if lists.weight is None:
        loss = F.cross_entropy(scores, first)
    else:
        weight = torch.from_numpy(lists.weight[batch])
        loss = (weight * F.cross_entropy(scores, first, reduction="none")).sum() / weight.sum()
    if soft is not None:
        teacher = torch.from_numpy(soft[batch[:, None], places]).masked_fill(~mask, IMPOSSIBLE)
        loss = (1 - config.soft_share) * loss + config.soft_share * _distance(scores, teacher, config)
    return loss


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
