"""Lists as the ranker learns from them: candidates' features and which candidate was clicked.

Owns the shape of training lists, their thinning, and the words in which they are asked for. The lists are
made by the pipeline that serves them: `streams.recorded.collecting.collect`. Knows no torch and no models.
"""

import math
import mmap
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

FEATURES_FILE = "features.npy"


@dataclass(frozen=True)
class Wanted:
    """Which lists are to be made: at most `lists`, evenly spread, each of the answer and `negatives` others.

    The others are drawn uniformly with `seed`. `budget_s` bounds the time by `clock`: fewer lists are made
    where it is too short. With a `folder` their features are left in its `FEATURES_FILE` and take no memory.
    """

    lists: int = 40_000
    negatives: int = 100
    seed: int = 0
    budget_s: float = math.inf
    clock: Callable[[], float] = time.perf_counter
    folder: Path | None = None


@dataclass(frozen=True)
class Lists:
    """Answered lists.

    features (n, C, F) float32 or float16; positive (n,) int64: the clicked candidate's place, -1 where
    it is not among the candidates; mask (n, C) bool: True where there is a candidate; items (n, C) int32: the
    candidates by the numbers of whoever made the lists, where they were kept; weight (n,) float32: how much
    each answer counts, None where they count alike.
    """

    features: NDArray[Any]
    positive: NDArray[np.int64]
    mask: NDArray[np.bool_]
    items: NDArray[np.int32] | None = None
    weight: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.positive)

    @staticmethod
    def join(parts: Sequence["Lists"]) -> "Lists":
        """All lists of `parts` one after the other; narrower ones are padded."""
        if len(parts) == 1:
            return parts[0]
        width = max(part.mask.shape[1] for part in parts)
        padded = [part.widened(width) for part in parts]
        return Lists(
            np.concatenate([part.features for part in padded]),
            np.concatenate([part.positive for part in padded]),
            np.concatenate([part.mask for part in padded]),
            _of_all([part.items for part in padded]),
            _of_all([part.weight for part in padded]),
        )

    def widened(self, width: int) -> "Lists":
        """The same lists with `width` places."""
        more = width - self.mask.shape[1]
        if more <= 0:
            return self
        return Lists(
            np.pad(self.features, ((0, 0), (0, more), (0, 0))),
            self.positive,
            np.pad(self.mask, ((0, 0), (0, more))),
            None if self.items is None else np.pad(self.items, ((0, 0), (0, more)), constant_values=-1),
            self.weight,
        )

    def part(self, rows: slice | NDArray[Any]) -> "Lists":
        """Some of the lists."""
        items = None if self.items is None else self.items[rows]
        weight = None if self.weight is None else self.weight[rows]
        return Lists(self.features[rows], self.positive[rows], self.mask[rows], items, weight)

    def parts(self, sizes: Sequence[int]) -> list["Lists"]:
        """As many of the lists as the sizes say, one part after the other."""
        stops = np.cumsum(sizes).tolist()
        return [self.part(slice(stop - size, stop)) for size, stop in zip(sizes, stops, strict=True)]

    def answered(self) -> "Lists":
        """Only the lists whose positive is among at least two candidates: only they teach anything."""
        taught = (self.positive >= 0) & (self.mask.sum(1) > 1)
        return self if taught.all() else self.part(taught)

    def thinned(self, negatives: int, rng: np.random.Generator) -> "Lists":
        """The positive (now in place 0) and at most `negatives` others, drawn uniformly from the list.

        Uniformly, since any preference for hard ones without correction spoils the scores (a ranker
        trained so fell below the student). Lists must be answered.
        """
        n, width = self.mask.shape
        order = rng.random((n, width))
        order[~self.mask] = 2.0
        order[np.arange(n), self.positive] = -1.0
        places = np.argsort(order, axis=1)[:, : negatives + 1]
        return Lists(
            np.take_along_axis(self.features, places[:, :, None], 1),
            np.zeros(n, np.int64),
            np.take_along_axis(self.mask, places, 1),
            None if self.items is None else np.take_along_axis(self.items, places, 1),
            self.weight,
        )


def _of_all(parts: Sequence[NDArray[Any] | None]) -> NDArray[Any] | None:
    kept = [part for part in parts if part is not None]
    return np.concatenate(kept) if len(kept) == len(parts) else None


def on_disk(file: Path, shape: tuple[int, ...], dtype: DTypeLike = np.float16) -> NDArray[Any]:
    """A new array of zeros that lies in a file (`np.load` reads it), to be filled and read as any other."""
    return np.lib.format.open_memmap(file, "w+", dtype, shape)


def in_file(array: NDArray[Any]) -> bool:
    """Whether an array, or the one that it is a part of, lies in a file."""
    return getattr(array, "_mmap", None) is not None


def let_go(array: NDArray[Any]) -> None:
    """Gives back the memory of an array that lies in a file: what is asked for is read again. Others stay."""
    if in_file(array) and hasattr(mmap, "MADV_DONTNEED"):  # what was written is the file's, not the memory's
        array._mmap.madvise(mmap.MADV_DONTNEED)  # type: ignore[attr-defined]
