"""What a teacher knows, as targets for student and ranker: its best items with softened chances.

Owns the making of targets (Hinton et al. 2015; over a list's head as in "Ranking Distillation", Tang & Wang
2018): of each event the teacher's top items and softmax(score / temperature) over them. The hard answers stay
beside them: `SoftTargets.share` and `RankerConfig.soft_share` weigh the two. Trains nothing itself.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from learner.inputs import EventLog, ValueScale
from learner.lists import Lists
from learner.ranker import Ranker
from learner.student import EventSequences, SequenceModel, encode_histories
from learner.student_training import Prior, SoftTargets

TOP = 30  # items of a teacher's list
_AT_ONCE = 512  # events scored together: 512 × 12,000 float32 are 25 MB


@torch.no_grad()
def teacher_targets(
    teachers: Sequence[SequenceModel], log: EventLog, stop: int, scale: ValueScale, *, top: int = TOP,
    temperature: float = 1.0, share: float = 0.5, start: int = 0,
) -> SoftTargets:  # fmt: skip
    """Targets for the events of interest in [start, stop): the mean of the teachers' scores, softened.

    Only items that the teachers have met are listed, and none that the user has had before.
    """
    seq = EventSequences.of(log, scale, stop)
    wanted = np.flatnonzero((seq.row >= start) & (seq.row < stop) & seq.interest)
    rows = seq.row[wanted]
    vectors = [
        encode_histories(teacher, log, scale, start=start, stop=stop, sequences=seq) for teacher in teachers
    ]
    tables = [teacher.table() for teacher in teachers]
    priors = [_prior(teacher, log, stop) for teacher in teachers]
    unseen = ~teachers[0].seen
    top = min(top, int(teachers[0].seen.sum()))
    items = torch.empty((len(wanted), top), dtype=torch.int64)
    chance = torch.empty((len(wanted), top))
    history = seq.item.numpy()
    for k in range(0, len(wanted), _AT_ONCE):
        part = slice(k, min(k + _AT_ONCE, len(wanted)))
        scores = torch.zeros(part.stop - k, len(unseen))
        for teacher, users, table, prior in zip(teachers, vectors, tables, priors, strict=True):
            own = torch.from_numpy(users[rows[part] - start]) @ table.T + teacher.bias
            if prior is not None:
                step = torch.from_numpy(rows[part]) // prior.every
                own += teacher.config.prior_weight * prior.log_popularity[step]
            scores += own / len(teachers)
        scores[:, unseen] = -torch.inf
        for row, place in enumerate(wanted[part]):
            had = history[seq.begin[place] : place]
            answer = history[place]
            scores[row, torch.from_numpy(had[had != answer])] = -torch.inf
        best, found = scores.topk(top, dim=1)
        # Where a user has had nearly everything: items without a chance, but such as the student knows.
        found = torch.where(torch.isfinite(best), found, found[:, :1])
        items[part] = found
        chance[part] = torch.softmax(best / temperature, 1)
    row_of = torch.full((len(log.user),), -1, dtype=torch.int64)
    row_of[torch.from_numpy(rows)] = torch.arange(len(rows))
    return SoftTargets(row_of, items, chance, share)


def _prior(teacher: SequenceModel, log: EventLog, stop: int) -> Prior | None:
    if not teacher.config.prior_weight:
        return None
    return Prior.of(log, len(teacher.bias), stop, teacher.config.prior_half_life_ms)


def ensemble_scores(rankers: Sequence[Ranker], lists: Lists) -> NDArray[np.float32]:
    """Mean scores (n, C) of an ensemble of rankers: the `soft` targets of a small one."""
    total = np.zeros(lists.mask.shape, np.float32)
    for ranker in rankers:
        total += ranker.scores(lists.features) / np.float32(len(rankers))
    return total
