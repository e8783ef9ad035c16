"""What items that nobody has clicked yet have beside the ranker's scores, learned from answered lists.

A ranker learns from the first places, where such items hardly ever stand, and what it says of them further
down is too low: at the end of a long list one of them is as likely to be clicked as what stands there. How
far they may rise is counted on lists as the hot path draws them: as far as all answers together lose no more
than a thousandth by it, neither within the first places nor further down. Such answers are few, so that it is
one number for all these items, beside what the ranker makes of content and age. Knows no releases. Free of
torch.
"""

import numpy as np
from numpy.typing import NDArray

from learner.judging.metrics import ndcg
from learner.ranking.columns import ITEM_CLICKS, KNOWN
from learner.ranking.lists import Lists

OFFSETS = np.arange(0.0, 2.01, 0.125)  # that are tried
PRICE = 0.001  # of what answers fare without, that they may lose
# Answers count for what lies further down, as shares of the candidates: all of those before the one, and
# ever less of those up to the other. Of 150 candidates that is around place 50.
FURTHER = (1 / 4, 5 / 12)
LISTS = 0.5  # of all, that must have such a candidate: else what it costs shows only once they come
CANDIDATES = 150  # of a list that is served, by which places in thinned ones are told


class Unclicked:
    """Counts how answers fare under each of the offsets."""

    def __init__(self) -> None:
        self._first, self._further = np.zeros(len(OFFSETS)), np.zeros(len(OFFSETS))
        self._answers = self._lists = self._concerned = 0

    def learn(self, lists: Lists, scores: NDArray[np.float32]) -> None:
        """Learns from lists with answers in place 0; `scores` (n, C) float32 are the ranker's alone.

        Lists of users without a past teach nothing, since they have an order of their own.
        """
        known = lists.features[:, 0, KNOWN] > 0
        mask = lists.mask[known]
        scores = np.where(mask, scores[known], -np.inf)
        unclicked = lists.features[:, :, ITEM_CLICKS][known] == 0
        self._answers += int(unclicked[:, :1].sum())
        self._lists += len(mask)
        self._concerned += int((unclicked & mask).any(axis=1).sum())
        for n, offset in enumerate(OFFSETS):
            moved = scores + offset.astype(np.float32) * unclicked
            before = (moved > moved[:, :1]).sum(1) / np.maximum(mask.sum(1) - 1, 1)  # as a share
            self._first[n] += ndcg(1.0 + before * (CANDIDATES - 1)).sum()
            self._further[n] += np.clip((FURTHER[1] - before) / (FURTHER[1] - FURTHER[0]), 0.0, 1.0).sum()

    def offset(self) -> float:
        """The largest one that costs answers no more than the price, nor does a smaller one further down.

        Of those with which they fare alike it is the smallest: 0 where it changes nothing, where no answer
        was an item that nobody had clicked, and where too few lists had any to tell what they cost.
        """
        if not self._answers or self._concerned < LISTS * self._lists:
            return 0.0
        first, further = np.round(self._first, 6), np.round(self._further, 6)
        worse = first < (1 - PRICE) * first[0]
        worse |= np.logical_or.accumulate(further < (1 - PRICE) * further[0])
        largest = np.flatnonzero(~worse)[-1]
        return float(OFFSETS[((first == first[largest]) & (further == further[largest])).argmax()])
