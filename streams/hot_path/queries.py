"""What a request's query does to its list: items whose text says what is asked for join it and stand higher.

Owns which items those are and how their nearness is mixed with what the ranker says. Pure, for one list at a
time; `live` reads the query. Knows no messages and no text.
"""

import numpy as np
from numpy.typing import NDArray

from learner.ranking.arrays import Candidates

# Of nearness to the query beside the ranker's score, both in standard deviations over the candidates.
WEIGHT = 2.0


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


def mixed(scores: NDArray[np.float32], nearness: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scores (C,) of candidates with their nearness to the query (C,), both standardised."""
    return standard(scores) + np.float32(WEIGHT) * standard(nearness)


def standard(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Values (n,) less their mean, in standard deviations."""
    standardised: NDArray[np.float32] = (values - values.mean()) / max(float(values.std()), 1e-6)
    return standardised
