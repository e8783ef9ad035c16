"""Settings that depend on the data and are chosen from its first part, never by hand.

Owns three quick prequential trials (predict, then learn) over the last fifth of the training part:
which half-lives the popularity sources use, with which half-life pairs of clicks
fade, and how these are scored. Knows no models. Under ten seconds for 100,000 clicks on one core.
"""

import math
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from learner.data.inputs import INTEREST_KINDS, EventLog
from learner.data.times import DAY_MS

PAIR_HALF_LIVES_MS = (1.0 * DAY_MS, 7.0 * DAY_MS, 30.0 * DAY_MS, 120.0 * DAY_MS, math.inf)
SCORED = 2000  # events a trial is scored on
PAIR_EVENTS = 150_000  # newest events that the pair trial looks at: bounds its time and memory
PAIR_REACH = 10  # events between the two clicks of a pair
PAIR_DRAWN = 3  # last clicks that propose, weighted 1, 1/2, 1/3
UNION_DEPTH = 50  # depth at which a second popularity source is judged by what it adds to the first


@dataclass(frozen=True)
class Tuning:
    """What the data's first part has chosen.

    `popular_now` and `popular` are places in `half_lives_ms`: the half-life that predicts best, which is
    also the prior's, and the one that adds most to its list (mostly a longer one).
    `popularity_ndcg` (H,) and `pair_ndcg` (P,) are the trials' NDCG@10.
    """

    popular_now: int
    popular: int
    pair_half_life_ms: float
    popularity_ndcg: tuple[float, ...]
    pair_ndcg: tuple[float, ...]


def tune(log: EventLog, stop: int, items: int, half_lives_ms: tuple[float, ...], *, repeats: bool) -> Tuning:
    """Choose from the first `stop` events of the log; scored is their last fifth."""
    keep = np.flatnonzero(INTEREST_KINDS[log.kind[:stop]])
    user, item, time = log.user[keep], log.item[keep], log.time_ms[keep]
    n, begin = len(keep), int(0.8 * len(keep))
    if n - begin < 10:  # too little to choose by: middle values
        return Tuning(len(half_lives_ms) // 2, len(half_lives_ms) - 1, 30.0 * DAY_MS, (), ())
    scored = np.zeros(n, bool)
    scored[begin :: max(1, (n - begin) // SCORED)] = True
    popularity_rank = _popularity_trial(user, item, time, items, np.array(half_lives_ms), scored, repeats)
    by_popularity = _ndcg(popularity_rank)
    now = int(np.argmax(by_popularity))
    union = np.minimum(popularity_rank, popularity_rank[:, now : now + 1]) <= UNION_DEPTH
    gain = union.sum(0).astype(np.float64)
    gain[now] = -1.0
    other = int(np.argmax(gain))
    from_event = max(0, n - PAIR_EVENTS)
    tail = slice(from_event, n)
    pair_rank = _pair_trial(user[tail], item[tail], time[tail], items, scored[tail], repeats)
    by_pair = _ndcg(pair_rank)
    best = PAIR_HALF_LIVES_MS[len(by_pair) - 1 - int(np.argmax(by_pair[::-1]))]  # of equals the longest
    return Tuning(now, other, best, tuple(by_popularity.tolist()), tuple(by_pair.tolist()))


def _ndcg(rank: NDArray[np.float64]) -> NDArray[np.float64]:
    """rank (n, S) -> mean NDCG@10 of each setting (S,)."""
    if not len(rank):
        return np.zeros(rank.shape[1])
    gains: NDArray[np.float64] = np.where(rank <= 10, 1 / np.log2(rank + 1), 0.0).mean(0)
    return gains


def _history_places(user: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Events by user (order (n,), first of each event's user (n,)), so that histories are slices."""
    order = np.argsort(user, kind="stable")
    ordered = user[order]
    first = np.r_[True, ordered[1:] != ordered[:-1]]
    begin = np.maximum.accumulate(np.where(first, np.arange(len(user)), 0))
    place, start = np.empty(len(user), np.int64), np.empty(len(user), np.int64)
    place[order], start[order] = np.arange(len(user)), begin
    return place, start


def _popularity_trial(
    user: NDArray[np.int32], item: NDArray[np.int32], time: NDArray[np.int64], items: int,
    half_lives_ms: NDArray[np.float64], scored: NDArray[np.bool_], repeats: bool,
) -> NDArray[np.float64]:  # fmt: skip
    place, start = _history_places(user)
    history = item[np.argsort(user, kind="stable")]
    rank = np.full((int(scored.sum()), len(half_lives_ms)), np.inf)
    used = _walk_popularity(
        item,
        time.astype(np.float64),
        place,
        start,
        history,
        items,
        1.0 / half_lives_ms,
        scored,
        repeats,
        rank,
    )
    return rank[:used]


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _walk_popularity(
    item: NDArray[np.int32], time: NDArray[np.float64], place: NDArray[np.int64], start: NDArray[np.int64],
    history: NDArray[np.int32], items: int, rate: NDArray[np.float64], scored: NDArray[np.bool_],
    repeats: bool, rank: NDArray[np.float64],
) -> int:  # fmt: skip
    settings = rate.shape[0]
    weight = np.zeros((items, settings))
    reference = np.full(settings, time[0])
    mark = np.full(items, -1, np.int64)
    rows = 0
    for k in range(item.shape[0]):
        if scored[k]:
            known = False
            if not repeats:
                for h in range(start[k], place[k]):
                    mark[history[h]] = k
                    known = known or history[h] == item[k]
            if not known:
                for s in range(settings):
                    own, above, equal = weight[item[k], s], 0, 0
                    for q in range(items):
                        if mark[q] != k:
                            above += weight[q, s] > own
                            equal += weight[q, s] == own
                    rank[rows, s] = 1 + above + 0.5 * (equal - 1)
                rows += 1
        for s in range(settings):
            if (time[k] - reference[s]) * rate[s] > 500:  # 2**500 is near the end of float64's range
                weight[:, s] *= 2.0 ** -((time[k] - reference[s]) * rate[s])
                reference[s] = time[k]
            weight[item[k], s] += 2.0 ** ((time[k] - reference[s]) * rate[s])
    return rows


def _pair_trial(
    user: NDArray[np.int32], item: NDArray[np.int32], time: NDArray[np.int64], items: int,
    scored: NDArray[np.bool_], repeats: bool,
) -> NDArray[np.float64]:  # fmt: skip
    """Rank by decayed co-occurrence with the last clicks, for each pair half-life."""
    place, start = _history_places(user)
    history = item[np.argsort(user, kind="stable")]
    n = len(item)
    earlier, later, event, distance = [], [], [], []
    for d in range(1, PAIR_REACH + 1):
        at = np.flatnonzero(place - d >= start)
        earlier.append(history[place[at] - d])
        later.append(item[at])
        event.append(at)
        distance.append(np.full(len(at), d))
    q, y = np.concatenate(earlier).astype(np.int64), np.concatenate(later).astype(np.int64)
    when, apart = np.concatenate(event), np.concatenate(distance)
    keys, slot = np.unique(np.concatenate([q * items + y, y * items + q]), return_inverse=True)
    order = np.argsort(when, kind="stable")
    begin = np.searchsorted(when[order], np.arange(n + 1))
    row = np.searchsorted(keys, np.arange(items + 1, dtype=np.int64) * items)
    rate = 1.0 / np.array(PAIR_HALF_LIVES_MS)
    rank = np.full((int(scored.sum()), len(rate)), np.inf)
    used = _walk_pairs(
        item, time.astype(np.float64), place, start, history, items, rate, scored, repeats, rank,
        row, (keys % items).astype(np.int32), begin, slot[: len(q)][order], slot[len(q) :][order],
        apart[order].astype(np.float64) ** -0.5,
    )  # fmt: skip
    return rank[:used]


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _walk_pairs(
    item: NDArray[np.int32], time: NDArray[np.float64], place: NDArray[np.int64], start: NDArray[np.int64],
    history: NDArray[np.int32], items: int, rate: NDArray[np.float64], scored: NDArray[np.bool_],
    repeats: bool, rank: NDArray[np.float64], row: NDArray[np.int64], neighbour: NDArray[np.int32],
    begin: NDArray[np.int64],
    forth: NDArray[np.int64], back: NDArray[np.int64], closeness: NDArray[np.float64],
) -> int:  # fmt: skip
    settings = rate.shape[0]
    weight = np.zeros((neighbour.shape[0], settings))
    reference = np.full(settings, time[0])
    count = np.zeros(items)
    score = np.zeros((items, settings))
    touched = np.empty(items, np.int64)
    mark = np.full(items, -1, np.int64)
    rows = 0
    for k in range(item.shape[0]):
        if scored[k] and place[k] > start[k]:
            known = False
            if not repeats:
                for h in range(start[k], place[k]):
                    mark[history[h]] = k
                    known = known or history[h] == item[k]
            if not known:
                met = 0
                for d in range(1, min(PAIR_DRAWN, place[k] - start[k]) + 1):
                    last = history[place[k] - d]
                    for p in range(row[last], row[last + 1]):
                        y = neighbour[p]
                        if score[y, settings - 1] == 0.0:
                            touched[met] = y
                            met += 1
                        for s in range(settings):
                            score[y, s] += weight[p, s] / d / math.sqrt(count[y] + 20.0)
                for s in range(settings):
                    own, above, equal = score[item[k], s], 0, 0
                    for m in range(met):
                        if mark[touched[m]] != k:
                            above += score[touched[m], s] > own
                            equal += score[touched[m], s] == own
                    rank[rows, s] = 1 + above + 0.5 * (equal - 1) if own > 0 else np.inf
                for m in range(met):
                    score[touched[m]] = 0.0
                rows += 1
        for s in range(settings):
            if (time[k] - reference[s]) * rate[s] > 500:
                weight[:, s] *= 2.0 ** -((time[k] - reference[s]) * rate[s])
                reference[s] = time[k]
        for e in range(begin[k], begin[k + 1]):
            for s in range(settings):
                gain = closeness[e] * 2.0 ** ((time[k] - reference[s]) * rate[s])
                weight[forth[e], s] += gain
                weight[back[e], s] += gain
        count[item[k]] += 1
    return rows
