"""Who asks, as the kernels look at it: the user's events of interest, newest first, and the moment.

Owns which events those are. Distances d count them from 0 for the newest; dislikes and hides are not among
them.
"""

from typing import NamedTuple

import numba
import numpy as np

from learner.data.events import Kind
from learner.data.times import YEAR_MS
from learner.ranking.arrays import Asks, Floats, SignalArrays
from learner.ranking.feature_math import decayed_by
from learner.signals.kernels import Doubles, Items, Wholes, depth_of
from learner.signals.pair_weights import WINDOW

NOT_INTEREST = int(Kind.DISLIKE)  # kinds from here on (dislike, hide, impression) are no interest
LAST = 10  # events that neighbours are looked up for
TASTE = 20  # events that make the user's taste, with weights .9**d


class Asker(NamedTuple):
    """One ask; the arrays by distance hold all events of interest, the nearest `found` of them are near."""

    row: int  # of the asks
    now: int  # ms
    year: float  # now, with fraction
    depth: int  # `signals.kernels.depth_of` the user
    found: int  # events of interest, `WINDOW` at most
    items: Items
    times: Wholes
    values: Floats
    weights: Doubles  # how much each counts in the signals
    factor: Doubles  # (H + 1,): what decayed sums are to be multiplied by now; the last: of pairs


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def interest(asks: Asks, row: int) -> Items:
    """Places in the row of the events of interest, newest first."""
    places = np.empty(asks.length[row], np.int32)
    found = 0
    for place in range(asks.length[row] - 1, -1, -1):
        if asks.kinds[row, place] < NOT_INTEREST:
            places[found] = place
            found += 1
    return places[:found]


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def asker_of(asks: Asks, row: int, signals: SignalArrays) -> Asker:
    """The asker of a row."""
    places = interest(asks, row)
    n = places.shape[0]
    items, times, values = np.empty(n, np.int32), np.empty(n, np.int64), np.empty(n, np.float32)
    weights = np.empty(n)
    for d in range(n):
        items[d] = asks.items[row, places[d]]
        times[d] = asks.times[row, places[d]]
        values[d] = asks.values[row, places[d]]
        weights[d] = signals.event_weights[asks.kinds[row, places[d]]]
    now = asks.now_ms[row]
    factor = np.empty(signals.half_lives.shape[0])
    for h in range(factor.shape[0]):
        factor[h] = decayed_by(now, signals.half_lives[h], signals.reference[h])
    year = 1970.0 + now / YEAR_MS
    return Asker(row, now, year, depth_of(n), min(n, WINDOW), items, times, values, weights, factor)
