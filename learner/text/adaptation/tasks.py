"""What an encoder is taught by clicks: a loss a task, each by a small head that is thrown away afterwards.

Owns the heads and the memory of all texts' vectors. Texts of the batch are compared with each other and with
what the others were when they came last, as negatives of all batches would be (Wang et al. 2020, "Cross-batch
memory"); without it with each other alone, and with a logQ correction (Yi et al. 2019). Knows no network.
"""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor, nn

from learner.judging.click_chance import SHOWN
from learner.text.adaptation.lessons import Lessons, Together
from learner.text.adaptation.options import AdaptationOptions, Task
from learner.text.adaptation.ratings import Ratings
from learner.text.card import EncoderError

_RARE = 0.5  # clicks of an item that has none, in what a popularity's logarithm says

Places = NDArray[np.int64]


class Tasks(nn.Module):
    """Losses of a batch of texts by their vectors.

    memory (K, D): vectors of the clicked texts, as they were last; before (K, D): as they were at first
    """

    memory: Tensor
    before: Tensor
    log_share: Tensor

    def __init__(self, lessons: Lessons, memory: Tensor, options: AdaptationOptions) -> None:
        super().__init__()
        width, known = memory.shape[1], len(memory)
        self.together, self.options = lessons.together, options
        self.ratings = Ratings.of(lessons.user, lessons.text, lessons.value, len(lessons.texts))
        share = np.maximum(lessons.together.share[:known], _RARE / max(len(lessons.text), 1))
        self.chance = share / share.sum()
        self.register_buffer("memory", memory.clone())
        self.register_buffer("before", memory.clone())
        self.register_buffer("log_share", torch.from_numpy(np.log(self.chance)).float())
        self.categories = torch.from_numpy(lessons.categories[:known]).float()
        self.slope, self.bias = nn.Parameter(torch.tensor(5.0)), nn.Parameter(torch.tensor(-3.0))
        self.taste = nn.Linear(width, width, bias=False)
        self.quality = nn.Linear(width, 1)
        self.kinds = nn.Linear(width, max(self.categories.shape[1], 1))
        impossible = {"rating": self.ratings is None, "category": not self.categories.shape[1]}
        self.weights: dict[Task, float] = {
            task: weight for task, weight in options.tasks.items() if weight > 0 and not impossible.get(task)
        }
        if not self.weights:
            told = ", ".join(options.tasks)
            raise EncoderError(f"no task is left of {told}: clicks have no ratings, or items no categories")
        self.to(memory.device)

    def losses(self, places: Places, vectors: Tensor, rng: np.random.Generator) -> dict[Task, Tensor]:
        """The losses, unweighted, of texts (B,) without repetition by their vectors (B, D)."""
        own = torch.from_numpy(places).to(vectors.device)
        made: dict[Task, Callable[[], Tensor]] = {
            "next": lambda: self._next(places, own, vectors),
            "click": lambda: self._click(places, vectors, rng),
            "rating": lambda: self._rating(places, vectors, rng),
            "category": lambda: F.binary_cross_entropy_with_logits(
                self.kinds(vectors), self.categories[places].to(vectors.device)
            ),
            "keep": lambda: (1 - (vectors * self.before[own]).sum(1)).mean(),
        }
        self.memory[own] = vectors.detach()
        return {task: made[task]() for task in self.weights}

    def _next(self, places: Places, own: Tensor, vectors: Tensor) -> Tensor:
        """Cross-entropy of what is clicked together with each text, among all texts or the batch's own."""
        row, other, weight = _beside(self.together, places)
        bias = self.options.popularity * self.log_share
        if self.options.memory:
            table = self.memory  # without gradients: each text is asked for its others in its turn
        else:
            number = np.full(len(self.memory), -1)
            number[places] = np.arange(len(places))
            inside = number[other] >= 0
            row, other, weight = row[inside], number[other[inside]], weight[inside]
            # The batch has a text as often as the square root of its share says (`chance_of_batch`).
            table, bias = vectors, bias[own] - 0.5 * self.log_share[own]
            own = torch.arange(len(places), device=own.device)
        scores = vectors @ table.T / self.options.temperature + bias
        scores = scores.index_put((torch.arange(len(own), device=own.device), own), scores.new_tensor(-1e9))
        chance = torch.log_softmax(scores, 1)[torch.from_numpy(row), torch.from_numpy(other)]
        counts = torch.from_numpy(weight).to(chance.device)
        return -(chance * counts).sum() / counts.sum().clamp_min(1e-9)

    def _click(self, places: Places, vectors: Tensor, rng: np.random.Generator) -> Tensor:
        """Whether a text was clicked beside each text of the batch, or is one of 16 that anybody clicked."""
        begin, count = self.together.begin[places], np.diff(self.together.begin)[places]
        which = np.flatnonzero(count > 0)
        drawn = rng.random(len(which)) * count[which]
        clicked = self.together.other[begin[which] + drawn.astype(np.int64)]
        shown = rng.choice(len(self.chance), (len(which), SHOWN), p=self.chance)
        seen = self.memory[torch.from_numpy(np.column_stack([clicked, shown])).to(vectors.device)]
        logits = self.slope * torch.einsum("bd,bnd->bn", vectors[torch.from_numpy(which)], seen) + self.bias
        label = torch.zeros_like(logits)
        label[:, 0] = 1.0
        counts = torch.ones_like(logits)  # but for a text beside itself, and what was clicked drawn once more
        same = (shown == places[which][:, None]) | (shown == clicked[:, None])
        counts[:, 1:][torch.from_numpy(same).to(counts.device)] = 0.0
        return F.binary_cross_entropy_with_logits(logits, label, counts)

    def _rating(self, places: Places, vectors: Tensor, rng: np.random.Generator) -> Tensor:
        """Squared error of a rating by the text and by what else its user rated."""
        assert self.ratings is not None
        which, value, other, weight = self.ratings.drawn(places, rng)
        if not len(which):
            return vectors.sum() * 0
        liked = self.memory[torch.from_numpy(other).to(vectors.device)]
        liked = torch.einsum("mnd,mn->md", liked, torch.from_numpy(weight).to(liked.device))
        own = vectors[torch.from_numpy(which)]
        said = self.quality(own)[:, 0] + (self.taste(liked / other.shape[1]) * own).sum(1)
        return F.mse_loss(said, torch.from_numpy(value).to(said.device))


def chance_of_batch(together: Together, known: int) -> NDArray[np.float64]:
    """How likely each of the first `known` texts is in a batch: by its share's root, 0 without others."""
    chance = np.sqrt(together.share[:known].astype(np.float64)) * (np.diff(together.begin)[:known] > 0)
    return chance / max(float(chance.sum()), 1e-12)


def _beside(together: Together, places: Places) -> tuple[Places, Places, NDArray[np.float32]]:
    """What is clicked together with texts: which of the batch (n,), the other text (n,), weight (n,)."""
    begin, count = together.begin[places], np.diff(together.begin)[places]
    row = np.repeat(np.arange(len(places)), count)
    at = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count) + np.repeat(begin, count)
    return row, together.other[at], together.weight[at]
