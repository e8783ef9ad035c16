"""The release that answers now, with its index over the items that may be recommended.

Owns the pairing of a loaded release with an item index and keeps both in step with the catalogue.
Knows no Kafka: `knowledge` decides which release is live.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from indexer.item_index import ItemIndex, with_bias
from indexer.item_index import queries as as_queries
from learner.catalogue import Catalogue
from learner.release import LiveRelease, load_release


class Live:
    """A release ready to answer. Changed by one thread, between two rounds."""

    def __init__(self, release: LiveRelease, catalogue: Catalogue) -> None:
        self.release = release
        self.catalogue = catalogue
        release.ensure(catalogue)
        items = np.flatnonzero(catalogue.available[: catalogue.size])
        self.index = ItemIndex.build(items, self._rows(items))
        self._known = catalogue.size

    @classmethod
    def load(cls, directory: Path | str, catalogue: Catalogue) -> "Live":
        """Verifies and loads a bundle and indexes every available item.

        Raises `learner.release.ReleaseError`, which names the damaged file.
        """
        return cls(load_release(Path(directory), catalogue), catalogue)

    @property
    def repeat_consumption(self) -> bool:
        """Whether consumed items may be recommended again."""
        return self.release.manifest.repeat_consumption

    def follow(self, changed: Iterable[int] = ()) -> None:
        """Brings the index in step: with items that joined the catalogue, and with `changed` ones.

        An item changes when it is announced, withdrawn or gets a vector.
        """
        size = self.catalogue.size
        if size > self._known:
            self.release.ensure(self.catalogue)
            changed = {*changed, *range(self._known, size)}
            self._known = size
        items = np.array(sorted(changed), np.int64)
        if not len(items):
            return
        self.release.refresh(items)
        available = self.catalogue.available[items]
        self.index.remove(items[~available])
        if available.any():
            self.index.update(items[available], self._rows(items[available]))

    def nearest(self, user_vectors: NDArray[np.float32], depth: int) -> NDArray[np.int32]:
        """Numbers (B, depth) int32 of the items with the highest student score, -1 padded."""
        items, _ = self.index.search(as_queries(user_vectors), depth)
        return items

    def _rows(self, items: NDArray[np.int64]) -> NDArray[np.float32]:
        model = self.release.model
        return with_bias(model.vectors[items], model.bias[items])
