"""Items like one: how often what a user clicks next after an item is among the ten that are like it.

    PYTHONPATH=. python tests/bench/bench_similar.py --data DIR --release DIR [--split .8] [--pairs 3000]

Everything is learned up to the split and stands still then. Asked are pairs of a user's clicks after it: one
item, and the next one. Beside `similar_to` of a stranger: item-kNN (cosine of users, shrunk), sequence rules
(what followed within ten clicks, 1 / distance) and content alone; the shrinkage and the window are the best
of a few, looked for on pairs before the split that the final figures do not use.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from learner.data.catalogue import Catalogue
from learner.data.pair import read_pair
from streams.hot_path.live import Live
from streams.hot_path.policy import Policy
from streams.hot_path.recommend import recommend
from streams.recorded.collecting import click_of
from streams.recorded.world import Offline
from streams.wire.contract import Request
from streams.wire.intake import Arrival

LISTED = 10
Ints = NDArray[np.int64]


def main() -> None:
    """Prints recall@10 of each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="interactions.csv.gz and items.csv.gz")
    parser.add_argument("--release", type=Path, required=True)
    parser.add_argument("--split", type=float, default=0.8)
    parser.add_argument("--pairs", type=int, default=3000)
    asked = parser.parse_args()
    data, records = read_pair(asked.data / "interactions.csv.gz", asked.data / "items.csv.gz")
    at = int(len(data.item) * asked.split)
    item, user = data.item.astype(np.int64), data.user.astype(np.int64)
    tuning, test = _pairs(item, user, int(0.9 * at), at), _pairs(item, user, at, len(item))
    rng = np.random.default_rng(0)
    tuning, test = (rows[rng.permutation(len(rows))[: asked.pairs]] for rows in (tuning, test))
    end = int(0.9 * at)
    knn = max((5.0, 20.0, 50.0, 150.0, 500.0), key=lambda s: _recall(_knn(item, user, end, s), tuning))
    window = max((1, 3, 10, 30, 100), key=lambda w: _recall(_rules(item, user, end, w), tuning))
    print(f"{asked.data.name}: {len(test)} pairs; item-kNN shrunk by {knn:g}, rules over {window}")
    live_catalogue = Catalogue()
    live = Live.load(asked.release, live_catalogue)
    offline = Offline(live, live_catalogue, Policy(exploration=0.0))
    for record in records:
        offline.announce(record.item_id, record)
    for number in range(at):
        offline.remember(click_of(data, number))
    index = [live_catalogue.index.get(each, -1) for each in data.item_ids]
    ids = {each: number for number, each in enumerate(data.item_ids)}

    def like(one: int) -> list[int]:
        request = Request(request_id="r", similar_to=data.item_ids[one], k=LISTED)
        now = int(data.time_ms[at])
        (made,) = recommend([Arrival(request, 0, 0)], offline.states, offline.world, now, rng=None)
        assert made.recommendation is not None
        return [ids.get(each.item_id, -1) for each in made.recommendation.items]

    content = live.release.model.content[np.maximum(index, 0)] * (np.array(index) >= 0)[:, None]
    near = content @ content.T
    np.fill_diagonal(near, -1)
    hits = np.mean([nxt in like(one) for one, nxt in test.tolist()])
    print(f"| similar_to | {hits:.4f} |")
    print(f"| item-kNN | {_recall(_knn(item, user, at, knn), test):.4f} |")
    print(f"| sequence rules | {_recall(_rules(item, user, at, window), test):.4f} |")
    print(f"| content alone | {_recall(near, test):.4f} |")


def _pairs(item: Ints, user: Ints, first: int, last: int) -> Ints:
    """A user's item and the next one, both between two places of the stream: (n, 2)."""
    order = np.argsort(user[first:last], kind="stable") + first
    same = user[order][1:] == user[order][:-1]
    return np.stack([item[order][:-1][same], item[order][1:][same]], axis=1)


def _knn(item: Ints, user: Ints, last: int, shrink: float) -> NDArray[np.float32]:
    size = (int(user.max()) + 1, int(item.max()) + 1)
    met = sparse.csr_matrix((np.ones(last, np.float32), (user[:last], item[:last])), size)
    met.data[:] = 1
    together = (met.T @ met).toarray()
    count = np.sqrt(np.diag(together))
    scores = together / (count[:, None] * count[None] + shrink)
    np.fill_diagonal(scores, -1)
    return np.asarray(scores, np.float32)


def _rules(item: Ints, user: Ints, last: int, window: int) -> NDArray[np.float32]:
    size = int(item.max()) + 1
    scores = np.zeros((size, size), np.float32)
    order = np.argsort(user[:last], kind="stable")
    for distance in range(1, window + 1):
        same = user[order][distance:] == user[order][:-distance]
        np.add.at(scores, (item[order][:-distance][same], item[order][distance:][same]), 1 / distance)
    np.fill_diagonal(scores, -1)
    return scores


def _recall(scores: NDArray[np.float32], pairs: Ints) -> float:
    best = np.argsort(-scores[pairs[:, 0]], axis=1, kind="stable")[:, :LISTED]
    return float((best == pairs[:, 1:]).any(1).mean())


if __name__ == "__main__":
    main()
