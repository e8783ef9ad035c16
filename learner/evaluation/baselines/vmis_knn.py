"""Streaming VMIS-kNN: what users with the same last items have in their histories.

The M most recent clickers of each of the user's last L items are candidates; similarity sums the linearly
decaying weight of each shared item. The K most similar ones vote for what is in their recent history:
similarity, times a weight of how recent the latest shared item is, times log(clicks of all / clicks of the
item) if that helps (Kersbergen, Sprangers and Schelter 2022, with an index that is current at every click).
"""

from itertools import product
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from learner.data.events import INTEREST
from learner.evaluation.baselines.memory import Doubles, Memory
from learner.evaluation.baselines.popularity import HALF_LIVES_MS, Popularity, tune_popularity
from learner.evaluation.baselines.tuning import Budget, once, rehearse
from learner.evaluation.system import DEPTH, Ask, Event, FirstPart, Ints, Ranking
from learner.judging.metrics import LIST

LASTS = (3, 5, 10, 20)
SAMPLES = (100, 500)  # M: clickers of an item that are looked at
NEIGHBOURS = (50, 200, 1000)  # K
RARITY = (0.0, 1.0)  # power of the logarithm
REACH = 60  # items of a neighbour's history that get votes
SAMPLE = 3_000  # tuning events looked at


class Clickers:
    """Who clicked an item, and what a user clicked, newest first: two chains through one list of clicks."""

    def __init__(self, items: int) -> None:
        self._by_item = np.full(items, -1, np.int64)
        self._by_user = np.full(1024, -1, np.int64)
        self._clicks = np.empty((4, 4096), np.int64)  # user, item, previous of the item, previous of the user
        self.size = 0

    @property
    def arrays(self) -> tuple[Any, ...]:
        """What the kernel needs, in its order."""
        return self._by_item, self._by_user, self._clicks

    def learn(self, event: Event) -> None:
        """Adds a click; other kinds of events are not looked at."""
        if event.kind not in INTEREST:
            return
        while event.user >= len(self._by_user):
            self._by_user = np.r_[self._by_user, np.full(len(self._by_user), -1)]
        if self.size == self._clicks.shape[1]:
            self._clicks = np.concatenate([self._clicks, self._clicks], axis=1)
        at = self.size
        previous = self._by_item[event.item], self._by_user[event.user]
        self._clicks[:, at] = (event.user, event.item, *previous)
        self._by_item[event.item] = self._by_user[event.user] = at
        self.size += 1


class Votes:
    """Buffers of the kernel: votes by item (zero between asks) and similarity by user."""

    def __init__(self, items: int) -> None:
        self.votes = np.zeros(items)
        self._similar = np.zeros((2, 1024))  # similarity, place of the latest shared item

    def room(self, users: int) -> npt.NDArray[np.float64]:
        """(2, users or more): similarity and place, zeros."""
        while self._similar.shape[1] < users:
            self._similar = np.zeros((2, 2 * self._similar.shape[1]))
        return self._similar


class VmisKnn(Popularity):
    """VMIS-kNN; L, M, K and the power of the logarithm are tuned."""

    name = "vmis_knn"

    def tune(self, first: FirstPart) -> None:
        """Tries all settings on a sample of the last fifth."""
        self.budget.add(once(first, "vmis_knn", lambda: _search(first)))
        self.setting: tuple[int, int, int, float] = self.budget.found["setting"]

    def remember(self, first: FirstPart) -> Memory:
        """Popularity, and who clicked what."""
        self.clickers = Clickers(len(first.item_ids))
        self.votes = Votes(len(first.item_ids))
        return Memory(first, [HALF_LIVES_MS[self.half_life]])

    def learn(self, event: Event, listed: bool) -> Ints | None:
        """Folds one event."""
        self.memory.learn(event)
        self.clickers.learn(event)
        return self.listed(event) if listed else None

    def rank_known(self, ask: Ask, recent: Ints, stamp: int) -> Ranking:
        """Ranks by the votes of similar users, then popularity."""
        memory, votes = self.memory, self.votes.votes
        last, sample, neighbours, rarity = self.setting
        _vote(
            *self.clickers.arrays, ask.user, recent[:last], sample, neighbours, rarity, memory.clicks,
            float(self.clickers.size), self.votes.room(len(self.clickers.arrays[1])), votes,
        )  # fmt: skip
        eligible = memory.known & (memory.mark != stamp)
        items = np.flatnonzero(eligible & (votes > 0)).astype(np.int32)
        if len(items) < DEPTH:
            items = np.flatnonzero(eligible).astype(np.int32)
        ranking = Ranking(items, votes[items], self.tie[items])
        votes[:] = 0.0
        return ranking


def _search(first: FirstPart) -> Budget:
    popular = HALF_LIVES_MS[tune_popularity(first).found["half_life"]]
    settings = list(product(LASTS, SAMPLES, NEIGHBOURS, RARITY))
    gains = np.zeros(len(settings))
    memory, clickers = Memory(first, [popular]), Clickers(len(first.item_ids))
    buffers = Votes(len(first.item_ids))
    scored = np.flatnonzero(first.scored)
    scored = scored[scored >= first.tuning_from]
    sample = set(np.random.default_rng(first.seed).permutation(scored)[:SAMPLE].tolist())

    def answer(event: Event) -> None:
        if event.number not in sample:
            return
        recent, stamp = memory.recall(event.user)
        eligible = memory.known & (memory.mark != stamp)
        if len(recent) == 0 or not eligible[event.item]:
            return
        tie = memory.popularity[0]
        for n, (last, most, neighbours, rarity) in enumerate(settings):
            votes = buffers.votes
            votes[:] = 0.0
            _vote(
                *clickers.arrays, event.user, recent[:last], most, neighbours, rarity, memory.clicks,
                float(clickers.size), buffers.room(len(clickers.arrays[1])), votes,
            )  # fmt: skip
            own = votes[event.item]
            above = eligible & ((votes > own) | ((votes == own) & (tie > tie[event.item])))
            position = 1 + np.count_nonzero(above)
            gains[n] += 1.0 / np.log2(1.0 + position) if position <= LIST else 0.0

    rehearse(first, memory, answer, clickers.learn)
    best = int(np.argmax(gains))
    names = ("last", "sample", "neighbours", "rarity")
    return Budget(
        settings=len(settings),
        events=len(sample),
        ndcg=float(gains[best] / max(len(sample), 1)),
        chosen=dict(zip(names, settings[best], strict=True)),
        found={"setting": settings[best]},
    )


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _vote(
    by_item: npt.NDArray[np.int64], by_user: npt.NDArray[np.int64], clicks: npt.NDArray[np.int64],
    user: int, recent: Ints, sample: int, neighbours: int, rarity: float, counts: Doubles, total: float,
    similar: Doubles, votes: Doubles,
) -> None:  # fmt: skip
    """Adds votes (V,) of the most similar users; `similar` (2, users) is zero before and after."""
    found = np.empty(len(recent) * sample, np.int64)
    size = 0
    for d in range(len(recent)):
        at, seen = by_item[recent[d]], 0
        weight = (len(recent) - d) / len(recent)
        while at >= 0 and seen < sample:
            other = clicks[0, at]
            seen += 1
            at = clicks[2, at]
            if other == user:
                continue
            if similar[0, other] == 0.0:
                found[size] = other
                size += 1
                similar[1, other] = d
            similar[0, other] += weight
    keep = 0.0
    if size > neighbours:
        kept = np.empty(size)
        for n in range(size):
            kept[n] = similar[0, found[n]]
        keep = np.partition(kept, size - neighbours)[size - neighbours]
    taken = 0
    # First those above the bar, then those at it, the most recent clickers first, until K are taken.
    for strict in (True, False):
        for n in range(size):
            other = found[n]
            alike = similar[0, other]
            if taken >= neighbours or (alike <= keep if strict else alike != keep):
                continue
            taken += 1
            weight = alike * max(1.0 - 0.1 * similar[1, other], 0.1)
            at, reached = by_user[other], 0
            while at >= 0 and reached < REACH:
                item = clicks[1, at]
                votes[item] += weight * np.log(total / counts[item] + 1.0) ** rarity
                reached += 1
                at = clicks[3, at]
    for n in range(size):
        similar[0, found[n]] = 0.0
