"""The teacher alone in a replay: trained on the first part, then still, while the histories it reads go on.

Owns its training on a replay's first part and its ranking. It never serves; the figure says what there is to
distil. Needs torch.
"""

from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (torch's own convention)
from numpy.typing import NDArray

from learner.candidates import EPSILON
from learner.inputs import log_gap
from learner.item_table import ItemContent
from learner.signals import SignalSettings, decay
from learner.student_training import train_model
from learner.system import Ask, FirstPart, Ranking
from learner.teacher import Teacher, TeacherConfig
from streams.policy import Policy
from streams.replay_systems import HotPath, Train


class TeacherAlone(HotPath):
    """Every eligible item that the teacher knows, by its score, with the popularity prior of the release.

    Content, settings and users' histories are those of Nextclick's own world. `minutes` is what training may
    take.
    """

    name = "teacher"
    _lists_as_served = False
    settings = TeacherConfig()

    def __init__(self, train: Train, policy: Policy, minutes: float) -> None:
        super().__init__(train, policy)
        self.minutes = minutes

    def fit(self, first: FirstPart) -> None:
        """Takes up the release, then trains the teacher on the same events."""
        super().fit(first)
        torch.set_num_threads(1)
        torch.manual_seed(first.seed)
        world = self.offline.world
        catalogue, release = world.catalogue, world.live.release
        known = catalogue.size
        numbers = np.array([catalogue.index.get(item_id, -1) for item_id in first.item_ids], np.int32)
        log = first.interactions()
        log = replace(log, item=numbers[log.item], item_ids=catalogue.ids)
        manifest = release.manifest
        self.config = replace(
            self.settings, prior_weight=manifest.prior_weight,
            prior_half_life_ms=SignalSettings.from_dict(manifest.signals).half_lives_ms[manifest.popular_now],
        )  # fmt: skip
        self.model = Teacher(
            ItemContent(release.model.content[:known].copy(), catalogue.categories[:known].copy()),
            self.config,
        )
        train_model(
            self.model, log, len(log), manifest.value_scale, seed=first.seed,
            budget_s=60.0 * self.minutes, name="teacher",
        )  # fmt: skip
        with torch.no_grad():
            self._table, self._bias = self.model.table(), self.model.bias.detach().clone()
        self._met = self.model.seen.numpy().copy()

    @torch.no_grad()
    def rank(self, ask: Ask) -> Ranking:
        """One pass over the user's last events."""
        slot, now_ms, excluded = self._asker(ask)
        items, _ = self.offline.rank_all(slot, now_ms, excluded)
        items = items[items < len(self._met)]
        items = items[self._met[items]]
        user = self._user(slot)
        scores = (self._table[torch.from_numpy(items.astype(np.int64))] @ user).numpy()
        scores = scores + self._bias.numpy()[items] + self._prior(items, now_ms)
        return Ranking(self._translated(items), scores.astype(np.float64))

    def _user(self, slot: int) -> torch.Tensor:
        """What the teacher makes of the history in a slot: (D,)."""
        histories = self.offline.states.gather(np.array([slot], np.int64))
        end = int(histories.length[0])
        places = np.arange(max(0, end - self.config.window - self.config.context), end)
        places = places[histories.items[0, places] < len(self._met)]  # others are newer than the teacher
        if not len(places):
            return self.model.initial.detach()
        times, kinds = histories.times[0, places], histories.kinds[0, places].astype(np.int64)
        values = self.offline.world.live.release.normalised(kinds, histories.values[0, places])
        gaps = log_gap(times, np.r_[np.int64(-1), times[:-1]])
        vectors, _ = self.model(
            F.embedding(torch.from_numpy(histories.items[0, places].astype(np.int64))[:, None], self._table),
            torch.from_numpy(kinds)[:, None], torch.from_numpy(gaps)[:, None],
            torch.from_numpy(values)[:, None], torch.zeros(1, self.model.hidden_size),
        )  # fmt: skip
        last: torch.Tensor = vectors[-1, 0]
        return last

    def _prior(self, items: NDArray[np.int32], now_ms: int) -> NDArray[np.float64]:
        signals, weight = self.offline.world.signals, self.config.prior_weight
        if not weight:
            return np.zeros(len(items))
        column = self.offline.world.live.release.model.popular_now
        faded = decay(now_ms, signals.half_lives[column], signals.reference[column])
        found: NDArray[np.float64] = weight * np.log(signals.popularity[items, column] * faded + EPSILON)
        return found
