"""Which kind of index for how many items: the rule and the measurements behind it. Knows no FAISS.

The rule: `flat` up to 20,000 items; above, `ivf`; `ivfpq` where `ivf` does not fit the memory budget.
`hnsw` and `gpu` only where someone asks for them.

Clustered vectors of 64 dimensions and a bias, k = 100, µs of one EPYC thread for one query and for 64
(`tests/bench/bench_index.py`; other work on the machine at the time, so single figures vary by a third):

    items        kind   recall@100   B = 1    B = 64    bytes an item   build s
    10,000       flat   1             85       2,800    279              0.0
                 hnsw   .992         229       8,700    557              0.6
                 ivf    1             62       2,200    297              0.1
                 ivfpq  .986          73       3,300     70              3.0
    100,000      flat   1          1,100      61,000    276              0.1
                 hnsw   .945         584      23,000    553             13
                 ivf    .999          86       4,200    283              1.9
                 ivfpq  .965          99       4,200     56              4.4
    1,000,000    flat   1         11,200     685,000    276              0.3
                 ivf    .999         221      11,500    278             23
                 ivfpq  .948         223       8,400     51             30

With blurred clusters (noise 1.0 instead of 0.7) at 100,000: hnsw .743, ivf .917, ivfpq .892. On item vectors
factored from recorded clicks (10,000 to 12,000 items): hnsw .92-.98, ivf .96-.99, ivfpq .94-.97. So the
graph is nowhere worth its memory and its slow building.
"""

from indexer.rows import Kind

# Up to here an exact search takes under 0.2 ms (of 64 queries, 0.1 ms each). ivf would save half of that,
# and cost up to .04 recall and the rebuilds.
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
