"""Where a replay's release comes from: trained on the first part, or kept from an earlier replay of it.

Owns the check that a release kept from before has seen nothing of what will be asked.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from learner.data.catalogue import Item
from learner.data.dataset import Interactions
from learner.evaluation.system import FirstPart
from learner.release.bundle import Manifest
from learner.release.files import read_manifest
from learner.training.crew import cores
from streams.recorded.collecting import collect

Progress = Callable[[str, float, str], None]  # step, its finished share, a short text


class ReplayReleaseError(Exception):
    """A release that must not, or cannot, answer in this replay: says why and what to do."""


class Releases:
    """A release for each first part, trained at most once; call it with the first part for the folder.

    `folder` is where they are kept; one that lies there already is used, if it may be. With `seeds` above
    1 each seed has a folder of its own in it. `distil`: they learn from teachers and an ensemble too.
    """

    def __init__(
        self, folder: Path, budget_minutes: float, seeds: int, progress: Progress, *, distil: bool = False
    ) -> None:
        self.folder, self.budget_minutes, self.seeds, self.distil = folder, budget_minutes, seeds, distil
        self.trained: dict[int, Path] = {}
        self._progress = progress

    def __call__(self, first: FirstPart) -> str:
        """The folder of the release for this first part."""
        path = self.folder if self.seeds == 1 else self.folder / f"seed-{first.seed}"
        if first.seed not in self.trained:
            if (path / "manifest.json").exists():
                check(read_manifest(path), first, path, distil=self.distil)
            else:
                train(first, path, self.budget_minutes, self._progress, distil=self.distil)
            self.trained[first.seed] = path
        return str(path)


def check(manifest: Manifest, first: FirstPart, path: Path, *, distil: bool = False) -> None:
    """Refuses a release that has seen an event after the split, or was trained for another replay."""
    end_ms, window = int(first.time_ms[-1]), manifest.data
    # At one time the seed decides what comes before the split: within it, the count must be the same.
    same_end = window.last_ms == end_ms and window.events == first.size
    if window.last_ms > end_ms or (window.last_ms == end_ms and not same_end):
        raise ReplayReleaseError(
            f"{path}: trained on {window.events:,} events up to {window.last_ms}, which is beyond the split "
            f"({first.size:,} events up to {end_ms}): it has seen what will be asked; "
            "name a new folder with --release, or leave it out"
        )
    seed = manifest.training.get("seed")
    if same_end and seed != first.seed:
        raise ReplayReleaseError(
            f"{path}: trained with seed {seed}, and events at the split's very time stand in another order "
            f"with seed {first.seed}; replay with --seed {seed}, or name a new folder with --release"
        )
    if manifest.training.get("distil", False) != distil:
        raise ReplayReleaseError(
            f"{path}: trained {'with' if not distil else 'without'} teachers, and this replay wants it "
            f"{'with' if distil else 'without'}; name a new folder with --release"
        )
    if manifest.repeat_consumption != first.repeats:
        raise ReplayReleaseError(
            f"{path}: trained with repeat_consumption {manifest.repeat_consumption}, and this replay has "
            f"{first.repeats}; name a new folder with --release, or set --repeat-consumption"
        )


def train(
    first: FirstPart, out: Path, budget_minutes: float, progress: Progress, *, distil: bool = False
) -> None:
    """A release from the first part alone: items that have not entered by its end are unknown to it."""
    from learner.training.options import TrainingOptions
    from learner.training.settings import TrainingSettings
    from learner.training.train import train_release

    data, records = recorded(first)
    out.parent.mkdir(parents=True, exist_ok=True)
    options = TrainingOptions(
        budget_minutes=budget_minutes, seed=first.seed, repeat_consumption=first.repeats,
        settings=TrainingSettings(distil=distil), processes=min(cores(), 4),
    )  # fmt: skip
    train_release(data, records, out, collect, options, progress)


def recorded(first: FirstPart) -> tuple[Interactions, list[Item]]:
    """The first part as training takes it: its clicks, and the records of items that have entered."""
    entered = np.unique(first.item)
    named = [number for number, record in enumerate(first.records) if record is not None]
    numbers = np.union1d(entered, np.array(named, np.int64)).astype(np.int64)
    position = np.full(len(first.item_ids), -1, np.int32)
    position[numbers] = np.arange(len(numbers), dtype=np.int32)
    data = Interactions(
        user=first.user.astype(np.int32),
        item=position[first.item],
        time_ms=first.time_ms,
        kind=first.kind,
        value=first.value,
        place=np.zeros(first.size, np.int32),
        occurrence=np.zeros(first.size, np.int32),
        user_ids=first.user_ids,
        item_ids=[first.item_ids[number] for number in numbers],
        scenarios=[None],
    )
    return data, [record for record in first.records if record is not None]
