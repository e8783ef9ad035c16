"""What figures cost beside the lists that they tell of.

    PYTHONPATH=. python tests/bench/bench_figures.py --release DIR --data DIR

Recorded clicks are answered alone and in rounds of 32 by the functions that a worker runs; of each round the
figures are then taken as a worker takes them. Printed: processor time a list of both, in turn, so that what
else the machine does costs both alike; and what the record of each second and a reading of `/metrics` cost.
"""

import argparse
import time
from pathlib import Path
from statistics import median

from prometheus_client import generate_latest

from streams.figures.record import Speaker
from streams.hot_path.live import Live
from streams.hot_path.policy import Policy
from streams.recorded.clicks import RecordedClicks
from streams.recorded.world import Offline
from streams.transport.delivery import Outgoing
from streams.wire.contract import encode
from streams.worker.assignment import Parcel
from streams.worker.figures import Measured
from tests.bench.bench_lists import SPLIT, WARM, Catalogue, load_items


def taken(measured: Measured, parcel: Parcel) -> None:
    """What a round's figures are: counts as lists are packed, and times as they are acknowledged."""
    counts = measured.counts
    arrived = measured.round(int(time.time() * 1000), 0.001)
    for _ in parcel.lists:
        counts["asked_lists"] += 0
        parcel.clicked_ms.append(1)
    arrived(parcel)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--release", type=Path, required=True, help="trained on the part before the split")
    parser.add_argument("--data", type=Path, required=True, help="interactions.csv.gz and items.csv.gz")
    parser.add_argument("--count", type=int, default=3000, help="clicks to answer")
    wishes = parser.parse_args()
    catalogue = Catalogue()
    offline = Offline(Live.load(wishes.release, catalogue), catalogue, Policy(exploration=0.0))
    for item in load_items(wishes.data / "items.csv.gz"):
        if item.item_id not in catalogue.index:
            offline.announce(item.item_id, item)
    recorded = RecordedClicks(wishes.data / "interactions.csv.gz")
    clicks = list(recorded.clicks(range(len(recorded)), history=False))
    split = int(SPLIT * len(clicks))
    for click in clicks[:split]:
        offline.remember(click)
    offline.encode()
    measured = Measured()
    for size in (1, 32):
        lists: list[float] = []
        figures: list[float] = []
        for at in range(split, split + wishes.count, size):
            some = clicks[at : at + size]
            began = time.thread_time()
            made = offline._recommended(some, some[-1].timestamp)
            sent = [
                Outgoing(b"", encode(outcome.recommendation)) for outcome in made if outcome.recommendation
            ]
            between = time.thread_time()
            parcel = Parcel(0)
            parcel.lists = sent
            taken(measured, parcel)
            ended = time.thread_time()
            if sent and at - split >= WARM:
                lists.append((between - began) / len(sent))
                figures.append((ended - between) / len(sent))
        one, other = 1e6 * median(lists), 1e6 * median(figures)
        print(f"rounds of {size}: {one:.0f} us a list, {other:.2f} us its figures: {other / one:.2%}")
    speaker = Speaker(measured.figures, "bench")
    for name, work in (
        ("a record of `figures`", lambda: encode(speaker.record())),
        ("a reading of `/metrics`", lambda: generate_latest(measured.figures.registry)),
    ):
        spent = []
        for _ in range(200):
            began = time.thread_time()
            work()
            spent.append(time.thread_time() - began)
        print(f"{name}: {1e3 * median(spent):.2f} ms")


if __name__ == "__main__":
    main()
