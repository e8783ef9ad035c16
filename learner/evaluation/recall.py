"""What followed what in the training part, and how alike items' texts are: a voice beside trained models.

Owns the counting and its scores under the leave-one-out protocol. Nothing is trained: a model of 64 numbers
an item forgets what a pair of rarely clicked items has to say, and these counts do not (docs/log.md; the idea
is TGH's, arXiv 2605.07125). Knows no sequence model.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from learner.evaluation.leave_one_out import Histories
from learner.evaluation.system import Ints

WITHIN = 3  # places from an item to what followed it; one d places on counts 1 / d
LAST = 5  # items of a history that are asked; the one d places back counts 1 / d

Floats = NDArray[np.float32]


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
