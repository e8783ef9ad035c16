"""Which items are clicked before and after which: sparse rows of directed pairs, kept click by click.

Owns the pairs and nothing else: popularity and times live in `signals`, the use of pairs in
`candidates` and `features`.

A pair (q, y) says that users clicked y after q. It carries four weights (`pair_rows.PAIR_WEIGHTS`) and
is stored once, in the row of y: the items *before* y. A click on y therefore changes one row, and that
row is what the record of y carries. The row of y keeps at most `limit` pairs; the weakest gives way.

For the way back, the items *after* q, each row of q lists where its pairs stand. Its first `HEAD`
places hold the strongest pairs of q, kept as a heap: what follows q most can be read without looking
at all of it. Which pairs stand in the head depends on the weights alone, not on the order in which
they came, so that a process that reads compacted records proposes what the learner would.

Rows lie in two pools of blocks of 2**n places; memory follows the number of pairs.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from learner import pair_rows
from learner.pair_rows import BLOCK_SIZES, DISTANCE_WEIGHTS, HEAD, TINY


class Neighbours:
    """Rows of directed pairs by item number.

    `before` and `after` (cap, 3) int64: start in the pool, pairs, room. Pools: `before_item` int32 (q),
    `before_weight` (·, 4) float32, `before_place` int32 (where the pair stands in the row after q);
    `after_item` int32 (y), `after_slot` int32 (where the pair stands in the row before y), `after_key`
    float32 (its decayed weight). Decayed weights are relative to 2**(reference in half-lives).
    """

    def __init__(self, capacity: int, limit: int) -> None:
        self.limit = limit
        self.before = np.zeros((capacity, 3), np.int64)
        self.after = np.zeros((capacity, 3), np.int64)
        pool = 1 << 14
        self.before_item = np.zeros(pool, np.int32)
        self.before_weight = np.zeros((pool, 4), np.float32)
        self.before_place = np.zeros(pool, np.int32)
        self.after_item = np.zeros(pool, np.int32)
        self.after_slot = np.zeros(pool, np.int32)
        self.after_key = np.zeros(pool, np.float32)
        self._free = np.full((2, BLOCK_SIZES), -1, np.int64)
        self._used = np.zeros(2, np.int64)

    def grow(self, capacity: int) -> None:
        """Makes room for more items."""
        self.before = _grown(self.before, capacity)
        self.after = _grown(self.after, capacity)

    def learn(
        self,
        item: int,
        history: NDArray[np.int32],
        scale: float,
        tie: NDArray[np.uint32],
        mark: NDArray[np.int32],
    ) -> None:
        """Adds the pairs of one click on `item`.

        `history` (n,) int32: the user's earlier items of interest, newest last. `scale`: weight of a
        decayed click now, relative to the reference. `tie` (cap,) decides between equal weights.
        `mark` (cap,) int32 all -1, left so.
        """
        while short := pair_rows.learn(
            item, history, self.limit, np.float32(scale), DISTANCE_WEIGHTS, tie, mark, *self._arrays()
        ):
            self._grow_pool(short)

    def replace(
        self,
        item: int,
        sources: NDArray[np.int32],
        weights: NDArray[np.float32],
        tie: NDArray[np.uint32],
        mark: NDArray[np.int32],
    ) -> None:
        """Sets the row before `item`: `sources` (n,) int32 distinct, `weights` (n, 4) float32."""
        while short := pair_rows.replace(item, sources, weights, tie, mark, *self._arrays()):
            self._grow_pool(short)

    def row(self, item: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Items (n,) int32 clicked before `item` and the pairs' weights (n, 4) float32; views."""
        start, count = int(self.before[item, 0]), int(self.before[item, 1])
        return self.before_item[start : start + count], self.before_weight[start : start + count]

    def followers(self, item: int) -> NDArray[np.int32]:
        """Items of the head of the row after `item`, in no particular order; a view."""
        start, count = int(self.after[item, 0]), min(int(self.after[item, 1]), HEAD)
        return self.after_item[start : start + count]

    def rescale(self, half_lives: int, tie: NDArray[np.uint32]) -> None:
        """Moves the reference of the decayed weights on by whole half-lives; exact but for `TINY` ones."""
        pair_rows.rescale(
            half_lives, tie, self.before, self.before_weight, self.before_place,
            self.after, self.after_item, self.after_slot, self.after_key,
        )  # fmt: skip

    @staticmethod
    def rescaled(weights: NDArray[np.float32], half_lives: int) -> NDArray[np.float32]:
        """What `rescale` makes of weights (n, 4) float32."""
        moved = weights.copy()
        decayed = weights[:, 1::2].astype(np.float64) * 2.0 ** -float(half_lives)
        moved[:, 1::2] = np.where(decayed >= TINY, decayed, 0.0)
        return moved

    def memory_bytes(self) -> int:
        """Bytes of all arrays, unused room included."""
        return sum(array.nbytes for array in self._arrays())

    def _arrays(self) -> tuple[NDArray[Any], ...]:
        return (
            self.before, self.before_item, self.before_weight, self.before_place,
            self.after, self.after_item, self.after_slot, self.after_key, self._free, self._used,
        )  # fmt: skip

    def _grow_pool(self, short: int) -> None:
        names = (
            ("before_item", "before_weight", "before_place")
            if short == 1
            else ("after_item", "after_slot", "after_key")
        )
        for name in names:
            array = getattr(self, name)
            setattr(self, name, _grown(array, 2 * len(array)))


def _grown(array: NDArray[Any], length: int) -> NDArray[Any]:
    grown = np.zeros((length, *array.shape[1:]), array.dtype)
    grown[: len(array)] = array
    return grown
