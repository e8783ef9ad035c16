"""Do lists stay the same, and what do they cost? For changes of the hot path that are to change nothing.

    PYTHONPATH=. python tests/bench/bench_lists.py --release DIR --data DIR --write FILE    before the change
    PYTHONPATH=. python tests/bench/bench_lists.py --release DIR --data DIR --compare FILE  after it

Recorded clicks up to the split are remembered, those after it answered click by click, as a replay does:
state, signals and lists by the functions that a worker runs. Compared are items in their order (ties aside)
and scores. Prints the processor time a list; on a machine with other work compare it by `bench_beside.py`.
"""

import argparse
import json
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from learner.data.catalogue import Catalogue
from learner.data.dataset import load_items
from streams.hot_path.live import Live
from streams.hot_path.policy import Policy
from streams.recorded.clicks import RecordedClicks
from streams.recorded.world import Offline

SPLIT = 0.8
AT_ONCE = 50  # lists of one side, where two take turns
WARM = 200  # the first lists load kernels and fill caches: they are compared, not timed
TOLERANCE = 1e-5  # of a score


def lists_of(
    release: Path, data: Path, count: int, *, in_turn: bool = False
) -> tuple[list[list[Any]], list[float]]:
    """Lists of `count` clicks after the split, each as [item, score] pairs, and processor seconds of each.

    `in_turn`: says "ready" and waits for a line before each `AT_ONCE` of them.
    """
    items = data / "items.csv.gz"
    catalogue = Catalogue()
    live = Live.load(release, catalogue)
    offline = Offline(live, catalogue, Policy(exploration=0.0))
    if items.exists():
        for item in load_items(items):
            if item.item_id not in catalogue.index:
                offline.announce(item.item_id, item)
    recorded = RecordedClicks(data / "interactions.csv.gz")
    clicks = list(recorded.clicks(range(len(recorded)), history=False))
    split = int(SPLIT * len(clicks))
    for click in clicks[:split]:
        offline.remember(click)
    offline.encode()
    made: list[list[Any]] = []
    spent: list[float] = []
    for number, click in enumerate(clicks[split : split + count]):
        if in_turn and number % AT_ONCE == 0:
            print("ready", flush=True)
            sys.stdin.readline()
        began = time.process_time()
        outcome = offline._recommended([click], click.timestamp)[0]
        spent.append(time.process_time() - began)
        listed = outcome.recommendation.items if outcome.recommendation else []
        made.append([[entry.item_id, entry.score] for entry in listed])
        offline.count(click)
    return made, spent


def differences(before: list[list[Any]], after: list[list[Any]]) -> list[str]:
    """What is not the same, a line each; items may change places where their scores are tied."""
    found = [f"{len(before)} lists before, {len(after)} after"] if len(before) != len(after) else []
    for number, (old, new) in enumerate(zip(before, after, strict=False)):
        apart = [abs(a[1] - b[1]) for a, b in zip(old, new, strict=False)]
        if len(old) != len(new) or any(gap > TOLERANCE for gap in apart):
            found.append(f"list {number}: scores differ by up to {max(apart, default=0.0):.2g}")
        elif [a[0] for a in old] != [b[0] for b in new] and not _tied(old, new):
            found.append(f"list {number}: {[a[0] for a in old]} before, {[b[0] for b in new]} after")
    return found


def _tied(old: list[Any], new: list[Any]) -> bool:
    """Whether the lists differ only within runs of scores that are as good as equal (the last may be cut)."""
    runs: list[list[int]] = [[0]]
    for place, (one, other) in enumerate(pairwise(old), 1):
        if abs(one[1] - other[1]) <= TOLERANCE:
            runs[-1].append(place)
        else:
            runs.append([place])
    return all(
        {old[place][0] for place in run} == {new[place][0] for place in run} or run is runs[-1]
        for run in runs
    )


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--release", type=Path, required=True, help="trained on the part before the split")
    parser.add_argument("--data", type=Path, required=True, help="interactions.csv.gz and items.csv.gz")
    parser.add_argument("--count", type=int, default=2000, help="clicks to answer")
    parser.add_argument("--write", type=Path, help="keep the lists in this file")
    parser.add_argument("--compare", type=Path, help="a file that --write has made")
    parser.add_argument("--times", type=Path, help="for bench_beside: take turns, and write seconds here")
    wishes = parser.parse_args()
    made, spent = lists_of(wishes.release, wishes.data, wishes.count, in_turn=wishes.times is not None)
    seconds = sum(spent[WARM:]) / max(len(spent[WARM:]), 1)
    if wishes.times is not None:
        wishes.times.write_text(json.dumps(spent[WARM:]))
    print(f"{sum(map(bool, made))} lists, {1e6 * seconds:.1f} us of processor time a list")
    if wishes.write is not None:
        wishes.write.write_text(json.dumps(made))
    if wishes.compare is None:
        return 0
    found = differences(json.loads(wishes.compare.read_text()), made)
    print("\n".join(found[:10]) or f"the same as in {wishes.compare}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
