"""How new items stand among their like, learned from answered lists: taste, content, age and clicks weighed.

Candidates that nobody has clicked yet, or hardly anybody, have a source of their own (`ranking.sources`),
since next to items with clicks they would never be drawn. Which of them it names is a linear order whose
weights are fitted here to the answers that were as new: by the ranker's own loss, and held to an order by
content and age where answers are few. Where all of them lie among other candidates is the ranker's to say.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from learner.models.cold_start import AT_ONCE, linear_order
from learner.ranking.arrays import BY_CONTENT
from learner.ranking.columns import FEATURES
from learner.ranking.lists import Lists, let_go
from learner.ranking.sources import FEW_CLICKS

PULL = 30.0  # weight of the squared distance to what they begin with, in lists
MOST = 4000  # lists of each kind, the newest ones
_UNKNOWN_WEEKS = 2900.0  # since 1970: what the source takes for the age of items of which nobody knows it
_STUDENT, _MATCH, _CLICKS, _AGE, _PUBLISHED = (
    FEATURES.index(name) for name in ("student", "content_profile", "popularity_all", "age", "published_age")
)


def fit_newcomers(lists: Lists) -> NDArray[np.float64]:
    """`ModelArrays.newcomers` (2, 4) as answered lists, with answers in place 0, teach it."""
    clicks = np.empty(lists.mask.shape, np.float32)
    for k in range(0, len(lists), AT_ONCE):
        clicks[k : k + AT_ONCE] = lists.features[k : k + AT_ONCE, :, _CLICKS]
        let_go(lists.features)
    few = (clicks > 0) & (clicks <= np.log1p(FEW_CLICKS) + 0.01)  # they are kept in half precision
    return np.stack([_fitted(lists, like & lists.mask, row) for row, like in enumerate((clicks == 0, few))])


def _fitted(lists: Lists, like: NDArray[np.bool_], row: int) -> NDArray[np.float64]:
    """Weights (4,) by the lists whose answer is one of the candidates (n, C) that are alike."""
    which = np.flatnonzero(like[:, :1].any(1) & (like.sum(1) > 1))[-MOST:]
    weights: NDArray[np.float64] = BY_CONTENT[row].copy()
    if not len(which):
        return weights
    begin = torch.from_numpy(weights.astype(np.float32))
    inputs = torch.empty(len(which), like.shape[1], 4)
    for k in range(0, len(which), AT_ONCE):
        inputs[k : k + AT_ONCE] = torch.from_numpy(_inputs(lists.features[which[k : k + AT_ONCE]]))
        let_go(lists.features)
    # By their spread, so that the pull is the same for all four; an order has no level.
    mask = torch.from_numpy(like[which])
    spread = inputs[mask].std(0).clamp_min(1e-3)
    found = linear_order(inputs / spread, mask, begin * spread, PULL) / spread
    weights[:] = found.numpy()
    return weights


def _inputs(features: NDArray[np.floating]) -> NDArray[np.float32]:
    """What the source weighs, (n, C, 4), by the ranker's columns (n, C, F)."""
    x = features.astype(np.float32)
    known, clicked = x[..., _PUBLISHED] >= 0, x[..., _CLICKS] > 0
    published = np.where(known, np.expm1(x[..., _PUBLISHED]) / 7.0, _UNKNOWN_WEEKS)
    first = np.where(clicked, np.expm1(np.minimum(x[..., _AGE], 30.0)) / (7 * 86_400.0), _UNKNOWN_WEEKS)
    weeks = np.log1p(np.minimum(published, first))
    return np.stack([x[..., _STUDENT], x[..., _MATCH], weeks, x[..., _CLICKS]], axis=-1)
