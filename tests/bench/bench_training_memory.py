"""Memory of a training: the most that its processes take together, sampled while it runs.

    python tests/bench/bench_training_memory.py [--data DIR] [--share 0.7] [--minutes 6]
    python tests/bench/bench_training_memory.py --rankers [--lists 52500]

The first trains on --share of the clicks in --data (ml-100k by default: 70,000); more minutes make more
lists, up to the plan's own bound, so a slow machine needs more of them for the same memory. The second lets
two rankers learn beside each other from so many lists: all that 70,000 clicks can have, on any machine.

Printed is the worst moment: the sum of the proportional set sizes (PSS) of all processes; a page that two of
them share counts once. `anonymous` is what they have made, `file` what they have mapped and the system may
take back.
"""

import argparse
import contextlib
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil

from learner.data.ml100k import fetch_ml100k
from learner.models.ranker import Ranker
from learner.models.ranker_training import train_ranker
from learner.models.run import Clock, Run
from learner.ranking.columns import FEATURES, LAYOUT
from learner.ranking.lists import FEATURES_FILE, on_disk
from learner.training.crew import Crew, Job, Tell
from learner.training.jobs import NEGATIVES
from learner.training.shared import join_lists, lists_in
from streams.settings import load_settings

EVERY_SECONDS = 0.3
AT_ONCE = 500  # lists that are written
STAGES = (0.27, 0.33, 0.4)  # shares of the lists
RANKER_SECONDS = 25.0
KINDS = {"Pss": "all", "Pss_Anon": "anonymous", "Pss_File": "file"}


def taken(process: psutil.Process) -> dict[str, float]:
    """MB of a process by kind; nothing of one that has gone."""
    with contextlib.suppress(OSError):
        lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()[1:]
        found = {line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines}
        return {name: found.get(kind, 0.0) for kind, name in KINDS.items()}
    return dict.fromkeys(KINDS.values(), 0.0)


@contextlib.contextmanager
def watched(*, with_this: bool) -> Iterator[None]:
    """Samples all processes below this one, `with_this` or without, and prints the worst moment."""
    worst: tuple[float, list[dict[str, float]]] = (0.0, [])
    done = threading.Event()
    me = psutil.Process()

    def sample() -> None:
        nonlocal worst
        while not done.wait(EVERY_SECONDS):
            with contextlib.suppress(psutil.NoSuchProcess):
                parts = [taken(each) for each in (*[me] * with_this, *me.children(recursive=True))]
                worst = max(worst, (sum(part["all"] for part in parts), parts), key=lambda each: each[0])

    sampling = threading.Thread(target=sample)
    sampling.start()
    try:
        yield
    finally:
        done.set()
        sampling.join()
    print(f"{worst[0]:,.0f} MB at the most, in {len(worst[1])} processes:")
    for part in worst[1]:
        print("  " + ", ".join(f"{name} {mb:,.0f}" for name, mb in part.items()))


def train(data: Path, share: float, minutes: float, folder: Path) -> None:
    """A training as operators run it."""
    command = [
        "nextclick", "train", "--interactions", str(data / "interactions.csv.gz"), "--items",
        str(data / "items.csv.gz"), "--to", str(share), "--out", str(folder / "release"),
        "--time-budget", str(minutes),
    ]  # fmt: skip
    subprocess.run(command, cwd=folder, check=True)


def learn(_: object, tell: Tell, clock: Clock, lists: Path, seed: int) -> Ranker:
    """A ranker's job."""
    return train_ranker(lists_in(lists), run=Run(seed, RANKER_SECONDS, clock), layout=LAYOUT)[0]


def rankers(count: int, folder: Path) -> None:
    """Two rankers beside each other, from lists as stages leave them."""
    rng = np.random.default_rng(0)
    some = rng.normal(size=(AT_ONCE, NEGATIVES + 1, len(FEATURES))).astype(np.float16)
    stages = []
    for number, lists in enumerate(int(share * count) for share in STAGES):
        stages.append(folder / f"{number}")
        stages[-1].mkdir()
        features = on_disk(stages[-1] / FEATURES_FILE, (lists, *some.shape[1:]))
        for at in range(0, lists, AT_ONCE):
            features[at : at + AT_ONCE] = some[: lists - at]
        del features
        beside: dict[str, Any] = {
            "positive": np.zeros(lists, np.int64), "mask": np.ones((lists, NEGATIVES + 1), np.bool_),
            "items": np.zeros((lists, NEGATIVES + 1), np.int32),
        }  # fmt: skip
        for name, array in beside.items():
            np.save(stages[-1] / f"{name}.npy", array)
    with Crew(SimpleNamespace(), 2, lambda *_: None, time.perf_counter) as crew:
        join_lists(stages, folder / "all")
        crew.run([Job(learn, (folder / "all", seed)) for seed in range(2)])


def main() -> None:
    """Measures one or the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, default=None)
    parser.add_argument("--share", type=float, default=0.7)
    parser.add_argument("--minutes", type=float, default=6.0)
    parser.add_argument("--rankers", action="store_true")
    parser.add_argument("--lists", type=int, default=52_500)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=".") as made, watched(with_this=chosen.rankers):
        if chosen.rankers:
            rankers(chosen.lists, Path(made))
        else:
            cache = load_settings().cache_dir
            train(
                chosen.data or fetch_ml100k(cache / "ml-100k"), chosen.share, chosen.minutes,
                Path(made).absolute(),
            )  # fmt: skip


if __name__ == "__main__":
    main()
