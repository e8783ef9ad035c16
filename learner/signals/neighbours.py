"""Which items are clicked before and after which: directed pairs, kept click by click.

Owns the pairs and nothing else: popularity and times live in `state`, the use of pairs in
`candidates` and `features`.

A pair (q, y) says that users clicked y after q. It carries five weights (`PAIR_WEIGHTS`) and is stored
once, in the row of y: the items *before* y. A click on y therefore changes one row, and that row is
what the record of y carries. The row of y keeps at most `limit` pairs; the weakest gives way.

For the way back, the items *after* q, each row of q lists where its pairs stand, the strongest in its head
(`heads`).
"""

import numpy as np
from numpy.typing import NDArray

from learner.data.arrays import grown
from learner.signals.heads import HEAD, Ties
from learner.signals.pair_weights import DECAYED, WEIGHTS
from learner.signals.pairs import BEFORE_SHORT, TINY, count_pairs, replace_row, rescale
from learner.signals.rows import new_side, with_twice_the_places


class Neighbours:
    """Rows of directed pairs by item number.

    `before`: the row of y holds each q, with five weights. `after`: the row of q holds each y, with the
    decayed weight. Decayed weights are relative to 2**(reference in half-lives). Growth replaces both, so
    read them from here each time.
    """

    def __init__(self, capacity: int, limit: int) -> None:
        self.limit = limit
        self.before = new_side(capacity, WEIGHTS)
        self.after = new_side(capacity, 1)

    def grow(self, capacity: int) -> None:
        """Makes room for more items."""
        self.before = self.before._replace(rows=grown(self.before.rows, capacity))
        self.after = self.after._replace(rows=grown(self.after.rows, capacity))

    def learn(
        self, item: int, history: NDArray[np.int32], scale: float, tie: Ties, mark: NDArray[np.int32],
        weight: float = 1.0,
    ) -> None:  # fmt: skip
        """Adds the pairs of one click on `item`.

        `history` (n,) int32: the user's earlier items of interest, newest last. `scale`: weight of a
        decayed click now, relative to the reference. `tie` (cap,) uint32 decides between equal weights.
        `mark` (cap,) int32 all -1, left so. `weight`: how many clicks this one counts for.
        """
        while short := count_pairs(
            tuple(self.before), tuple(self.after), tie, mark, item, history, self.limit, scale, weight
        ):
            self._lengthen(short)

    def replace(
        self,
        item: int,
        sources: NDArray[np.int32],
        weights: NDArray[np.float32],
        tie: Ties,
        mark: NDArray[np.int32],
    ) -> None:
        """Sets the row before `item`: `sources` (n,) int32 distinct, `weights` (n, 5) float32."""
        while short := replace_row(tuple(self.before), tuple(self.after), tie, mark, item, sources, weights):
            self._lengthen(short)

    def row(self, item: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Items (n,) int32 clicked before `item` and the pairs' weights (n, 5) float32; views."""
        start, count = int(self.before.rows[item, 0]), int(self.before.rows[item, 1])
        return self.before.item[start : start + count], self.before.weight[start : start + count]

    def followers(self, item: int) -> NDArray[np.int32]:
        """Items of the head of the row after `item`, in no particular order; a view."""
        start, count = int(self.after.rows[item, 0]), min(int(self.after.rows[item, 1]), HEAD)
        return self.after.item[start : start + count]

    def rescale(self, half_lives: int, tie: Ties) -> None:
        """Moves the reference of the decayed weights on by whole half-lives; exact but for `TINY` ones."""
        rescale(self.before, self.after, tie, half_lives)

    @staticmethod
    def rescaled(weights: NDArray[np.float32], half_lives: int) -> NDArray[np.float32]:
        """What `rescale` makes of weights (n, 5) float32."""
        moved = weights.copy()
        decayed = weights[:, DECAYED].astype(np.float64) * 2.0 ** -float(half_lives)
        moved[:, DECAYED] = np.where(decayed >= TINY, decayed, 0.0)
        return moved

    def memory_bytes(self) -> int:
        """Bytes of all arrays, unused room included."""
        return sum(array.nbytes for array in (*self.before, *self.after))

    def _lengthen(self, short: int) -> None:
        if short == BEFORE_SHORT:
            self.before = with_twice_the_places(self.before)
        else:
            self.after = with_twice_the_places(self.after)
