"""Weights of ordered pairs of items, sparse and growing: what follows what, how often.

Owns one table: a hash finds the slot of a pair, and the slots of one first item hang together in blocks, so
that a row can be walked without the hash. Nothing is ever dropped. Knows no meaning of its columns.
"""

from typing import Any, NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from learner.evaluation.system import Ints

BLOCK = 16  # slots: a row of one block is two cache lines of items; longer rows chain blocks


class Pairs(NamedTuple):
    """A table as kernels take it: S cells of the hash, V items, B blocks."""

    cells: Ints  # (S,) slots by hash, -1 empty
    rows: Ints  # (3, V) first and last block of an item's row, and how full the last one is
    blocks: Ints  # (2, B) the block after, and whose row it is
    items: Ints  # (B * 16,) second items by slot
    weights: npt.NDArray[np.floating[Any]]  # (B * 16, columns)
    sizes: npt.NDArray[np.int64]  # (2,) blocks and pairs in use


class PairTable:
    """Rows by first item, `columns` weights a pair."""

    def __init__(self, items: int, columns: int, dtype: type[np.floating[Any]] = np.float64) -> None:
        blocks = 256
        rows = np.zeros((3, items), np.int32)
        rows[:2] = -1
        self.pairs = Pairs(
            cells=np.full(8192, -1, np.int32),
            rows=rows,
            blocks=np.full((2, blocks), -1, np.int32),
            items=np.full(blocks * BLOCK, -1, np.int32),
            weights=np.zeros((blocks * BLOCK, columns), dtype),
            sizes=np.zeros(2, np.int64),
        )

    def __len__(self) -> int:
        return int(self.pairs.sizes[1])

    def add(self, item: int, recent: Ints, added: npt.NDArray[np.float64], *, both: bool = False) -> None:
        """Adds `added` (columns, n) to the pairs (recent[d], item), and in `both` directions if asked."""
        self._reserve(2 * len(recent) if both else len(recent))
        _add(self.pairs, item, recent, added, both)

    def scale(self, column: int, factor: float) -> None:
        """Multiplies one column of every pair."""
        self.pairs.weights[:, column] *= factor

    def get(self, first: int, second: int) -> npt.NDArray[np.floating[Any]]:
        """The weights of a pair, (columns,); zeros if it never occurred."""
        slot = int(self.pairs.cells[int(_find(self.pairs, first, second))])
        weights = self.pairs.weights
        return np.asarray(weights[slot] if slot >= 0 else np.zeros(weights.shape[1]))

    def _reserve(self, pairs: int) -> None:
        """Makes room for `pairs` new pairs, each perhaps the first of a block."""
        held = self.pairs
        if held.sizes[0] + pairs > held.blocks.shape[1]:
            held = held._replace(
                blocks=np.concatenate([held.blocks, np.full_like(held.blocks, -1)], axis=1),
                items=np.concatenate([held.items, np.full_like(held.items, -1)]),
                weights=np.concatenate([held.weights, np.zeros_like(held.weights)]),
            )
        if 2 * (held.sizes[1] + pairs) > len(held.cells):
            held = held._replace(cells=np.full(2 * len(held.cells), -1, np.int32))
            _rehash(held)
        self.pairs = held


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _find(pairs: Pairs, first: int, second: int) -> Any:
    """Place in the hash of the pair, or of the empty cell where it belongs."""
    cells = pairs.cells
    mixed = np.uint64(first) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(second)
    mixed = (mixed ^ (mixed >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    at = np.int64((mixed ^ (mixed >> np.uint64(32))) & np.uint64(len(cells) - 1))
    while cells[at] >= 0:
        slot = cells[at]
        if pairs.items[slot] == second and pairs.blocks[1, slot // BLOCK] == first:
            break
        at = (at + 1) & (len(cells) - 1)
    return at


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _rehash(pairs: Pairs) -> None:
    for slot in range(pairs.sizes[0] * BLOCK):
        if pairs.items[slot] >= 0:
            pairs.cells[_find(pairs, pairs.blocks[1, slot // BLOCK], pairs.items[slot])] = slot


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _slot(pairs: Pairs, first: int, second: int) -> Any:
    """The slot of a pair, made if it is new; room must have been reserved."""
    cells, rows, blocks, sizes = pairs.cells, pairs.rows, pairs.blocks, pairs.sizes
    at = _find(pairs, first, second)
    if cells[at] >= 0:
        return cells[at]
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
    pairs.items[slot] = second
    cells[at] = slot
    sizes[1] += 1
    return slot


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _add(pairs: Pairs, item: int, recent: Ints, added: npt.NDArray[np.float64], both: bool) -> None:
    weights = pairs.weights
    for d in range(len(recent)):
        slot = _slot(pairs, recent[d], item)
        for c in range(weights.shape[1]):
            weights[slot, c] += added[c, d]
        if both:
            slot = _slot(pairs, item, recent[d])
            for c in range(weights.shape[1]):
                weights[slot, c] += added[c, d]
