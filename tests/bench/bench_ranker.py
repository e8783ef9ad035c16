"""What a ranker gains from more seeds, an ensemble's word, refreshes and calibration, on lists in files.

    PYTHONPATH=. python tests/bench/bench_ranker.py --data DIR --keep FOLDER [--without tags] [--seeds 6]

Trains a release on the first four fifths of DIR's clicks, as `nextclick replay` does, and keeps in FOLDER the
lists that its rankers learn from, and of every ask of the later part the features of all candidates: they do
not depend on the ranker. Then rankers are trained on the same lists and scored on the same asks: NDCG@10,
with an answer that is no candidate as a miss. A second call with the same FOLDER begins there.
"""

import argparse
import shutil
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from learner.evaluation.plan import plan, stream_from
from learner.evaluation.replay import play
from learner.evaluation.system import Ask, Event, FirstPart, Ints, Ranking
from learner.models.calibration import STEP, Calibration
from learner.models.distill import ensemble_scores
from learner.models.ranker import Ranker
from learner.models.ranker_training import refresh, train_ranker
from learner.models.run import Run
from learner.ranking.columns import KNOWN, LAYOUT
from learner.ranking.lists import Lists
from learner.training import jobs
from learner.training.jobs import NEGATIVES, calibration_of, stage_job
from streams.hot_path.policy import Policy
from streams.hot_path.world import Ranked
from streams.replay import releases
from streams.replay.systems import Nextclick
from streams.replay.wishes import loaded

PARTS = ("features", "positive", "mask", "items")
SPLIT = 0.8
MINUTES = 20.0  # so that no training is cut short


class Kept(Nextclick):
    """Nextclick that keeps what was shown at each ask."""

    def fit(self, first: FirstPart) -> None:
        """As Nextclick."""
        super().fit(first)
        self.shown: Ranked | None = None
        self.features: list[NDArray[np.float16]] = []  # half the memory
        self.items: list[NDArray[np.int32]] = []  # the candidates, by number in the catalogue
        self.answers: list[int] = []

    def rank(self, ask: Ask) -> Ranking:
        """As Nextclick."""
        self.shown = self._ranked(ask)
        items, scores = self._served(ask, self.shown)
        return Ranking(self._translated(items), scores)

    def learn(self, event: Event, listed: bool) -> Ints | None:
        """As Nextclick; the event answers what was shown."""
        if self.shown is not None:
            number = self.offline.world.catalogue.index.get(self._first.item_ids[event.item], -2)
            found = np.flatnonzero(self.shown.candidates.items[0] == number)
            self.features.append(self.shown.features.table().astype(np.float16))
            self.items.append(self.shown.candidates.items.astype(np.int32))
            self.answers.append(int(found[0]) if len(found) else -1)
            self.shown = None
        return super().learn(event, listed)

    def lists(self) -> Lists:
        """All asks: their candidates and which of them was the answer."""
        items = np.concatenate(self.items)
        return Lists(np.concatenate(self.features), np.array(self.answers), items >= 0, items)


def make(data: Path, without: Sequence[str], folder: Path) -> None:
    """Trains, and writes the lists of each stage and of the test."""

    def kept_job(shared: Any, *arguments: Any) -> tuple[Path, int]:
        made, answered = stage_job(shared, *arguments)
        if answered:
            shutil.copytree(made, folder / f"train-{made.name}", dirs_exist_ok=True)
        return made, answered

    jobs.stage_job = kept_job  # found by its name
    releases.cores = lambda: 1  # in this process, where the job above is
    clicks, items = loaded(data / "interactions.csv.gz", data / "items.csv.gz", without)
    made = plan(stream_from(clicks, items, 0), split=SPLIT, seed=0)
    made_once = releases.Releases(
        folder / "release", MINUTES, 1, lambda step, share, text: print(step, text) if share == 1 else None
    )
    system = Kept(made_once, Policy(exploration=0.0))
    play(system, made)
    write(system.lists(), folder / "test")


def write(lists: Lists, folder: Path) -> None:
    """One file for each part; the folder is there when all of them are."""
    partial = folder.with_name(f"{folder.name}.partial")
    partial.mkdir(parents=True, exist_ok=True)
    for part in PARTS:
        np.save(partial / f"{part}.npy", getattr(lists, part))
    partial.rename(folder)


def read(folder: Path) -> Lists:
    """What `write`, or a stage of a train, has left."""
    features, positive, mask, items = (np.load(folder / f"{part}.npy") for part in PARTS)
    return Lists(features[: len(positive)], positive, mask, items)


@torch.no_grad()
def scores_of(ranker: Ranker, lists: Lists) -> NDArray[np.float32]:
    """Scores (n, C) of the network alone."""
    ranker.eval()
    parts = [
        ranker(ranker.standardise(torch.from_numpy(lists.features[k : k + 256].astype(np.float32))))
        for k in range(0, len(lists), 256)
    ]
    return torch.cat(parts).numpy()


def ndcg(scores: NDArray[np.float32], lists: Lists) -> NDArray[np.float64]:
    """NDCG@10 of each list (n,); answers that are no candidates are misses, ties are taken as wins."""
    answer = np.take_along_axis(scores, np.maximum(lists.positive, 0)[:, None], 1)
    rank = (np.where(lists.mask, scores, -np.inf) > answer).sum(1)
    return np.where((lists.positive >= 0) & (rank < 10), 1 / np.log2(rank + 2.0), 0.0)


def refreshed(ranker: Ranker, test: Lists, every: int, rate: float) -> NDArray[np.float32]:
    """Scores (n, C) of a ranker that learns from each `every` answered lists and as many older ones."""
    rng = np.random.default_rng(0)
    answered = np.flatnonzero(test.positive >= 0)
    edges = [0, *(answered[every - 1 :: every] + 1).tolist(), len(test)]
    found: list[NDArray[np.float32]] = []
    older: list[Lists] = []
    for turn, (start, end) in enumerate(pairwise(edges)):
        part = test.part(slice(start, end))
        found.append(scores_of(ranker, part) if len(part) else np.zeros((0, test.mask.shape[1]), np.float32))
        fresh = part.answered().thinned(NEGATIVES, rng)
        if len(fresh) < every:
            continue
        every_old = Lists.join(older) if older else None
        if every_old is not None:
            chosen = rng.choice(len(every_old), min(len(fresh), len(every_old)), replace=False)
            every_old = every_old.part(chosen)
        ranker, _ = refresh(ranker, fresh, every_old, seed=turn, rate=rate)
        older.append(fresh)
    return np.concatenate(found)


def calibrated(scores: NDArray[np.float32], test: Lists, begin: NDArray[np.float32]) -> NDArray[np.float32]:
    """The scores (n, C) with the offsets that were known by the answered lists before each."""
    assert test.items is not None
    calibration, served, out = Calibration(begin), begin, scores.copy()
    answered = np.flatnonzero(test.positive >= 0)
    edges = [0, *(answered[STEP - 1 :: STEP] + 1).tolist(), len(test)]
    for start, end in pairwise(edges):
        part, promised = test.part(slice(start, end)), scores[start:end]
        known = part.features[:, :1, KNOWN] > 0
        out[start:end] += served[part.items] * known
        use = np.flatnonzero(part.positive >= 0)
        if len(use):
            part, promised = part.part(use), promised[use].copy()
            rows = np.arange(len(use))
            for values in (part.items, part.mask, promised):  # answers in place 0
                values[rows, 0], values[rows, part.positive] = (
                    values[rows, part.positive].copy(), values[rows, 0].copy()
                )  # fmt: skip
            calibration.learn(part, promised)
            served = calibration.offsets(len(begin))
    return out


def main() -> None:
    """Prints a line for each measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with interactions and items")
    parser.add_argument("--keep", type=Path, required=True, help="folder for the lists, some 2 GB")
    parser.add_argument("--without", default="", help="fields of the items to leave out, like tags")
    parser.add_argument("--seeds", type=int, default=6)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if not (options.keep / "test").exists():
        options.keep.mkdir(parents=True, exist_ok=True)
        make(options.data, [name for name in options.without.split(",") if name], options.keep)
    parts = [read(folder) for folder in sorted(options.keep.glob("train-*"))]
    learned = Lists.join(parts)
    test = read(options.keep / "test")
    assert test.items is not None
    nothing = np.zeros(int(test.items.max()) + 1, np.float32)
    recall = float((test.positive >= 0).mean())
    print(f"{len(learned):,} lists to learn from, {len(test):,} asks, {recall:.3f} answers among candidates")
    rankers: list[Ranker] = []
    total = np.zeros(test.mask.shape, np.float32)
    for seed in range(options.seeds):
        began = time.perf_counter()
        rankers.append(train_ranker(learned, run=Run(seed), layout=LAYOUT)[0])
        scores = scores_of(rankers[-1], test)
        total += scores
        print(
            f"seed {seed}: {ndcg(scores, test).mean():.4f}, "
            f"mean of {seed + 1}: {ndcg(total, test).mean():.4f}, {time.perf_counter() - began:.0f} s",
            flush=True,
        )
    mean = total / len(rankers)
    left, _ = calibration_of(parts, rankers, len(nothing))
    for begin, text in ((nothing, "from nothing on"), (left, "from the training's lists on")):
        found = ndcg(calibrated(mean, test, begin), test).mean()
        print(f"the mean calibrated by item, {text}: {found:.4f}", flush=True)
    soft = ensemble_scores(rankers, learned)
    taught, _ = train_ranker(learned, run=Run(options.seeds), layout=LAYOUT, soft=soft)
    print(f"one, taught by all: {ndcg(scores_of(taught, test), test).mean():.4f}", flush=True)
    for every, rate in ((250, 1e-3), (100, 1e-3), (100, 5e-4), (50, 5e-4)):
        scores = refreshed(rankers[0], test, every, rate)
        found = ndcg(calibrated(scores, test, nothing), test).mean()
        print(
            f"refreshed every {every} at {rate:g}: {ndcg(scores, test).mean():.4f}, "
            f"and calibrated by item from nothing on: {found:.4f}", flush=True,
        )  # fmt: skip


if __name__ == "__main__":
    main()
