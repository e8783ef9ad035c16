"""Builds each kind of index. The one place that knows them all."""

from typing import Any

from indexer.flat import FlatRows
from indexer.gpu import GpuRows
from indexer.graph import GraphRows
from indexer.inverted import InvertedRows
from indexer.rows import Floats, Ints, Kind, Rows

# What a kind needs before it can learn its lists, codes or scale; with fewer items flat is faster anyway.
# 8 bits of a code are 256 centroids, and an index of a few hundred vectors would store them as they are.
LEAST_ITEMS: dict[Kind, int] = {"flat": 0, "gpu": 0, "hnsw": 256, "ivf": 256, "ivfpq": 1000}


def make_rows(kind: Kind, dimension: int, items: Ints, vectors: Floats) -> Rows:
    """Rows over items (n,) with vectors (n, D): of the kind, or flat where it has too few to learn from."""
    if kind == "gpu":
        return GpuRows(dimension, items, vectors)
    if kind == "flat" or len(items) < LEAST_ITEMS[kind]:
        rows = FlatRows(dimension)
        rows.put(items, vectors)
        return rows
    if kind == "hnsw":
        return GraphRows.build(items, vectors)
    return InvertedRows.build(kind, items, vectors)


def stored_rows(kind: Kind, dimension: int, index: Any, items: Ints) -> Rows:
    """Rows of a kind around a FAISS index that was stored, with `stored_items`, as the kind gave them."""
    if kind in ("flat", "gpu"):
        return FlatRows(dimension, index, items)
    if kind == "hnsw":
        return GraphRows(dimension, index, items)
    return InvertedRows(kind, dimension, index)
