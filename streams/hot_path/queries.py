"""What a request's query does to its list: items that it is about join it and stand higher.

Owns how they join the candidates, and how their relevance is mixed with what the ranker says. Pure, for one
list at a time; `searching` finds them. Knows no messages and no text.
"""

import numpy as np
from numpy.typing import NDArray

from learner.ranking.arrays import Candidates

# Of relevance, from 0 to 1, beside the ranker's score in standard deviations over the candidates: the first
# of a search stands above what a user likes best, among the next ones taste decides (docs/texts.md).
WEIGHT = 8.0
MOST_TASTE = 1.3  # standard deviations: what is clicked by all has the highest scores for every query


def join(candidates: Candidates, row: int, sought: NDArray[np.int32]) -> Candidates:
    """The row's candidates, and after them those of the items `sought` (n,) that it lacks; a batch of one."""
    own = candidates.rows(np.array([row]))
    width = int(own.count[0])
    new = np.setdiff1d(sought, own.items[0, :width]).astype(np.int32)
    columns = {
        "items": new,
        "source": np.zeros(len(new), np.uint8),  # none of the sources: such an item is named as sought
        "because": np.full(len(new), -1, np.int32),
        "ranks": np.full((len(new), own.ranks.shape[2]), -1, np.int16),
    }
    joined = {
        name: np.concatenate([getattr(own, name)[0, :width], more])[None] for name, more in columns.items()
    }
    return Candidates(**joined, count=np.array([width + len(new)], np.int32))


def mixed(
    scores: NDArray[np.float32], relevance: NDArray[np.float32], sought: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Scores (C,) of candidates, standardised over those `sought`, with their relevance (C,) from 0 to 1.

    Candidates that are not sought stand below: they fill the list up.
    """
    if not sought.any():
        return standard(scores)
    found = np.empty(len(scores), np.float32)
    found[sought] = np.float32(WEIGHT) * relevance[sought] + _taste(scores[sought], relevance[sought])
    found[~sought] = below(scores[~sought], found[sought])
    return found


def _taste(scores: NDArray[np.float32], relevance: NDArray[np.float32]) -> NDArray[np.float32]:
    """What the ranker says of items that are sought (n,): all of it where nothing else orders them."""
    own = standard(scores)
    return np.clip(own, -MOST_TASTE, MOST_TASTE) if relevance.any() else own


def below(scores: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scores (n,), standardised, on the scale of others (m,) and below them all."""
    if not len(scores) or not len(others):
        return standard(scores) if len(scores) else scores
    own = standard(scores)
    lowered: NDArray[np.float32] = own - own.max() + others.min() - np.float32(1)
    return lowered


def standard(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Values (n,) less their mean, in standard deviations."""
    standardised: NDArray[np.float32] = (values - values.mean()) / max(float(values.std()), 1e-6)
    return standardised


def placed(
    relevance: NDArray[np.float32], sought: NDArray[np.int32], items: NDArray[np.int32]
) -> NDArray[np.float32]:
    """The relevance of items sought (n,) as items (C,) have it: 0 of what is not sought."""
    order = np.argsort(sought)
    place = np.minimum(np.searchsorted(sought[order], items), max(len(sought) - 1, 0))
    if not len(sought):
        return np.zeros(len(items), np.float32)
    own: NDArray[np.float32] = np.where(sought[order][place] == items, relevance[order][place], 0)
    return own
