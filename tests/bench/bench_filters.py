"""What a filter costs by number of items: its first use, following the catalogue, memory of a hundred masks.

    python tests/bench/bench_filters.py [ITEMS ...]

Made-up items of a shop; processor time of the one thread, the least of several tries, since on a shared
machine only the least repeats. The first use counts the reading of the columns that a filter needs, which
`columns there` has behind it. In parts of 20,000 items, as between rounds, the usual one counts.
"""

import sys
import time
from collections.abc import Callable

import numpy as np

from learner.data.catalogue import Catalogue, Item
from learner.filters.language import Filter, parse
from learner.filters.masks import Masks

FILTERS = {
    "price < 50 (half)": {"field": "price", "lt": 50},
    "categories eq (a tenth)": {"field": "categories", "eq": "c1"},
    "brand eq (1 %)": {"field": "brand", "eq": "b7"},
    "item_id in 50": {"field": "item_id", "in": [f"i{n}" for n in range(50)]},
    "brand in 1,000": {"field": "brand", "in": [f"b{n}" for n in range(1000)]},
    "title exists": {"field": "title", "exists": True},
    "five fields": {
        "all": [
            {"field": "price", "gte": 10, "lt": 90},
            {"any": [{"field": "categories", "in": ["c1", "c2"]}, {"field": "tags", "eq": "t3"}]},
            {"not": {"field": "brand", "eq": "b7"}},
            {"field": "published_at", "gte": "2024-01-01"},
        ]
    },
    "64 fields": {"any": [{"field": f"f{n}", "eq": n} for n in range(64)]},
}


def shop(size: int) -> Catalogue:
    """Items with price, brand, categories, tags, a date and two further attributes."""
    catalogue, rng = Catalogue(), np.random.default_rng(0)
    catalogue.admit_all([item(n, rng) for n in range(size)])
    return catalogue


def item(number: int, rng: np.random.Generator) -> Item:
    """One of them."""
    a, b, c, d = rng.integers(1 << 30, size=4).tolist()
    return Item(
        item_id=f"i{number}", title=f"A thing of number {number} (2019)",
        description="It does what it does. " * 8,
        categories=[f"c{a % 10}", f"d{a % 37}"], tags=[f"t{b % 50}", f"u{b % 7}", f"t{c % 50}"],
        price=d % 10_000 / 100, published_at=1_600_000_000_000 + a * 100,
        attributes={"brand": f"b{c % 100}", "size": b % 40, "colours": [f"k{a % 9}", f"k{b % 9}"]},
    )  # fmt: skip


def least_ms(call: Callable[[], object], repeat: int) -> float:
    """The least time of a call, in ms."""
    taken = []
    for _ in range(repeat):
        start = time.thread_time()
        call()
        taken.append(time.thread_time() - start)
    return min(taken) * 1e3


def parts_ms(masks: Masks, filter_: Filter) -> tuple[float, int]:
    """The median of the parts in which a mask's columns are read, in ms, and how many parts there are."""
    taken: list[float] = []
    done = False
    while not done:
        start = time.thread_time()
        done = masks.build_some(filter_)
        taken.append(time.thread_time() - start)
    return float(np.median(taken[: (len(taken) + 1) // 2])) * 1e3, len(taken)


def main(size: int) -> None:
    """Measures at one number of items."""
    catalogue, rng, tries = shop(size), np.random.default_rng(1), 15 if size < 100_000 else 2
    filters = {name: parse(form) for name, form in FILTERS.items()}
    print(f"\n{size:,} items\n{'':28s}{'first use':>12s}{'columns there':>16s}{'a part, of':>20s}   ms")
    for name, filter_ in filters.items():
        first = least_ms(lambda filter_=filter_: Masks(catalogue).row(filter_), tries)
        fields = Masks(catalogue).fields
        fields.read(filter_.fields)
        there = least_ms(
            lambda filter_=filter_, fields=fields: Masks(catalogue, fields=fields).row(filter_), tries
        )
        part, parts = parts_ms(Masks(catalogue), filter_)
        print(f"{name:28s}{first:12.2f}{there:16.2f}{part:16.2f} {parts:4}")
    masks = Masks(catalogue, 128 << 20)
    hundred = [parse({"all": [FILTERS["five fields"], {"field": "price", "lt": n}]}) for n in range(100)]
    masks.rows(hundred)
    columns = masks.fields.nbytes / 1e6
    print(f"a hundred masks: {size / 1e4:.1f} MB, the columns that they need {columns:.1f} MB")
    masks.follow()
    begin = time.thread_time()
    for _ in range(1000):
        masks.follow()
        masks.rows(hundred[:32])
    print(f"a round of 32, nothing changed: {(time.thread_time() - begin) * 1e3:.1f} µs")
    for changed in (1, 100):
        taken = []
        for _ in range(20):
            for number in rng.integers(size, size=changed).tolist():
                catalogue.announce(item(number, rng))
            start = time.thread_time()
            masks.follow()
            masks.rows(hundred[:32])
            taken.append(time.thread_time() - start)
        print(f"a round of 32 with a filter of its own each, {changed} changed: {min(taken) * 1e3:.2f} ms")
    items = rng.integers(size, size=1000)
    for name in ("brand", "categories", "price"):
        took = least_ms(lambda name=name: masks.fields.codes(name, items), 50)
        print(f"codes of 1,000 items, {name}: {took:.3f} ms")


if __name__ == "__main__":
    for given in sys.argv[1:] or ["10000", "1000000"]:
        main(int(given))
