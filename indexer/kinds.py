"""Builds each kind of index. The one place that knows them all."""

from indexer.flat import FlatRows
from indexer.rows import Floats, Ints, Kind, Rows


def make_rows(kind: Kind, dimension: int, items: Ints, vectors: Floats) -> Rows:
    """Rows of a kind over items (n,) with vectors (n, D)."""
    rows = FlatRows(dimension)
    rows.put(items, vectors)
    return rows
