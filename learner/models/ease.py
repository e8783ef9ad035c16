"""EASE^R: a closed-form item-item model, as sparse rows for the ranker's features.

Owns the fit and the choice of items that take part. Static: computed from the clicks before a release's
lists begin, and part of the release. (Steck 2019, "Embarrassingly Shallow Autoencoders for Sparse Data",
eq. 8: B = I - P · diag(1 / diag P) with P = (XᵀX + λI)⁻¹.)
"""

from dataclasses import dataclass

import numpy as np
import scipy.linalg.lapack
import scipy.sparse
from numpy.typing import NDArray

from learner.data.inputs import INTEREST_KINDS, EventLog

MIN_CLICKS = 3  # below, a row is noise and the streaming co-occurrence says as much
KEPT, KEPT_A_ROW = 500_000, (100, 256)  # weights in all, and a row: each is looked up for each own item
ITEMS_LIMIT = 20_000  # one (n, n) float32 matrix: 1.6 GB
FLOPS_PER_SECOND = 2e10  # of one slow core in single precision: Cholesky and inverse take n³ together


@dataclass(frozen=True)
class EaseRows:
    """For each item q the items whose score a click on q changes most.

    item (V, Ke) int32, -1 padded; weight (V, Ke) float32, 0 padded. score(j) = sum over clicked q of B[q, j].
    """

    item: NDArray[np.int32]
    weight: NDArray[np.float32]
    items_used: int

    @staticmethod
    def empty(items: int) -> "EaseRows":
        """Rows without any weight."""
        return EaseRows(np.full((items, 0), -1, np.int32), np.zeros((items, 0), np.float32), 0)


def items_within(budget_s: float) -> int:
    """How many items can be fitted in `budget_s` seconds of one core, at most `ITEMS_LIMIT`."""
    return min(int((max(budget_s, 0.0) * FLOPS_PER_SECOND) ** (1 / 3)), ITEMS_LIMIT)


def ease_rows(
    log: EventLog, stop: int, items: int, *, keep: int | None = None, penalty: float = 100.0,
    limit: int = ITEMS_LIMIT,
) -> EaseRows:  # fmt: skip
    """Fit on the first `stop` events of the log; rows keep `keep` items, by default more in small catalogues.

    Items with at least `MIN_CLICKS` clicks take part; where these are more than `limit`, the `limit` most
    clicked ones (ties by number). The others have empty rows.
    """
    use = INTEREST_KINDS[log.kind[:stop]]
    user, item = log.user[:stop][use].astype(np.int64), log.item[:stop][use].astype(np.int64)
    count = np.bincount(item, minlength=items)
    chosen = np.flatnonzero(count >= MIN_CLICKS)
    if len(chosen) > limit:
        chosen = np.sort(chosen[np.argsort(-count[chosen], kind="stable")[:limit]])
    n = len(chosen)
    if n < 2:
        return EaseRows.empty(items)
    position = np.full(items, -1, np.int64)
    position[chosen] = np.arange(n)
    inside = position[item] >= 0
    pairs = np.unique(user[inside] * n + position[item[inside]])  # a repeated click counts once
    clicks = scipy.sparse.csr_matrix(
        (np.ones(len(pairs), np.float32), (pairs // n, pairs % n)), shape=(int(user.max()) + 1, n)
    )
    gram = np.asfortranarray((clicks.T @ clicks).toarray(), dtype=np.float32)
    gram[np.diag_indices(n)] += penalty
    factor, failed = scipy.linalg.lapack.spotrf(gram, lower=1, overwrite_a=1)
    if not failed:
        inverse, failed = scipy.linalg.lapack.spotri(factor, lower=1, overwrite_c=1)
    if failed:
        raise ArithmeticError(
            f"EASE^R: the Gram matrix is not positive definite at penalty {penalty}: raise it"
        )
    width = min(keep or int(np.clip(KEPT // n, *KEPT_A_ROW)), n - 1)
    diagonal = np.diag(inverse).copy()
    found_item = np.full((items, width), -1, np.int32)
    found_weight = np.zeros((items, width), np.float32)
    for begin in range(
        0, n, 256
    ):  # the inverse holds its lower triangle only: rows are put together in strips
        rows = np.arange(begin, min(begin + 256, n))
        strip = np.where(rows[:, None] >= np.arange(n)[None], inverse[rows], inverse[:, rows].T)
        strip = -strip / diagonal[None]
        strip[np.arange(len(rows)), rows] = 0.0
        best = np.argpartition(-np.abs(strip), width - 1, axis=1)[:, :width]
        weight = np.take_along_axis(strip, best, 1)
        order = np.argsort(-weight, axis=1, kind="stable")
        best, weight = np.take_along_axis(best, order, 1), np.take_along_axis(weight, order, 1)
        found_item[chosen[rows]] = np.where(weight != 0, chosen[best], -1)
        found_weight[chosen[rows]] = weight
    return EaseRows(found_item, found_weight, n)
