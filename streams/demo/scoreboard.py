"""How often the next click stood in the list before it, beside popularity at the same moment.

Owns the demo's live figures. Fed with clicks and lists as they pass, in any interleaving: a click is
scored against the list that its user's previous click triggered, once both have been seen. Knows no
Kafka; `watcher` reads the topics.
"""

import math
from collections import defaultdict, deque
from dataclasses import dataclass, field

import numpy as np

from learner.data.dataset import Interactions
from learner.data.events import CONSUMPTION, KIND_OF_WORD, Kind
from learner.data.repeats import data_repeats
from streams.demo.popularity import DecayedPopularity, best_half_life
from streams.wire.contract import Click, Recommendation


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

    def and_one(self, *, hit: bool, popular: bool) -> "Rates":
        """With one more click."""
        return Rates(self.scored + 1, self.hits + hit, self.popular_hits + popular)


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
    by_release: dict[str, Rates] = field(default_factory=dict)  # whose lists they were, in order
    freshness_ms: list[float] = field(default_factory=list)
    recent: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=2000))
    _consumed: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    _previous: dict[str, str] = field(default_factory=dict)  # user -> event id of the last live click
    _popular: dict[str, list[str]] = field(default_factory=dict)  # event id -> popularity's list
    _sent_ms: dict[str, int] = field(default_factory=dict)
    _lists: dict[str, list[str]] = field(default_factory=dict)
    _maker: dict[str, str] = field(default_factory=dict)  # event id -> the release of its list
    _answers: dict[str, str] = field(default_factory=dict)  # event id -> the item clicked next

    def see_click(self, click: Click, created_ms: int) -> None:
        """Takes a record of `clicks` with its CreateTime; history ones only teach popularity."""
        if not click.is_interest:
            return
        kind = KIND_OF_WORD[click.event]
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
        self._maker[event_id] = recommendation.release
        self.by_release.setdefault(recommendation.release, Rates())
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
        release = self._maker.pop(event_id)
        self.by_release[release] = self.by_release[release].and_one(hit=hit, popular=popular)
        del self._answers[event_id], self._popular[event_id]


def taught(past: Interactions) -> Scoreboard:
    """A scoreboard that knows the past, with popularity tuned on it."""
    users = [past.user_ids[n] for n in past.user]
    items = [past.item_ids[n] for n in past.item]
    times = past.time_ms.tolist()
    repeats = data_repeats(past.user, past.item, past.kind)
    board = Scoreboard(DecayedPopularity(best_half_life(items, users, times)), repeats=repeats)
    for n in range(len(past)):
        click = Click(
            event_id=str(n), user_id=users[n], item_id=items[n], event=Kind(int(past.kind[n])).word,  # type: ignore[arg-type]
            timestamp=times[n], history=True,
        )  # fmt: skip
        board.see_click(click, 0)
    return board
