"""The hot path without Kafka: for replay, for training lists (`collecting`) and for tests.

Owns a worker and a learner in one process: `recommend` answers, signals learn every click at once. The
online worker runs the same function; only the wire is missing. Knows no files and no command line.
"""

import math
from collections import defaultdict, deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from learner.data.catalogue import Catalogue, Item
from learner.data.events import Kind
from learner.ranking.arrays import Asks, Candidates
from learner.ranking.feature_math import EPSILON
from learner.signals.kernels import decay
from learner.signals.pair_weights import WINDOW
from learner.signals.settings import SignalSettings
from learner.signals.state import Signals
from streams.hot_path.fold import prepare, reencode
from streams.hot_path.live import Live
from streams.hot_path.policy import Policy
from streams.hot_path.rank import ask, candidates_of, rank_asks
from streams.hot_path.recommend import recommend
from streams.hot_path.user_states import UserStates
from streams.hot_path.world import Outcome, Ranked, World
from streams.wire.contract import Click
from streams.wire.event_ids import event_hash
from streams.wire.intake import Arrival

if TYPE_CHECKING:
    from learner.text.content import ContentEncoder


class Offline:
    """One world, its users and its signals, fed click by click in order.

    `encoder` reads the texts of items that enter later than the release; without one they keep what their
    categories say. `encoded` counts them.
    """

    def __init__(
        self, live: Live, catalogue: Catalogue, policy: Policy, encoder: "ContentEncoder | None" = None
    ) -> None:
        release = live.release
        signals = Signals(SignalSettings.from_dict(release.manifest.signals), catalogue)
        self.world = World(catalogue, signals, live, policy)
        self.states = UserStates(release.hidden_size, release.vector_size)
        self._interests: dict[str, deque[int]] = defaultdict(lambda: deque(maxlen=WINDOW))
        self._offset = 0
        self._encoder = encoder
        self.encoded = 0

    def swap(self, live: Live, encoder: "ContentEncoder | None" = None) -> None:
        """Another release answers from now on; every user's hidden state is its student's."""
        self.world.live = live
        live.follow()
        self.states.resize(live.release.hidden_size, live.release.vector_size)
        self._encoder = encoder
        self.encode()

    def announce(self, item_id: str, record: Item | None) -> None:
        """An item enters the catalogue; its text becomes its vector where the release has none for it."""
        catalogue, live = self.world.catalogue, self.world.live
        number = catalogue.index.get(item_id, -1)
        if record is None and number >= 0 and not catalogue.available[number]:
            record = Item(item_id=item_id)  # withdrawn: only the owner's word brings it back
        number = catalogue.announce(record) if record is not None else catalogue.intern(item_id)
        self.world.signals.follow()
        live.release.ensure(catalogue)
        if record is not None and self._encoder is not None and not live.release.own[number]:
            content = self._encoder.encode([record])[0]
            vector = live.release.embed(content, record.categories)
            self.world.signals.set_vector(number, vector, content)
            live.release.set_vector(number, vector, content)
            self.encoded += 1
        live.follow([number])

    def learn(self, click: Click, *, answer: bool) -> list[str]:
        """Folds a click into state and signals; with `answer`, the list that it triggers."""
        shown = self.fold(click, answer=answer)
        self.count(click)
        return shown

    def fold(self, click: Click, *, answer: bool) -> list[str]:
        """Folds a click into its user's state; with `answer`, the list that it triggers.

        The worker too makes a click's list before the learner has told it of the click.
        """
        outcome = self._recommended([click], click.timestamp)[0]
        if not answer or outcome.recommendation is None:
            return []
        return [listed.item_id for listed in outcome.recommendation.items]

    def step(self, clicks: Sequence[Click]) -> None:
        """Folds clicks that ask for no list into their users' states, in one go."""
        if clicks:
            self._recommended(clicks, clicks[-1].timestamp)

    def _recommended(self, clicks: Sequence[Click], now_ms: int) -> list[Outcome]:
        arrivals = [Arrival(click, 0, self._offset + nth) for nth, click in enumerate(clicks, 1)]
        self._offset += len(clicks)
        prepare(arrivals, self.states, self.world.live)
        return recommend(arrivals, self.states, self.world, now_ms, rng=None)

    def count(self, click: Click) -> None:
        """What the learner does with a click."""
        if not click.is_interest:
            return
        kind = Kind[click.event.upper()]
        world = self.world
        item = world.catalogue.intern(click.item_id)
        earlier = self._interests[click.user_id]
        value = click.value
        scaled = 0.0 if value is None else world.live.release.normalised_value(int(kind), value)
        world.signals.learn(item, click.timestamp, int(kind), scaled, np.array(earlier, np.int32))
        earlier.append(item)

    def ask(self, slot: int, now_ms: int, excluded: Sequence[str] = ()) -> Asks:
        """What is known of one asker now; `slot` -1 for a user nobody has seen."""
        slots, times = np.array([slot], np.int64), np.array([now_ms], np.int64)
        return ask(slots, times, self.states, self.world, [excluded])

    def rank(self, asks: Asks) -> Ranked:
        """Candidates and scores, by what is known of items now."""
        return rank_asks(asks, self.world)

    def candidates(self, asks: Asks, size: int) -> Candidates:
        """What the sources put forward, `size` items at most."""
        return candidates_of(asks, self.world, size)

    def rank_all(
        self, slot: int, now_ms: int, excluded: Sequence[str] = ()
    ) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        """Every eligible item (C,) with the student's score (C,), the popularity prior included."""
        world, states = self.world, self.states
        catalogue, signals, model = world.catalogue, world.signals, world.live.release.model
        histories = states.gather(np.array([slot], np.int64))
        known = bool(histories.length[0])
        user = states.vector[slot] if known else world.live.release.initial_vector
        eligible = catalogue.available[: catalogue.size].copy()
        eligible[states.barred(slot, histories, 0, world.live.least_bar)] = False
        eligible[[catalogue.index[item_id] for item_id in excluded]] = False
        items = np.flatnonzero(eligible).astype(np.int32)
        column = model.popular_now
        faded = decay(now_ms, signals.half_lives[column], signals.reference[column])
        prior = model.prior_weight * np.log(signals.popularity[items, column] * faded + EPSILON)
        return items, (model.vectors[items] @ user + model.bias[items]).astype(np.float64) + prior

    def remember(self, click: Click) -> None:
        """Folds a click of the past, all but the student's step; `encode` makes up for that."""
        self.note(click)
        self.count(click)

    def note(self, click: Click) -> None:
        """Adds a click to its user's history alone."""
        self._offset += 1
        kind = Kind[click.event.upper()]
        if kind is not Kind.IMPRESSION:
            slot = self.states.slot(click.user_id)
            item = self.world.catalogue.intern(click.item_id)
            value = math.nan if click.value is None else click.value
            self.states.append(slot, item, click.timestamp, int(kind), value, event_hash(click.event_id))
            self.states.applied[slot] = self._offset

    def encode(self, at_once: int = 256) -> None:
        """Computes every user's hidden state from the last 128 events."""
        self.world.live.follow()
        slots = list(self.states.index.values())
        for start in range(0, len(slots), at_once):
            reencode(slots[start : start + at_once], self.states, self.world.live)

    def slot(self, user_id: str) -> int:
        """The user's slot, -1 if nobody has seen the user."""
        return self.states.index.get(user_id, -1)
