"""What a filter or a rule costs a list: processor time beside a list without any, alone and in rounds of 32.

    PYTHONPATH=. python tests/bench/bench_steering.py --data DIR --release DIR [--items 10000] [--rounds 200]

The release's models over its own items and made-up ones (brand, price, two tags, random vectors), as many as
`--items`, with signals of the clicks that the release was trained on. Each filter is asked with and without
in turn, so that the machine's moods fall on both; printed is the median of the ratios of neighbours, with the
quarter marks. Prints a table for docs/performance.md, and what a hundred masks take.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from learner.data.catalogue import Catalogue, Item
from learner.data.pair import read_pair
from learner.filters.language import parse
from learner.release.live import load_release
from streams.hot_path.live import Live
from streams.hot_path.policy import Policy
from streams.hot_path.recommend import recommend
from streams.recorded.collecting import click_of
from streams.recorded.world import Offline
from streams.wire.contract import Request, Rules
from streams.wire.intake import Arrival
from streams.wire.steering import Cap, Pin, Tilt


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="interactions.csv.gz and items.csv.gz")
    parser.add_argument("--release", type=Path, required=True)
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=200)
    asked = parser.parse_args()
    offline, users, now_ms = _world(asked.data, asked.release, asked.items)
    world = offline.world
    size = int(world.catalogue.available.sum())

    def ask(count: int, **fields: Any) -> Callable[[int], None]:
        def once(turn: int) -> None:
            arrivals = [
                Arrival(Request(request_id="r", user_id=users[(turn + n) % len(users)], **fields), 0, 0)
                for n in range(count)
            ]
            recommend(arrivals, offline.states, world, now_ms, rng=None)

        return once

    few = {"field": "item_id", "in": world.catalogue.ids[-50:]}
    filters: dict[str, dict[str, Any]] = {
        "filter: half": {"filter": {"field": "price", "lt": 50}},
        "filter: a tenth": {"filter": {"field": "price", "lt": 10}},
        "filter: 1 %": {"filter": {"field": "price", "lt": 1}},
        "filter: 50 items": {"filter": few},
    }
    brand = {"field": "brand", "eq": "b3"}
    kinds = {
        "boost": Rules(boost=[Tilt(brand, 2.0)]), "caps: 2 of a brand": Rules(caps=[Cap("brand", 2)]),
        "pin": Rules(pin=[Pin(world.catalogue.ids[-1], 1)]),
        "block: 100": Rules(block=world.catalogue.ids[:100]),
        "consumed: out": Rules(consumed="out"), "diversity": Rules(diversity=0.3),
    }  # fmt: skip
    rules = {name: {"rules": each} for name, each in kinds.items()}
    print(f"{size:,} items, {asked.rounds} rounds each\n| | alone | in rounds of 32 |\n|---|---|---|")
    for name, fields in (filters | rules).items():
        cells = [
            _ratio(ask(count, **fields), ask(count), asked.rounds // (1 if count == 1 else 8))
            for count in (1, 32)
        ]
        print(f"| {name} | {cells[0]} | {cells[1]} |", flush=True)
    began = time.perf_counter()
    masks = world.steering.masks
    masks.follow()
    before = masks.pool.nbytes
    for n in range(100):
        masks.row(parse({"field": "price", "lt": 20 + n / 10}))
        masks.follow()
    took = (time.perf_counter() - began) / 100
    held = f"{masks.pool.nbytes / 1e6:.1f} MB (before {before / 1e6:.1f})"
    print(f"a first use of known fields {1e3 * took:.1f} ms, 100 masks {held}")


def _ratio(one: Callable[[int], None], usual: Callable[[int], None], rounds: int) -> str:
    for turn in range(3):
        one(turn), usual(turn)
    ratios = []
    for turn in range(max(rounds, 10)):
        spent = []
        for each in (usual, one) if turn % 2 else (one, usual):
            began = time.process_time()
            each(turn)
            spent.append(time.process_time() - began)
        ratios.append(spent[1] / spent[0] if turn % 2 else spent[0] / spent[1])
    low, middle, high = np.quantile(ratios, (0.25, 0.5, 0.75))
    return f"{middle:.2f} ({low:.2f}–{high:.2f})"


def _world(data: Path, folder: Path, size: int) -> tuple[Offline, list[str], int]:
    catalogue, rng = Catalogue(), np.random.default_rng(0)
    release = load_release(folder, catalogue)
    events, records = read_pair(data / "interactions.csv.gz", data / "items.csv.gz")
    known = {record.item_id: record for record in records}
    for number in range(size):
        item_id = catalogue.ids[number] if number < catalogue.size else f"made-up-{number}"
        record = known.get(item_id) or Item(item_id=item_id, title=f"Thing {number}")
        brand, price = f"b{rng.integers(50)}", float(rng.random() * 100)
        catalogue.announce(
            Item(
                item_id=item_id, title=record.title, categories=record.categories, price=price,
                tags=[f"t{tag}" for tag in rng.integers(0, 20, 2)], attributes={"brand": brand},
            )
        )  # fmt: skip
    release.ensure(catalogue)
    new = np.flatnonzero(~release.own[: catalogue.size])
    model = release.model
    model.vectors[new] = model.vectors[rng.integers(0, max(new[0], 1) if len(new) else 1, len(new))]
    model.vectors[new] += rng.normal(0, 0.05, (len(new), model.vectors.shape[1])).astype(np.float32)
    release.own[new] = True
    offline = Offline(Live(release, catalogue), catalogue, Policy(exploration=0.0))
    for number in range(len(events.item)):
        offline.remember(click_of(events, number))
    offline.encode()
    return offline, list(offline.states.index)[:200], int(events.time_ms[-1])


if __name__ == "__main__":
    main()
