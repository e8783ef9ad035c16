"""Online calibration of the ranker's scores: an offset for each item, learned from answered lists.

A ranker knows an item by what its features say, and they do not say everything: some items are taken more
often than their scores promise, and some less. In the model of the ranker's own loss, the softmax of a list's
scores, the offset is the item's intercept, and it is learned by stochastic gradient as lists are answered:
b_i += RATE · ([i was taken] - p_i). It is served only while it makes answers likelier that it has not learned
from. A training begins it with the newest of its own lists. Knows no releases and no Kafka. Free of torch.
"""

import math

import numba
import numpy as np
from numpy.typing import NDArray

from learner.ranking.columns import KNOWN
from learner.ranking.lists import Lists

RATE = 0.015  # from .006 to .03 it hardly matters (docs/log.md)
STEP = 250  # lists between two looks at what it has gained
REMEMBERED = 0.9  # of what is known of the gain, at each look: the last 2,500 lists decide


class Calibration:
    """Offsets of items by number, and whether they are worth serving.

    They begin with `begin` (n,) float32, as a training or another calibration has left them, else with 0,
    and are worth serving until lists say otherwise.
    """

    def __init__(self, begin: NDArray[np.float32] | None = None) -> None:
        self._learned = np.zeros(0, np.float32) if begin is None else begin.copy()
        self._lead = 0.0  # by how much answers' log chance was higher with the offsets, of late

    def learn(self, lists: Lists, scores: NDArray[np.float32]) -> None:
        """Learns from lists in order of time, with their items and with answers in place 0.

        `scores` (n, C) float32 are the ranker's alone. Lists of users without a past teach nothing, since
        they have an order of their own.
        """
        assert lists.items is not None, "lists to calibrate on have their items"
        known = lists.features[:, 0, KNOWN] > 0
        items, scores = np.where(lists.mask, lists.items, -1)[known], scores[known]
        most = int(items.max(initial=-1)) + 1
        if most > len(self._learned):
            self._learned = np.concatenate([self._learned, np.zeros(most - len(self._learned), np.float32)])
        for first in range(0, len(items), STEP):
            part = slice(first, first + STEP)
            served = self._learned.copy()
            gain = _learn(items[part], scores[part], served, self._learned, RATE)
            self._lead = REMEMBERED * self._lead + gain

    def offsets(self, size: int) -> NDArray[np.float32]:
        """What is added to the scores of the items below `size`, (size,) float32: 0 if it gains nothing."""
        offsets = np.zeros(size, np.float32)
        if self._lead >= 0:
            known = self._learned[:size]
            offsets[: len(known)] = known
        return offsets


@numba.njit(cache=True, nogil=True)
def _chances(items, scores, offsets, share, out):  # type: ignore[no-untyped-def]
    """Softmax of scores + share · offsets over the items there are, into `out`; returns how many."""
    n, highest, total = 0, -np.inf, 0.0
    while n < items.shape[0] and items[n] >= 0:
        out[n] = scores[n] + share * offsets[items[n]]
        highest = max(highest, out[n])
        n += 1
    for c in range(n):
        out[c] = math.exp(out[c] - highest)
        total += out[c]
    for c in range(n):
        out[c] /= total
    return n


@numba.njit(cache=True, nogil=True)
def _learn(items, scores, served, learned, rate):  # type: ignore[no-untyped-def]
    """Steps of all lists into `learned`; returns by how much the `served` offsets made answers likelier."""
    gain, tiny = 0.0, 1e-30
    chance = np.empty(items.shape[1])
    for k in range(items.shape[0]):
        if _chances(items[k], scores[k], served, 0.0, chance) < 2:  # there was nothing to choose from
            continue
        gain -= math.log(max(chance[0], tiny))
        _chances(items[k], scores[k], served, 1.0, chance)
        gain += math.log(max(chance[0], tiny))
        n = _chances(items[k], scores[k], learned, 1.0, chance)
        learned[items[k, 0]] += rate
        for c in range(n):
            learned[items[k, c]] -= rate * chance[c]
    return gain
