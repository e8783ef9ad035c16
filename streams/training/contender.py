"""A release under trial, with a world of its own: it answers, learns and is timed.

Owns what a trial asks of a release, through the same hot path as a worker's. Knows nothing of the other one.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from learner.data.catalogue import Catalogue, Item
from learner.data.event_weights import EventWeights
from learner.judging.metrics import LIST, expected_position
from learner.signals.settings import SignalSettings
from learner.signals.state import Signals
from streams.hot_path.live import Live
from streams.hot_path.policy import Policy
from streams.hot_path.rank import rank
from streams.recorded.world import Offline
from streams.wire.contract import Click


class Contender:
    """`signals`: how its signals run; as the release was trained by default. `weights` of events, of now.

    held: items of the release itself
    listed: items that have been on any of its lists
    largest: the largest number that it has given so far, by its amount; nan where one was none
    """

    def __init__(
        self, folder: Path, signals: SignalSettings | None = None, weights: EventWeights | None = None
    ) -> None:
        catalogue = Catalogue()
        live = Live.load(folder, catalogue)
        self.held = frozenset(catalogue.ids)  # before anything else joins
        self.offline = Offline(live, catalogue, Policy(exploration=0.0))
        if signals is not None:
            self.offline.world.signals = Signals(signals, catalogue)
        if weights is not None:
            self.offline.world.signals.weigh(weights)
        self.largest = 0.0
        self.listed: set[str] = set()

    @property
    def repeats(self) -> bool:
        """Whether consumed items come again, as the release says."""
        return self.offline.world.live.repeat_consumption

    def probe(self) -> None:
        """Notes how large the student's vectors are; nan or infinite ones end in no list at all."""
        release = self.offline.world.live.release
        vectors = release.model.vectors[: min(256, self.offline.world.catalogue.size)]
        rows = len(vectors)
        hidden = np.zeros((rows, release.hidden_size), np.float32)
        for _ in range(3):
            hidden, made = release.step(
                vectors,
                np.ones(rows, np.int64),
                np.zeros(rows, np.float32),
                np.zeros(rows, np.float32),
                hidden,
            )
            self._note(made)

    def announce(self, items: Sequence[Item]) -> None:
        """The catalogue's owner's word on items; those that are new to the release get their vectors."""
        offline = self.offline
        catalogue, release = offline.world.catalogue, offline.world.live.release
        new = [item for item in items if item.available and item.item_id not in self.held]
        for item in items:
            if item.available:
                catalogue.announce(item)
            else:
                catalogue.withdraw(item.item_id)
        offline.world.signals.follow()
        release.ensure(catalogue)
        if new:
            contents = _contents(self.offline, new)
            for item, content in zip(new, contents, strict=True):
                number = catalogue.index[item.item_id]
                release.set_vector(number, release.embed(content, item.categories), content)
        offline.world.live.follow(catalogue.index[item.item_id] for item in items)

    def position(self, click: Click) -> tuple[float, list[str]]:
        """Where the clicked item stands for this user at this moment, and the items of the list."""
        offline = self.offline
        ranked = offline.rank(offline.ask(offline.slot(click.user_id), click.timestamp))
        count = int(ranked.candidates.count[0])
        items, scores = ranked.candidates.items[0, :count], ranked.scores[0, :count]
        self._note(scores)
        order = np.argsort(-scores, kind="stable")[:LIST]
        ids = offline.world.catalogue.ids
        shown = [ids[number] for number in items[order].tolist()]
        self.listed.update(shown)
        at = np.flatnonzero(items == offline.world.catalogue.index.get(click.item_id, -1))
        if not len(at):
            return np.inf, shown
        own = scores[at[0]]
        better, tied = float((scores > own).sum()), float((scores == own).sum() - 1)
        return float(expected_position(np.array(better), np.array(tied))), shown

    def learn(self, click: Click) -> None:
        """Takes a click, after it was asked for or instead."""
        self.offline.learn(click, answer=False)

    def batch(self, slots: NDArray[np.int64], now_ms: int) -> None:
        """One student step and one ranking for a batch of users; changes nothing."""
        offline = self.offline
        states, world = offline.states, offline.world
        release = world.live.release
        histories = states.gather(slots)
        last = np.maximum(histories.length - 1, 0)
        rows = np.arange(len(slots))
        kinds = histories.kinds[rows, last]
        release.step(
            release.model.vectors[np.maximum(histories.items[rows, last], 0)], kinds.astype(np.int64),
            np.zeros(len(slots), np.float32),
            release.normalised(kinds, histories.values[rows, last]), states.hidden[slots],
        )  # fmt: skip
        rank(slots, np.full(len(slots), now_ms, np.int64), states, world)

    def _note(self, numbers: NDArray[np.float32]) -> None:
        # The maximum of NumPy keeps nan; that of Python does not.
        self.largest = float(np.maximum(self.largest, np.abs(numbers).max(initial=0.0)))


def _contents(offline: Offline, items: Sequence[Item]) -> NDArray[np.float32]:
    """Content vectors (n, T) of new items, by the encoder that the release was made with."""
    from learner.text.content import ContentEncoder

    release = offline.world.live.release
    encoder = ContentEncoder.load(release.manifest.encoder, release.encoder, folder=release.query_encoder)
    contents: NDArray[np.float32] = encoder.encode(items)
    return contents
