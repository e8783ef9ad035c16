"""Teachers alone in a replay: trained on the first part, then still, while the histories they read go on.

Owns their training on a replay's first part and their ranking. They never serve; the figure says what there
is to distil. Needs torch.
"""

from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (torch's own convention)
from numpy.typing import NDArray

from learner.data.inputs import log_gap
from learner.evaluation.system import Ask, FirstPart, Ranking
from learner.models.distill import train_teachers
from learner.models.item_content import ItemContent
from learner.models.run import Run
from learner.models.settings import StudentConfig
from learner.models.student import SequenceModel
from learner.models.teacher import TeacherConfig
from learner.ranking.feature_math import EPSILON
from learner.signals.kernels import decay
from learner.signals.settings import SignalSettings
from streams.hot_path.histories import Histories
from streams.hot_path.policy import Policy
from streams.replay.systems import HotPath, Train


class TeacherAlone(HotPath):
    """Every eligible item that the teachers know, by the mean of their scores, with the release's prior.

    Content and users' histories are those of Nextclick's own world: a recurrence reads the newest events that
    are kept, a transformer those of its window. `minutes` is what training may take.
    """

    name = "teacher"
    _lists_as_served = False
    transformer = TeacherConfig()

    def __init__(self, train: Train, policy: Policy, minutes: float) -> None:
        super().__init__(train, policy)
        self.minutes = minutes

    def fit(self, first: FirstPart) -> None:
        """Takes up the release, then trains teachers on the same events."""
        super().fit(first)
        torch.set_num_threads(1)
        world = self.offline.world
        catalogue, release = world.catalogue, world.live.release
        known = catalogue.size
        numbers = np.array([catalogue.index.get(item_id, -1) for item_id in first.item_ids], np.int32)
        log = first.interactions()
        log = replace(log, item=numbers[log.item], item_ids=catalogue.ids)
        manifest = release.manifest
        self.config = StudentConfig(
            prior_weight=manifest.prior_weight,
            prior_half_life_ms=SignalSettings.from_dict(manifest.signals).half_lives_ms[manifest.popular_now],
        )
        content = ItemContent(release.model.content[:known].copy(), catalogue.categories[:known].copy())
        teachers, _ = train_teachers(
            log, len(log), content, manifest.value_scale, self.config, Run(first.seed, 60.0 * self.minutes),
            transformer=self.transformer,
        )  # fmt: skip
        with torch.no_grad():
            self._teachers = [
                (teacher, teacher.table(), teacher.bias.detach().clone()) for teacher in teachers
            ]
        self._met = teachers[0].seen.numpy().copy()

    @torch.no_grad()
    def rank(self, ask: Ask) -> Ranking:
        """One pass over the user's last events."""
        slot, now_ms, excluded = self._asker(ask)
        items, _ = self.offline.rank_all(slot, now_ms, excluded)
        items = items[items < len(self._met)]
        items = items[self._met[items]]
        rows = torch.from_numpy(items.astype(np.int64))
        scores, history = self._prior(items, now_ms), self.offline.states.gather(np.array([slot], np.int64))
        for teacher, table, bias in self._teachers:
            own = table[rows] @ self._user(teacher, table, history) + bias[rows]
            scores += own.numpy() / len(self._teachers)
        return Ranking(self._translated(items), scores)

    def _user(self, teacher: SequenceModel, table: torch.Tensor, histories: Histories) -> torch.Tensor:
        """What a teacher makes of the one history: (D,)."""
        end = int(histories.length[0])
        read = end if teacher.carries else teacher.config.window + teacher.config.context
        places = np.arange(max(0, end - read), end)
        places = places[histories.items[0, places] < len(self._met)]  # others are newer than the teachers
        if not len(places):
            return teacher.initial.detach()
        times, kinds = histories.times[0, places], histories.kinds[0, places].astype(np.int64)
        values = self.offline.world.live.release.normalised(kinds, histories.values[0, places])
        gaps = log_gap(times, np.r_[np.int64(-1), times[:-1]])
        vectors, _ = teacher(
            F.embedding(torch.from_numpy(histories.items[0, places].astype(np.int64))[:, None], table),
            torch.from_numpy(kinds)[:, None], torch.from_numpy(gaps)[:, None],
            torch.from_numpy(values)[:, None], torch.zeros(1, teacher.hidden_size),
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
