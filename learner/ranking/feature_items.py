"""The blocks about candidates by themselves: "student", "popularity" and "depth".

Each function writes a block's columns of C candidates, `listed` (C,) int32, into x (C, columns of the block).
"""

import math

import numba
import numpy as np

from learner.ranking.arrays import Asks, CatalogueArrays, Floats, ModelArrays, SignalArrays
from learner.ranking.asker import LAST, Asker
from learner.ranking.columns import DEPTH, POPULARITY, STUDENT
from learner.ranking.feature_math import (
    EPSILON,
    copy_columns,
    direction,
    dot,
    length_of,
    log,
    log_rank,
    take_logs,
)
from learner.signals.kernels import Items
from learner.signals.settings import DEPTH_HALF_LIVES, DEPTHS, HALF_LIVES

DEPTH_PRIOR = 0.02  # share of the popularity among all users in that among users of one depth


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def write_student(
    x: Floats, listed: Items, asker: Asker, asks: Asks, signals: SignalArrays, model: ModelArrays
) -> None:
    """The student's scores, as they are and in the list; and the nearness of vectors."""
    popularity, clicks, short = signals.popularity, signals.clicks, model.popular_now
    vectors, bias, user_vector = model.vectors, model.bias, asks.user_vector
    n, factor = listed.shape[0], asker.factor[short]
    student = np.empty(n, np.float32)
    mean, highest = 0.0, -1e30
    for c in range(n):
        j = listed[c]
        raw = np.float32(dot(user_vector, asker.row, vectors, j) + bias[j])
        prior = model.prior_weight * log(min(popularity[j, short] * factor, clicks[j]) + EPSILON)
        student[c] = raw + prior
        x[c, STUDENT.student] = raw
        mean += student[c]
        highest = max(highest, student[c])
    mean /= n
    last = asker.items[0] if asker.found > 0 else -1
    length = np.float32(length_of(vectors, last) if last >= 0 else 1.0)
    way = np.empty((1, vectors.shape[1]), np.float32)
    direction(asker.items[:LAST], vectors, way, 0)
    for c in range(n):
        j, better = listed[c], 0
        for other in range(n):
            better += student[other] > student[c]
        norm = length_of(vectors, j)
        x[c, STUDENT.student_mean] = student[c] - mean
        x[c, STUDENT.student_max] = student[c] - highest
        x[c, STUDENT.student_rank] = log_rank(better)
        x[c, STUDENT.student_cosine] = dot(vectors, last, vectors, j) / (norm * length) if last >= 0 else 0.0
        x[c, STUDENT.student_profile] = dot(way, 0, vectors, j) / norm


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def write_popularity(
    x: Floats, listed: Items, asker: Asker, signals: SignalArrays, catalogue: CatalogueArrays
) -> None:
    """Popularity by half-life and in all, and ages."""
    popularity, clicks, published = signals.popularity, signals.clicks, catalogue.published
    first_ms, last_ms, factor, now = signals.first_ms, signals.last_ms, asker.factor, asker.now
    n = listed.shape[0]
    logs = np.ones((n, x.shape[1]), np.float32)
    for c in range(n):
        j = listed[c]
        for h in range(HALF_LIVES):
            decayed = min(popularity[j, h] * factor[h], clicks[j])
            logs[c, POPULARITY.popularity_0 + h] = decayed + EPSILON
        logs[c, POPULARITY.popularity_all] = clicks[j] + 1.0
        logs[c, POPULARITY.last_seen] = 1.0 + max(now - last_ms[j], 0) / 1000.0
        logs[c, POPULARITY.age] = 1.0 + max(now - first_ms[j], 0) / 1000.0
        years = max(asker.year - published[j], 0.0) if not math.isnan(published[j]) else 0.0
        logs[c, POPULARITY.published_age] = 1.0 + years * 365.25
    take_logs(logs)
    for c in range(n):
        j = listed[c]
        clicked, dated = clicks[j] > 0, not math.isnan(published[j])
        for h in range(HALF_LIVES + 1):  # and `popularity_all`
            x[c, POPULARITY.popularity_0 + h] = logs[c, POPULARITY.popularity_0 + h]
        for h in range(HALF_LIVES - 1):
            k = POPULARITY.popularity_0 + h
            x[c, POPULARITY.trend_0 + h] = logs[c, k] - logs[c, k + 1]
        age = logs[c, POPULARITY.age] if clicked else np.float32(-1.0)
        everyone = logs[c, POPULARITY.popularity_all]
        x[c, POPULARITY.last_seen] = logs[c, POPULARITY.last_seen] if clicked else 22.0
        x[c, POPULARITY.age] = age
        x[c, POPULARITY.popularity_per_age] = everyone - max(age, np.float32(0.0))
        x[c, POPULARITY.year] = asker.year - published[j] if dated else -5.0
        x[c, POPULARITY.published_age] = logs[c, POPULARITY.published_age] if dated else -1.0


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def write_depth(x: Floats, listed: Items, asker: Asker, signals: SignalArrays) -> None:
    """Popularity among users of the same depth, and the depth of those who clicked."""
    popularity, by_depth, clicks = signals.popularity, signals.by_depth, signals.clicks
    factor, depth, n, lives = asker.factor, asker.depth, listed.shape[0], len(DEPTH_HALF_LIVES)
    logs = np.empty((n, lives), np.float32)
    for c in range(n):
        j = listed[c]
        for k in range(lives):
            h = DEPTH_HALF_LIVES[k]
            same = min(by_depth[j, k, depth] * factor[h], clicks[j])
            among_all = min(popularity[j, h] * factor[h], clicks[j])
            logs[c, k] = same + DEPTH_PRIOR * among_all + EPSILON
        weighed, of_any = 0.0, 0.0
        for k in range(len(DEPTHS)):
            weighed += k * by_depth[j, -1, k]
            of_any += by_depth[j, -1, k]
        mean = weighed / of_any if of_any > 0 else -1.0
        x[c, DEPTH.depth_mean] = mean
        x[c, DEPTH.depth_gap] = x[c, DEPTH.depth_mean] - depth if of_any > 0 else 0.0
    take_logs(logs)
    copy_columns(logs, x, 0, lives)
