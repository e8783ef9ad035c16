"""The loss of a sequence model: the next item of interest, among all items or among shared negatives.

Owns the softmax (full, or over shared negatives with logQ correction, Yi et al. 2019), the popularity prior
in it and a teacher's targets beside the answers. Knows neither epochs nor optimisers.
"""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor

from learner.data.event_weights import ALL_ALIKE
from learner.models.full_softmax import full_softmax
from learner.models.prior import Prior
from learner.models.sequences import EventSequences
from learner.models.student import START, SequenceModel


@dataclass(frozen=True)
class SoftTargets:
    """What a teacher says of some events: its best items with their softened chances.

    row (n,) int64: by event of the log the row in the others, -1 for none; items (m, K) int64;
    chance (m, K) float32, each row adds up to 1; share: of the loss of those events.
    """

    row: Tensor
    items: Tensor
    chance: Tensor
    share: float = 0.5


class _Taught(NamedTuple):
    """Which targets a teacher speaks of (m,), its items and their chances (m, K)."""

    at: Tensor
    items: Tensor
    chance: Tensor


class _Asked(NamedTuple):
    """The targets of a batch, n of them: where, of whom and what."""

    row: Tensor  # (n,) int64, in the log
    answer: Tensor  # (n,) int64, items
    users: Tensor  # (n, D), from what came before
    own: Tensor  # (n, D), the answers' vectors
    table: Tensor  # (R, D), vectors of the items in play
    weight: Tensor | None  # (n,), how much each counts; None: all alike
    taught: _Taught | None


class NextItemLoss:
    """Mean cross-entropy of the interest events in windows of users' events, by their weights."""

    def __init__(
        self, model: SequenceModel, sequences: EventSequences, count: NDArray[np.int64],
        prior: Prior | None, soft: SoftTargets | None, rng: np.random.Generator,
    ) -> None:  # fmt: skip
        """`count` (V,) clicks of each item; `prior` where the model's configuration has a weight for it."""
        self.model, self.sequences, self.prior, self.soft, self.rng = model, sequences, prior, soft, rng
        self.row = torch.from_numpy(sequences.row)
        weight = torch.tensor(model.config.event_weights)[sequences.kind]
        self.wanted = sequences.interest & (weight > 0).numpy()
        self.weight = None if model.config.event_weights == ALL_ALIKE else weight
        self.clicked = torch.from_numpy(np.flatnonzero(count > 0))
        self.full = len(self.clicked) < model.config.full_softmax_below
        # The prior of the clicked items, in the order of the scores of all of them.
        self.prior_of_all = prior.among(self.clicked) if prior is not None and self.full else None
        chance = np.where(count > 0, (count + 1.0) ** model.config.negative_power, 0.0)
        chance /= max(chance.sum(), 1e-12)
        self.cumulative = np.cumsum(chance)
        self.log_chance = torch.from_numpy(np.log(chance + 1e-30).astype(np.float32))
        # (V,): an item's row in the table of those in play; of others what it was last, which nobody reads
        self.position = torch.full((len(count),), -1, dtype=torch.int64)
        self.position[self.clicked] = torch.arange(len(self.clicked))

    def __call__(self, start: NDArray[np.int64], length: NDArray[np.int64]) -> Tensor:
        """The loss over windows, (B,) places of their first event and how many they have."""
        model, sequences = self.model, self.sequences
        at, wanted = self._places(start, length)
        item, kind, gap, value = sequences.inputs(at)
        target = torch.from_numpy(wanted)
        place = torch.from_numpy(at)[target]
        answer, taught = sequences.item[place], self._taught(place)
        negative = None if self.full else self._drawn()
        rows = self.clicked if negative is None else self._in_play(item, answer, negative, taught)
        table = model.table(rows)
        vectors = F.embedding(self.position[item].clamp_min(0), table)
        users, _ = model(vectors, kind, gap, value, torch.zeros(len(start), model.hidden_size))
        users = torch.where((kind == START)[..., None], model.initial, users)[target]
        own = table[self.position[answer]]
        more = model.more_loss(users, own, sequences.kind[place], sequences.value[place])
        weight = None if self.weight is None else self.weight[place]
        asked = _Asked(self.row[place], answer, users, own, table, weight, taught)
        loss, scores = self._among_all(asked) if negative is None else self._among(negative, asked)
        if self.soft is not None and taught is not None and scores is not None:
            share = self.soft.share
            loss = (1 - share) * loss + share * _listwise(scores, taught.chance)
        return loss if more is None else loss + more

    def _places(
        self, start: NDArray[np.int64], length: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Places (L, B) of the events in windows and of some before them; which of them are targets."""
        before = np.minimum(self.model.config.context, start - self.sequences.begin[start])
        width = int((before + length).max())
        offset = np.arange(width)[:, None] - before[None]
        inside = offset < length[None]
        at = np.where(inside, start[None] + offset, start[None])
        return at, inside & (offset >= 0) & self.wanted[at]

    def _drawn(self) -> Tensor:
        """Negatives (N,) int64, the same for all targets of the batch."""
        drawn = np.searchsorted(self.cumulative, self.rng.random(self.model.config.negatives))
        negative: Tensor = torch.from_numpy(np.minimum(drawn, len(self.cumulative) - 1))
        return negative

    def _in_play(self, item: Tensor, answer: Tensor, negative: Tensor, taught: _Taught | None) -> Tensor:
        """The items that the batch needs vectors of, (R,); `position` then tells their rows."""
        extra = [] if taught is None else [taught.items.reshape(-1)]
        rows: Tensor = torch.unique(torch.cat([item.reshape(-1), answer, negative, *extra]))
        self.position[rows] = torch.arange(len(rows))
        return rows

    def _among_all(self, asked: _Asked) -> tuple[Tensor, Tensor | None]:
        """Softmax over all clicked items; the scores (m, K) of a teacher's items too."""
        bias, answer, prior = self.model.bias[self.clicked], self.position[asked.answer], self.prior_of_all

        def by_prior(prior: Prior, part: slice) -> Tensor:
            return self.model.config.prior_weight * prior.before(asked.row[part])

        shift = None if prior is None else partial(by_prior, prior)
        loss = full_softmax(asked.users, asked.table, bias, answer, asked.weight, shift)
        return loss, self._listed(asked)

    def _among(self, negative: Tensor, asked: _Asked) -> tuple[Tensor, Tensor | None]:
        """Softmax over the answer and the negatives; the scores (m, K) of a teacher's items too."""
        bias, weight = self.model.bias, self.model.config.prior_weight
        row, answer, users, own, table, counts, _ = asked
        others = table[self.position[negative]]
        positive = (users * own).sum(-1) + bias[answer] - self.log_chance[answer]
        logits = torch.addmm(bias[negative] - self.log_chance[negative], users, others.T)
        if self.prior is not None:
            positive = positive + weight * self.prior.of_items(row, answer)
            logits = logits + weight * self.prior.before(row, negative)
        logits = logits.masked_fill(negative[None] == answer[:, None], -1e9)
        logits = torch.cat([positive[:, None], logits], 1)
        loss = _mean_loss(logits, torch.zeros(len(answer), dtype=torch.int64), counts)
        return loss, self._listed(asked)

    def _listed(self, asked: _Asked) -> Tensor | None:
        """Scores (m, K) of the items that a teacher names."""
        if (taught := asked.taught) is None:
            return None
        listed = asked.table[self.position[taught.items]]
        scores = torch.einsum("nd,nkd->nk", asked.users[taught.at], listed) + self.model.bias[taught.items]
        if self.prior is not None:
            of_items = self.prior.of_items(asked.row[taught.at][:, None], taught.items)
            scores = scores + self.model.config.prior_weight * of_items
        return scores

    def _taught(self, place: Tensor) -> _Taught | None:
        if self.soft is None:
            return None
        row = self.soft.row[self.row[place]]
        at = torch.nonzero(row >= 0)[:, 0]
        return _Taught(at, self.soft.items[row[at]], self.soft.chance[row[at]])


def _mean_loss(logits: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
    """Cross-entropy of the targets (n,), by their weights where they differ; 0 of none."""
    if weight is None:
        return F.cross_entropy(logits, target)
    losses = F.cross_entropy(logits, target, reduction="none")
    return (weight * losses).sum() / weight.sum().clamp_min(1e-9)


def _listwise(scores: Tensor, chance: Tensor) -> Tensor:
    """Cross-entropy of a teacher's chances within its list: (m, K) both."""
    return -(chance * torch.log_softmax(scores, -1)).sum(-1).mean()
