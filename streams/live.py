"""The release that answers now, with its index over the items that may be recommended.

Owns the pairing of a loaded release with an item index and keeps both in step with the catalogue.
Knows no Kafka: `releases` decides which release is live.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from indexer.item_index import ItemIndex, with_bias
from learner.catalogue import Catalogue
from learner.release import LiveRelease, load_release


class Live:
    """A release ready to answer. Changed by one thread, between two batches."""

    def __init__(self, release: LiveRelease, catalogue: Catalogue, index: ItemIndex) -> None:
        self.release = release
        self.catalogue = catalogue
        self.index = index

    @classmethod
    def load(cls, directory: Path | str, catalogue: Catalogue) -> "Live":
        """Verifies and loads a bundle and indexes every available item.

        Raises `learner.release.ReleaseError`, which names the damaged file.
        """
        release = load_release(Path(directory), catalogue)
        release.ensure(catalogue)
        items = np.flatnonzero(catalogue.available[: catalogue.size])
        model = release.model
        index = ItemIndex.build(items, with_bias(model.vectors[items], model.bias[items]))
        return cls(release, catalogue, index)

    @property
    def repeat_consumption(self) -> bool:
        """Whether consumed items may be recommended again."""
        return self.release.manifest.repeat_consumption

    def admit(self, item: int) -> None:
        """Takes a new, announced or changed item into the index, or a withdrawn one out of it."""
        self.release.ensure(self.catalogue)
        if not self.catalogue.available[item]:
            self.index.remove(np.array([item]))
            return
        model = self.release.model
        self.index.update(np.array([item]), with_bias(model.vectors[[item]], model.bias[[item]]))

    def nearest(self, user_vectors: NDArray[np.float32], depth: int) -> NDArray[np.int32]:
        """Numbers (B, depth) int32 of the items with the highest student score, -1 padded."""
        queries = np.concatenate([user_vectors, np.ones((len(user_vectors), 1), np.float32)], axis=1)
        items, _ = self.index.search(queries, depth)
        return items
