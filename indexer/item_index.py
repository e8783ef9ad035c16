"""Vectors of items in, nearest items out: the one index that others use, whatever kind lies behind it.

Owns validation, the lock between one writer and one searcher, and rebuilding in the background.
Similarity is the inner product; a bias is one more dimension (`with_bias`, `queries`). Knows neither
models nor files (`storage`).
"""

import threading
import time
from collections.abc import Callable

import faiss
import numpy as np
from numpy.typing import ArrayLike, NDArray

from indexer.choose import choose
from indexer.kinds import make_rows
from indexer.rows import Floats, Found, Ints, Kind, Rows
from indexer.select import nothing

VectorsOf = Callable[[Ints], Floats]  # items (n,) -> their exact vectors (n, D)

# Items written under one hold of the lock: an item enters a graph of a million in about 0.3 ms, so that a
# search waits for a bulk of writes at most some 20 ms.
WRITTEN_AT_ONCE = 64
COPIED_AT_ONCE = 2000  # rows copied under one hold while compacting: codes take 5 µs each to turn back
PAUSE_S = 1e-4  # between two holds: Python's lock is not fair, and without a pause a searcher would starve


def with_bias(vectors: Floats, bias: Floats) -> Floats:
    """Vectors (n, D) and bias (n,) -> (n, D + 1) float32, so that an inner product includes the bias."""
    return np.concatenate([vectors, bias[:, None]], axis=1, dtype=np.float32)


def queries(user_vectors: Floats) -> Floats:
    """User vectors (B, D) -> (B, D + 1) float32 for rows made by `with_bias`: a 1 stands at the bias."""
    return np.concatenate([user_vectors, np.ones((len(user_vectors), 1))], axis=1, dtype=np.float32)


def use_threads(n: int) -> None:
    """Threads FAISS may use in this process. NumPy's BLAS obeys OMP_NUM_THREADS at its import instead."""
    faiss.omp_set_num_threads(n)


class ItemIndex:
    """Items and their vectors (D,) float32, changed live.

    One thread may write and another search at a time; `compact` may run in a third. A search sees each
    write completely or not at all, item by item.

    With kind None the kind follows `choose` by the number of items at the building and at each
    compaction. A kind that must learn from vectors begins as flat until it has enough of them
    (`kinds.LEAST_ITEMS`); `kind` tells which one answers now.
    """

    def __init__(
        self,
        dimension: int,
        kind: Kind | None = None,
        *,
        memory_budget_bytes: int | None = None,
        rows: Rows | None = None,
    ) -> None:
        self.dimension = dimension
        self._wanted = kind
        self._memory_budget_bytes = memory_budget_bytes
        self._lock = threading.Lock()
        self._compacting = threading.Lock()
        self._journal: dict[int, Floats | None] | None = None  # last writes while a rebuild runs
        self._rows = self._make(_no_items(), np.zeros((0, dimension), np.float32)) if rows is None else rows

    @classmethod
    def build(
        cls,
        items: ArrayLike,
        vectors: Floats,
        kind: Kind | None = None,
        *,
        memory_budget_bytes: int | None = None,
    ) -> "ItemIndex":
        """An index over items (n,) with vectors (n, D); learns from them what its kind must learn."""
        checked = _checked_items(items)
        rows = _checked_vectors(vectors, len(checked))
        built = cls(rows.shape[1], kind, memory_budget_bytes=memory_budget_bytes)
        built._rows = built._make(checked, rows)
        return built

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def kind(self) -> Kind:
        """The kind that answers now."""
        return self._rows.kind

    @property
    def rows(self) -> Rows:
        """What lies behind the index, for storage and measurements."""
        return self._rows

    @property
    def memory_bytes(self) -> int:
        """Bytes of vectors, structure and tables."""
        return self._rows.memory_bytes

    @property
    def wants_compaction(self) -> bool:
        """Whether a rebuild would pay: a kind's own rule (`Rows.waste`), or the items outgrew the kind."""
        return self._rows.waste >= 1 or self._rows.kind != self._kind_for(len(self._rows), self._rows.kind)

    def holds(self, items: ArrayLike) -> NDArray[np.bool_]:
        """Which of items (n,) are in the index."""
        with self._lock:
            return self._rows.holds(_checked_items(items))

    def items(self) -> Ints:
        """All items (n,) int32, in no particular order."""
        with self._lock:
            return self._rows.items()

    def add(self, items: ArrayLike, vectors: Floats) -> None:
        """Adds items (n,) with vectors (n, D). Raises ValueError, and adds none, if one is there already."""
        checked = _checked_items(items)
        there = checked[self.holds(checked)]
        if len(there):
            raise ValueError(f"item {there[0]} is in the index already; use update to replace its vector")
        self.update(checked, vectors)

    def update(self, items: ArrayLike, vectors: Floats) -> None:
        """Gives items (n,) the vectors (n, D); those that are not there are added."""
        checked = _checked_items(items)
        rows = _checked_vectors(vectors, len(checked), self.dimension)
        for start in range(0, len(checked), WRITTEN_AT_ONCE):
            if start:
                time.sleep(PAUSE_S)
            part = slice(start, start + WRITTEN_AT_ONCE)
            with self._lock:
                self._rows.put(checked[part], rows[part])
                if self._journal is not None:
                    self._journal.update(zip(checked[part].tolist(), rows[part].copy(), strict=True))

    def remove(self, items: ArrayLike) -> int:
        """Removes items (n,); those that are not there are passed over. Returns how many were."""
        checked = _checked_items(items)
        with self._lock:
            held = checked[self._rows.holds(checked)]
            if len(held):
                self._rows.drop(held)
                if self._journal is not None:
                    self._journal.update(dict.fromkeys(held.tolist()))
        return len(held)

    def search(self, queries: Floats, k: int) -> Found:
        """Items (B, k) int32 and inner products (B, k) float32 of the nearest items to queries (B, D).

        Best first, equal scores by item number; places that no item was found for hold -1 and -inf.
        """
        if queries.ndim != 2 or queries.shape[1] != self.dimension:
            raise ValueError(f"queries must be (B, {self.dimension}), as the items are; got {queries.shape}")
        if k < 0:
            raise ValueError(f"k must not be negative; got {k}")
        if k == 0 or not len(queries):
            return nothing(len(queries), k)
        rows = np.ascontiguousarray(queries, np.float32)
        with self._lock:
            return self._rows.search(rows, k)

    def compact(self, vectors_of: VectorsOf | None = None) -> bool:
        """Rebuilds the index for the items it holds now and puts the result in place of the old one.

        Meant for a background thread: searches and writes go on meanwhile, and writes are carried over.
        `vectors_of` gives exact vectors; without it those kept in the index are used, which for ivfpq
        are rounded. Returns False, and does nothing, while another compaction runs.
        """
        if not self._compacting.acquire(blocking=False):
            return False
        try:
            with self._lock:
                self._journal = {}
                items = self._rows.items()
            items, vectors = self._copied(items, vectors_of)
            fresh = self._make(items, vectors)
            del vectors
            while len(self._journal) > WRITTEN_AT_ONCE:
                with self._lock:
                    written, self._journal = self._journal, {}
                _apply(fresh, written)
            with self._lock:
                _apply(fresh, self._journal)
                old, self._rows = self._rows, fresh
            del old  # gives hundreds of megabytes back, while nobody waits
            return True
        finally:
            self._journal = None
            self._compacting.release()

    def _copied(self, items: Ints, vectors_of: VectorsOf | None) -> tuple[Ints, Floats]:
        """Items that are still there with their vectors, copied piece by piece so that searches go on."""
        kept, vectors = [_no_items()], [np.zeros((0, self.dimension), np.float32)]
        for start in range(0, len(items), COPIED_AT_ONCE):
            part = items[start : start + COPIED_AT_ONCE]
            with self._lock:
                part = part[self._rows.holds(part)]
                if vectors_of is None:
                    vectors.append(self._rows.vectors(part))
            if vectors_of is not None:
                vectors.append(_checked_vectors(vectors_of(part), len(part), self.dimension))
            kept.append(part)
            time.sleep(PAUSE_S)
        return np.concatenate(kept), np.concatenate(vectors)

    def _make(self, items: Ints, vectors: Floats) -> Rows:
        return make_rows(self._kind_for(len(items)), self.dimension, items, vectors)

    def _kind_for(self, items: int, now: Kind | None = None) -> Kind:
        return self._wanted or choose(
            items, self.dimension, memory_budget_bytes=self._memory_budget_bytes, now=now
        )


def _apply(rows: Rows, written: dict[int, Floats | None]) -> None:
    """Brings rows up to the last writes: a vector, or None for a removed item."""
    gone = np.array([item for item, vector in written.items() if vector is None], np.int32)
    gone = gone[rows.holds(gone)]
    if len(gone):
        rows.drop(gone)
    put = {item: vector for item, vector in written.items() if vector is not None}
    if put:
        rows.put(np.array(list(put), np.int32), np.stack(list(put.values())))


def _no_items() -> Ints:
    return np.zeros(0, np.int32)


def _checked_items(items: ArrayLike) -> Ints:
    numbers = np.asarray(items)
    if numbers.size == 0:
        return _no_items()
    if numbers.ndim != 1 or numbers.dtype.kind not in "iu":
        raise ValueError(f"items must be whole numbers (n,); got {numbers.dtype} {numbers.shape}")
    if numbers.min() < 0 or numbers.max() > np.iinfo(np.int32).max:
        raise ValueError(f"item numbers must lie in 0..2**31 - 1; got {numbers.min()}..{numbers.max()}")
    ranked = np.sort(numbers)
    twice = ranked[1:][ranked[1:] == ranked[:-1]]
    if len(twice):
        raise ValueError(f"item {twice[0]} stands more than once in one call; give each item once")
    return numbers.astype(np.int32)


def _checked_vectors(vectors: Floats, items: int, dimension: int | None = None) -> Floats:
    rows = np.ascontiguousarray(vectors, np.float32)
    if rows.ndim != 2 or len(rows) != items or (dimension is not None and rows.shape[1] != dimension):
        raise ValueError(f"vectors must be ({items}, {dimension or 'D'}); got {rows.shape}")
    if not np.isfinite(rows).all():
        bad = int(np.flatnonzero(~np.isfinite(rows).all(axis=1))[0])
        raise ValueError(f"row {bad} of the vectors is not finite; a NaN would make every order meaningless")
    return rows
