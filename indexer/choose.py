"""Which kind of index for how many items: the rule and the measurements behind it. Knows no FAISS.

The rule: `flat` up to 20,000 items; above, `ivf`; `ivfpq` where `ivf` does not fit the memory budget.
`hnsw` and `gpu` only where someone asks for them.

MEASUREMENTS
"""

from indexer.rows import Kind

# Up to here an exact search takes under 0.2 ms; ivf would save about 0.1 ms of it and cost recall.
FLAT_ITEMS = 20_000
# A catalogue that hovers about a limit must not rebuild its index day after day.
HYSTERESIS = 1.25


def bytes_for(kind: Kind, items: int, dimension: int) -> int:
    """Bytes of an index of a kind, to 5 %, from 20,000 items on."""
    numbers = 8  # item of each row and row of each item, or the id and the list
    a_row = {
        "flat": 4 * dimension + numbers,
        "gpu": 4 * dimension + numbers,
        "hnsw": 4 * (dimension + 1) + 4 * 64 + 24 + numbers,  # 64 neighbours below, a few above
        "ivf": 4 * dimension + 8 + 4,
        "ivfpq": -(-dimension // 2) + 8 + 4,
    }[kind]
    lists = 2 * 4 * dimension * int(4 * items**0.5) if kind in ("ivf", "ivfpq") else 0
    return a_row * items + lists


def choose(
    items: int, dimension: int, *, memory_budget_bytes: int | None = None, now: Kind | None = None
) -> Kind:
    """The kind for a number of items, by the module's rule; `now` is kept while it is nearly right."""
    few, budget = float(FLAT_ITEMS), memory_budget_bytes
    if now is not None:
        few *= HYSTERESIS if now == "flat" else 1 / HYSTERESIS
        if now == "ivfpq" and budget is not None:
            budget = int(budget / HYSTERESIS)
    wanted: Kind = "flat" if items <= few else "ivf"
    if budget is None or bytes_for(wanted, items, dimension) <= budget:
        return wanted
    return "ivfpq"
