"""What a sequence model learns from a log: windows of users' events in batches, and what it meets in them.

Owns the cutting, the batches, and what items and kinds get that are not among the lessons. Knows no loss.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from learner.data.events import AVERSION, Kind
from learner.data.inputs import INTEREST_KINDS, EventLog, ValueScale
from learner.models.prior import Prior, prior_of
from learner.models.sequences import EventSequences
from learner.models.student import SequenceModel

LEARNED_FROM = 1000  # events of a kind of aversion, from which on the recurrence reads it


@dataclass(frozen=True)
class Lessons:
    """The events that a model learns from, in windows of one user's; and what of them is counted.

    start, length (W,) int64: places of the windows' first events in `sequences` and how many they have;
    count (V,) int64 clicks of items; kinds (K,) int64 events of kinds.
    """

    sequences: EventSequences
    start: NDArray[np.int64]
    length: NDArray[np.int64]
    count: NDArray[np.int64]
    kinds: NDArray[np.int64]
    prior: Prior | None

    @staticmethod
    def of(log: EventLog, stop: int, train_stop: int, scale: ValueScale, model: SequenceModel) -> "Lessons":
        """Targets are the events before `train_stop`; those up to `stop` are there to be checked on."""
        config, items = model.config, len(model.bias)
        sequences = EventSequences.of(log, scale, stop)
        interest = INTEREST_KINDS[log.kind[:train_stop]]
        return Lessons(
            sequences,
            *_windows(sequences, train_stop, config.window),
            count=np.bincount(log.item[:train_stop][interest], minlength=items),
            kinds=np.bincount(log.kind[:train_stop], minlength=len(Kind)),
            prior=prior_of(config, log, items, stop),
        )

    def epoch(
        self, batch_events: int, rng: np.random.Generator
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Shuffled batches of windows of like length; about `batch_events` padded places each."""
        length = self.length
        order = rng.permutation(len(length))
        size = max(1, int(batch_events / max(length.mean(), 1)))
        batches: list[NDArray[np.int64]] = []
        for group in np.array_split(order, max(1, len(order) // (size * 8))):
            group = group[np.argsort(-length[group], kind="stable")]
            filled = 0
            while filled < len(group):
                take = max(1, batch_events // int(length[group[filled]]))
                batches.append(group[filled : filled + take])
                filled += take
        for k in rng.permutation(len(batches)):
            yield self.start[batches[k]], length[batches[k]]

    def epochs(
        self, batch_events: int, rng: np.random.Generator
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """One epoch after the other, without end."""
        while True:
            yield from self.epoch(batch_events, rng)


def meet(model: SequenceModel, lessons: Lessons) -> None:
    """Tells the model which items and kinds it is going to learn."""
    model.seen |= torch.from_numpy(lessons.count > 0)
    for code in AVERSION:  # the recurrence reads only kinds it has learned to read
        if lessons.kinds[code] >= LEARNED_FROM:
            model.reads[code] = 1.0


@torch.no_grad()
def settle(model: SequenceModel, lessons: Lessons) -> None:
    """Give items and kinds that training never met values that are fair to them.

    Unmet items lose the random id part and get the bias of rarely clicked ones; unmet kinds of interest
    are read as the average event.
    """
    count, kinds = lessons.count, lessons.kinds
    unseen = ~model.seen
    rare = torch.from_numpy((count > 0) & (count <= 5))
    if bool(unseen.any()):
        model.id_part[unseen] = 0.0
        model.bias[unseen] = model.bias[rare].mean() if bool(rare.any()) else model.bias.min()
    met = (kinds > 0) & INTEREST_KINDS
    if met.any():
        weight = torch.from_numpy(np.where(met, kinds, 0) / kinds[met].sum()).float()
        model.kind_part[: len(Kind)][torch.from_numpy(~met & INTEREST_KINDS)] = (
            weight @ model.kind_part[: len(Kind)]
        )


def _windows(
    sequences: EventSequences, last_target: int, length: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cut users' events before row `last_target` of the log into windows -> (start, length) of places."""
    place = np.flatnonzero(sequences.row < last_target)
    if not len(place):
        return place, place
    user_first = np.r_[True, np.diff(sequences.begin[place]) > 0]
    run = np.maximum.accumulate(np.where(user_first, np.arange(len(place)), 0))
    cut = (np.arange(len(place)) - run) % length == 0
    at = np.flatnonzero(cut)
    return place[at], np.diff(np.r_[at, len(place)])
