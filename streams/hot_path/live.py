"""The release that answers now, with its index over the items that may be recommended.

Owns the pairing of a loaded release with an item index and keeps both in step with the catalogue.
Knows no Kafka: `release_follower` decides which release is live.
"""

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexer.item_index import ItemIndex, with_bias
from indexer.item_index import queries as as_queries
from indexer.recall import RecallMonitor
from indexer.rows import Kind
from learner.data.catalogue import Catalogue
from learner.release.live import LiveRelease, load_release
from learner.signals.state import Signals
from streams.hot_path.by_content import ByContent
from streams.hot_path.fallen import Bar, least_bar
from streams.hot_path.meaning import Meaning

MEASURED = 100  # nearest items that recall is measured on: about as many as a list is made from


class Live:
    """A release ready to answer. Changed by one thread, between two rounds.

    May be made in another thread while the catalogue changes: `follow` then takes what changed meanwhile.
    `repeats`: whether consumed items may be recommended again; None: as the release says. The index is of
    `kind`, or by None of the one that `indexer.choose` finds for so many items and `index_memory_bytes`.
    `opens_at_once`: the first query waits until the encoder is open.
    """

    def __init__(
        self, release: LiveRelease, catalogue: Catalogue, *, repeats: bool | None = None,
        kind: Kind | None = None, index_memory_bytes: int | None = None, opens_at_once: bool = True,
    ) -> None:  # fmt: skip
        self.release = release
        self._repeats = repeats
        self.catalogue = catalogue
        size = catalogue.size  # first: others may join meanwhile, and `follow` brings them in
        release.ensure(catalogue)
        items = np.flatnonzero(catalogue.available[:size])
        self.index = ItemIndex.build(items, self._rows(items), kind, memory_budget_bytes=index_memory_bytes)
        self.recall = RecallMonitor(MEASURED)
        self.by_content = ByContent(release, catalogue, index_memory_bytes)
        self.meaning = Meaning(release, self.by_content, at_once=opens_at_once)
        self._known = size

    @classmethod
    def load(cls, directory: Path | str, catalogue: Catalogue) -> "Live":
        """Verifies and loads a bundle and indexes every available item.

        Raises `learner.release.live.ReleaseError`, which names the damaged file.
        """
        return cls(load_release(Path(directory), catalogue), catalogue)

    @property
    def repeat_consumption(self) -> bool:
        """Whether consumed items may be recommended again."""
        return self.release.manifest.repeat_consumption if self._repeats is None else self._repeats

    @property
    def least_bar(self) -> Bar:
        """How a user must have met an item for it to stay out of the user's lists, at the least."""
        return least_bar(consumed=not self.repeat_consumption, views=self.release.manifest.views_consume)

    def follow(self, changed: Iterable[int] = ()) -> None:
        """Brings the index in step: with items that joined the catalogue, and with `changed` ones.

        An item changes when it is announced, withdrawn or gets a vector.
        """
        size = self.catalogue.size
        if size == self._known and not changed:
            return
        if size > self._known:
            self.release.ensure(self.catalogue)
            changed = {*changed, *range(self._known, size)}
            self._known = size
        items = np.array(sorted(changed), np.int64)
        if not len(items):
            return
        self.release.refresh(items)
        self.by_content.follow(items.tolist())
        available = self.catalogue.available[items]
        self.index.remove(items[~available])
        if available.any():
            self.index.update(items[available], self._rows(items[available]))

    def nearest(self, user_vectors: NDArray[np.float32], depth: int) -> NDArray[np.int32]:
        """Numbers (B, depth) int32 of the items with the highest student score, -1 padded."""
        queries = as_queries(user_vectors)
        self.recall.observe(queries)
        items, _ = self.index.search(queries, depth)
        return items

    def measure_recall(self) -> float:
        """Compares the index with an exact search, for a query of late; for a thread beside the rounds.

        Returns the seconds it took.
        """
        before = self.recall.measured
        self.recall.measure(self.index, self._rows)
        return self.recall.seconds if self.recall.measured > before else 0.0

    @property
    def wants_compaction(self) -> bool:
        """Whether `compact` has something to do."""
        return self.index.wants_compaction or self.by_content.wants_building

    def compact(self) -> bool:
        """Rebuilds indexes where churn has made that worthwhile; for a thread beside the rounds."""
        done = self.index.wants_compaction and self.index.compact(self._rows)
        if self.by_content.wants_building:
            self.by_content.build()
            done = True
        return done

    def _rows(self, items: NDArray[Any]) -> NDArray[np.float32]:
        model = self.release.model
        return with_bias(model.vectors[items], model.bias[items])


def adopt(release: LiveRelease, other: LiveRelease, catalogue: Catalogue, items: NDArray[np.int64]) -> None:
    """Gives items that are newer than `release` vectors, from the content that `other` has of them."""
    release.ensure(catalogue)
    for number in items[other.own[items] & ~release.own[items]].tolist():
        content = release.content_of(other.model.content[number], other)
        if content is not None and content.any():
            give(release, catalogue, number, content)


def take_up(
    release: LiveRelease, catalogue: Catalogue, signals: Signals, among: Collection[int] | None = None
) -> None:
    """Gives items vectors from the contents that a learner has sent for this release before it was served."""
    release.ensure(catalogue)
    for number, content in signals.contents_of(release.space):
        if (among is None or number in among) and not release.own[number]:
            give(release, catalogue, number, content)


def give(release: LiveRelease, catalogue: Catalogue, number: int, content: NDArray[np.float32]) -> None:
    """Makes the vector of an item from its content (T,) with the release's own projection."""
    categories = catalogue.records[number].categories if number in catalogue.records else ()
    vector = release.embed(content, categories)
    release.set_vector(number, vector, content)


def renew(release: LiveRelease, catalogue: Catalogue, number: int) -> None:
    """The record of an item has come: a vector that was made from its content now knows its categories."""
    if number < len(release.own) and release.own[number] and release.model.content[number].any():
        give(release, catalogue, number, release.model.content[number])
