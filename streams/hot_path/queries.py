"""What a request's query does to its list: items whose text says what is asked for join it and stand higher.

Owns which items those are and how their nearness is mixed with what the ranker says. Pure, for one list at a
time; `live` reads the query. Knows no messages and no text.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from learner.ranking.arrays import Candidates

# Of nearness to the query beside the ranker's score, both in standard deviations over the candidates.
WEIGHT = 2.0


@dataclass(frozen=True)
class Found:
    """The candidates of one list, as `Candidates` of one row, and how near each is to the query (C,)."""

    candidates: Candidates
    nearness: NDArray[np.float32]
    sought: NDArray[np.bool_]  # (C,) whether it is one of the nearest there are


def join(
    candidates: Candidates, row: int, sought: NDArray[np.int32],
    nearness: Callable[[NDArray[np.int32]], NDArray[np.float32]],
) -> Found:  # fmt: skip
    """The row's candidates, and after them those of the items `sought` (n,) that it lacks.

    nearness: of items (n,) to the query (n,).
    """
    own = candidates.rows(np.array([row]))
    width = int(own.count[0])
    items = own.items[0, :width]
    new = np.setdiff1d(sought, items).astype(np.int32)
    columns = {
        "items": new,
        "source": np.zeros(len(new), np.uint8),  # none of the sources: such an item is named as sought
        "because": np.full(len(new), -1, np.int32),
        "ranks": np.full((len(new), own.ranks.shape[2]), -1, np.int16),
    }
    joined = {
        name: np.concatenate([getattr(own, name)[0, :width], more])[None] for name, more in columns.items()
    }
    found = Candidates(**joined, count=np.array([width + len(new)], np.int32))
    return Found(found, nearness(found.items[0]), np.isin(found.items[0], sought))


def unread(items: NDArray[np.int32]) -> NDArray[np.float32]:
    """The nearness (n,) of items to a query that nobody can read."""
    return np.zeros(len(items), np.float32)


def mixed(scores: NDArray[np.float32], nearness: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scores (C,) of candidates with their nearness to the query (C,), both standardised."""
    return _standard(scores) + np.float32(WEIGHT) * _standard(nearness)


def _standard(values: NDArray[np.float32]) -> NDArray[np.float32]:
    standard: NDArray[np.float32] = (values - values.mean()) / max(float(values.std()), 1e-6)
    return standard
