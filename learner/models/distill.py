"""What teachers know, as targets for student and ranker: their best items with softened chances.

Owns who teaches, and the making of targets (Hinton et al. 2015; over a list's head as in "Ranking
Distillation", Tang & Wang 2018): of each event the teachers' top items and softmax(score / temperature) over
them. The hard answers stay beside them: `SoftTargets.share` and `RankerConfig.soft_share` weigh the two.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from learner.data.inputs import EventLog, ValueScale
from learner.models.item_content import ItemContent
from learner.models.next_item_loss import SoftTargets
from learner.models.prior import prior_of
from learner.models.ranker import Ranker
from learner.models.run import Progress, Run
from learner.models.sequences import EventSequences, encode_histories
from learner.models.settings import StudentConfig
from learner.models.student import SequenceModel
from learner.models.student_training import TrainingReport, train_model, train_student
from learner.models.teacher import Teacher, TeacherConfig
from learner.ranking.lists import Lists, let_go

TOP = 30  # items of the teachers' list
_AT_ONCE = 512  # events scored together: 512 × 12,000 float32 are 25 MB
_SCORED_AT_ONCE = 512  # lists, which may lie in a file
_OTHER_SEED = 101  # added to the seed of the recurrence that teaches: it must not be the student itself
_RECURRENCE_SHARE = 0.2  # of the teachers' time, at most; it takes a sixth where there is enough


def train_teachers(
    log: EventLog, stop: int, content: ItemContent, scale: ValueScale, config: StudentConfig,
    run: Run | None = None, *, transformer: TeacherConfig | None = None,
) -> tuple[list[SequenceModel], list[TrainingReport]]:  # fmt: skip
    """A recurrence as the student's and a transformer, on the first `stop` events; a report for each.

    The mean of their scores is what teaches: stronger than either, since they err differently (docs/log.md).
    Both have the popularity prior of `config`.
    """
    run = run or Run()
    begun = run.clock()
    recurrence, first = train_student(
        log, stop, content, scale, config,
        replace(
            run, seed=run.seed + _OTHER_SEED, budget_s=_RECURRENCE_SHARE * run.budget_s,
            name="teacher/recurrence", progress=_between(0.0, _RECURRENCE_SHARE, run),
        ),
    )  # fmt: skip
    settings = replace(
        transformer or TeacherConfig(), prior_weight=config.prior_weight,
        prior_half_life_ms=config.prior_half_life_ms, event_weights=config.event_weights,
    )  # fmt: skip
    torch.manual_seed(run.seed)
    reader = Teacher(content, settings)
    second = train_model(
        reader, log, stop, scale,
        replace(
            run, budget_s=max(run.budget_s - (run.clock() - begun), 0.0),
            name="teacher/transformer", progress=_between(_RECURRENCE_SHARE, 1.0, run),
        ),
    )  # fmt: skip
    return [recurrence, reader], [first, second]


def _between(begin: float, end: float, run: Run) -> Progress:
    """Progress of a part that takes a longer run from share `begin` to share `end`."""
    return lambda share, text: run.tell(begin + (end - begin) * share, text)


@torch.no_grad()
def teacher_targets(
    teachers: Sequence[SequenceModel], log: EventLog, stop: int, scale: ValueScale, *, top: int = TOP,
    temperature: float = 1.0, share: float = 0.5, start: int = 0,
) -> SoftTargets:  # fmt: skip
    """Targets for the events of interest in [start, stop): the mean of the teachers' scores, softened.

    Only items that the teachers have met are listed, and none that the user has had before. All teachers have
    the first one's popularity prior.
    """
    seq = EventSequences.of(log, scale, stop)
    wanted = np.flatnonzero((seq.row >= start) & (seq.row < stop) & seq.interest)
    rows = seq.row[wanted]
    vectors = [
        encode_histories(teacher, log, scale, start=start, stop=stop, sequences=seq) for teacher in teachers
    ]
    tables = [teacher.table() for teacher in teachers]
    prior = prior_of(teachers[0].config, log, len(teachers[0].bias), stop)
    unseen = ~teachers[0].seen
    top = min(top, int(teachers[0].seen.sum()))
    items = torch.empty((len(wanted), top), dtype=torch.int64)
    chance = torch.empty((len(wanted), top))
    history = seq.item.numpy()
    for k in range(0, len(wanted), _AT_ONCE):
        part = slice(k, min(k + _AT_ONCE, len(wanted)))
        scores = torch.zeros(part.stop - k, len(unseen))
        for teacher, users, table in zip(teachers, vectors, tables, strict=True):
            own = torch.from_numpy(users[rows[part] - start]) @ table.T + teacher.bias
            scores += own / len(teachers)
        if prior is not None:
            scores += teachers[0].config.prior_weight * prior.before(torch.from_numpy(rows[part]))
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


def ensemble_scores(rankers: Sequence[Ranker], lists: Lists) -> NDArray[np.float32]:
    """Mean scores (n, C) of an ensemble of rankers: the `soft` targets of a small one."""
    total = np.zeros(lists.mask.shape, np.float32)
    for ranker in rankers:
        for k in range(0, len(lists), _SCORED_AT_ONCE):
            scores = ranker.scores(lists.features[k : k + _SCORED_AT_ONCE])
            total[k : k + _SCORED_AT_ONCE] += scores / np.float32(len(rankers))
            let_go(lists.features)
    return total
