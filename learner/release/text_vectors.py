"""What a release's encoder made of its items' texts, as a worker holds it, and the files of that encoder.

Owns the rounding to 8 bits, the place in the catalogue's numbering, and how the encoder's files come into a
release. What they are for is whoever's reads queries.
"""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from learner.text.query_encoder import FILES

_AT_ONCE = 2_000  # rows widened at a time, 3 MB

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class TextVectors:
    """Vectors of n texts, W numbers each, nearly of length 1.

    items (n,) int32: whose they are, rising, in the numbering of whoever made this
    whole (n, W) int8, scales (n,) float32: a row is `whole` times its scale
    """

    items: NDArray[np.int32]
    whole: NDArray[np.int8]
    scales: Floats

    @classmethod
    def of(cls, items: NDArray[np.int32], rows: Floats) -> "TextVectors":
        """Rounded `rows` (n, W) of items in any order; those that are 0, without a text, are left out."""
        said = np.flatnonzero(rows.any(axis=1))
        said = said[np.argsort(items[said])]
        kept = rows[said]
        scales = (np.maximum(np.abs(kept).max(axis=1, initial=0.0), 1e-9) / 127).astype(np.float32)
        return cls(items[said].astype(np.int32), np.rint(kept / scales[:, None]).astype(np.int8), scales)

    def and_of(self, items: NDArray[np.int32], rows: Floats) -> "TextVectors":
        """These and those of further items, behind all of these."""
        more = TextVectors.of(items, rows)
        if not len(more.items) or (len(self.items) and self.whole.shape[1] != more.whole.shape[1]):
            return self
        if not len(self.items):
            return more
        return TextVectors(
            np.concatenate([self.items, more.items]),
            np.concatenate([self.whole, more.whole]),
            np.concatenate([self.scales, more.scales]),
        )

    def placed(self, numbers: NDArray[np.int64]) -> "TextVectors":
        """The same with row r's item called numbers[r], in rising order again."""
        items = numbers[self.items].astype(np.int32)
        if (np.diff(items) > 0).all():
            return TextVectors(items, self.whole, self.scales)
        order = np.argsort(items)
        return TextVectors(items[order], self.whole[order], self.scales[order])

    def cosines(self, queries: Floats) -> Floats:
        """Cosines (B, n) float32 with vectors of length 1 (B, W)."""
        found = np.empty((len(queries), len(self.items)), np.float32)
        for begin in range(0, len(self.items), _AT_ONCE):
            part = slice(begin, begin + _AT_ONCE)
            found[:, part] = (queries @ self.whole[part].astype(np.float32).T) * self.scales[part]
        return found


def bring_encoder(source: Path, folder: Path) -> None:
    """The encoder's files from one folder into another: one copy on the disk where it is the same disk."""
    for name in FILES:
        try:
            os.link(source / name, folder / name)  # nobody changes these files in place
        except OSError:
            shutil.copyfile(source / name, folder / name)
