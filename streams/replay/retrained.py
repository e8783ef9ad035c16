"""Nextclick in a replay with everything learning: the ranker from answered lists, all from time to time.

Owns when everything is trained anew: once the history has grown by half since the last training, as a learner
on a schedule would. No gate stands in between, so that what training late brings or costs can be seen.
"""

import tempfile
from dataclasses import replace
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np

from learner.data.catalogue import Item
from learner.evaluation.system import Event, FirstPart, Ints
from learner.training.options import TrainingOptions
from learner.training.train import train_release
from streams.hot_path.live import Live
from streams.hot_path.policy import Policy
from streams.recorded.collecting import collect
from streams.replay.refreshed import Refreshed
from streams.replay.releases import recorded
from streams.replay.systems import Train

GROWTH = 0.5  # of the history since the last training


class Retrained(Refreshed):
    """Nextclick that is trained anew on all clicks so far, within `minutes` of processor time each time."""

    growth = GROWTH

    def __init__(self, train: Train, policy: Policy, minutes: float, *, name: str = "nextclick") -> None:
        super().__init__(train, policy, name=name)
        self.minutes = minutes

    def fit(self, first: FirstPart) -> None:
        """As Nextclick."""
        super().fit(first)
        self._events: list[Event] = []
        self._records = list(first.records)
        self._due = max(int(self.growth * first.size), 1)
        self.trainings = 0

    def announce(self, item: int, record: Item | None, time_ms: int) -> None:
        """An item enters; the next training knows it."""
        super().announce(item, record, time_ms)
        self._records[item] = record

    def learn(self, event: Event, listed: bool) -> Ints | None:
        """As Nextclick; what has been learned from may be trained on."""
        shown = super().learn(event, listed)
        if event.number >= self._first.size:
            self._events.append(event)
        return shown

    def train(self) -> None:
        """Refreshes the ranker, and trains everything once there are enough new events."""
        super().train()
        if len(self._events) >= self._due:
            began = process_time()
            self._retrain()
            self.learning_seconds += process_time() - began

    def describe(self) -> dict[str, Any]:
        """As Nextclick, and how often everything was trained."""
        return super().describe() | {"trainings": self.trainings}

    def _retrain(self) -> None:
        so_far = self._so_far()
        self._due = len(self._events) + max(int(self.growth * so_far.size), 1)
        self.trainings += 1
        data, records = recorded(so_far)
        with tempfile.TemporaryDirectory(prefix="nextclick-replay-") as scratch:
            folder = Path(scratch) / "release"
            train_release(
                data, records, folder, collect,
                TrainingOptions(
                    budget_minutes=self.minutes, seed=so_far.seed, repeat_consumption=so_far.repeats,
                    signals=self.offline.world.signals.settings, clock=process_time,
                ),
            )  # fmt: skip
            live = Live.load(folder, self.offline.world.catalogue)
            self._begin_with(folder, live)
        self.offline.swap(live, self._encoder(live))
        self._asked = None

    def _so_far(self) -> FirstPart:
        """The first part and everything since."""
        first, later = self._first, self._events

        def longer(name: str) -> Any:
            values = getattr(first, name)
            return np.concatenate([values, np.array([getattr(e, name) for e in later], values.dtype)])

        return replace(
            first, **{name: longer(name) for name in ("user", "item", "time_ms", "kind", "value")},
            scenario=first.scenario + [event.scenario for event in later],
            scored=np.concatenate([first.scored, np.zeros(len(later), np.bool_)]), records=self._records,
        )  # fmt: skip
