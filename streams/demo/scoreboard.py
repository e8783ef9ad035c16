"""How often the next click stood in the list before it, beside popularity at the same moment.

Owns the demo's live figures. Fed with clicks and lists as they pass, in any interleaving: a click is
scored against the list that its user's previous click triggered, once both have been seen. Knows no
Kafka; `demo` reads the topics.
"""

import math
from collections import defaultdict, deque
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from learner.data.events import CONSUMPTION, INTEREST, KIND_OF_WORD
from learner.data.times import DAY_MS
from streams.wire.contract import Click, Recommendation

HALF_LIVES_MS = tuple(days * DAY_MS for days in (1 / 24, 0.25, 1, 4, 14, 45, 180, 1000, math.inf))


class DecayedPopularity:
    """Clicks an item got, each halved every `half_life_ms`; the list everybody could make.

    Only the order matters, so weights grow with time instead of all counts shrinking.
    """

    def __init__(self, half_life_ms: float) -> None:
        self.half_life_ms = half_life_ms
        self.ids: list[str] = []
        self._index: dict[str, int] = {}
        self._weight = np.zeros(1024)
        self._reference_ms: int | None = None

    def learn(self, item_id: str, time_ms: int) -> None:
        """Counts one click."""
        number = self._index.get(item_id)
        if number is None:
            number = self._index[item_id] = len(self.ids)
            self.ids.append(item_id)
            if number >= len(self._weight):
                self._weight = np.concatenate([self._weight, np.zeros(len(self._weight))])
        if self._reference_ms is None:
            self._reference_ms = time_ms
        age = (time_ms - self._reference_ms) / self.half_life_ms
        if age > 500:
            self._weight *= 2.0**-age
            self._reference_ms, age = time_ms, 0.0
        self._weight[number] += 2.0**age

    def top(self, k: int, excluded: set[str]) -> list[str]:
        """The k items with the highest popularity that are not excluded."""
        if not self.ids:
            return []
        weight = self._weight[: len(self.ids)].copy()
        barred = [self._index[item] for item in excluded if item in self._index]
        weight[barred] = -1.0
        reach = min(k, len(weight))
        best: NDArray[np.int64] = np.argpartition(-weight, reach - 1)[:reach]
        ranked = sorted(best.tolist(), key=lambda n: (-weight[n], self.ids[n]))
        return [self.ids[number] for number in ranked if weight[number] >= 0]


def best_half_life(items: list[str], users: list[str], times_ms: list[int], k: int = 10) -> float:
    """The half-life whose lists hit most often on the last fifth of the given clicks, in ms."""
    start = int(len(items) * 0.8)
    step = max(1, (len(items) - start) // 2000)
    seen: dict[str, set[str]] = defaultdict(set)
    systems = [DecayedPopularity(half_life) for half_life in HALF_LIVES_MS]
    hits = np.zeros(len(systems))
    for n, (item, user, time_ms) in enumerate(zip(items, users, times_ms, strict=True)):
        if n >= start and n % step == 0 and item not in seen[user]:
            hits += [item in system.top(k, seen[user]) for system in systems]
        for system in systems:
            system.learn(item, time_ms)
        seen[user].add(item)
    return systems[int(np.argmax(hits))].half_life_ms


@dataclass(frozen=True)
class Rates:
    """Hits over a stretch of scored clicks."""

    scored: int = 0
    hits: int = 0
    popular_hits: int = 0

    @property
    def hit_rate(self) -> float:
        """Share of scored clicks that the list before them held; NaN without any."""
        return self.hits / self.scored if self.scored else math.nan

    @property
    def popular_hit_rate(self) -> float:
        """The same for the popularity list of the same moment."""
        return self.popular_hits / self.scored if self.scored else math.nan


@dataclass
class Scoreboard:
    """Running figures over live clicks. `repeats` keeps consumed items in the game."""

    popularity: DecayedPopularity
    repeats: bool = False
    k: int = 10
    clicks: int = 0
    lists: int = 0
    scored: int = 0
    hits: int = 0
    popular_hits: int = 0
    before: Rates | None = None  # until the world changed, where it has
    freshness_ms: list[float] = field(default_factory=list)
    recent: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=2000))
    _consumed: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    _previous: dict[str, str] = field(default_factory=dict)  # user -> event id of the last live click
    _popular: dict[str, list[str]] = field(default_factory=dict)  # event id -> popularity's list
    _sent_ms: dict[str, int] = field(default_factory=dict)
    _lists: dict[str, list[str]] = field(default_factory=dict)
    _answers: dict[str, str] = field(default_factory=dict)  # event id -> the item clicked next

    def see_click(self, click: Click, created_ms: int) -> None:
        """Takes a record of `clicks` with its CreateTime; history ones only teach popularity."""
        kind = KIND_OF_WORD[click.event]
        if kind not in INTEREST:
            return
        consumed = self._consumed[click.user_id]
        if not click.history:
            self.clicks += 1
            previous = self._previous.get(click.user_id)
            if previous is not None and (self.repeats or click.item_id not in consumed):
                self._answers[previous] = click.item_id
                self._settle(previous)
            self._previous[click.user_id] = click.event_id
            self._sent_ms[click.event_id] = created_ms
        self.popularity.learn(click.item_id, click.timestamp)
        if kind in CONSUMPTION:
            consumed.add(click.item_id)
        if not click.history:
            barred = set() if self.repeats else consumed
            self._popular[click.event_id] = self.popularity.top(self.k, barred)
            self._measure(click.event_id)

    def see_list(self, recommendation: Recommendation, created_ms: int) -> None:
        """Takes a record of `recommendations` with its CreateTime; repeats of a list are ignored."""
        if recommendation.trigger.kind != "click" or recommendation.trigger.id in self._lists:
            return
        event_id = recommendation.trigger.id
        self.lists += 1
        self._lists[event_id] = [item.item_id for item in recommendation.items[: self.k]]
        self._made_ms[event_id] = created_ms
        self._measure(event_id)
        self._settle(event_id)

    _made_ms: dict[str, int] = field(default_factory=dict)

    def freshness(self, quantile: float, last: int | None = None) -> float:
        """A quantile of freshness in ms, over all lists or the last ones; NaN without any."""
        sample = self.freshness_ms[-last:] if last else self.freshness_ms
        return float(np.quantile(sample, quantile)) if sample else math.nan

    @property
    def all(self) -> Rates:
        """Everything scored so far."""
        return Rates(self.scored, self.hits, self.popular_hits)

    @property
    def hit_rate(self) -> float:
        """Share of scored clicks that the list before them held."""
        return self.all.hit_rate

    @property
    def popular_hit_rate(self) -> float:
        """The same for the popularity list of the same moment."""
        return self.all.popular_hit_rate

    def change(self) -> None:
        """The world changes now: what has been scored so far is set apart."""
        self.before = self.all
        self.recent.clear()

    @property
    def since(self) -> Rates:
        """What has been scored since the change."""
        before = self.before or Rates()
        return Rates(
            self.scored - before.scored, self.hits - before.hits, self.popular_hits - before.popular_hits
        )

    def _measure(self, event_id: str) -> None:
        sent, made = self._sent_ms.get(event_id), self._made_ms.get(event_id)
        if sent is not None and made is not None:
            self.freshness_ms.append(float(made - sent))
            del self._sent_ms[event_id], self._made_ms[event_id]

    def _settle(self, event_id: str) -> None:
        answer, listed = self._answers.get(event_id), self._lists.get(event_id)
        if answer is None or listed is None:
            return
        hit, popular = answer in listed, answer in self._popular[event_id]
        self.scored += 1
        self.hits += hit
        self.popular_hits += popular
        self.recent.append((hit, popular))
        del self._answers[event_id], self._popular[event_id]
