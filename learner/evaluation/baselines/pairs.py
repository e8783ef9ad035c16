"""Weights of ordered pairs of items, sparse and growing: what follows what, how often.

Owns one table: a hash finds the slot of a pair, and the slots of one first item hang together in blocks, so
that a row can be walked without the hash. Nothing is ever dropped. Knows no meaning of its columns.
"""

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from learner.evaluation.system import Ints

BLOCK = 16  # slots: a row of one block is two cache lines of items; longer rows chain blocks

Arrays = tuple[Any, ...]


class PairTable:
    """Rows by first item, `columns` weights a pair.

    `arrays`, as the kernels take them: hash (S,) int32 of slots, -1 empty; head, tail and fill of each row
    (V,) int32; the block after and the row of each block (B,) int32; second items (B * 16,) int32; weights
    (B * 16, columns); sizes (2,) int64: blocks and pairs in use.
    """

    def __init__(self, items: int, columns: int, dtype: type[np.floating[Any]] = np.float64) -> None:
        blocks = 256
        self._hash = np.full(8192, -1, np.int32)
        self._rows = np.zeros((3, items), np.int32)
        self._rows[:2] = -1
        self._blocks = np.full((2, blocks), -1, np.int32)
        self._items = np.full(blocks * BLOCK, -1, np.int32)
        self._weights = np.zeros((blocks * BLOCK, columns), dtype)
        self._sizes = np.zeros(2, np.int64)

    @property
    def arrays(self) -> Arrays:
        """What the kernels need, in their order."""
        return self._hash, self._rows, self._blocks, self._items, self._weights, self._sizes

    @property
    def pairs(self) -> int:
        """How many pairs have a weight."""
        return int(self._sizes[1])

    def reserve(self, pairs: int) -> None:
        """Makes room for `pairs` new pairs, each perhaps the first of a block."""
        if self._sizes[0] + pairs > self._blocks.shape[1]:
            self._blocks = np.concatenate([self._blocks, np.full_like(self._blocks, -1)], axis=1)
            self._items = np.concatenate([self._items, np.full_like(self._items, -1)])
            self._weights = np.concatenate([self._weights, np.zeros_like(self._weights)])
        if 2 * (self._sizes[1] + pairs) > len(self._hash):
            self._hash = np.full(2 * len(self._hash), -1, np.int32)
            _rehash(self._hash, self._blocks, self._items, int(self._sizes[0]))

    def scale(self, column: int, factor: float) -> None:
        """Multiplies one column of every pair."""
        self._weights[:, column] *= factor

    def get(self, first: int, second: int) -> npt.NDArray[np.floating[Any]]:
        """The weights of a pair, (columns,); zeros if it never occurred."""
        at = _find(self._hash, self._blocks, self._items, first, second)
        slot = int(self._hash[int(at)])
        return np.asarray(self._weights[slot] if slot >= 0 else np.zeros(self._weights.shape[1]))


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _find(table: Ints, blocks: Ints, items: Ints, first: int, second: int) -> Any:
    """Place in the hash of the pair, or of the empty cell where it belongs."""
    mixed = np.uint64(first) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(second)
    mixed = (mixed ^ (mixed >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    at = np.int64((mixed ^ (mixed >> np.uint64(32))) & np.uint64(len(table) - 1))
    while table[at] >= 0:
        slot = table[at]
        if items[slot] == second and blocks[1, slot // BLOCK] == first:
            break
        at = (at + 1) & (len(table) - 1)
    return at


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _rehash(table: Ints, blocks: Ints, items: Ints, used: int) -> None:
    for slot in range(used * BLOCK):
        if items[slot] >= 0:
            table[_find(table, blocks, items, blocks[1, slot // BLOCK], items[slot])] = slot


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _slot(table: Ints, rows: Ints, blocks: Ints, items: Ints, sizes: Any, first: int, second: int) -> Any:
    """The slot of a pair, made if it is new; room must have been reserved."""
    at = _find(table, blocks, items, first, second)
    if table[at] >= 0:
        return table[at]
    tail, fill = rows[1, first], rows[2, first]
    if tail < 0 or fill == BLOCK:
        block = sizes[0]
        sizes[0] += 1
        blocks[1, block] = first
        if tail < 0:
            rows[0, first] = block
        else:
            blocks[0, tail] = block
        rows[1, first], rows[2, first] = block, 0
        tail, fill = block, 0
    slot = tail * BLOCK + fill
    rows[2, first] += 1
    items[slot] = second
    table[at] = slot
    sizes[1] += 1
    return slot


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def add_pairs(
    table: Ints,
    rows: Ints,
    blocks: Ints,
    items: Ints,
    weights: Any,
    sizes: Any,
    item: int,
    recent: Ints,
    added: Any,
    both: bool,
) -> None:
    """Adds `added` (columns, n) to the pairs (recent[d], item), and in `both` directions if asked."""
    for d in range(len(recent)):
        slot = _slot(table, rows, blocks, items, sizes, recent[d], item)
        for c in range(weights.shape[1]):
            weights[slot, c] += added[c, d]
        if both:
            slot = _slot(table, rows, blocks, items, sizes, item, recent[d])
            for c in range(weights.shape[1]):
                weights[slot, c] += added[c, d]
