"""Popularity with decay: every user sees the items clicked most, older clicks counting less.

Score of item j at time t: the sum of 2 ** -((t - t_i) / half-life) over its clicks i. The order within one
half-life does not change with time, only by clicks.
"""

import math
from typing import Any

import numpy as np

from learner.data.catalogue import Item
from learner.data.times import DAY_MS, HOUR_MS
from learner.evaluation.baselines.memory import Eligible, Memory
from learner.evaluation.baselines.scoring import Sums, try_half_lives
from learner.evaluation.baselines.tuning import Budget, once, rehearse
from learner.evaluation.system import Ask, Event, FirstPart, Ints, Ranking
from learner.judging.metrics import LIST

# From an hour to none, about twice as long each: news live for hours, films for years.
HALF_LIVES_MS = tuple(
    [hours * HOUR_MS for hours in (1, 3, 6, 12)]
    + [days * DAY_MS for days in (1, 2, 4, 7, 14, 30, 60, 90, 180, 365, 1000)]
    + [math.inf]
)


def half_life_in_words(half_life_ms: float) -> str:
    """As settings are reported: 12h, 14d or none."""
    if math.isinf(half_life_ms):
        return "none"
    if half_life_ms < DAY_MS:
        return f"{half_life_ms / HOUR_MS:g}h"
    return f"{half_life_ms / DAY_MS:g}d"


def tune_popularity(first: FirstPart) -> Budget:
    """Finds `half_life`, the place in HALF_LIVES_MS of what does best on the last fifth."""
    return once(first, "popularity", lambda: _search(first))


def _search(first: FirstPart) -> Budget:
    gains = np.zeros(len(HALF_LIVES_MS))
    memory = Memory(first, HALF_LIVES_MS)

    def answer(event: Event) -> None:
        _, eligible = memory.recall(event.user)
        try_half_lives(event.item, memory.popularity, eligible, gains)

    events = rehearse(first, memory, answer)
    best = int(np.argmax(gains))
    return Budget(
        settings=len(HALF_LIVES_MS),
        events=events,
        ndcg=float(gains[best] / max(events, 1)),
        chosen={"popularity_half_life": half_life_in_words(HALF_LIVES_MS[best])},
        found={"half_life": best},
    )


class Popularity:
    """Decayed popularity, and the frame of every other memory-based baseline.

    Subclasses choose their settings in `tune`, say what memory they need in `memory_of`, and rank users
    with a history in `rank_known`; users without one get decayed popularity.
    """

    name = "popularity"

    def __init__(self) -> None:
        self.budget = Budget()
        self.half_life = 0  # place in HALF_LIVES_MS, tuned; also breaks ties and serves unknown users

    def fit(self, first: FirstPart) -> None:
        """Tunes on the last fifth of the first part, then begins with an empty memory."""
        self.budget = Budget()
        self.budget.add(tune_popularity(first))
        self.half_life = self.budget.found["half_life"]
        self.tune(first)
        self.memory = self.remember(first)
        self.sums = Sums.of(len(first.item_ids))
        self.id_rank = first.id_rank

    def tune(self, first: FirstPart) -> None:
        """Chooses further settings; the half-life of popularity is chosen already."""

    def remember(self, first: FirstPart) -> Memory:
        """An empty memory, and whatever else follows the stream from its beginning."""
        return self.memory_of(first)

    def memory_of(self, first: FirstPart) -> Memory:
        """An empty memory for what the ranking needs, its first half-life the chosen one."""
        return Memory(first, [HALF_LIVES_MS[self.half_life]])

    def rank_known(self, ask: Ask, recent: Ints, eligible: Eligible) -> Ranking:
        """Ranks for a user with items of interest, `recent` newest first."""
        del ask, recent
        return self.rank_unknown(eligible)

    def rank_unknown(self, eligible: Eligible) -> Ranking:
        """Decayed popularity."""
        items = eligible.items()
        return Ranking(items, eligible.tie[items])

    def announce(self, item: int, record: Item | None, time_ms: int) -> None:
        """The item may be listed from now on."""
        del record, time_ms
        self.memory.announce(item)

    def rank(self, ask: Ask) -> Ranking:
        """Ranks every known item that the user has not consumed."""
        recent, eligible = self.memory.recall(ask.user)
        if len(recent) == 0:
            return self.rank_unknown(eligible)
        return self.rank_known(ask, recent, eligible)

    def learn(self, event: Event, listed: bool) -> Ints | None:
        """Counts one event; the list that a click triggers is a ranking right after it."""
        self.memory.learn(event)
        return self.listed(event) if listed else None

    def listed(self, event: Event) -> Ints:
        """The list that a click triggers, once it is learned."""
        return self.rank(Ask(event.user, event.time_ms, event.scenario)).top(LIST, self.id_rank)

    def describe(self) -> dict[str, Any]:
        """The tuning budget and the settings it chose."""
        return {"tuning": self.budget.as_dict()}
