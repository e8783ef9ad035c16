"""The words that the files of the hot path share: what lists are made from, and what comes of an arrival.

Owns no step of the way; `recommend` has them in order.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from learner.data.catalogue import Catalogue
from learner.ranking.arrays import Candidates
from learner.ranking.features import Features
from learner.signals.state import Signals
from streams.hot_path.live import Live
from streams.hot_path.policy import Policy
from streams.hot_path.rules import Steering
from streams.wire.contract import Click, Forget, Merged, Recommendation, Request
from streams.wire.intake import Arrival

Sent = Click | Merged | Request
Mark = Callable[[str], None]
"""Told of each stage as it ends: whoever calls the hot path may have a clock, which this has not."""


def unmarked(stage: str) -> None:
    """A mark for those who do not mind."""


class Unsound(Exception):  # noqa: N818 (it says what the release is)
    """A release whose models give what is no number."""


@dataclass(slots=True)
class World:
    """All that lists are computed from, besides the users' states."""

    catalogue: Catalogue
    signals: Signals
    live: Live
    policy: Policy = field(default_factory=Policy)
    checked: bool = False  # states and scores that are not finite raise `Unsound`
    steering: Steering = None  # type: ignore[assignment]  # made below; one for all worlds of a process

    def __post_init__(self) -> None:
        if self.steering is None:
            self.steering = Steering(self.catalogue, self.policy)

    def title(self, number: int) -> str:
        """What people call an item: its title, or its id where it has none."""
        return self.steering.titles.of(number)


class Fate(Enum):
    """What became of an arrival."""

    DONE = "done"
    REPLAYED = "replayed"  # the state had already applied this offset
    DUPLICATE = "duplicate"  # a producer sent the same event id twice
    IDLE = "idle"  # it was to take back an event that there is not
    MOVED = "moved"  # its user was merged into another, whose it is now


@dataclass(slots=True)
class Outcome:
    """What an arrival led to: a list or none, and the slot whose state it changed or -1."""

    arrival: Arrival
    fate: Fate
    slot: int = -1
    recommendation: Recommendation | None = None
    digest: int = 0  # of a click that is folded in: `event_hash` of its event id
    forwards: Sequence[Sent] = ()  # what is to be sent to the topics that arrivals come from
    hurried: bool = False  # drawn from fewer candidates, since many lists were made at once

    @property
    def changed(self) -> bool:
        """Whether the user's state is another one now."""
        message = self.arrival.message
        if isinstance(message, Request) or self.fate is Fate.REPLAYED:
            return False
        return self.slot >= 0 or isinstance(message, Forget)  # no slot: of a user whose state is set aside


@dataclass(slots=True)
class Ranked:
    """Candidates of a batch of asks with their scores, both (B, C), padded with -1 and -inf."""

    candidates: Candidates
    features: Features
    scores: NDArray[np.float32]
    sought: NDArray[np.bool_] | None = None  # (B, C) nearest to the request's query, where it has one
