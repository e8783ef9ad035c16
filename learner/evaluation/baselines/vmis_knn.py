"""Streaming VMIS-kNN: what users with the same last items have in their histories.

The M most recent clickers of each of the user's last L items are candidates; similarity sums the linearly
decaying weight of each shared item. The K most similar ones vote for what is in their recent history:
similarity, times a weight of how recent the latest shared item is, times log(clicks of all / clicks of the
item) if that helps (Kersbergen, Sprangers and Schelter 2022, with an index that is current at every click).
"""

from itertools import product
from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from learner.data.events import INTEREST
from learner.evaluation.baselines.memory import Doubles, Eligible, Memory
from learner.evaluation.baselines.popularity import HALF_LIVES_MS, Popularity, tune_popularity
from learner.evaluation.baselines.tuning import Budget, gain, once, rehearse
from learner.evaluation.system import DEPTH, Ask, Event, FirstPart, Ints, Ranking

LASTS = (3, 5, 10, 20)
SAMPLES = (100, 500)  # M: clickers of an item that are looked at
NEIGHBOURS = (50, 200, 1000)  # K
RARITY = (0.0, 1.0)  # power of the logarithm
REACH = 60  # items of a neighbour's history that get votes
SAMPLE = 3_000  # tuning events looked at


class Setting(NamedTuple):
    """L last items, M clickers of each that are looked at, K of them that vote, power of the logarithm."""

    last: int
    sample: int
    neighbours: int
    rarity: float


class Clicks(NamedTuple):
    """All clicks so far as the kernel takes them, N of them; -1 where a chain ends."""

    by_item: npt.NDArray[np.int64]  # (V,) the item's latest click
    by_user: npt.NDArray[np.int64]  # (U,) the user's latest click
    of: npt.NDArray[np.int64]  # (4, N or more) user, item, the click before of the item, of the user
    size: int  # N


class Clickers:
    """Who clicked an item, and what a user clicked, newest first: two chains through one list of clicks."""

    def __init__(self, items: int) -> None:
        self.clicks = Clicks(
            np.full(items, -1, np.int64), np.full(1024, -1, np.int64), np.empty((4, 4096), np.int64), 0
        )

    def learn(self, event: Event) -> None:
        """Adds a click; other kinds of events are not looked at."""
        if event.kind not in INTEREST:
            return
        by_item, by_user, of, at = self.clicks
        while event.user >= len(by_user):
            by_user = np.r_[by_user, np.full(len(by_user), -1)]
        if at == of.shape[1]:
            of = np.concatenate([of, of], axis=1)
        of[:, at] = (event.user, event.item, by_item[event.item], by_user[event.user])
        by_item[event.item] = by_user[event.user] = at
        self.clicks = Clicks(by_item, by_user, of, at + 1)


class Votes:
    """Buffers of the kernel: votes by item (zero between asks) and similarity by user."""

    def __init__(self, items: int) -> None:
        self._votes = np.zeros(items)
        self._similar = np.zeros((2, 1024))  # similarity, place of the latest shared item

    def of(self, user: int, recent: Ints, setting: Setting, clicks: Clicks, counts: Doubles) -> Doubles:
        """(V,) votes for a user with `recent` items, newest first; valid until the next call.

        counts (V,): clicks of each item.
        """
        while self._similar.shape[1] < len(clicks.by_user):
            self._similar = np.zeros((2, 2 * self._similar.shape[1]))
        self._votes[:] = 0.0
        _vote(clicks, user, recent[: setting.last], setting, counts, self._similar, self._votes)
        return self._votes


class VmisKnn(Popularity):
    """VMIS-kNN; L, M, K and the power of the logarithm are tuned."""

    name = "vmis_knn"

    def tune(self, first: FirstPart) -> None:
        """Tries all settings on a sample of the last fifth."""
        self.budget.add(once(first, "vmis_knn", lambda: _search(first)))
        self.setting: Setting = self.budget.found["setting"]

    def remember(self, first: FirstPart) -> Memory:
        """Popularity, and who clicked what."""
        self.clickers = Clickers(len(first.item_ids))
        self.votes = Votes(len(first.item_ids))
        return super().remember(first)

    def learn(self, event: Event, listed: bool) -> Ints | None:
        """Counts one event."""
        self.memory.learn(event)
        self.clickers.learn(event)
        return self.listed(event) if listed else None

    def rank_known(self, ask: Ask, recent: Ints, eligible: Eligible) -> Ranking:
        """Ranks by the votes of similar users, then popularity."""
        votes = self.votes.of(ask.user, recent, self.setting, self.clickers.clicks, self.memory.clicks)
        items = np.flatnonzero(eligible.shown() & (votes > 0)).astype(np.int32)
        if len(items) < DEPTH:
            items = eligible.items()
        return Ranking(items, votes[items], eligible.tie[items])


def _search(first: FirstPart) -> Budget:
    popular = HALF_LIVES_MS[tune_popularity(first).found["half_life"]]
    settings = [Setting(*values) for values in product(LASTS, SAMPLES, NEIGHBOURS, RARITY)]
    gains = np.zeros(len(settings))
    memory, clickers = Memory(first, [popular]), Clickers(len(first.item_ids))
    buffers = Votes(len(first.item_ids))

    def answer(event: Event) -> None:
        recent, eligible = memory.recall(event.user)
        shown, tie = eligible.shown(), eligible.tie
        if len(recent) == 0 or not shown[event.item]:
            return
        for n, setting in enumerate(settings):
            votes = buffers.of(event.user, recent, setting, clickers.clicks, memory.clicks)
            own = votes[event.item]
            above = shown & ((votes > own) | ((votes == own) & (tie > tie[event.item])))
            gains[n] += gain(1.0 + float(np.count_nonzero(above)))

    events = rehearse(first, memory, answer, clickers.learn, SAMPLE)
    best = int(np.argmax(gains))
    return Budget(
        settings=len(settings),
        events=events,
        ndcg=float(gains[best] / max(events, 1)),
        chosen=settings[best]._asdict(),
        found={"setting": settings[best]},
    )


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _vote(
    clicks: Clicks, user: int, recent: Ints, setting: Setting, counts: Doubles, similar: Doubles,
    votes: Doubles,
) -> None:  # fmt: skip
    """Adds votes (V,) of the most similar users; `similar` (2, users) is zero before and after."""
    by_item, by_user, of, total = clicks.by_item, clicks.by_user, clicks.of, float(clicks.size)
    sample, neighbours, rarity = setting.sample, setting.neighbours, setting.rarity
    found = np.empty(len(recent) * sample, np.int64)
    size = 0
    for d in range(len(recent)):
        at, seen = by_item[recent[d]], 0
        weight = (len(recent) - d) / len(recent)
        while at >= 0 and seen < sample:
            other = of[0, at]
            seen += 1
            at = of[2, at]
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
                item = of[1, at]
                votes[item] += weight * np.log(total / counts[item] + 1.0) ** rarity
                reached += 1
                at = of[3, at]
    for n in range(size):
        similar[0, found[n]] = 0.0
