"""The blocks about the user, and about candidates that the user had: "user" and "rest".

Each function writes a block's columns of C candidates, `listed` (C,) int32, into x (C, columns of the block).
"""

import math

import numba
import numpy as np
from numpy.typing import NDArray

from learner.data.events import Kind
from learner.data.times import DAY_MS, HOUR_MS
from learner.ranking.arrays import Asks, CatalogueArrays, Floats, ModelArrays, SignalArrays
from learner.ranking.asker import LAST, TASTE, Asker
from learner.ranking.columns import POPULARITY, REST, USER
from learner.ranking.feature_math import EPSILON, age, log, log_rank
from learner.ranking.pair_search import filled, hits_of
from learner.signals.kernels import Doubles, Items

_UNSEEN_RANK = math.log1p(200.0)  # of a source that did not name the candidate, however long the list is
_SESSION_MS = 1_800_000  # a longer pause ends a session


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _pace(asks: Asks, row: int, now: int, user: Doubles) -> None:
    """Columns from `user_events` to `last_rating` into `user`."""
    times, length = asks.times[row], asks.length[row]
    day, hour, session = 0, 0, 0
    for place in range(length - 1, -1, -1):
        since = now - times[place]
        if since < DAY_MS:
            day += 1
        if since < HOUR_MS:
            hour += 1
    after = now
    for place in range(length - 1, -1, -1):
        if after - times[place] > _SESSION_MS:
            break
        session += 1
        after = times[place]
    user[USER.user_events] = math.log1p(float(asks.events[row]))
    user[USER.user_day] = math.log1p(float(day))
    user[USER.user_hour] = math.log1p(float(hour))
    user[USER.user_session] = math.log1p(float(session))
    user[USER.user_gap] = age(now, times[length - 1]) if length > 0 else 20.0
    user[USER.user_tenure] = age(now, times[0]) if length > 0 else -1.0
    user[USER.user_new] = 0.0 if length > 0 else 1.0
    last = asks.kinds[row, length - 1] if length > 0 else 255
    user[USER.last_view] = 1.0 if last == Kind.VIEW else 0.0
    user[USER.last_purchase] = 1.0 if last == Kind.PURCHASE else 0.0
    user[USER.last_rating] = 1.0 if last == Kind.RATING else 0.0


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _taste(
    asker: Asker, half_life: int, signals: SignalArrays, catalogue: CatalogueArrays
) -> tuple[float, float, float, float]:
    """Mean log popularity, log age and years since publication of own items; and the weight of the years."""
    clicks, published, factor = signals.clicks, catalogue.published, asker.factor[half_life]
    weights, popularity, ages, years, dated, weight = 1e-6, 0.0, 0.0, 0.0, 1e-6, 1.0
    for d in range(min(asker.found, TASTE)):
        q = asker.items[d]
        weights += weight
        popularity += weight * log(min(signals.popularity[q, half_life] * factor, clicks[q]) + EPSILON)
        ages += weight * age(asker.now, signals.first_ms[q]) if clicks[q] > 0 else 0.0
        if not math.isnan(published[q]):
            years += weight * (asker.year - published[q])
            dated += weight
        weight *= 0.9
    return popularity / weights, ages / weights, years / dated, dated


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def write_user(
    x: Floats,
    popularity: Floats,
    listed: Items,
    asker: Asker,
    asks: Asks,
    signals: SignalArrays,
    catalogue: CatalogueArrays,
    model: ModelArrays,
) -> None:
    """The user's pace, the same for all candidates, and how far a candidate is from the user's taste."""
    half_life = (model.popular_now + model.popular + 1) // 2
    user = np.empty(x.shape[1])
    _pace(asks, asker.row, asker.now, user)
    liked, ages, years, dated = _taste(asker, half_life, signals, catalogue)
    for c in range(listed.shape[0]):
        published = catalogue.published[listed[c]]
        for k in range(USER.taste_popularity):
            x[c, k] = user[k]
        if asker.found > 0:
            gap = popularity[c, POPULARITY.popularity_0 + half_life] - liked
            x[c, USER.taste_popularity] = liked
            x[c, USER.taste_popularity_gap] = gap
            x[c, USER.taste_popularity_distance] = abs(np.float32(gap))
            x[c, USER.taste_age_gap] = max(popularity[c, POPULARITY.age], 0.0) - ages
            there = not math.isnan(published) and dated > 0.5
            x[c, USER.taste_year_gap] = asker.year - published - years if there else 0.0
        else:
            x[c, USER.taste_popularity] = -1.0
            x[c, USER.taste_popularity_gap] = x[c, USER.taste_popularity_distance] = 0.0
            x[c, USER.taste_age_gap] = x[c, USER.taste_year_gap] = 0.0


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _static(asker: Asker, size: int, in_list: Items, ease_item: Items, ease_weight: Floats) -> Floats:
    """What the static item-item model says of the candidates (2, C): by the last own items, and by all."""
    ease, hits = np.zeros((2, size), np.float32), np.empty(ease_item.shape[1] + 1, np.int32)
    for d in range(asker.items.shape[0]):
        q = asker.items[d]
        if q >= ease_item.shape[0]:
            continue
        for h in range(hits_of(filled(ease_item[q]), in_list, hits)):
            k = hits[h]
            c = in_list[ease_item[q, k]]
            ease[1, c] += ease_weight[q, k]
            if d < LAST:
                ease[0, c] += ease_weight[q, k]
    return ease


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def write_rest(
    x: Floats,
    ranks: NDArray[np.int16],
    listed: Items,
    asker: Asker,
    signals: SignalArrays,
    model: ModelArrays,
) -> None:
    """Values, own consumption, the static model, and the sources' ranks (C, S)."""
    n, values, times = listed.shape[0], asker.values, asker.times
    in_list = signals.marks[0]
    ease = _static(asker, n, in_list, model.ease_item, model.ease_weight)
    had = np.zeros((3, n), np.int32)  # times had, distances of the last and of the first time
    for d in range(asker.items.shape[0]):
        c = in_list[asker.items[d]]
        if c >= 0:  # itself a candidate: items may be had again
            if had[0, c] == 0:
                had[1, c] = d
            had[2, c] = d
            had[0, c] += 1
    value_user, near = 0.0, min(asker.found, LAST)
    for d in range(near):
        value_user += values[d]
    if near > 0:
        value_user /= near
    value_last = values[0] if near > 0 else np.float32(0.0)
    for c in range(n):
        j = listed[c]
        x[c, REST.value_item] = signals.value_sum[j] / (signals.clicks[j] + 3.0)
        x[c, REST.value_user] = value_user
        x[c, REST.value_last] = value_last
        x[c, REST.own_count] = math.log1p(float(had[0, c]))
        x[c, REST.own_since], x[c, REST.own_distance], x[c, REST.own_due] = 22.0, 5.0, 0.0
        if had[0, c] > 0:
            since = times[had[1, c]]
            x[c, REST.own_since] = age(asker.now, since)
            x[c, REST.own_distance] = math.log1p(float(had[1, c]))
            if had[0, c] > 1:
                between = (since - times[had[2, c]]) / 1000.0 / (had[0, c] - 1)
                x[c, REST.own_due] = x[c, REST.own_since] - log(1.0 + max(between, 0.0))
        x[c, REST.ease_10] = ease[0, c]
        x[c, REST.ease_all] = ease[1, c]
        for s in range(ranks.shape[1]):
            x[c, REST.rank_ann + s] = log_rank(ranks[c, s]) if ranks[c, s] >= 0 else _UNSEEN_RANK
