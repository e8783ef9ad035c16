"""What each kind of rule costs: NDCG@10 of a replay under it, beside the same without any.

    PYTHONPATH=. python tests/bench/bench_rules.py --data DIR --release DIR [--split .95]

One rule at a time, made of the catalogue's most usual category and its most clicked items before the split.
The release is to be trained on a part that ends no later than the split. One process, one stream, the same
clicks for all. Prints a table for docs/performance.md.
"""

import argparse
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from learner.data.pair import read_pair
from learner.evaluation.plan import plan, stream_from
from learner.evaluation.replay import replay
from learner.evaluation.report import Learning, report
from streams.hot_path.policy import Policy
from streams.replay.steered import Steered
from streams.replay.systems import HotPath
from streams.wire.contract import Rules
from streams.wire.steering import Cap, Pin, Tilt


class _Named(Steered):
    def __init__(self, name: str, *args: Any) -> None:
        super().__init__(*args)
        self.name = name


def main() -> None:
    """Replays under each rule."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="interactions.csv.gz and items.csv.gz")
    parser.add_argument("--release", type=Path, required=True)
    parser.add_argument("--split", type=float, default=0.95)
    asked = parser.parse_args()
    data, records = read_pair(asked.data / "interactions.csv.gz", asked.data / "items.csv.gz")
    plans = [plan(stream_from(data, records, 0), split=asked.split, announce="strict", sessions_ms=None,
                  repeats=None, seed=0)]  # fmt: skip
    usual = [name for name, _ in Counter(c for each in records for c in each.categories).most_common(3)]
    clicked = Counter(data.item[: int(len(data.item) * asked.split)].tolist()).most_common(10)
    popular = [data.item_ids[item] for item, _ in clicked]
    first = {"field": "categories", "eq": usual[0]}
    second = {"field": "categories", "eq": usual[1]}
    rules = {
        f"filter: -categories:{usual[0]}": Rules(filter={"not": first}),
        f"filter: categories:{usual[1]}": Rules(filter=second),
        "block: the 10 most clicked": Rules(block=popular),
        f"boost: {usual[1]} x 1.5": Rules(boost=[Tilt(second, 1.5)]),
        f"bury: {usual[0]} x 0.5": Rules(bury=[Tilt(first, 0.5)]),
        "caps: 3 of a category": Rules(caps=[Cap("categories", 3)]),
        "caps: 2 of a category": Rules(caps=[Cap("categories", 2)]),
        "pin: the most clicked first": Rules(pin=[Pin(popular[0], 1)]),
        "diversity: 0.2": Rules(diversity=0.2),
        "consumed: back after 30 days": Rules(consumed="back", back_after_days=30),
    }
    policy = Policy(exploration=0.0)

    def train(_: object) -> str:
        return str(asked.release)

    makers: list[Any] = [lambda: HotPath(train, policy, name="without")]
    makers += [lambda name=name, each=each: _Named(name, train, policy, each) for name, each in rules.items()]
    outcomes = replay(makers, plans, lambda *_: None)
    told = report(
        plans, outcomes, learning=Learning("none", 0.0, without="without"), protocol={}, data={"files": []}
    )
    base = told["systems"]["without"]
    print(f"{asked.data.name}, clicks from {asked.split:g} on")
    print("| rule | NDCG@10 | over none | coverage@10 | lists it had a say in |\n|---|---|---|---|---|")
    for outcome in outcomes[0]:
        figures = told["systems"][outcome.name]
        acted = outcome.description.get("rules_acted", {})
        share = max(acted.values(), default=np.nan)
        print(
            f"| {outcome.name} | {figures['ndcg@10']:.4f} | {figures['ndcg@10'] / base['ndcg@10']:.3f} "
            f"| {figures['coverage@10']:.3f} | {'' if np.isnan(share) else f'{share:.0%}'} |"
        )


if __name__ == "__main__":
    main()
