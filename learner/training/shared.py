"""What the jobs of a training share, and the lists that they leave to each other in files.

Owns the context that every process of a training gets once, and the files of lists: these are large. Free of
torch: the process that plans a training holds this alone.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from learner.models.ease import EaseRows, ease_rows, items_within
from learner.ranking.lists import FEATURES_FILE, Lists, in_file, let_go, on_disk
from learner.training.collect import Collect
from learner.training.material import Material
from learner.training.settings import TrainingSettings
from learner.training.time_plan import EASE_SHARE

COPIED_AT_ONCE = 500  # lists
_BESIDE = ("positive", "mask", "items")  # of lists, a file each beside their features
_WEIGHT = "weight"  # another one, where answers do not count alike


@dataclass(frozen=True)
class Shared:
    """What every job of a training needs. `seconds` is the time of the whole, `scratch` a folder."""

    material: Material
    collect: Collect
    settings: TrainingSettings
    seed: int
    seconds: float
    scratch: Path

    def ease(self, stop: int) -> EaseRows:
        """The item-item model of the first `stop` clicks, of as many items as the time allows."""
        limit = items_within(EASE_SHARE * self.seconds)
        return ease_rows(self.material.data, stop, self.material.catalogue.size, limit=limit)


@dataclass(frozen=True)
class Made:
    """What a release is packed from: files of the models, and the rankers' lists, so many of each stage."""

    final: Path
    rankers: Sequence[Path]
    lists: Path | None
    sizes: Sequence[int]
    metrics: Mapping[str, Any]


def keep_lists(lists: Lists, folder: Path) -> None:
    """Leaves lists in a folder, where their features may be already."""
    assert lists.items is not None, "collecting keeps the candidates' numbers"
    if not in_file(lists.features):
        np.save(folder / FEATURES_FILE, lists.features)
    for part in (*_BESIDE, *([] if lists.weight is None else [_WEIGHT])):
        np.save(folder / f"{part}.npy", getattr(lists, part))


def lists_in(folder: Path) -> Lists:
    """The lists that a stage has left in its folder; their features stay there until they are asked for."""
    positive, mask, items = (np.load(folder / f"{part}.npy") for part in _BESIDE)
    features = np.load(folder / FEATURES_FILE, mmap_mode="r")
    kept = folder / f"{_WEIGHT}.npy"
    return Lists(features[: len(positive)], positive, mask, items, np.load(kept) if kept.exists() else None)


def join_lists(folders: Sequence[Path], into: Path) -> list[int]:
    """Moves stages' lists (of one width), in their order, into a new folder; returns how many each had."""
    into.mkdir()
    parts = [lists_in(folder) for folder in folders]
    sizes = [len(part) for part in parts]
    for name in (*_BESIDE, *([] if parts[0].weight is None else [_WEIGHT])):
        np.save(into / f"{name}.npy", np.concatenate([getattr(part, name) for part in parts]))
    if len(folders) == 1:
        (folders[0] / FEATURES_FILE).rename(into / FEATURES_FILE)
        return sizes
    first = parts[0].features
    features = on_disk(into / FEATURES_FILE, (sum(sizes), *first.shape[1:]), first.dtype)
    row = 0
    for folder, part in zip(folders, parts, strict=True):
        for at in range(0, len(part), COPIED_AT_ONCE):
            some = part.features[at : at + COPIED_AT_ONCE]
            features[row : row + len(some)] = some
            row += len(some)
            let_go(features)
            let_go(part.features)
        shutil.rmtree(folder)  # a training's lists are large: the disk need not hold them twice
    return sizes
