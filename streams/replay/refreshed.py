"""Nextclick in a replay with a ranker that goes on learning: what the learner's refresh does, click by click.

Owns when the ranker is refreshed and calibrated, and on which lists: those that were shown at the asks and
answered since, by the very models that were live then. The refreshed ranker answers only while, on lists new
to it, it has lately been no worse than the one it began as; in production the gate sees to that. Needs torch,
which a worker does not have: production refreshes in the trainer, and workers take up the release.
"""

from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from learner.evaluation.system import Ask, Event, FirstPart, Ints, Ranking
from learner.models.calibration import Calibration
from learner.models.ranker_export import ranker_from_model, ranker_model
from learner.models.ranker_training import list_losses, refresh
from learner.ranking.lists import Lists
from learner.release.files import read_release
from streams.hot_path.live import Live
from streams.hot_path.world import Ranked
from streams.recorded.collecting import thinned
from streams.replay.systems import Nextclick

EVERY = 250  # answered lists between two refreshes: a third of a second of one core each
RATE = 1e-3  # of learning
KEPT = 20_000  # answered lists of before that may be learned from again
OLD = 3  # times as many of them as new ones (docs/log.md)
NEGATIVES = 64
REMEMBERED = 0.9  # of what is known of both rankers, at each refresh: the last 2,500 lists decide


class Refreshed(Nextclick):
    """Nextclick whose ranker learns from answered lists, `every` so many of them."""

    every = EVERY

    def fit(self, first: FirstPart) -> None:
        """As Nextclick; the ranker is loaded once more, to be trained on."""
        torch.set_num_threads(1)
        super().fit(first)
        self._begin_with(Path(self._train(first)), self.offline.world.live)
        self._rng = np.random.default_rng(first.seed)
        self._shown: Ranked | None = None
        self._older: list[Lists] = []
        self.refreshes = self.refreshes_served = 0

    def rank(self, ask: Ask) -> Ranking:
        """As Nextclick; what was shown is kept until the answer comes."""
        self._shown = ranked = self._ranked(ask)
        items, scores = self._served(ask, ranked)
        return Ranking(self._translated(items), scores)

    def learn(self, event: Event, listed: bool) -> Ints | None:
        """As Nextclick; an event that was asked about answers its list."""
        if self._shown is not None:
            began = process_time()
            self._keep(self._shown, self._first.item_ids[event.item])
            self._shown = None
            self.learning_seconds += process_time() - began
        return super().learn(event, listed)

    def train(self) -> None:
        """Refreshes the ranker once enough lists have been answered."""
        if len(self._fresh) >= self.every:
            began = process_time()
            self._refresh()
            self.learning_seconds += process_time() - began

    def describe(self) -> dict[str, Any]:
        """As Nextclick, how often the ranker was refreshed and after how many of these it answered."""
        return super().describe() | {
            "refreshes": self.refreshes,
            "refreshes_served": self.refreshes_served,
            "lists_a_refresh": self.every,
        }

    def _begin_with(self, folder: Path, live: Live) -> None:
        """Takes up ranker and calibration of the release in `folder`, to be trained on.

        Its training knows the clicks that have answered lists so far.
        """
        self._fresh: list[Lists] = []
        self._ranker = self._unrefreshed = ranker_from_model(read_release(folder).ranker or b"")
        self._lead = 0.0  # of the refreshed one: what the other lost more on lists new to both
        self._calibration = Calibration(live.release.model.calibration)

    def _keep(self, shown: Ranked, answer: str) -> None:
        number = self.offline.world.catalogue.index.get(answer, -1)
        places = thinned(shown.candidates.items[0], number, NEGATIVES, self._rng)
        if number >= 0 and len(places) > 1:
            features = shown.features.table()[:1, places].astype(np.float16)  # as in a training
            items = shown.candidates.items[:1, places]
            mask = np.ones((1, len(places)), np.bool_)
            self._fresh.append(Lists(features, np.zeros(1, np.int64), mask, items))

    def _refresh(self) -> None:
        fresh, older = Lists.join(self._fresh), self._older
        unrefreshed, refreshed = (each.scores(fresh.features) for each in (self._unrefreshed, self._ranker))
        self._calibration.learn(fresh, refreshed if self._lead >= 0 else unrefreshed)  # as it answered
        self._lead = REMEMBERED * self._lead + _lost_more(unrefreshed, refreshed, fresh)
        many = OLD * len(fresh)
        if len(older) > many:
            older = [older[n] for n in self._rng.choice(len(older), many, replace=False)]
        replayed = Lists.join(older) if older else None
        self._ranker, _ = refresh(
            self._ranker, fresh, replayed, seed=self._first.seed + self.refreshes, rate=RATE
        )
        better = self._ranker if self._lead >= 0 else self._unrefreshed
        release = self.offline.world.live.release
        release.replace_ranker(ranker_model([better]))
        release.model.calibration[:] = self._calibration.offsets(len(release.model.calibration))
        self._older = (self._older + self._fresh)[-KEPT:]
        self._fresh = []
        self.refreshes += 1
        self.refreshes_served += better is self._ranker


def _lost_more(one: NDArray[np.float32], other: NDArray[np.float32], lists: Lists) -> float:
    """By how much the one ranker's loss over the lists is above the other's, by the scores of both."""
    return float((list_losses(one, lists) - list_losses(other, lists)).sum())
