"""The block "content": likeness to what the user liked or pushed away, by text and by categories.

Owns what is made of an item's content and categories. The sums by category are the signals' to lend and all
0 again after a call.
"""

import math

import numba
import numpy as np

from learner.data.events import Kind
from learner.ranking.arrays import Asks, CatalogueArrays, Floats, ModelArrays, SignalArrays
from learner.ranking.asker import TASTE, Asker
from learner.ranking.columns import CONTENT, POPULARITY
from learner.ranking.feature_math import EPSILON, content_profile, dot, length_of, take_logs
from learner.signals.kernels import Doubles, Items

_AVERSIONS = 5  # latest dislikes that count


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def add_to_categories(sums: Doubles, categories: Items, item: int, weight: float) -> None:
    """Adds a weight to each of an item's categories."""
    for k in range(categories.shape[1]):
        category = categories[item, k]
        if category < 0:
            break
        sums[category] += weight


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def clear_categories(sums: Doubles, categories: Items, item: int) -> None:
    """Sets an item's categories to 0."""
    for k in range(categories.shape[1]):
        category = categories[item, k]
        if category < 0:
            break
        sums[category] = 0.0


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def warm_categories(signals: SignalArrays, catalogue: CatalogueArrays, half_life: int) -> None:
    """How popular categories are, by the top list alone, whose order is the same in every process.

    Into `category_scratch[2]`, to be cleared by `cool_categories`.
    """
    for r in range(signals.top_count[half_life]):
        item = signals.top[half_life, r]
        add_to_categories(
            signals.category_scratch[2], catalogue.categories, item, signals.popularity[item, half_life]
        )


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def cool_categories(signals: SignalArrays, catalogue: CatalogueArrays, half_life: int) -> None:
    """Undoes `warm_categories`."""
    for r in range(signals.top_count[half_life]):
        clear_categories(signals.category_scratch[2], catalogue.categories, signals.top[half_life, r])


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _disliked(asks: Asks, row: int) -> Items:
    """The last items (n,) that the user pushed away."""
    items, n = np.empty(_AVERSIONS, np.int32), 0
    for place in range(asks.length[row] - 1, -1, -1):
        kind = asks.kinds[row, place]
        if n < _AVERSIONS and (kind == Kind.DISLIKE or kind == Kind.HIDE):
            items[n] = asks.items[row, place]
            n += 1
    return items[:n]


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _write_likeness(x: Floats, listed: Items, asker: Asker, disliked: Items, model: ModelArrays) -> None:
    """Columns from `content_1` to `dislike_similarity`."""
    content, vectors, history, near = model.content, model.vectors, asker.items, min(asker.found, 5)
    profile, lengths = np.empty((1, content.shape[1]), np.float32), np.empty(_AVERSIONS, np.float32)
    content_profile(history[:TASTE], content, profile)
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


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def write_content(
    x: Floats,
    popularity: Floats,
    listed: Items,
    asker: Asker,
    asks: Asks,
    signals: SignalArrays,
    catalogue: CatalogueArrays,
    model: ModelArrays,
) -> None:
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
