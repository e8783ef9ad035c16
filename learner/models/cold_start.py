"""Lists for cold users, who have no event yet: a linear order of their own that begins as popularity.

Such lists are few among those that a ranker learns from, and all that sets their candidates apart is what
the crowd does; the large model, shaped by users with histories, lost to popularity there on some data
(docs/log.md). A linear order that is held to popularity, among all and among those who were as new, cannot
be much worse than that. Trains by the ranker's own loss. Knows no features but those it is told of.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (torch's own convention)
from numpy.typing import NDArray
from torch import Tensor

from learner.ranking.lists import Lists, let_go

PULL = 3000.0  # weight of the squared distance to popularity, in lists
STEPS = 60  # of the optimiser, at most
AT_ONCE = 50  # lists: the system may map a megabyte of a file where one is asked for
MOST = 4000  # lists, the newest ones: all of them on one core take seconds


@dataclass(frozen=True)
class ColdStart:
    """Candidates whose raw feature `known` is 0 are scored by `weights` (F,) float32, standardised."""

    known: int
    weights: NDArray[np.float32]


def fit_cold_start(
    lists: Lists, standardise: Callable[[Tensor], Tensor], known: int, begin: NDArray[np.float32]
) -> ColdStart:
    """The order that cold users' lists among `lists` teach, answers in place 0.

    `standardise` maps raw features (n, C, F) to what the weights are for; `begin` (F,) are the weights before
    anything is learned.
    """
    cold = np.zeros(len(lists), np.bool_)
    for k in range(0, len(lists), AT_ONCE):
        cold[k : k + AT_ONCE] = lists.features[k : k + AT_ONCE, 0, known] == 0
        let_go(lists.features)
    rows = np.flatnonzero(cold)[-MOST:]
    weights = torch.from_numpy(begin)
    if len(rows):
        inputs = torch.empty(len(rows), *lists.features.shape[1:])
        for k in range(0, len(rows), AT_ONCE):
            some = lists.features[rows[k : k + AT_ONCE]].astype(np.float32)
            inputs[k : k + AT_ONCE] = standardise(torch.from_numpy(some))
            let_go(lists.features)
        weights = _fitted(inputs, torch.from_numpy(lists.mask[rows]), weights)
    return ColdStart(known, weights.numpy())


def _fitted(inputs: Tensor, mask: Tensor, begin: Tensor) -> Tensor:
    weights = begin.clone().requires_grad_(True)
    optimiser = torch.optim.LBFGS([weights], max_iter=STEPS, line_search_fn="strong_wolfe")
    answers = torch.zeros(len(inputs), dtype=torch.int64)

    def loss() -> Tensor:
        optimiser.zero_grad()
        scores = (inputs @ weights).masked_fill(~mask, -1e9)
        total = F.cross_entropy(scores, answers) + PULL / len(inputs) * ((weights - begin) ** 2).sum()
        total.backward()  # type: ignore[no-untyped-call]
        return total

    optimiser.step(loss)  # type: ignore[no-untyped-call]
    return weights.detach()
