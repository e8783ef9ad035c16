"""How signals count: half-lives, depths of users, weights of events, and how many pairs an item keeps.

Owns these numbers, which learner and workers must agree on. Knows no arrays and no records.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learner.data.event_weights import EventWeights, checked_weights
from learner.data.times import DAY_MS, HOUR_MS
from learner.signals.pair_weights import WINDOW

HALF_LIVES = 8  # the features' number depends on it
# A user's depth is how many events of interest came before, in classes that begin at these numbers: newcomers
# click on other things than old hands. No class begins beyond `WINDOW`, since nobody counts further. By
# depth, popularity is kept at three of the half-lives (their places).
DEPTHS = (0, 1, 3, 7, 15, 30, WINDOW)
DEPTH_HALF_LIVES = (2, 4, 6)


@dataclass(frozen=True)
class SignalSettings:
    """How fast signals forget. Part of a release's manifest; learner and workers must agree.

    `event_weights` are of who counts: what records were counted with they say themselves.
    """

    half_lives_ms: tuple[float, ...] = tuple(
        float(hours * HOUR_MS) for hours in (1, 6, 24, 4 * 24, 14 * 24, 60 * 24, 250 * 24, 1000 * 24)
    )
    pair_half_life_ms: float = 30.0 * DAY_MS
    neighbours: int | None = None  # pairs an item keeps; None: by the catalogue's size
    event_weights: EventWeights = field(default_factory=dict)  # by word, those that are not 1

    def __post_init__(self) -> None:
        if len(self.half_lives_ms) != HALF_LIVES:
            raise ValueError(f"half_lives_ms needs {HALF_LIVES} half-lives, not {len(self.half_lives_ms)}")
        if min(*self.half_lives_ms, self.pair_half_life_ms) <= 0:
            raise ValueError("half-lives must be positive")
        if self.neighbours is not None and not 1 <= self.neighbours <= 4096:
            raise ValueError(f"neighbours must lie in 1..4096, not {self.neighbours}")
        object.__setattr__(self, "event_weights", checked_weights(self.event_weights))

    def limit(self, items: int) -> int:
        """Pairs an item keeps: about 2.5 million in all, 32 to 256 for each."""
        return self.neighbours or int(np.clip(2_500_000 / max(items, 1), 32, 256))

    def depth_columns(self) -> NDArray[np.int64]:
        """(H,): for each half-life, which of those that popularity by depth is kept at is the nearest."""
        lives = np.log(self.half_lives_ms)
        nearest: NDArray[np.int64] = np.abs(lives[:, None] - lives[list(DEPTH_HALF_LIVES)]).argmin(1)
        return nearest

    def as_dict(self) -> dict[str, Any]:
        """As JSON types, for a manifest; without weights where all events count alike."""
        fields = {**asdict(self), "half_lives_ms": list(self.half_lives_ms)}
        if not self.event_weights:
            del fields["event_weights"]
        return fields

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "SignalSettings":
        """The inverse of `as_dict`."""
        return cls(**{**fields, "half_lives_ms": tuple(fields["half_lives_ms"])})
