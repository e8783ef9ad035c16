"""How well a model retrieves by itself: NDCG@10 of its scores and the popularity prior, over the whole table.

Owns the score that trainings stop by and searches choose by. Knows no candidates.
"""

import math

import numba
import numpy as np
import torch
from numpy.typing import NDArray

from learner.data.inputs import EventLog, ValueScale
from learner.models.prior import Prior, prior_of
from learner.models.sequences import EventSequences, encode_histories
from learner.models.student import SequenceModel


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _rank_excluding(
    scores: NDArray[np.float32], answer: int, consumed: NDArray[np.int64], clicked: NDArray[np.bool_]
) -> float:
    own = scores[answer]
    above, equal = 0, 0
    for q in range(scores.shape[0]):
        if clicked[q]:
            above += scores[q] > own
            equal += scores[q] == own
    for q in consumed:
        if clicked[q] and q != answer:
            above -= scores[q] > own
            equal -= scores[q] == own
    return 1.0 + above + 0.5 * max(equal - 1, 0)


@torch.no_grad()
def retrieval_ndcg(
    student: SequenceModel, log: EventLog, start: int, stop: int, scale: ValueScale, *,
    sequences: EventSequences | None = None, prior: Prior | None = None, limit: int = 2000,
) -> float:  # fmt: skip
    """NDCG@10 of student + popularity prior alone on (a sample of) the interest events [start, stop).

    Ranked are the items clicked in training, without what the user has had before. Answers that the user has
    had are skipped. `sequences` and `prior` of the log where they are there already.
    """
    seq = sequences or EventSequences.of(log, scale, stop)
    vectors = encode_histories(student, log, scale, start=start, stop=stop, sequences=seq)
    table, bias = student.table().numpy(), student.bias.numpy()
    weight = student.config.prior_weight
    if prior is None:
        prior = prior_of(student.config, log, len(bias), stop)
    counts = np.array(student.config.event_weights)[seq.kind.numpy()]  # of an answer, what it counts
    place = np.flatnonzero((seq.row >= start) & (seq.row < stop) & seq.interest & (counts > 0))
    if len(place) > limit:
        place = place[:: -(-len(place) // limit)]
    ranked = student.seen.numpy()
    item = seq.item.numpy()
    total, n = 0.0, 0.0
    for p in place:
        consumed = np.unique(item[seq.begin[p] : p])
        if item[p] in consumed:
            continue
        n += counts[p]
        if not ranked[item[p]]:
            continue
        scores = table @ vectors[seq.row[p] - start] + bias
        if weight and prior is not None:
            scores = scores + np.float32(weight) * prior.before(int(seq.row[p])).numpy()
        rank = _rank_excluding(scores, item[p], consumed, ranked)
        total += counts[p] / math.log2(rank + 1) if rank <= 10 else 0.0
    return float(total / n) if n else 0.0
