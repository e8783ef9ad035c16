"""The blocks about the user, and about candidates in the user's eyes: "user", "content" and "rest".

Each function writes a block's columns of C candidates, `listed` (C,) int32, into x (C, columns of the block).
`popularity` (C, columns) are those of that block.
"""

import math

import numba
import numpy as np

from learner.data.events import Kind
from learner.data.times import DAY_MS, HOUR_MS
from learner.ranking.asker import LAST
from learner.ranking.columns import CONTENT, POPULARITY, REST, USER
from learner.ranking.feature_math import (
    EPSILON,
    age,
    content_profile,
    dot,
    length_of,
    log,
    log_rank,
    take_logs,
)
from learner.ranking.feature_pairs import filled, hits_of

TASTE = 20  # own items that make the user's taste
_AVERSIONS = 5  # latest dislikes that count
_UNSEEN_RANK = math.log1p(200.0)  # of a source that did not name the candidate, however long the list is
_SESSION_MS = 1_800_000  # a longer pause ends a session


@numba.njit(cache=True, nogil=True)
def _pace(asks, row, now, user):  # type: ignore[no-untyped-def]
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


@numba.njit(cache=True, nogil=True)
def _taste(asker, half_life, signals, catalogue):  # type: ignore[no-untyped-def]
    """Mean log popularity, log age and years since publication of the last own items; the last's weight."""
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


@numba.njit(cache=True, nogil=True)
def write_user(x, popularity, listed, asker, asks, signals, catalogue, model):  # type: ignore[no-untyped-def]
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


@numba.njit(cache=True, nogil=True)
def add_to_categories(sums, categories, item, weight):  # type: ignore[no-untyped-def]
    """Adds a weight to each of an item's categories."""
    for k in range(categories.shape[1]):
        category = categories[item, k]
        if category < 0:
            break
        sums[category] += weight


@numba.njit(cache=True, nogil=True)
def clear_categories(sums, categories, item):  # type: ignore[no-untyped-def]
    """Sets an item's categories to 0."""
    for k in range(categories.shape[1]):
        category = categories[item, k]
        if category < 0:
            break
        sums[category] = 0.0


@numba.njit(cache=True, nogil=True)
def warm_categories(signals, catalogue, half_life):  # type: ignore[no-untyped-def]
    """How popular categories are, by the top list alone, whose order is the same in every process.

    Into `category_scratch[2]`, to be cleared by `cool_categories`.
    """
    for r in range(signals.top_count[half_life]):
        item = signals.top[half_life, r]
        add_to_categories(
            signals.category_scratch[2], catalogue.categories, item, signals.popularity[item, half_life]
        )


@numba.njit(cache=True, nogil=True)
def cool_categories(signals, catalogue, half_life):  # type: ignore[no-untyped-def]
    """Undoes `warm_categories`."""
    for r in range(signals.top_count[half_life]):
        clear_categories(signals.category_scratch[2], catalogue.categories, signals.top[half_life, r])


@numba.njit(cache=True, nogil=True)
def _disliked(asks, row):  # type: ignore[no-untyped-def]
    """The last items (n,) that the user pushed away."""
    items, n = np.empty(_AVERSIONS, np.int32), 0
    for place in range(asks.length[row] - 1, -1, -1):
        kind = asks.kinds[row, place]
        if n < _AVERSIONS and (kind == Kind.DISLIKE or kind == Kind.HIDE):
            items[n] = asks.items[row, place]
            n += 1
    return items[:n]


@numba.njit(cache=True, nogil=True)
def _write_likeness(x, listed, asker, disliked, model):  # type: ignore[no-untyped-def]
    """Columns from `content_1` to `dislike_similarity`."""
    content, vectors, history, near = model.content, model.vectors, asker.items, min(asker.found, 5)
    profile, lengths = np.empty((1, content.shape[1]), np.float32), np.empty(_AVERSIONS, np.float32)
    content_profile(history, content, profile)
    for k in range(disliked.shape[0]):
        lengths[k] = length_of(vectors, disliked[k])
    for c in range(listed.shape[0]):
        j = listed[c]
        closest = -1.0 if near == 0 else -2.0
        x[c, CONTENT.content_1] = 0.0
        for d in range(near):
            similar = dot(content, history[d], content, j)
            if d == 0:
                x[c, CONTENT.content_1] = similar
            closest = max(closest, similar)
        x[c, CONTENT.content_profile] = dot(profile, 0, content, j)
        x[c, CONTENT.content_max] = closest
        worst = 0.0
        if disliked.shape[0] > 0:
            norm = length_of(vectors, j)
            for k in range(disliked.shape[0]):
                q = disliked[k]
                worst = max(worst, dot(content, q, content, j))
                worst = max(worst, dot(vectors, q, vectors, j) / (norm * lengths[k]))
        x[c, CONTENT.dislike_similarity] = worst


@numba.njit(cache=True, nogil=True)
def write_content(x, popularity, listed, asker, asks, signals, catalogue, model):  # type: ignore[no-untyped-def]
    """Likeness to what the user clicked or disliked, by text and by categories."""
    _write_likeness(x, listed, asker, _disliked(asks, asker.row), model)
    categories, idf, short = catalogue.categories, catalogue.category_weight, model.popular_now
    liked, liked_last, warmth = signals.category_scratch
    n, factor = listed.shape[0], asker.factor[short]
    weight = 1.0
    for d in range(min(asker.found, TASTE)):
        add_to_categories(liked, categories, asker.items[d], weight)
        if d == 0:
            add_to_categories(liked_last, categories, asker.items[d], 1.0)
        weight *= 0.9
    logs, named = np.ones((n, 2), np.float32), np.empty(n, np.int64)
    for c in range(n):
        j = listed[c]
        match, match_last, warmest, of = 0.0, 0.0, 0.0, 0
        for k in range(categories.shape[1]):
            category = categories[j, k]
            if category < 0:
                break
            match += liked[category] * idf[category]
            match_last += liked_last[category] * idf[category]
            warmest = max(warmest, min(warmth[category] * factor, signals.total))
            of += 1
        logs[c, 0], logs[c, 1], named[c] = warmest + EPSILON, warmest + 1.0, of
        x[c, CONTENT.category_profile] = match / math.sqrt(of + 0.5)
        x[c, CONTENT.category_last] = match_last / math.sqrt(of + 0.5)
    take_logs(logs)
    for c in range(n):
        own = popularity[c, POPULARITY.popularity_0 + short]
        x[c, CONTENT.category_popularity] = logs[c, 0] if named[c] > 0 else -9.0
        x[c, CONTENT.category_share] = own - logs[c, 1] if named[c] > 0 else 0.0
    for d in range(min(asker.found, TASTE)):
        clear_categories(liked, categories, asker.items[d])
        clear_categories(liked_last, categories, asker.items[d])


@numba.njit(cache=True, nogil=True)
def _static(asker, size, in_list, ease_item, ease_weight):  # type: ignore[no-untyped-def]
    """What the static item-item model says of the candidates: by the last `LAST` own items, by all (2, C)."""
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


@numba.njit(cache=True, nogil=True)
def write_rest(x, ranks, listed, asker, signals, model):  # type: ignore[no-untyped-def]
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
