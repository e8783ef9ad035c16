"""Controls of a replay: Nextclick without content, and other fillings of its slots for never-clicked items.

Owns the system that trains and serves knowing of no item what it is about, and the two fillings, by chance
and by the same models without content. What these leave over is what content is worth: to all lists, to items
with few clicks, and to items that nobody has clicked yet.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from learner.data.catalogue import Item
from learner.evaluation.system import Ask, Event, FirstPart, Ints, Ranking
from learner.text.content import ContentEncoder
from streams.hot_path.live import Live
from streams.replay.systems import HotPath


class ColdRandom(HotPath):
    """Control: where Nextclick lists an item that nobody has clicked yet, any other such item stands."""

    name = "cold_random"
    _lists_as_served = False

    def fit(self, first: FirstPart) -> None:
        """As Nextclick."""
        super().fit(first)
        self.rng = np.random.default_rng(first.seed)

    def rank(self, ask: Ask) -> Ranking:
        """Nextclick's order with its slots for never-clicked items filled otherwise."""
        items, scores = self._served(ask, self._ranked(ask))
        ordered = items[np.argsort(-scores, kind="stable")]
        slots = np.flatnonzero(self.never_clicked(ordered))
        if len(slots):
            ordered[slots] = self._fillers(ask, len(slots))
        return Ranking.ordered(self._translated(ordered))

    def never_clicked(self, items: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Which of the items, by the catalogue's numbers, nobody has clicked yet."""
        return np.asarray(self.offline.world.signals.count[items] == 0)

    def _fillers(self, ask: Ask, wanted: int) -> NDArray[np.int32]:
        """That many different never-clicked items that the user may see."""
        eligible, _ = self.offline.rank_all(*self._asker(ask))
        return self.rng.choice(eligible[self.never_clicked(eligible)], wanted, replace=False)


class ColdNoContent(ColdRandom):
    """Control: the same slots, filled by the same models with all content taken from never-clicked items."""

    name = "cold_no_content"

    def fit(self, first: FirstPart) -> None:
        """As Nextclick, and once more without content."""
        super().fit(first)
        self.blind = _Blind(lambda _: self._train(first), self.policy)
        self.blind.fit(first)

    def announce(self, item: int, record: Item | None, time_ms: int) -> None:
        """An item enters both worlds."""
        super().announce(item, record, time_ms)
        self.blind.announce(item, record, time_ms)

    def learn(self, event: Event, listed: bool) -> Ints | None:
        """Both worlds learn; the list is by the mixed ranking."""
        self.blind.learn(event, False)
        return super().learn(event, listed)

    def _fillers(self, ask: Ask, wanted: int) -> NDArray[np.int32]:
        """Never-clicked items in the order of the ranker without content, then of the student without it."""
        blind = self.blind
        items, scores = blind._served(ask, blind._ranked(ask))
        listed = items[np.argsort(-scores, kind="stable")]
        every, scores = blind.offline.rank_all(*blind._asker(ask))
        order = np.concatenate([listed, every[np.argsort(-scores, kind="stable")]])
        order = order[blind.offline.world.signals.count[order] == 0]
        _, first = np.unique(order, return_index=True)
        ids, index = blind.offline.world.catalogue.ids, self.offline.world.catalogue.index
        return np.array([index[ids[n]] for n in order[np.sort(first)][:wanted]], np.int32)


class _Blind(HotPath):
    """Nextclick with nothing known of what a never-clicked item is about."""

    name = "blind"

    def fit(self, first: FirstPart) -> None:
        """Takes content and categories from the release; never-clicked items get the tail's mean vector."""
        super().fit(first)
        world = self.offline.world
        release, catalogue = world.live.release, world.catalogue
        self._clicked = set(first.item.tolist())
        clicked = {first.item_ids[item] for item in self._clicked}
        unknown = release.embed(np.zeros(release.manifest.dims.content, np.float32), [])
        release.model.content[:] = 0.0
        for number, item_id in enumerate(list(catalogue.ids)):
            if item_id not in clicked and catalogue.available[number]:
                catalogue.announce(_faceless(item_id, catalogue.records.get(number)))
                release.model.vectors[number] = unknown
                world.live.follow([number])

    def announce(self, item: int, record: Item | None, time_ms: int) -> None:
        """An item enters without its text and categories, unless it was clicked in the first part."""
        if item not in self._clicked:
            record = _faceless(self._first.item_ids[item], record)
        super().announce(item, record, time_ms)

    def _encoder(self, live: Live) -> ContentEncoder | None:  # noqa: ARG002
        return None


class NoContent(HotPath):
    """Control: the same system, trained and serving with nothing known of what any item is about.

    Dates stay: they say when an item comes, not what it is.
    """

    name = "nextclick_no_content"

    def fit(self, first: FirstPart) -> None:
        """As Nextclick, on records without texts and categories."""
        records = [
            record and _faceless(item_id, record)
            for item_id, record in zip(first.item_ids, first.records, strict=True)
        ]
        super().fit(replace(first, records=records))

    def announce(self, item: int, record: Item | None, time_ms: int) -> None:
        """An item enters without its text and categories."""
        super().announce(item, record and _faceless(self._first.item_ids[item], record), time_ms)


def _faceless(item_id: str, record: Item | None) -> Item:
    return Item(item_id=item_id, published_at=record.published_at if record is not None else None)
