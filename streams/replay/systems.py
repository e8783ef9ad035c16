"""Nextclick and its parts as `learner.evaluation.replay` measures them: one class each, over one offline
world.

Owns what of Nextclick may stand still or stand alone in a replay. Which of it goes by which name is
`parts`'s, where a release comes from `releases`'s affair; what is asked and scored when is the harness's.
"""

from collections import defaultdict
from collections.abc import Callable
from time import process_time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learner.data.catalogue import Catalogue, Item
from learner.data.events import Kind
from learner.evaluation.replay import PROPOSALS
from learner.evaluation.system import Ask, Event, FirstPart, Ints, Ranking
from learner.judging.metrics import LIST
from learner.ranking.arrays import Asks
from learner.ranking.sources import SOURCES
from learner.text.cache import TextCache
from learner.text.content import ContentEncoder
from streams.hot_path.live import Live
from streams.hot_path.policy import Policy, draw_up
from streams.hot_path.world import Ranked
from streams.recorded.world import Offline
from streams.wire.contract import Click

Train = Callable[[FirstPart], str]
"""Makes a release from a first part, or finds the one made before; returns its folder."""

AT_ONCE = 64  # clicks of the first part that are folded in one go
_TEXTS = TextCache()  # several systems of one replay read the same texts


class HotPath:
    """The worker's hot path, with signals that learn every click at once.

    `state` and `signals` say what goes on learning after the split: users' states, and what all users'
    clicks say of the items. Everything before the split is learned in any case.
    """

    name = "nextclick"

    def __init__(
        self,
        train: Train,
        policy: Policy,
        *,
        name: str | None = None,
        state: bool = True,
        signals: bool = True,
    ) -> None:
        self.name = name or self.name
        self.policy = policy
        self.learns_state, self.learns_signals = state, signals
        self.learning_seconds = 0.0  # of processor time, in the later part
        self._train = train
        self._offline: Offline | None = None
        self._asked: tuple[Ask, Asks] | None = None
        self._numbers: NDArray[np.int32] = np.zeros(0, np.int32)
        # What users have had since the split, where their states do not know it: lists leave it out.
        self._had: dict[int, list[str]] = defaultdict(list)
        self._waiting: list[Click] = []  # of the first part, to be folded in one go

    def fit(self, first: FirstPart) -> None:
        """Trains on the first part, or takes up what was trained on it before."""
        self._asked = None
        catalogue = Catalogue()
        live = Live.load(self._train(first), catalogue)
        self._first = first
        self._index = {item_id: number for number, item_id in enumerate(first.item_ids)}
        # A release may have been trained with a catalogue that knows what is still to come.
        entered = {first.item_ids[n] for part in (first.entries_before, first.entries_after)
                   for items in part.values() for n in items}  # fmt: skip
        live.follow([catalogue.withdraw(item_id) for item_id in set(catalogue.ids) - entered])
        self._offline = Offline(live, catalogue, self.policy, self._encoder(live))

    def announce(self, item: int, record: Item | None, time_ms: int) -> None:  # noqa: ARG002
        """An item enters the catalogue."""
        self._asked = None
        item_id = self._first.item_ids[item]
        if any(click.item_id == item_id for click in self._waiting):
            self._fold_waiting()  # by what was known of the item then
        self.offline.announce(item_id, record)

    def rank(self, ask: Ask) -> Ranking:
        """Candidates in the order in which they would be served; everything else counts as not found."""
        ranked = self._ranked(ask)
        items, scores = self._served(ask, ranked)
        return Ranking(self._translated(items), scores)

    def learn(self, event: Event, listed: bool) -> Ints | None:
        """Folds one event in; with `listed`, returns the list that it triggers."""
        self._asked = None
        later = event.number >= self._first.size
        state, signals = not later or self.learns_state, not later or self.learns_signals
        click = click_of(self._first, event, listed)
        shown: list[str] | None = None
        if state and (later or listed):
            self._fold_waiting()
            shown = self.offline.fold(click, answer=listed and self._lists_as_served)
        elif state:
            self._waiting.append(click)
            if len(self._waiting) >= AT_ONCE or event.number == self._first.size - 1:
                self._fold_waiting()
        elif self._first.consumes[event.kind] and not self._first.repeats:
            self._had[event.user].append(click.item_id)
        if signals:
            began = process_time()
            self.offline.count(click)
            self.learning_seconds += (process_time() - began) * later
        if not listed:
            return None
        if state and self._lists_as_served:
            assert shown is not None
            return np.array([self._index[item_id] for item_id in shown], np.int32)
        return self.rank(Ask(event.user, event.time_ms, event.scenario)).top(LIST, self._first.id_rank)

    def describe(self) -> dict[str, Any]:
        """The release and its settings."""
        manifest = self.offline.world.live.release.manifest
        return {
            "release": manifest.release,
            "trained_on": {"events": manifest.data.events, "users": manifest.data.users},
            "metrics": manifest.metrics,
            "candidates": self.policy.candidates,
            "learns": {"state": self.learns_state, "signals": self.learns_signals},
            "learning_cpu_seconds": self.learning_seconds,
            "texts_read_later": self.offline.encoded,
        }

    @property
    def offline(self) -> Offline:
        """The running world; only after `fit`."""
        assert self._offline is not None, "fit comes first"
        return self._offline

    # A subclass that ranks otherwise triggers lists by its own ranking.
    _lists_as_served = True

    def _encoder(self, live: Live) -> ContentEncoder | None:
        """What reads the texts of items that the release does not have."""
        release = live.release
        return ContentEncoder.load(
            release.manifest.encoder, release.encoder, cache=_TEXTS, folder=release.query_encoder
        )

    def _fold_waiting(self) -> None:
        self.offline.step(self._waiting)
        self._waiting = []

    def _asker(self, ask: Ask) -> tuple[int, int, list[str]]:
        return self.offline.slot(self._first.user_ids[ask.user]), ask.time_ms, self._had[ask.user]

    def _asks(self, ask: Ask) -> Asks:
        """What is known of the asker; of one ask it is gathered once, until something is learned."""
        if self._asked is None or self._asked[0] is not ask:
            self._asked = ask, self.offline.ask(*self._asker(ask))
        return self._asked[1]

    def _ranked(self, ask: Ask) -> Ranked:
        return self.offline.rank(self._asks(ask))

    def _served(self, ask: Ask, ranked: Ranked) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        """Catalogue numbers (C,) and scores (C,), in the policy's order where that is not the ranker's."""
        count = int(ranked.candidates.count[0])
        items, scores = ranked.candidates.items[0, :count], ranked.scores[0, :count].astype(np.float64)
        if not self.policy.diversity:
            return items, scores
        world = self.offline.world
        order = [
            place.column
            for place in draw_up(
                ranked.scores[0, :count], items, world.catalogue.ids, self.policy.k, self.policy,
                known_user=ask.user >= 0, vectors=world.live.release.model.vectors, rng=None,
            )
        ]  # fmt: skip
        behind = np.setdiff1d(np.argsort(-scores, kind="stable"), order, assume_unique=True)
        behind = behind[np.argsort(-scores[behind], kind="stable")]
        return items[np.r_[order, behind]], -np.arange(count, dtype=np.float64)

    def _translated(self, numbers: NDArray[np.int32]) -> Ints:
        """The catalogue's numbers as the stream's."""
        ids = self.offline.world.catalogue.ids
        if len(ids) > len(self._numbers):
            more = [self._index.get(item_id, -1) for item_id in ids[len(self._numbers) :]]
            self._numbers = np.concatenate([self._numbers, np.array(more, np.int32)])
        return self._numbers[numbers]


def click_of(first: FirstPart, event: Event, listed: bool) -> Click:
    """An event of the stream as a message."""
    return Click(
        event_id=str(event.number),
        user_id=first.user_ids[event.user],
        item_id=first.item_ids[event.item],
        event=Kind(event.kind).word,  # type: ignore[arg-type]
        timestamp=event.time_ms,
        value=None if np.isnan(event.value) else event.value,
        scenario=event.scenario,
        history=not listed,
    )


class Nextclick(HotPath):
    """Nextclick itself, as it is served. Its parts are `HotPath` with something standing still."""

    sources = SOURCES

    def proposals(self, ask: Ask) -> tuple[Ints, NDArray[np.bool_]]:
        """What the sources put forward for an ask, 200 items at most, and which of them named each."""
        found = self.offline.candidates(self._asks(ask), PROPOSALS)
        count = int(found.count[0])
        return self._translated(found.items[0, :count]), found.ranks[0, :count] >= 0


class Student(HotPath):
    """The student's retrieval alone: every eligible item by its score, with the popularity prior."""

    name = "student"
    _lists_as_served = False

    def rank(self, ask: Ask) -> Ranking:
        """All items, by the student."""
        items, scores = self.offline.rank_all(*self._asker(ask))
        return Ranking(self._translated(items), scores)
