"""From scored candidates to a list: order, diversity, exploration.

Owns the last decision about a list and its propensities. Knows no users, models or messages.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Policy:
    """How lists are drawn up. The default is the pure ranking, with one try for users nobody knows."""

    name: str = "default"
    k: int = 10
    candidates: int = 150  # 200 bring nothing more, 100 cost up to 1 % of NDCG@10 (docs/log.md)
    # Up to so many lists that are made at once each draw on all candidates. Of more each gets fewer, so that
    # they share the same work, but never fewer than the least, which costs 1 % of NDCG@10 (docs/log.md).
    unhurried: int = 8
    least_candidates: int = 64
    # Chance that a user without history is shown one item from below the list's end.
    exploration: float = 0.1
    # Weight of dissimilarity to the items above (maximal marginal relevance; Carbonell & Goldstein 1998).
    diversity: float = 0.0

    def candidates_for(self, lists: int) -> int:
        """Candidates of each of so many lists that are made at once."""
        shared = self.candidates * self.unhurried // max(lists, self.unhurried)
        return max(shared, min(self.least_candidates, self.candidates))


class Place(NamedTuple):
    """One place of a list: the candidate's column, its chance of standing there, and whether it was a try.

    rule: what rules had to do with it, "" for nothing
    """

    column: int
    propensity: float
    explored: bool = False
    rule: str = ""


def draw_up(
    scores: NDArray[np.float32],
    items: NDArray[np.int32],
    ids: Sequence[str],
    k: int,
    policy: Policy,
    *,
    known_user: bool,
    vectors: NDArray[np.float32] | None,
    rng: np.random.Generator | None,
) -> list[Place]:
    """Chooses the k places of a list from C candidates.

    `scores` (C,) float32, `items` (C,) int32 with their numbers, `ids` names by number; `vectors`
    (V, D) float32 are needed for diversity alone. `rng` None means no exploration (replay).
    """
    order = by_score(scores, items, ids, max(2 * k, k + 20))
    if policy.diversity > 0 and vectors is not None and len(order):
        order = diversify(order, vectors[items], k, policy.diversity)
    places = [Place(column, 1.0) for column in order[:k].tolist()]
    below = order[k : k + 20]
    if rng is not None and not known_user and policy.exploration > 0 and len(below) and places:
        chance = policy.exploration
        if rng.random() < chance:
            tried = int(below[rng.integers(len(below))])
            places[-1] = Place(tried, chance / len(below), explored=True)
        else:
            places[-1] = Place(places[-1].column, 1.0 - chance)
    return places


def by_score(
    scores: NDArray[np.float32], items: NDArray[np.int32], ids: Sequence[str], top: int
) -> NDArray[np.int64]:
    """Columns by falling score; equal scores by item id, so that a list never depends on numbering."""
    order = np.argsort(-scores, kind="stable")
    head = scores[order[: top + 1]]
    if (head[1:] == head[:-1]).any():
        order = np.array(sorted(order.tolist(), key=lambda c: (-scores[c], ids[int(items[c])])), np.int64)
    return order[:top]


def diversify(
    order: NDArray[np.int64],
    vectors: NDArray[np.float32],
    k: int,
    weight: float,
) -> NDArray[np.int64]:
    """Greedy re-ordering by (1 - weight) * relevance - weight * similarity to what already stands.

    One product with the vectors (C, D) for each of the k places.
    """
    pool = vectors[order]
    pool = pool / (np.linalg.norm(pool, axis=1, keepdims=True) + 1e-9)
    worth = (1 - weight) / (1.0 + np.arange(len(order)))
    chosen, nearest = [0], pool @ pool[0]
    worth[0] = -np.inf
    while len(chosen) < min(k, len(order)):
        best = int(np.argmax(worth - weight * nearest))
        chosen.append(best)
        worth[best] = -np.inf
        np.maximum(nearest, pool @ pool[best], out=nearest)
    rest = np.flatnonzero(worth > -np.inf)
    reordered: NDArray[np.int64] = order[np.concatenate([np.array(chosen), rest])]
    return reordered
