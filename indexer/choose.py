"""Which kind of index for how many items. Knows no FAISS."""

from indexer.rows import Kind


def choose(
    items: int, dimension: int, *, memory_budget_bytes: int | None = None, now: Kind | None = None
) -> Kind:
    """The kind for a number of items of a dimension."""
    return "flat"
