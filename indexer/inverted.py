"""Approximate search in inverted lists (IVF, Jégou et al. 2011) through FAISS, with or without codes.

Rows are assigned to the nearest centroid by distance, and lists are chosen for a query by inner product.
FAISS offers one measure for both; with inner products for both long centroids attract too many rows
(recall@100 of 0.63 instead of 0.96 on item vectors factored from amazon-beauty), and with distances for
both the choice of lists is a little worse (.893 instead of .906 with 4 lists, .989 and .994 with 8).

`ivfpq` keeps a byte for two dimensions (product quantization) instead of eight.

A row far from every centroid is not found where it would lie: of rows about other centres than the lists
were learned from, queries find one in ten. Such rows stand aside, exact, and are compared with every query
until a rebuild learns lists for them.
"""

from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from indexer.flat import FlatRows
from indexer.rows import Floats, Found, Ints, Kind
from indexer.select import merged, ordered

LISTS_A_ROOT = 4  # lists = 4 sqrt(n): choosing lists and scanning them then cost about the same
LEAST_A_LIST = 16  # rows for each list at the training
PROBES = 32  # lists scanned for a query, and more where
SCANNED_A_PLACE = 10  # they would hold fewer rows than this for each place of the wanted list
TRAINED_A_LIST = 50  # rows a centroid is learned from; time grows with it
TRAINING_ROUNDS = 8
TRAINED_CODES = 10_000  # rows the codes are learned from: 40 for each of 256 code words
# A row stands aside if it is farther from the nearest centroid, for its length, than 99 % of the rows that
# the lists hold, with a margin, since these have drawn the centroids to themselves. So 0.2-0.5 % of later
# rows of the same kind do, and 83-99 % of rows about other centres (of distances alone: 6-30 %).
NEAR_SHARE, NEAR_MARGIN = 0.99, 1.1
SHORT_SHARE = 0.2  # of the mean squared length, added to a row's: very short rows are far from nothing
ASIDE_ROWS = 5000  # rows aside cost some 50 µs a query then, and are worth a rebuild
SAMPLED = 10_000  # rows of a stored index from which that distance is found again
SEED = 1  # of the clustering, so that a release builds the same index everywhere


class InvertedRows:
    """Rows in inverted lists, moved and removed in place: the ids in the lists are the items."""

    def __init__(self, kind: Kind, dimension: int, index: Any) -> None:
        """Around a trained FAISS index; its lists may hold rows already."""
        self.kind: Kind = kind
        self.dimension = dimension
        self._index = index
        self._lists = faiss.downcast_InvertedLists(index.invlists)
        self._list_of = np.full(64, -1, np.int32)  # by item, -1 for none
        self._count = 0
        self._aside = FlatRows(dimension)
        quantizer = faiss.downcast_index(index.quantizer)
        self._nearest_lists = quantizer  # by distance, for rows
        self._best_lists = faiss.IndexFlatIP(index.d)  # by inner product, for queries
        self._best_lists.add(quantizer.reconstruct_n(0, index.nlist))
        for number in range(index.nlist):
            self._enter(self._ids(number).astype(np.int32), number)
        self._learned_from(*self._sampled())

    @classmethod
    def build(cls, kind: Kind, items: Ints, vectors: Floats) -> "InvertedRows":
        """Learns lists (and codes) from vectors (n, D), n >= `kinds.LEAST_ITEMS`, and puts them in."""
        count, dimension = vectors.shape
        lists = max(1, min(int(LISTS_A_ROOT * count**0.5), count // LEAST_A_LIST))
        shuffled = np.random.default_rng(SEED).permutation(count)
        clusters = faiss.Kmeans(
            dimension, lists, niter=TRAINING_ROUNDS, seed=SEED, min_points_per_centroid=1,
            max_points_per_centroid=TRAINED_A_LIST,
        )  # fmt: skip
        clusters.train(vectors[shuffled[: TRAINED_A_LIST * lists]])
        width = dimension if kind == "ivf" else 2 * _code_bytes(dimension)
        quantizer = faiss.IndexFlatL2(width)
        quantizer.add(_padded(clusters.centroids, width))
        if kind == "ivf":
            index = faiss.IndexIVFFlat(quantizer, width, lists, faiss.METRIC_INNER_PRODUCT)
        else:
            index = faiss.IndexIVFPQ(
                quantizer, width, lists, _code_bytes(dimension), 8, faiss.METRIC_INNER_PRODUCT
            )
            index.pq.cp.niter = TRAINING_ROUNDS
            index.pq.cp.min_points_per_centroid = 1
        index.cp.min_points_per_centroid = 1
        index.train(_padded(vectors[shuffled[:TRAINED_CODES]], width))
        rows = cls(kind, dimension, index)
        rows._fill(items, vectors)
        return rows

    def __len__(self) -> int:
        return self._count + len(self._aside)

    def put(self, items: Ints, vectors: Floats) -> None:
        """Rows at the end of their lists, or aside; the old ones of known items go."""
        known = items[self.holds(items)]
        if len(known):
            self.drop(known)
        rows = _padded(vectors, self._index.d)
        distance2, nearest = self._nearest_lists.search(rows, 1)
        near = self._farness(distance2[:, 0], rows) <= self._farthest
        self._append(items[near], rows[near], nearest[near, 0])
        if not near.all():
            self._aside.put(items[~near], vectors[~near])
        self._put += len(items)

    def drop(self, items: Ints) -> None:
        """Fills each gap with the last row of its list."""
        aside = self._aside.holds(items)
        if aside.any():
            self._aside.drop(items[aside])
            items = items[~aside]
        for item in items.tolist():
            number = int(self._list_of[item])
            ids, codes = self._ids(number), self._codes(number)
            gap = int(np.flatnonzero(ids == item)[0])
            ids[gap], codes[gap] = ids[-1], codes[-1]
            self._lists.resize(number, len(ids) - 1)
            self._list_of[item] = -1
        self._count -= len(items)
        self._index.ntotal = self._count

    def holds(self, items: Ints) -> NDArray[np.bool_]:
        """Which of items (n,) are in a list or aside."""
        known = items < len(self._list_of)
        listed = known & (self._list_of[np.where(known, items, 0)] >= 0)
        return listed | self._aside.holds(items) if len(self._aside) else listed

    def search(self, queries: Floats, k: int) -> Found:
        """The best k of the best lists; all lists are searched for a query whose lists hold too few."""
        rows = _padded(queries, self._index.d)
        lists = int(self._index.nlist)
        enough = -(-SCANNED_A_PLACE * k * lists // max(self._count, 1))
        items, scores = self._search(rows, k, min(max(PROBES, enough), lists))
        short = np.flatnonzero((items >= 0).sum(1) < min(k, self._count))
        if len(short):
            items[short], scores[short] = self._search(rows[short], k, lists)
        if not len(self._aside):
            return ordered(items, scores)
        more, more_scores = self._aside.search(queries, k)
        return merged(np.concatenate([items, more], 1), np.concatenate([scores, more_scores], 1), k)

    def _search(self, rows: Floats, k: int, probes: int) -> Found:
        priority, chosen = self._best_lists.search(rows, probes)
        self._index.nprobe = probes
        scores, items = self._index.search_preassigned(rows, k, chosen, priority)
        scores[items < 0] = -np.inf
        return items.astype(np.int32), scores

    def items(self) -> Ints:
        """Items (n,) in the order of lists, so that neighbours in it are read from one place."""
        listed = np.flatnonzero(self._list_of >= 0)
        listed = listed[np.argsort(self._list_of[listed], kind="stable")]
        return np.concatenate([listed.astype(np.int32), self._aside.items()])

    def vectors(self, items: Ints) -> Floats:
        """Vectors (n, D): as they were put, or as their codes have rounded them."""
        aside = self._aside.holds(items)
        if aside.any():
            vectors = np.empty((len(items), self.dimension), np.float32)
            vectors[aside] = self._aside.vectors(items[aside])
            vectors[~aside] = self.vectors(items[~aside])
            return vectors
        rows = np.empty((len(items), self._index.d), np.float32)
        lists = self._list_of[items]
        by_list = np.argsort(lists, kind="stable")
        for at in np.split(by_list, np.flatnonzero(np.diff(lists[by_list])) + 1) if len(items) else []:
            number = int(lists[at[0]])
            ids = self._ids(number)
            sorter = np.argsort(ids)
            places = sorter[np.searchsorted(ids, items[at], sorter=sorter)]
            if self.kind == "ivf":
                rows[at] = self._codes(number).view(np.float32)[places]
                continue
            for row, place in zip(at.tolist(), places.tolist(), strict=True):
                self._index.reconstruct_from_offset(number, place, faiss.swig_ptr(rows[row]))
        return rows[:, : self.dimension]

    @property
    def waste(self) -> float:
        """1 when as many rows were put as the lists were learned from, half of them are gone, or too many
        stand aside. A row put or removed costs nothing by itself.
        """
        gone = 1 - self._count / self._trained
        return max(self._put / self._trained, 2 * gone, len(self._aside) / ASIDE_ROWS)

    @property
    def memory_bytes(self) -> int:
        """Bytes of rows or codes, ids, centroids and tables."""
        row = int(self._index.code_size) + 8
        centroids = 2 * 4 * int(self._index.nlist) * int(self._index.d)
        return self._count * row + centroids + self._list_of.nbytes + self._aside.memory_bytes

    def faiss_index(self) -> Any:
        """The index itself, whose ids are the items; where rows stand aside, a copy with them in lists."""
        if not len(self._aside):
            return self._index
        whole = InvertedRows(self.kind, self.dimension, faiss.clone_index(self._index))
        whole._farthest = np.inf
        whole.put(self._aside.items(), self._aside.vectors(self._aside.items()))
        return whole._index

    def stored_items(self) -> Ints:
        """Nothing: the ids are the items."""
        return np.zeros(0, np.int32)

    def renumber(self, numbers: Ints) -> None:
        """Item i becomes numbers[i] (m,), all different; those that become -1 go."""
        held = self.items()
        self.drop(held[numbers[held] < 0])
        self._aside.renumber(numbers)
        self._list_of = np.full(64, -1, np.int32)
        self._count = 0
        for number in range(int(self._index.nlist)):
            ids = self._ids(number)
            ids[:] = numbers[ids]
            self._enter(ids.astype(np.int32), number)

    def _fill(self, items: Ints, vectors: Floats) -> None:
        """Puts the first rows. Lists grow by doubling when appended to; these get their size at once."""
        rows = _padded(vectors, self._index.d)
        distance2, nearest = self._nearest_lists.search(rows, 1)
        for number, size in enumerate(np.bincount(nearest[:, 0], minlength=self._index.nlist).tolist()):
            self._lists.resize(number, size)
            self._lists.resize(number, 0)
        self._append(items, rows, nearest[:, 0])
        self._learned_from(distance2[:, 0], rows)

    def _learned_from(self, distance2: Floats, rows: Floats) -> None:
        """The lists are as good as new, with rows (n, D) at squared distances (n,) from their centroids."""
        self._trained = max(self._count, 1)
        self._put = 0  # rows put since the lists were learned
        self._mean2, self._farthest = 0.0, np.inf
        if len(rows):
            self._mean2 = float(np.einsum("nd,nd->n", rows, rows).mean())
            self._farthest = NEAR_MARGIN * float(np.quantile(self._farness(distance2, rows), NEAR_SHARE))

    def _farness(self, distance2: Floats, rows: Floats) -> Floats:
        """Squared distances (n,) from the centroids in terms of the lengths of rows (n, D)."""
        lengths2 = np.einsum("nd,nd->n", rows, rows) + np.float32(SHORT_SHARE * self._mean2)
        relative: Floats = distance2 / np.maximum(lengths2, np.finfo(np.float32).tiny)
        return relative

    def _sampled(self) -> tuple[Floats, Floats]:
        """Squared distances (n,) of some rows from their centroids, and these rows (n, D)."""
        items = self.items()[:: max(1, -(-self._count // SAMPLED))]
        rows = _padded(self.vectors(items), self._index.d)
        return self._nearest_lists.search(rows, 1)[0][:, 0], rows

    def _append(self, items: Ints, rows: Floats, lists: NDArray[np.int64]) -> None:
        if not len(items):
            return
        ids, chosen = items.astype(np.int64), np.ascontiguousarray(lists)
        pointers = [faiss.swig_ptr(array) for array in (rows, ids, chosen)]
        self._index.add_core(len(items), *pointers)
        self._enter(items, lists)

    def _enter(self, items: Ints, lists: Any) -> None:
        """Notes the lists of items (n,): one number or (n,)."""
        if not len(items):
            return
        size = int(items.max()) + 1
        if size > len(self._list_of):
            larger = np.full(max(size, 2 * len(self._list_of)), -1, np.int32)
            larger[: len(self._list_of)] = self._list_of
            self._list_of = larger
        self._list_of[items] = lists
        self._count += len(items)

    def _ids(self, number: int) -> NDArray[np.int64]:
        """The ids of a list in its own memory; valid until the list changes."""
        size = int(self._lists.list_size(number))
        if size == 0:
            return np.zeros(0, np.int64)
        view: NDArray[np.int64] = faiss.rev_swig_ptr(self._lists.get_ids(number), size)
        return view

    def _codes(self, number: int) -> NDArray[np.uint8]:
        """The rows of a list (n, code bytes) in its own memory; valid until the list changes."""
        size, width = int(self._lists.list_size(number)), int(self._index.code_size)
        view: NDArray[np.uint8] = faiss.rev_swig_ptr(self._lists.get_codes(number), size * width)
        return view.reshape(size, width)


def _code_bytes(dimension: int) -> int:
    """Code bytes of a row: one for two dimensions, recall@100 of .97 where four a byte give .88."""
    return -(-dimension // 2)


def _padded(rows: Floats, width: int) -> Floats:
    """Rows (n, D) with zeros up to a width."""
    if rows.shape[1] == width:
        return np.ascontiguousarray(rows, np.float32)
    padded = np.zeros((len(rows), width), np.float32)
    padded[:, : rows.shape[1]] = rows
    return padded
