"""Settings that depend on the data and are chosen from its first part, never by hand.

Owns three quick prequential trials (predict, then learn) over the last fifth of the training part:
which half-lives the popularity sources use, with which half-life pairs of clicks
fade, and how these are scored. Knows no models. Under ten seconds for 100,000 clicks on one core.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from learner.data.event_weights import ALL_ALIKE
from learner.data.inputs import EventLog
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


def tune(
    log: EventLog, stop: int, items: int, half_lives_ms: tuple[float, ...], *, repeats: bool,
    weights: Sequence[float] = ALL_ALIKE,
) -> Tuning:  # fmt: skip
    """Choose from the first `stop` events of the log; scored is their last fifth.

    `weights` (K,): how much an event counts, by the code of its kind; those that count nothing are no part.
    """
    counts = np.array(weights)[log.kind[:stop]]
    keep = np.flatnonzero(counts)
    counts = counts[keep]
    user, item, time = log.user[keep], log.item[keep], log.time_ms[keep]
    n, begin = len(keep), int(0.8 * len(keep))
    if n - begin < 10:  # too little to choose by: middle values
        return Tuning(len(half_lives_ms) // 2, len(half_lives_ms) - 1, 30.0 * DAY_MS, (), ())
    scored = np.zeros(n, bool)
    scored[begin :: max(1, (n - begin) // SCORED)] = True
    popularity_rank = _popularity_trial(
        _clicks(user, item, time, scored, counts), items, half_lives_ms, repeats
    )
    by_popularity = _ndcg(popularity_rank)
    now = int(np.argmax(by_popularity))
    union = np.minimum(popularity_rank, popularity_rank[:, now : now + 1]) <= UNION_DEPTH
    gain = union.sum(0).astype(np.float64)
    gain[now] = -1.0
    other = int(np.argmax(gain))
    tail = slice(max(0, n - PAIR_EVENTS), n)
    pair_rank = _pair_trial(
        _clicks(user[tail], item[tail], time[tail], scored[tail], counts[tail]), items, repeats
    )
    by_pair = _ndcg(pair_rank)
    best = PAIR_HALF_LIVES_MS[len(by_pair) - 1 - int(np.argmax(by_pair[::-1]))]  # of equals the longest
    return Tuning(now, other, best, tuple(by_popularity.tolist()), tuple(by_pair.tolist()))


def _ndcg(rank: NDArray[np.float64]) -> NDArray[np.float64]:
    """rank (n, S) -> mean NDCG@10 of each setting (S,)."""
    if not len(rank):
        return np.zeros(rank.shape[1])
    gains: NDArray[np.float64] = np.where(rank <= 10, 1 / np.log2(rank + 1), 0.0).mean(0)
    return gains


class _Clicks(NamedTuple):
    """Clicks in order of time, n of them, as the kernels take them; histories are slices of one array."""

    item: NDArray[np.int32]  # (n,)
    time: NDArray[np.float64]  # (n,) ms
    scored: NDArray[np.bool_]  # (n,)
    history: NDArray[np.int32]  # (n,) items, user after user
    start: NDArray[np.int64]  # (n,) where the click's user begins in `history`
    place: NDArray[np.int64]  # (n,) where the click itself stands in it
    counts: NDArray[np.float64]  # (n,) how much it counts


class _Pairs(NamedTuple):
    """Pairs of items that ever stand close to each other, m of them, and what each click adds to them."""

    row: NDArray[np.int64]  # (items + 1,) where an item's pairs begin
    neighbour: NDArray[np.int32]  # (m,) the second item
    begin: NDArray[np.int64]  # (n + 1,) where a click's additions begin
    forth: NDArray[np.int64]  # (e,) pair of the earlier with the later item
    back: NDArray[np.int64]  # (e,) pair of the later with the earlier item
    closeness: NDArray[np.float64]  # (e,) what is added to both


def _clicks(
    user: NDArray[np.int32], item: NDArray[np.int32], time: NDArray[np.int64], scored: NDArray[np.bool_],
    counts: NDArray[np.float64],
) -> _Clicks:  # fmt: skip
    order = np.argsort(user, kind="stable")
    ordered = user[order]
    first = np.r_[True, ordered[1:] != ordered[:-1]]
    begin = np.maximum.accumulate(np.where(first, np.arange(len(user)), 0))
    place, start = np.empty(len(user), np.int64), np.empty(len(user), np.int64)
    place[order], start[order] = np.arange(len(user)), begin
    return _Clicks(item, time.astype(np.float64), scored, item[order], start, place, counts)


def _popularity_trial(
    clicks: _Clicks, items: int, half_lives_ms: tuple[float, ...], repeats: bool
) -> NDArray[np.float64]:
    """Rank by decayed popularity (scored, H), for each half-life."""
    rate = 1.0 / np.array(half_lives_ms)
    rank = np.full((int(clicks.scored.sum()), len(rate)), np.inf)
    return rank[: _walk_popularity(clicks, items, rate, repeats, rank)]


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _walk_popularity(
    clicks: _Clicks, items: int, rate: NDArray[np.float64], repeats: bool, rank: NDArray[np.float64]
) -> int:
    item, time, history, start, place = clicks.item, clicks.time, clicks.history, clicks.start, clicks.place
    settings = rate.shape[0]
    weight = np.zeros((items, settings))
    reference = np.full(settings, time[0])
    mark = np.full(items, -1, np.int64)
    rows = 0
    for k in range(item.shape[0]):
        if clicks.scored[k]:
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
            weight[item[k], s] += clicks.counts[k] * 2.0 ** ((time[k] - reference[s]) * rate[s])
    return rows


def _pair_trial(clicks: _Clicks, items: int, repeats: bool) -> NDArray[np.float64]:
    """Rank by decayed co-occurrence with the last clicks (scored, P), for each pair half-life."""
    rate = 1.0 / np.array(PAIR_HALF_LIVES_MS)
    rank = np.full((int(clicks.scored.sum()), len(rate)), np.inf)
    return rank[: _walk_pairs(clicks, _pairs(clicks, items), items, rate, repeats, rank)]


def _pairs(clicks: _Clicks, items: int) -> _Pairs:
    history, place, n = clicks.history, clicks.place, len(clicks.item)
    earlier, later, event, distance = [], [], [], []
    for d in range(1, PAIR_REACH + 1):
        at = np.flatnonzero(place - d >= clicks.start)
        earlier.append(history[place[at] - d])
        later.append(clicks.item[at])
        event.append(at)
        distance.append(np.full(len(at), d))
    q, y = np.concatenate(earlier).astype(np.int64), np.concatenate(later).astype(np.int64)
    when, apart = np.concatenate(event), np.concatenate(distance)
    keys, slot = np.unique(np.concatenate([q * items + y, y * items + q]), return_inverse=True)
    order = np.argsort(when, kind="stable")
    return _Pairs(
        row=np.searchsorted(keys, np.arange(items + 1, dtype=np.int64) * items),
        neighbour=(keys % items).astype(np.int32),
        begin=np.searchsorted(when[order], np.arange(n + 1)),
        forth=slot[: len(q)][order],
        back=slot[len(q) :][order],
        closeness=apart[order].astype(np.float64) ** -0.5,
    )


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _walk_pairs(
    clicks: _Clicks, pairs: _Pairs, items: int, rate: NDArray[np.float64], repeats: bool,
    rank: NDArray[np.float64],
) -> int:  # fmt: skip
    item, time, history, start, place = clicks.item, clicks.time, clicks.history, clicks.start, clicks.place
    row, neighbour = pairs.row, pairs.neighbour
    settings = rate.shape[0]
    weight = np.zeros((neighbour.shape[0], settings))
    reference = np.full(settings, time[0])
    count = np.zeros(items)
    score = np.zeros((items, settings))
    touched = np.empty(items, np.int64)
    mark = np.full(items, -1, np.int64)
    met_at = np.full(items, -1, np.int64)  # by itself: the score of one that was met may still be 0
    rows = 0
    for k in range(item.shape[0]):
        if clicks.scored[k] and place[k] > start[k]:
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
                        if met_at[y] != k:
                            met_at[y] = k
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
        for e in range(pairs.begin[k], pairs.begin[k + 1]):
            for s in range(settings):
                gain = clicks.counts[k] * pairs.closeness[e] * 2.0 ** ((time[k] - reference[s]) * rate[s])
                weight[pairs.forth[e], s] += gain
                weight[pairs.back[e], s] += gain
        count[item[k]] += clicks.counts[k]
    return rows
