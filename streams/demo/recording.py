"""The clicks that the demo plays: a folder of recorded ones, or a world made of them that changes.

Owns where the past ends. Knows no processes and no Kafka.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from learner.data.catalogue import Item
from learner.data.dataset import Interactions, load_interactions, load_items
from streams.demo.drift import DriftWorld, drift_world

SPLIT = 0.8  # of the clicks are the past


class RecordingError(Exception):
    """A folder lacks a file: names it."""


@dataclass(frozen=True)
class Recording:
    """The data set, in the order in which `load` and `play` send it, and the files it stands in."""

    file: Path
    items_file: Path
    interactions: Interactions
    items: list[Item]
    drift: DriftWorld | None = None

    @classmethod
    def of(cls, folder: Path) -> Self:
        """What a folder holds."""
        file, items_file = _existing(folder, "interactions"), _existing(folder, "items")
        return cls(file, items_file, load_interactions(file).in_order(0), load_items(items_file))

    def changing(self, folder: Path, seed: int) -> Self:
        """The same in a world that changes in mid-stream; `folder` takes its file."""
        file = folder / "changing.parquet"
        world = drift_world(self.interactions, self.items, self.split, seed, file)
        return replace(self, file=file, interactions=load_interactions(file).in_order(0), drift=world)

    @property
    def split(self) -> int:
        """How many clicks are the past."""
        return int(len(self.interactions) * SPLIT)

    @property
    def live(self) -> int:
        """How many are played."""
        return len(self.interactions) - self.split

    def titles(self) -> dict[str, str]:
        """Of all items that have one, by id."""
        told = [*self.items, *(self.drift.items if self.drift else ())]
        return {item.item_id: item.title for item in told if item.title}


def _existing(folder: Path, name: str) -> Path:
    for ending in (".csv.gz", ".csv", ".parquet"):
        if (folder / f"{name}{ending}").exists():
            return folder / f"{name}{ending}"
    raise RecordingError(
        f"{folder} has no {name}.csv or {name}.csv.gz; --data names a folder that has both files"
    )
