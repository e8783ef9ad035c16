"""The popularity prior of a student's score: what everybody clicked before an event.

Owns the walk over a log that tells it for each moment. Knows no model.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from learner.data.event_weights import ALL_ALIKE
from learner.data.inputs import PRIOR_FLOOR, EventLog
from learner.models.settings import StudentConfig

FAR_AHEAD = 300.0  # exp of it is still a number, with room for sums


@dataclass(frozen=True)
class Prior:
    """log(decayed popularity + floor) of every item as known before an event, in steps of `every` events."""

    every: int
    log_popularity: Tensor  # (S, V) float32

    @staticmethod
    def of(
        log: EventLog, items: int, stop: int, half_life_ms: float, max_bytes: int = 256 << 20,
        weights: Sequence[float] = ALL_ALIKE,
    ) -> "Prior":  # fmt: skip
        """Walk the log once. Steps of 200 events, or longer so that the table stays below `max_bytes`.

        `weights` (K,): how much an event counts, by the code of its kind.
        """
        every = max(200, -(-stop * items * 4 // max_bytes))
        out = np.empty((max(-(-stop // every), 1), items), np.float32)
        if stop:
            rate = math.log(2) / half_life_ms
            counts = np.array(weights)[log.kind[:stop]]
            _snapshots(log.item[:stop], log.time_ms[:stop], counts, rate, every, PRIOR_FLOOR, out)
        return Prior(every, torch.from_numpy(out))

    def before(self, rows: Tensor | int, items: Tensor | None = None) -> Tensor:
        """Before each of the log's events (n,): all items (n, V), or the given ones (R,) as (n, R)."""
        known = self.log_popularity if items is None else self.log_popularity[:, items]
        return known[rows // self.every]

    def among(self, items: Tensor) -> "Prior":
        """The prior of these items (R,) alone, in their order."""
        return Prior(self.every, self.log_popularity[:, items])

    def of_items(self, rows: Tensor, items: Tensor) -> Tensor:
        """Of the item in each place, before the event in the same place; shapes as broadcast."""
        return self.log_popularity[rows // self.every, items]


def prior_of(config: StudentConfig, log: EventLog, items: int, stop: int) -> Prior | None:
    """The prior that a model of these settings has, None where it has none."""
    if not config.prior_weight:
        return None
    return Prior.of(log, items, stop, config.prior_half_life_ms, weights=config.event_weights)


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _snapshots(
    item: NDArray[np.int32], time_ms: NDArray[np.int64], counts: NDArray[np.float64], rate: float, every: int,
    floor: float, out: NDArray[np.float32],
) -> None:  # fmt: skip
    popularity = np.zeros(out.shape[1], np.float64)
    at = time_ms[0]
    for k in range(item.shape[0]):
        # Clicks count relative to a moment before them; a thousand half-lives later they would be infinite.
        if k % every == 0 or rate * (time_ms[k] - at) > FAR_AHEAD:
            popularity *= math.exp(-rate * (time_ms[k] - at))
            at = time_ms[k]
        if k % every == 0:
            for q in range(out.shape[1]):
                out[k // every, q] = math.log(popularity[q] + floor)
        if counts[k] > 0:
            popularity[item[k]] += counts[k] * math.exp(-rate * (at - time_ms[k]))
