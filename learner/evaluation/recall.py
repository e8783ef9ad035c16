"""What followed what in the training part, and how alike items' texts are: a voice beside trained models.

Owns the counting, its scores under the leave-one-out protocol and what it teaches a student. Nothing is
trained: a model of 64 numbers an item forgets what a pair of rarely clicked items has to say, and these
counts do not (docs/log.md; the idea is TGH's, arXiv 2605.07125). Knows no sequence model, only its scores.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse

from learner.evaluation.leave_one_out import Histories
from learner.evaluation.system import Ints
from learner.models.next_item_loss import SoftTargets

WITHIN = 3  # places from an item to what followed it; one d places on counts 1 / d
FOLLOWED, ALIKE = 2.0, 3.0  # weights beside a model's scores, by the validation items
TOP = 40  # items taught to an event
LAST = 5  # items of a history that are asked; the one d places back counts 1 / d

_AT_ONCE = 256  # events: with 12,000 items 12 MB of scores

Floats = NDArray[np.float32]
Places = NDArray[np.int64]
Voice = Callable[[Places], NDArray[np.float32]]
"""Called with events (n,): a model's scores (n, V) of what came before each."""


@dataclass(frozen=True)
class Recall:
    """followed (V, V): by item how often which items came soon after it; text (V, T), unit rows or zero."""

    followed: sparse.csr_matrix
    text: Floats

    @staticmethod
    def of(train: Histories, text: Floats) -> "Recall":
        """Counts once over the histories that may be learned from."""
        item, user = train.events.item, np.repeat(np.arange(len(train)), np.diff(train.bounds))
        first, then, counts = [], [], []
        for apart in range(1, WITHIN + 1):
            same = np.flatnonzero(user[apart:] == user[:-apart])
            first.append(item[same])
            then.append(item[same + apart])
            counts.append(np.full(len(same), 1 / apart, np.float32))
        pairs = (np.concatenate(first), np.concatenate(then))
        shape = (len(text), len(text))
        return Recall(sparse.csr_matrix((np.concatenate(counts), pairs), shape=shape), text)

    def heard(self, histories: Sequence[Ints]) -> tuple[Floats, Floats]:
        """After each history (B, V): log of what followed its last items; likeness to them, at most 1."""
        lasts = [history[-LAST:][::-1] for history in histories]
        row = np.repeat(np.arange(len(lasts)), [len(last) for last in lasts])
        weight = np.concatenate([1 / np.arange(1.0, len(last) + 1) for last in lasts]).astype(np.float32)
        asked = sparse.csr_matrix(
            (weight, (row, np.concatenate(lasts))), shape=(len(lasts), len(self.text)), dtype=np.float32
        )
        total = np.maximum(asked.sum(1), 1e-9)
        alike = np.asarray(asked @ self.text / total, np.float32) @ self.text.T
        return np.log1p((asked @ self.followed).toarray()), alike

    def taught(self, train: Histories, share: float, beside: Voice) -> SoftTargets:
        """Of each event with a past the likeliest items, by all users but its own; rows are `train`'s.

        `beside`: what a model says, added to what is recalled. Items that nobody clicked are none of them,
        nor those that the user had before, but for the answer.
        """
        item, begin = train.events.item, np.repeat(train.bounds[:-1], np.diff(train.bounds))
        end = np.repeat(train.bounds[1:], np.diff(train.bounds))
        clicks = np.bincount(item, minlength=len(self.text))
        clicked = np.where(clicks > 0, 0.0, -np.inf).astype(np.float32)
        asked = np.flatnonzero(np.arange(len(item)) > begin)
        top = min(TOP, int((clicks > 0).sum()))
        items = torch.empty((len(asked), top), dtype=torch.int64)
        chance = torch.empty((len(asked), top))
        for first in range(0, len(asked), _AT_ONCE):
            at = asked[first : first + _AT_ONCE]
            followed, alike = self.heard([item[max(begin[k], k - LAST) : k] for k in at.tolist()])
            followed = np.log1p(np.maximum(np.expm1(followed) - self._own(item, begin, end, at), 0.0))
            scores = FOLLOWED * followed + ALIKE * alike + clicked + beside(at)
            for row, k in enumerate(at.tolist()):
                had = item[begin[k] : k]
                scores[row, had[had != item[k]]] = -np.inf
            best, found = torch.from_numpy(scores).topk(top, dim=1)
            # Where a user has had nearly everything: items without a chance, but such as the student knows.
            found = torch.where(torch.isfinite(best), found, found[:, :1])
            items[first : first + len(at)], chance[first : first + len(at)] = found, torch.softmax(best, 1)
        row_of = torch.full((len(item),), -1, dtype=torch.int64)
        row_of[torch.from_numpy(asked)] = torch.arange(len(asked))
        return SoftTargets(row_of, items, chance, share)

    def _own(self, item: Ints, begin: Places, end: Places, at: Places) -> Floats:
        """What of `heard` before the events `at` (n, V) stems from the answers and what came after them."""
        own = np.zeros((len(at), len(self.text)), np.float32)
        for back in range(1, WITHIN + 1):
            for on in range(WITHIN - back + 1):
                there = np.flatnonzero((at - back >= begin[at]) & (at + on < end[at]))
                np.add.at(own, (there, item[at[there] + on]), 1 / back / (back + on))
        return own
