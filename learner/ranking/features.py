"""Features: what the ranker knows of each candidate, computed for a whole batch in one kernel.

Owns the meaning and the order of the columns (`FEATURES`). Knows no ranker: columns are raw, with
logarithms taken; standardising is the ranker's. Everything is computed at the ask's time from signals
learned so far; nothing is stored for it. `tests/worlds/plain_signals.py` says the same slowly.

Numbers that mean "none" lie just outside the range of real ones, so that a column stays smooth.
Distances d count the user's events of interest from the newest, d = 1; dislikes and hides are no
evidence for anything and appear in `dislike_similarity` alone.

All in one file: numba compiles anew when the file that a kernel stands in has changed, not when one has that
it takes constants or functions from.
"""

import math
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from learner.data.catalogue import Catalogue
from learner.ranking.candidates import (
    EPSILON,
    LAST,
    SOURCES,
    Asks,
    Candidates,
    ModelArrays,
    content_profile,
    decayed_by,
    dot,
    interest,
)
from learner.ranking.layout import Layout
from learner.signals.kernels import depth_of
from learner.signals.pair_weights import WINDOW
from learner.signals.settings import DEPTH_HALF_LIVES, DEPTHS, HALF_LIVES
from learner.signals.state import Signals

_STUDENT = ("student", "student_mean", "student_max", "student_rank", "student_cosine", "student_profile")
_POPULARITY = (
    *(f"popularity_{h}" for h in range(HALF_LIVES)),  # log decayed popularity by half-life
    "popularity_all",
    *(f"trend_{h}" for h in range(HALF_LIVES - 1)),  # popularity_h - popularity_(h+1)
    "last_seen",  # log seconds since anyone's last click
    "age",  # log seconds since the first click
    "popularity_per_age",
    "year",  # years since it was published
    "published_age",  # log days since it was published
)
# Popularity among users of the same depth (`signals.DEPTHS`) at three half-lives, with a share of that among
# all; the mean depth of those who clicked the item, and what it is above the user's.
_POPULARITY_BY_DEPTH = tuple(f"popularity_depth_{h}" for h in DEPTH_HALF_LIVES)
_DEPTH = (*_POPULARITY_BY_DEPTH, "depth_mean", "depth_gap")
_USER = (
    "user_events", "user_day", "user_hour", "user_session", "user_gap", "user_tenure", "user_new",
    "last_view", "last_purchase", "last_rating", "taste_popularity", "taste_popularity_gap",
    "taste_popularity_distance", "taste_age_gap", "taste_year_gap",
)  # fmt: skip
# knn: co-occurrence in either order / sqrt of both counts; rule: the candidate after the item, 1/d; inverse:
# knn in which users count the less the more they click; knn_day: knn of own events that fade within a day;
# own_due: log of the time since the user last had the item over the mean time between; value_near: mean value
# of own items, weighted by their knn.
_PAIRS = (
    "knn_1", "knn_3", "knn_10", "knn_50", "jaccard_1", "jaccard_10", "conditional_1", "lift_1",
    "decayed_1", "decayed_10", "rules", "rules_raw", "rule_1", "rule_2", "rule_3",
    "decayed_rule_1", "decayed_rules", "nearest_companion", "companions",
    "inverse_3", "inverse_10", "inverse_50", "knn_max", "conditional_10", "knn_day", "value_near",
)  # fmt: skip
_CONTENT = (
    "content_1", "content_profile", "content_max", "dislike_similarity",
    "category_profile", "category_last", "category_popularity", "category_share",
)  # fmt: skip
_REST = (
    "value_item", "value_user", "value_last", "own_count", "own_since", "own_distance", "own_due",
    "ease_10", "ease_all", *(f"rank_{source}" for source in SOURCES),
)  # fmt: skip
# In these columns each of the user's newest own items is looked up too, as a candidate of the moment before
# it came, by today's signals without its own click (where they have counted it yet). The share of today's
# candidates that lie below it (ties count half), as a mean over these items and one at `_FOLLOW_PRIOR`, tells
# which columns this user's next item can be found by.
_FOLLOWED_HALF_LIVES = (1, 3, 5)
_FOLLOWED_DEPTH = 1  # which of the half-lives by depth
FOLLOWED = (
    "student_cosine", "student_profile", *(f"popularity_{h}" for h in _FOLLOWED_HALF_LIVES), "popularity_all",
    f"popularity_depth_{DEPTH_HALF_LIVES[_FOLLOWED_DEPTH]}", "age", "year",
    "knn_1", "knn_10", "rules", "rule_1",
    "content_1", "content_profile", "content_max", "ease_10", "value_item",
)  # fmt: skip
_FOLLOWS = tuple(f"follows_{name}" for name in FOLLOWED)
RAW = (*_STUDENT, *_POPULARITY, *_DEPTH, *_USER, *_PAIRS, *_CONTENT, *_REST, *_FOLLOWS)
# Columns whose level differs from list to list while their order within the list is what matters.
CENTRED = (
    "student", *(f"popularity_{h}" for h in range(1, HALF_LIVES)), "popularity_all", *_POPULARITY_BY_DEPTH,
    "last_seen", "age", "year",
    "knn_1", "knn_3", "knn_10", "knn_50", "jaccard_10", "conditional_1", "decayed_1", "decayed_10",
    "rules", "rules_raw", "rule_1", "rule_2", "decayed_rules", "student_cosine",
    "inverse_10", "inverse_50", "knn_max", "conditional_10", "knn_day",
    "content_1", "content_profile", "content_max", "category_profile", "ease_10", "ease_all",
)  # fmt: skip
# Of the candidate and each of the newest own items: whether there is one, log d, log of the time since, its
# value, log of its clicks and of the candidate's; as logs, how often the two came together, and the
# candidate after it (1/d), over the root of both counts, which are smoothed as in knn. How much an own item
# counts by all this is the ranker's to learn.
OWN_ITEM_COLUMNS = ("there", "distance", "gap", "value", "clicks", "item_clicks", "cosine", "rule_cosine")
OWN_ITEMS = 20
FEATURES = (
    *RAW, *(f"{name}_centred" for name in CENTRED),
    *(f"{name}_at_{place}" for place in range(1, OWN_ITEMS + 1) for name in OWN_ITEM_COLUMNS),
)  # fmt: skip
LAYOUT = Layout(len(RAW) + len(CENTRED), OWN_ITEMS, len(OWN_ITEM_COLUMNS))

_CENTRED_COLUMNS = np.array([RAW.index(name) for name in CENTRED])
_RAW_COLUMNS = len(RAW)
_POP, _LAST_SEEN, _BY_DEPTH = (RAW.index(name) for name in ("popularity_0", "last_seen", _DEPTH[0]))
_FOLLOW = RAW.index(_FOLLOWS[0])
_FOLLOWED_COLUMNS = np.array([RAW.index(name) for name in FOLLOWED])
_EVENTS, _KNN, _CONTENT_1, _VALUE = (
    RAW.index(name) for name in ("user_events", "knn_1", "content_1", "value_item")
)
KNOWN = RAW.index("user_events")  # 0 for users without a past
ITEM_CLICKS = RAW.index("popularity_all")  # the same as `item_clicks` by place
# Where the arguments of a candidate's logarithms lie, which are taken in one go: of pairs by place and of
# rules by place, of the columns of pairs up to `decayed_rules` and from `inverse_3` to `knn_day`, of
# popularity, of popularity by depth, of times and of categories.
_RULE_1, _NEAREST, _INVERSE, _VALUE_NEAR = (
    _PAIRS.index(name) for name in ("rule_1", "nearest_companion", "inverse_3", "value_near")
)
_L_PLACES, _L_RULES, _L_PAIRS, _L_INVERSE = 0, OWN_ITEMS, 2 * OWN_ITEMS, 2 * OWN_ITEMS + _NEAREST
_L_POPULARITY = _L_INVERSE + _VALUE_NEAR - _INVERSE
_L_DEPTH = _L_POPULARITY + HALF_LIVES + 1
_L_LAST_SEEN, _L_AGE, _L_PUBLISHED, _L_WARM, _L_WARM_1 = range(
    _L_DEPTH + len(DEPTH_HALF_LIVES), _L_DEPTH + len(DEPTH_HALF_LIVES) + 5
)
_LOGS = -(-(_L_WARM_1 + 1) // 16) * 16  # the places behind the last are never read
_AVERSIONS = 5  # latest dislikes that count
_UNSEEN_RANK = math.log1p(200.0)  # of a source that did not name the candidate, however long the list is
_LOG_RANK = np.log1p(np.arange(4097, dtype=np.float32))
_DAY_MS = 86_400_000.0
_ROOT_HALF = 0x3F3504F3  # sqrt(1/2) as the bits of a float32
_DEPTH_PRIOR = 0.02  # share of the popularity among all users in that among users of one depth
_LOOKED_BACK = 12  # own items that are looked up, each as far as `LAST` items before it
_FOLLOW_FADING = 0.85  # of what an own item weighs, to the next older one
_FOLLOW_PRIOR = 0.8  # a guess at where answers stand, for whoever has followed nothing yet
_TIED = 3e-5  # values so near count as equal: rounding must not decide
_YEAR_MS = 365.25 * _DAY_MS


@dataclass(frozen=True)
class Features:
    """Features of B lists of C candidates, those by place in their parts: most say nothing of a candidate.

    alone (B, C, A) float32: the columns up to `LAYOUT.begin`, 0 where there is no candidate
    own (B, `OWN_ITEMS`, 5) float32: of each own item, newest first, the columns from `there` to `clicks`
    pairs (B, C, 2 · `OWN_ITEMS`) float32: `cosine` with each own item, then `rule_cosine`
    count (B,) int32: how many candidates a list has
    """

    alone: NDArray[np.float32]
    own: NDArray[np.float32]
    pairs: NDArray[np.float32]
    count: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.alone)

    def table(self) -> NDArray[np.float32]:
        """All columns (B, C, F), 0 where there is no candidate: what a ranker learns from."""
        batch, size, width = self.alone.shape
        table = np.zeros((batch, size, len(FEATURES)), np.float32)
        table[..., :width] = self.alone
        places = np.zeros((batch, size, OWN_ITEMS, len(OWN_ITEM_COLUMNS)), np.float32)
        places[..., : self.own.shape[2]] = self.own[:, None]
        places[..., -3] = self.alone[..., ITEM_CLICKS, None]
        places[..., -2], places[..., -1] = self.pairs[..., :OWN_ITEMS], self.pairs[..., OWN_ITEMS:]
        places *= places[..., :1]
        places[np.arange(size) >= self.count[:, None]] = 0.0
        table[..., width:] = places.reshape(batch, size, LAYOUT.places * LAYOUT.columns)
        return table


def features(
    asks: Asks, candidates: Candidates, catalogue: Catalogue, signals: Signals, model: ModelArrays
) -> Features:
    """Features of candidates, as of the asks' time."""
    signals.follow()
    batch, size = candidates.items.shape
    made = Features(
        np.zeros((batch, size, LAYOUT.begin), np.float32),
        np.zeros((batch, OWN_ITEMS, OWN_ITEM_COLUMNS.index("item_clicks")), np.float32),
        np.zeros((batch, size, 2 * OWN_ITEMS), np.float32),
        candidates.count,
    )
    pairs = signals.neighbours
    _features(
        asks.items, asks.times, asks.kinds, asks.values, asks.length, asks.events, asks.now_ms,
        asks.user_vector, candidates.items, candidates.ranks, candidates.count,
        catalogue.categories, catalogue.published, catalogue.category_weight,
        signals.half_lives, signals.reference, signals.popularity, signals.by_depth, signals.count,
        signals.value_sum,
        signals.first_ms, signals.last_ms, signals.total,
        signals.top, signals.top_count, signals.marks[0], signals.places, signals.category_scratch,
        pairs.before.rows, pairs.before.item, pairs.before.weight, pairs.after.rows, pairs.after.item,
        pairs.after.place,
        model.vectors, model.bias, model.content, model.prior_weight, model.popular_now, model.popular,
        model.ease_item, model.ease_weight, made.alone, made.own, made.pairs,
    )  # fmt: skip
    return made


@numba.njit(cache=True, nogil=True)
def _age(now, then):  # type: ignore[no-untyped-def]
    """log(1 + seconds); what lies in the future happens now."""
    return _log(1.0 + max(now - then, 0) / 1000.0)


@numba.njit(cache=True, nogil=True)
def _log(x):  # type: ignore[no-untyped-def]
    """log in single precision: features need no more, and it is faster. (For many at once: `_take_logs`.)"""
    return math.log(np.float32(x))


@numba.njit(cache=True, nogil=True, inline="always")
def _take_logs(x, bits, exponent):  # type: ignore[no-untyped-def]
    """Logarithms of x (n,) float32, positive, in place; `bits` are x as int32, `exponent` is room to work in.

    log(2**e m) = e log 2 + log m with m near 1, by the polynomial of Cephes' logf (error below 1e-7 of the
    result): no call and no branch, so that the compiler takes eight at a time, and two such in turn; what is
    left over of n is taken one by one.
    """
    for k in range(x.shape[0]):
        exponent[k] = np.int32((bits[k] - np.int32(_ROOT_HALF)) >> np.int32(23))
        bits[k] = np.int32(bits[k] - (exponent[k] << np.int32(23)))
    for k in range(x.shape[0]):
        t = x[k] - np.float32(1.0)
        y = np.float32(7.0376836292e-2)
        y = y * t - np.float32(1.1514610310e-1)
        y = y * t + np.float32(1.1676998740e-1)
        y = y * t - np.float32(1.2420140846e-1)
        y = y * t + np.float32(1.4249322787e-1)
        y = y * t - np.float32(1.6668057665e-1)
        y = y * t + np.float32(2.0000714765e-1)
        y = y * t - np.float32(2.4999993993e-1)
        y = y * t + np.float32(3.3333331174e-1)
        e = np.float32(exponent[k])
        y = y * t * t * t - np.float32(2.12194440e-4) * e - np.float32(0.5) * t * t
        x[k] = t + y + np.float32(0.693359375) * e  # the two halves of log 2


@numba.njit(cache=True, nogil=True)
def _hits(items, marks, hits):  # type: ignore[no-untyped-def]
    """Places of the items that are marked, into `hits`; returns how many. Without a branch to mispredict.

    Every item must have a mark: a -1 among them would be read out of bounds.
    """
    found = 0
    for k in range(items.shape[0]):
        hits[found] = k
        found += marks[np.uint32(items[k])] >= 0
    return found


@numba.njit(cache=True, nogil=True)
def _filled(row):  # type: ignore[no-untyped-def]
    """A row (n,) without the -1 at its end."""
    n = row.shape[0]
    while n > 0 and row[n - 1] < 0:
        n -= 1
    return row[:n]


@numba.njit(cache=True, nogil=True)
def _find_pairs(  # type: ignore[no-untyped-def]
    history, candidates, in_history, in_list, before, before_item, after, after_item, after_slot,
    forward, backward, forward_bits, backward_bits, earlier,
):  # fmt: skip
    """Where the pairs of each candidate with each item of the history stand in the pool.

    `history` (n,) int32 newest first. `forward` (C, WINDOW) int32: the candidate after the item;
    `backward`: before it; valid where the bit d of `forward_bits` or `backward_bits` (C,) int64 is set.
    `earlier` (WINDOW,): next older place of the same item, -1 if none. `in_history` (cap,) int8 all -1,
    left so; `in_list` (cap,) int32 all -1, left at each candidate's place in the list.

    A pair of an item of the history and a candidate after it stands in the candidate's row and is listed
    in the item's row after it. Whichever rows are fewer and shorter are looked through.
    """
    n, found = candidates.shape[0], history.shape[0]
    for d in range(found - 1, -1, -1):
        q = history[d]
        earlier[d] = in_history[q]
        in_history[q] = d
    longest, listed, kept = 0, 0, 0
    for c in range(n):
        j = candidates[c]
        in_list[j] = c
        forward_bits[c] = 0
        backward_bits[c] = 0
        longest = max(longest, before[j, 1])
        kept += before[j, 1]
    for d in range(found):
        q = history[d]
        longest = max(longest, before[q, 1], after[q, 1])
        if in_history[q] == d:
            listed += after[q, 1]
    hits = np.empty(longest + 1, np.int32)
    if kept < listed:
        for c in range(n):
            start, end = before[candidates[c], 0], before[candidates[c], 0] + before[candidates[c], 1]
            row = before_item[start:end]
            for h in range(_hits(row, in_history, hits)):
                d = in_history[row[hits[h]]]
                while d >= 0:
                    forward[c, d] = start + hits[h]
                    forward_bits[c] |= np.int64(1) << d
                    d = earlier[d]
    for d in range(found):
        q = history[d]
        if in_history[q] != d:  # an older event of the same item: done with the newest
            continue
        start, end = before[q, 0], before[q, 0] + before[q, 1]
        row = before_item[start:end]
        for h in range(_hits(row, in_list, hits)):
            c = in_list[row[hits[h]]]
            e = d
            while e >= 0:
                backward[c, e] = start + hits[h]
                backward_bits[c] |= np.int64(1) << e
                e = earlier[e]
        if kept < listed:
            continue
        start, end = after[q, 0], after[q, 0] + after[q, 1]
        row = after_item[start:end]
        for h in range(_hits(row, in_list, hits)):
            j = row[hits[h]]
            c = in_list[j]
            e = d
            while e >= 0:
                forward[c, e] = before[j, 0] + after_slot[start + hits[h]]
                forward_bits[c] |= np.int64(1) << e
                e = earlier[e]
    for d in range(found):
        in_history[history[d]] = -1


@numba.njit(cache=True, nogil=True)
def _add_to_categories(sums, categories, weight):  # type: ignore[no-untyped-def]
    for category in categories:
        if category < 0:
            break
        sums[category] += weight


@numba.njit(cache=True, nogil=True)
def _clear_categories(sums, categories):  # type: ignore[no-untyped-def]
    for category in categories:
        if category < 0:
            break
        sums[category] = 0.0


@numba.njit(cache=True, nogil=True)
def _user_columns(times, kinds, length, events, now, user):  # type: ignore[no-untyped-def]
    """Columns from `user_events` to `last_rating` into `user` (10,)."""
    day, hour, session = 0, 0, 0
    for place in range(length - 1, -1, -1):
        since = now - times[place]
        if since < 86_400_000:
            day += 1
        if since < 3_600_000:
            hour += 1
    after = now
    for place in range(length - 1, -1, -1):
        if after - times[place] > 1_800_000:
            break
        session += 1
        after = times[place]
    user[0] = math.log1p(float(events))
    user[1] = math.log1p(float(day))
    user[2] = math.log1p(float(hour))
    user[3] = math.log1p(float(session))
    user[4] = _age(now, times[length - 1]) if length > 0 else 20.0
    user[5] = _age(now, times[0]) if length > 0 else -1.0
    user[6] = 0.0 if length > 0 else 1.0
    last = kinds[length - 1] if length > 0 else 255
    user[7] = 1.0 if last == 0 else 0.0
    user[8] = 1.0 if last == 2 else 0.0
    user[9] = 1.0 if last == 3 else 0.0


@numba.njit(cache=True, nogil=True)
def _gather_pairs(  # type: ignore[no-untyped-def]
    c, found, forward, backward, ahead, back, before_weight, pair_factor,
    hits, together, recently, following, lately, thin,
):  # fmt: skip
    """Weights of the pairs of the candidate c with the user's own items, as `_find_pairs` has found them.

    Into `hits` (WINDOW,) the distances from 0 of the own items that have any, and by hit (WINDOW,): how often
    both came `together`, and `recently` so; how often the candidate was `following` (1 / distance each time),
    and `lately` so; and the first with users who click much counting less, `thin`. Returns how many of the
    hits lie below 3, `LAST` and `OWN_ITEMS`, and how many there are. A pair that is missing is read too and
    counts nothing: that is cheaper than branches that nobody can predict.
    """
    of_3, of_last, of_places, m = 0, 0, 0, 0
    for d in range(found):
        hits[m] = d
        met = ((ahead | back) >> d) & 1
        m += met
        of_places += met if d < OWN_ITEMS else 0
        of_last += met if d < LAST else 0
        of_3 += met if d < 3 else 0
    for h in range(m):
        d = hits[h]
        after, before = (ahead >> d) & 1, (back >> d) & 1
        k, e = forward[c, d] * after, backward[c, d] * before
        often = after * before_weight[k, 0]
        often_before = before * before_weight[e, 0]
        together[h] = often + often_before
        recently[h] = min(pair_factor * before_weight[k, 1], often)
        recently[h] += min(pair_factor * before_weight[e, 1], often_before)
        following[h] = after * before_weight[k, 2]
        lately[h] = min(pair_factor * before_weight[k, 3], often)
        thin[h] = after * before_weight[k, 4] + before * before_weight[e, 4]
    return of_3, of_last, of_places, m


@numba.njit(cache=True, nogil=True)
def _direction(items, vectors, out, row):  # type: ignore[no-untyped-def]
    """Unit mean of the items' unit vectors, weights .9**d, into out[row] (D,); or 0."""
    out[row] = 0.0
    weight = 1.0
    for item in items:
        scale = np.float32(weight / (math.sqrt(dot(vectors, item, vectors, item)) + 1e-9))
        for k in range(out.shape[1]):
            out[row, k] += scale * vectors[item, k]
        weight *= 0.9
    scale = np.float32(1.0 / (math.sqrt(dot(out, row, out, row)) + 1e-9))
    for k in range(out.shape[1]):
        out[row, k] *= scale


@numba.njit(cache=True, nogil=True)
def _own_pairs(  # type: ignore[no-untyped-def]
    history, counted, newest, in_history, earlier, before, before_item, before_weight, ease_item, ease_weight,
    pairs, ease,
):  # fmt: skip
    """What the user's own items say of each other, into `pairs` (2, n, n + LAST) and `ease` (n, n + LAST).

    [0, d, e]: how often the item at d and the older one at e came together; [1, d, e]: how often the former
    came after the latter (1 / distance each time); both without this user's own click at d (once), where
    signals have `counted` it. `ease` has the weight that the static model gives the former for the latter.
    For the `newest` n items and the `LAST` before each. `history` (m,) int32, newest first; `counted` (n,)
    float64, 1 or 0; `in_history` (cap,) int8 all -1, left so.
    """
    pairs[:] = 0.0
    ease[:] = 0.0
    for d in range(history.shape[0] - 1, -1, -1):
        earlier[d] = in_history[history[d]]
        in_history[history[d]] = d
    longest = ease_item.shape[1]
    for d in range(history.shape[0]):
        longest = max(longest, before[history[d], 1])
    hits = np.empty(longest + 1, np.int32)
    for first in range(history.shape[0]):
        q = history[first]
        if in_history[q] != first:
            continue  # an older event of the same item: done with the newest
        start, end = before[q, 0], before[q, 0] + before[q, 1]
        for h in range(_hits(before_item[start:end], in_history, hits)):
            k = start + hits[h]
            other = in_history[before_item[k]]
            while other >= 0:
                place = first
                while place >= 0:
                    distance = other - place
                    if distance > 0:
                        if place < newest and distance <= LAST:
                            mine = counted[place]
                            pairs[0, place, other] += max(before_weight[k, 0] - mine, 0.0)
                            pairs[1, place, other] += max(before_weight[k, 2] - mine / distance, 0.0)
                    elif distance < 0 and other < newest and distance >= -LAST:
                        pairs[0, other, place] += before_weight[k, 0]
                    place = earlier[place]
                other = earlier[other]
        if q < ease_item.shape[0]:
            for h in range(_hits(_filled(ease_item[q]), in_history, hits)):
                other = in_history[ease_item[q, hits[h]]]
                while other >= 0:
                    place = first
                    while place >= 0:
                        if other < newest and 0 < place - other <= LAST:
                            ease[other, place] += ease_weight[q, hits[h]]
                        place = earlier[place]
                    other = earlier[other]
    for d in range(history.shape[0]):
        in_history[history[d]] = -1


@numba.njit(cache=True, nogil=True)
def _look_back(  # type: ignore[no-untyped-def]
    history, recent, row, times, values, looked_back, found_all, now,
    in_history, earlier, published, half_lives, factor, popularity, by_depth, count, value_sum,
    first_ms, last_ms, before, before_item, before_weight, vectors, content, ease_item, ease_weight,
    counted, pairs, own_ease, direction, profile, followed,
):  # fmt: skip
    """Columns `FOLLOWED` of the newest `looked_back` own items, as candidates of the moment before each.

    Into `followed` (looked_back, len(FOLLOWED)) float32. `history` (m,) int32, newest first; `counted`,
    `pairs`, `own_ease`, `direction` and `profile` are room to work in.
    """
    found = history.shape[0]
    depth = depth_of(found_all)
    year_now = 1970.0 + now / _YEAR_MS
    for d in range(looked_back):
        # A worker may hear of a click before the learner does, and lists to learn from are made for many
        # clicks before they are counted: what is not in the sums must not be taken out of them.
        counted[d] = 1.0 if last_ms[history[d]] >= times[recent[d]] else 0.0
    _own_pairs(
        history[: min(found, looked_back + LAST)], counted, looked_back, in_history, earlier,
        before, before_item, before_weight, ease_item, ease_weight, pairs, own_ease,
    )  # fmt: skip
    for d in range(looked_back):
        q, x, mine = history[d], followed[d], counted[d]
        older = history[d + 1 : min(d + 1 + LAST, found)]
        latest = older[0]
        ago = max(now - times[recent[d]], 0)
        clicks = max(count[q] - mine, 0.0)

        # student_cosine, student_profile
        norm = math.sqrt(dot(vectors, q, vectors, q)) + 1e-9
        norm_latest = math.sqrt(dot(vectors, latest, vectors, latest)) + 1e-9
        x[0] = dot(vectors, latest, vectors, q) / (norm * norm_latest)
        _direction(older, vectors, direction, 1)
        x[1] = dot(direction, 1, vectors, q) / norm

        # popularity, among all and by depth; age, year
        for k in range(len(_FOLLOWED_HALF_LIVES)):
            h = _FOLLOWED_HALF_LIVES[k]
            own = mine * 0.5 ** (ago / half_lives[h])
            x[2 + k] = _log(max(min(popularity[q, h] * factor[h] - own, clicks), 0.0) + EPSILON)
        x[5] = _log(clicks + 1.0)
        h = DEPTH_HALF_LIVES[_FOLLOWED_DEPTH]
        own = mine * 0.5 ** (ago / half_lives[h])
        same = by_depth[q, _FOLLOWED_DEPTH, depth] * factor[h]
        if depth_of(found_all - 1 - d) == depth:
            same -= own
        among_all = max(min(popularity[q, h] * factor[h] - own, clicks), 0.0)
        x[6] = _log(max(min(same, clicks), 0.0) + _DEPTH_PRIOR * among_all + EPSILON)
        x[7] = _age(now, first_ms[q]) if clicks > 0 else -1.0
        x[8] = year_now - published[q] if not math.isnan(published[q]) else -5.0

        # knn_1, knn_10, rules, rule_1, and ease_10
        slow = 1.0 / math.sqrt(clicks + 5.0)
        evidence, rules, ease = 0.0, 0.0, np.float32(0.0)
        for e in range(d + 1, d + 1 + older.shape[0]):
            evidence += pairs[0, d, e] / math.sqrt(count[history[e]] + 1.0)
            rules += pairs[1, d, e] / (e - d)
            ease += own_ease[d, e]
        x[9] = _log(pairs[0, d, d + 1] / math.sqrt(count[latest] + 1.0) * slow + 1e-3)
        x[10] = _log(evidence * slow + 1e-3)
        x[11] = _log(rules * slow + 1e-3)
        x[12] = _log(pairs[1, d, d + 1] + 0.05)
        x[16] = ease

        # content_1, content_profile, content_max, value_item
        content_profile(row, recent[d + 1 :], found - d - 1, content, profile)
        closest = -2.0
        for e in range(min(older.shape[0], 5)):
            closest = max(closest, dot(content, older[e], content, q))
        x[13] = dot(content, latest, content, q)
        x[14] = dot(profile, 0, content, q)
        x[15] = closest
        x[17] = (value_sum[q] - mine * values[recent[d]]) / (clicks + 3.0)


@numba.njit(cache=True, nogil=True)
def _share_below(column, followed):  # type: ignore[no-untyped-def]
    """Mean share of a column (n,) that lies below each of `followed` (m,), newest first; ties count half."""
    n = column.shape[0]
    total, share, weight = 1.0, _FOLLOW_PRIOR, 1.0
    for d in range(followed.shape[0]):
        below = 0
        for c in range(n):
            below += column[c] < followed[d] - _TIED
            below += column[c] <= followed[d] + _TIED
        share += weight * below / (2 * n)
        total += weight
        weight *= _FOLLOW_FADING
    return share / total


@numba.njit(cache=True, nogil=True)
def _features(  # type: ignore[no-untyped-def]
    asks_items, asks_times, asks_kinds, asks_values, length, events, now_ms, user_vector,
    candidates, ranks, candidate_count,
    categories, published, category_weight,
    half_lives, reference, popularity, by_depth, count, value_sum,
    first_ms, last_ms, total,
    top, top_count, in_list, in_history, category_scratch,
    before, before_item, before_weight, after, after_item, after_slot,
    vectors, bias, content, prior_weight, short, long,
    ease_item, ease_weight, out, own_items, near,
):  # fmt: skip
    size = candidates.shape[1]
    places = asks_items.shape[1]
    whole = np.empty(places, np.int32)
    forward = np.empty((size, WINDOW), np.int32)
    backward = np.empty((size, WINDOW), np.int32)
    forward_bits = np.empty(size, np.int64)
    backward_bits = np.empty(size, np.int64)
    history = np.empty(WINDOW, np.int32)
    means = np.empty(_CENTRED_COLUMNS.shape[0])
    earlier = np.empty(WINDOW, np.int32)
    profile = np.empty((1, content.shape[1]), np.float32)
    user = np.empty(10)
    factor = np.empty(HALF_LIVES)
    student = np.empty(size, np.float32)
    raw_student = np.empty(size, np.float32)
    ease = np.empty((2, size), np.float32)
    ease_hits = np.empty(ease_item.shape[1] + 1, np.int32)
    had = np.empty((3, size), np.int32)  # times had, places of the last and of the first time
    root_count = np.empty(WINDOW)
    freshness = np.empty(WINDOW)
    cosine_norm = np.empty(6, np.float32)
    pairs = np.empty((2, _LOOKED_BACK, _LOOKED_BACK + LAST))
    own_ease = np.empty((_LOOKED_BACK, _LOOKED_BACK + LAST), np.float32)
    followed = np.empty((_LOOKED_BACK, len(FOLLOWED)), np.float32)
    counted = np.empty(_LOOKED_BACK)
    column = np.empty(size, np.float32)
    logs = np.ones(_LOGS, np.float32)
    log_bits, exponent = logs.view(np.int32), np.empty(_LOGS, np.int32)
    hits = np.empty(WINDOW, np.int64)
    weights = np.empty((5, WINDOW))
    mean_vector = np.empty((2, vectors.shape[1]), np.float32)
    liked, liked_last, warmth = category_scratch[0], category_scratch[1], category_scratch[2]
    together, recently, following, lately, thin = weights
    # How popular categories are now: by the top list alone, whose order is the same in every process.
    for r in range(top_count[short]):
        _add_to_categories(warmth, categories[top[short, r]], popularity[top[short, r], short])
    taste = (short + long + 1) // 2  # half-life that own items' popularity is compared at
    for b in range(candidates.shape[0]):
        n = candidate_count[b]
        if n == 0:
            continue
        items, row, now = candidates[b], asks_items[b], now_ms[b]
        found_all = interest(asks_kinds[b], length[b], whole)
        depth = depth_of(found_all)
        found = min(found_all, WINDOW)
        recent = whole
        year_now = 1970.0 + now / _YEAR_MS
        for h in range(HALF_LIVES):
            factor[h] = decayed_by(now, half_lives[h], reference[h])
        pair_factor = decayed_by(now, half_lives[HALF_LIVES], reference[HALF_LIVES])
        for d in range(found):
            history[d] = row[recent[d]]
        _find_pairs(
            history[:found], items[:n], in_history, in_list, before, before_item, after, after_item,
            after_slot, forward, backward, forward_bits, backward_bits, earlier,
        )  # fmt: skip

        # The static item-item model: rows of the history, looked up among the candidates.
        ease[:, :n] = 0.0
        had[0, :n] = 0
        for d in range(found_all):
            q = row[recent[d]]
            c = in_list[q]
            if c >= 0:  # itself a candidate: items may be had again
                if had[0, c] == 0:
                    had[1, c] = d
                had[2, c] = d
                had[0, c] += 1
            if q < ease_item.shape[0]:
                for h in range(_hits(_filled(ease_item[q]), in_list, ease_hits)):
                    k = ease_hits[h]
                    c = in_list[ease_item[q, k]]
                    ease[1, c] += ease_weight[q, k]
                    if d < LAST:
                        ease[0, c] += ease_weight[q, k]
        for c in range(n):
            in_list[items[c]] = -1

        # The user: pace, taste by the present look of the last own items, categories, values.
        _user_columns(asks_times[b], asks_kinds[b], length[b], events[b], now, user)
        content_profile(row, recent, found, content, profile)
        taste_weight, taste_popularity, taste_age, taste_year, dated = 1e-6, 0.0, 0.0, 0.0, 1e-6
        weight = 1.0
        for d in range(min(found, 20)):
            q = row[recent[d]]
            taste_weight += weight
            taste_popularity += weight * _log(min(popularity[q, taste] * factor[taste], count[q]) + EPSILON)
            taste_age += weight * _age(now, first_ms[q]) if count[q] > 0 else 0.0
            if not math.isnan(published[q]):
                taste_year += weight * (year_now - published[q])
                dated += weight
            _add_to_categories(liked, categories[q], weight)
            if d == 0:
                _add_to_categories(liked_last, categories[q], 1.0)
            weight *= 0.9
        taste_popularity /= taste_weight
        taste_age /= taste_weight
        taste_year /= dated
        value_user, value_last = 0.0, 0.0
        for d in range(min(found, LAST)):
            value_user += asks_values[b, recent[d]]
        if found > 0:
            value_user /= min(found, LAST)
            value_last = asks_values[b, recent[0]]
        for d in range(found):
            root_count[d] = 1.0 / math.sqrt(count[row[recent[d]]] + 1.0)
            freshness[d] = 0.5 ** (max(now - asks_times[b, recent[d]], 0) / _DAY_MS)
        for d in range(min(found, OWN_ITEMS)):
            own_items[b, d, 0] = 1.0
            own_items[b, d, 1] = _log(d + 1.0)
            own_items[b, d, 2] = _age(now, asks_times[b, recent[d]])
            own_items[b, d, 3] = asks_values[b, recent[d]]
            own_items[b, d, 4] = _log(count[row[recent[d]]] + 1.0)
        last = row[recent[0]] if found > 0 else -1
        if last >= 0:
            cosine_norm[0] = math.sqrt(dot(vectors, last, vectors, last)) + 1e-9
        _direction(history[: min(found, LAST)], vectors, mean_vector, 0)
        averse, aversion_places = 0, np.empty(_AVERSIONS, np.int32)
        for place in range(length[b] - 1, -1, -1):
            kind = asks_kinds[b, place]
            if averse < _AVERSIONS and (kind == 5 or kind == 6):
                q = row[place]
                aversion_places[averse] = q
                cosine_norm[1 + averse] = math.sqrt(dot(vectors, q, vectors, q)) + 1e-9
                averse += 1

        # The student's scores, and their order in the list.
        mean, highest = 0.0, -1e30
        for c in range(n):
            j = items[c]
            raw_student[c] = dot(user_vector, b, vectors, j) + bias[j]
            prior = prior_weight * _log(min(popularity[j, short] * factor[short], count[j]) + EPSILON)
            student[c] = raw_student[c] + prior
            mean += student[c]
            highest = max(highest, student[c])
        mean /= n
        order = np.argsort(-student[:n])
        for r in range(n):
            out[b, order[r], 3] = _LOG_RANK[min(r, 4096)]
        for r in range(1, n):  # tied scores share the better rank
            if student[order[r]] == student[order[r - 1]]:
                out[b, order[r], 3] = out[b, order[r - 1], 3]

        for c in range(n):
            j = items[c]
            x = out[b, c]
            norm = math.sqrt(dot(vectors, j, vectors, j)) + 1e-9
            x[0] = raw_student[c]
            x[1] = student[c] - mean
            x[2] = student[c] - highest
            x[4] = dot(vectors, last, vectors, j) / (norm * cosine_norm[0]) if last >= 0 else 0.0
            x[5] = dot(mean_vector, 0, vectors, j) / norm

            # Popularity, age
            for h in range(HALF_LIVES):
                logs[_L_POPULARITY + h] = min(popularity[j, h] * factor[h], count[j]) + EPSILON
            logs[_L_POPULARITY + HALF_LIVES] = count[j] + 1.0
            clicked = count[j] > 0
            logs[_L_LAST_SEEN] = 1.0 + max(now - last_ms[j], 0) / 1000.0
            logs[_L_AGE] = 1.0 + max(now - first_ms[j], 0) / 1000.0
            dated_item = not math.isnan(published[j])
            year = year_now - published[j] if dated_item else -5.0
            logs[_L_PUBLISHED] = 1.0 + max(year, 0.0) * 365.25

            # Popularity by depth
            f = _BY_DEPTH
            for k in range(len(DEPTH_HALF_LIVES)):
                h = DEPTH_HALF_LIVES[k]
                same = min(by_depth[j, k, depth] * factor[h], count[j])
                among_all = min(popularity[j, h] * factor[h], count[j])
                logs[_L_DEPTH + k] = same + _DEPTH_PRIOR * among_all + EPSILON
            f += len(DEPTH_HALF_LIVES)
            weighed, clicks = 0.0, 0.0
            for k in range(len(DEPTHS)):
                weighed += k * by_depth[j, -1, k]
                clicks += by_depth[j, -1, k]
            x[f] = weighed / clicks if clicks > 0 else -1.0
            x[f + 1] = x[f] - depth if clicks > 0 else 0.0

            # Pairs with the history: of the items that came together with the candidate, newest first
            slow = 1.0 / math.sqrt(count[j] + 5.0)
            of_3, of_last, of_places, m = _gather_pairs(
                c, found, forward, backward, forward_bits[c], backward_bits[c], before_weight, pair_factor,
                hits, together, recently, following, lately, thin,
            )  # fmt: skip
            for k in range(_L_PAIRS):
                logs[k] = 1e-2
            for h in range(of_places):
                d = hits[h]
                logs[_L_PLACES + d] = together[h] * root_count[d] * slow + 1e-2
                logs[_L_RULES + d] = following[h] * root_count[d] * slow + 1e-2
            knn_3, knn_10, knn_50, strongest, today = 0.0, 0.0, 0.0, 0.0, 0.0
            inverse_3, inverse_10, inverse_50 = 0.0, 0.0, 0.0
            for h in range(m):
                d = hits[h]
                evidence = together[h] * root_count[d]
                knn_50 += evidence
                inverse_50 += thin[h] * root_count[d]
                strongest = max(strongest, evidence)
                today += evidence * freshness[d]
            jaccard, conditional, decayed, rules, decayed_rules, valued = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
            nearest = 10.0
            for h in range(of_last):
                d = hits[h]
                evidence, own = together[h] * root_count[d], count[history[d]]
                knn_10 += evidence
                inverse_10 += thin[h] * root_count[d]
                conditional += together[h] / (own + 5.0)
                valued += evidence * asks_values[b, recent[d]]
                jaccard += together[h] / (own + count[j] - min(together[h], own, count[j]) + 3.0)
                if together[h] > 2.0 and nearest == 10.0:
                    nearest = float(d)
                decayed += recently[h]
                rules += following[h] / (d + 1)
                decayed_rules += lately[h] / (d + 1)
            for k in range(3):
                logs[_L_PAIRS + _RULE_1 + k] = 0.05
            for h in range(of_3):
                knn_3 += together[h] * root_count[hits[h]]
                inverse_3 += thin[h] * root_count[hits[h]]
                logs[_L_PAIRS + _RULE_1 + hits[h]] = following[h] + 0.05
            newest = m > 0 and hits[0] == 0
            together_1 = together[0] if newest else 0.0
            f = _L_PAIRS
            if last >= 0:
                own = count[last]
                logs[f] = together_1 / math.sqrt(own + 1.0) * slow + 1e-3
                either = own + count[j] - min(together_1, own, count[j])
                logs[f + 4] = together_1 / (either + 3.0) + 1e-3
                logs[f + 6] = together_1 / (own + 5.0) + 1e-3
                logs[f + 7] = (together_1 + 0.05) / ((own + 1.0) * (count[j] + 1.0)) * (total + 1.0)
            else:
                logs[f] = logs[f + 4] = logs[f + 6] = 1e-3
                logs[f + 7] = 1.0
            logs[f + 1] = knn_3 * slow + 1e-3
            logs[f + 2] = knn_10 * slow + 1e-3
            logs[f + 3] = knn_50 * slow + 1e-3
            logs[f + 5] = jaccard + 1e-3
            logs[f + 8] = (recently[0] if newest else 0.0) + 0.02
            logs[f + 9] = decayed + 0.02
            logs[f + 10] = rules * slow + 1e-3
            logs[f + 11] = rules + 0.02
            logs[f + 15] = (lately[0] if newest else 0.0) + 0.02
            logs[f + 16] = decayed_rules + 0.02
            f = _L_INVERSE
            logs[f] = inverse_3 * slow + 1e-3
            logs[f + 1] = inverse_10 * slow + 1e-3
            logs[f + 2] = inverse_50 * slow + 1e-3
            logs[f + 3] = strongest * slow + 1e-3
            logs[f + 4] = conditional + 1e-3
            logs[f + 5] = today * slow + 1e-3

            # Categories
            match, match_last, warmest, named = 0.0, 0.0, 0.0, 0
            for k in range(categories.shape[1]):
                category = categories[j, k]
                if category < 0:
                    break
                match += liked[category] * category_weight[category]
                match_last += liked_last[category] * category_weight[category]
                warmest = max(warmest, min(warmth[category] * factor[short], total))
                named += 1
            logs[_L_WARM], logs[_L_WARM_1] = warmest + EPSILON, warmest + 1.0

            # What depends on logarithms
            _take_logs(logs, log_bits, exponent)
            f = _POP
            everyone = logs[_L_POPULARITY + HALF_LIVES]
            for h in range(HALF_LIVES + 1):
                x[f + h] = logs[_L_POPULARITY + h]
            for h in range(1, HALF_LIVES):
                x[f + HALF_LIVES + h] = x[f + h - 1] - x[f + h]
            age = logs[_L_AGE] if clicked else np.float32(-1.0)
            f = _LAST_SEEN
            x[f] = logs[_L_LAST_SEEN] if clicked else 22.0
            x[f + 1] = age
            x[f + 2] = everyone - max(age, np.float32(0.0))
            x[f + 3] = year
            x[f + 4] = logs[_L_PUBLISHED] if dated_item else -1.0
            for k in range(len(DEPTH_HALF_LIVES)):
                x[_BY_DEPTH + k] = logs[_L_DEPTH + k]
            f = _EVENTS
            for k in range(10):
                x[f + k] = user[k]
            f += 10
            if found > 0:
                x[f] = taste_popularity
                x[f + 1] = x[_POP + taste] - taste_popularity
                x[f + 2] = abs(x[f + 1])
                x[f + 3] = max(age, 0.0) - taste_age
                x[f + 4] = year - taste_year if dated_item and dated > 0.5 else 0.0
            else:
                x[f] = -1.0
            f = _KNN
            for k in range(_NEAREST):
                x[f + k] = logs[_L_PAIRS + k]
            x[f + _NEAREST] = nearest
            x[f + _NEAREST + 1] = of_last
            for k in range(_VALUE_NEAR - _INVERSE):
                x[f + _INVERSE + k] = logs[_L_INVERSE + k]
            x[f + _VALUE_NEAR] = valued / (knn_10 + 0.05)
            for k in range(2 * OWN_ITEMS):
                near[b, c, k] = logs[_L_PLACES + k]

            # Content, and categories
            f = _CONTENT_1
            closest = -1.0 if found == 0 else -2.0
            for d in range(min(found, 5)):
                similar = dot(content, row[recent[d]], content, j)
                if d == 0:
                    x[f] = similar
                closest = max(closest, similar)
            x[f + 1] = dot(profile, 0, content, j)
            x[f + 2] = closest
            disliked = 0.0
            for k in range(averse):
                q = aversion_places[k]
                disliked = max(disliked, dot(content, q, content, j))
                disliked = max(disliked, dot(vectors, q, vectors, j) / (norm * cosine_norm[1 + k]))
            x[f + 3] = disliked
            x[f + 4] = match / math.sqrt(named + 0.5)
            x[f + 5] = match_last / math.sqrt(named + 0.5)
            x[f + 6] = logs[_L_WARM] if named > 0 else -9.0
            x[f + 7] = x[_POP + short] - logs[_L_WARM_1] if named > 0 else 0.0

            # Values, own consumption, the static model, the sources' ranks
            f = _VALUE
            x[f] = value_sum[j] / (count[j] + 3.0)
            x[f + 1] = value_user
            x[f + 2] = value_last
            x[f + 3] = math.log1p(float(had[0, c]))
            if had[0, c] > 0:
                since = asks_times[b, recent[had[1, c]]]
                x[f + 4] = _age(now, since)
                x[f + 5] = math.log1p(float(had[1, c]))
                between = (since - asks_times[b, recent[had[2, c]]]) / 1000.0 / max(had[0, c] - 1, 1)
                x[f + 6] = x[f + 4] - _log(1.0 + max(between, 0.0)) if had[0, c] > 1 else 0.0
            else:
                x[f + 4] = 22.0
                x[f + 5] = 5.0
            x[f + 7] = ease[0, c]
            x[f + 8] = ease[1, c]
            for s in range(ranks.shape[2]):
                rank = ranks[b, c, s]
                x[f + 9 + s] = _LOG_RANK[min(rank, 4096)] if rank >= 0 else _UNSEEN_RANK

        # What the user's newest items could be found by
        looked_back = min(found - 1, _LOOKED_BACK)
        if looked_back > 0:
            _look_back(
                history[:found], recent, row, asks_times[b], asks_values[b], looked_back, found_all, now,
                in_history, earlier, published, half_lives, factor, popularity, by_depth, count, value_sum,
                first_ms, last_ms, before, before_item, before_weight, vectors, content,
                ease_item, ease_weight, counted, pairs, own_ease, mean_vector, profile, followed,
            )  # fmt: skip
        for k in range(len(FOLLOWED)):
            for c in range(n):
                column[c] = out[b, c, _FOLLOWED_COLUMNS[k]]
            share = _share_below(column[:n], followed[: max(looked_back, 0), k])
            for c in range(n):
                out[b, c, _FOLLOW + k] = share
        for d in range(min(found, 20)):
            q = row[recent[d]]
            _clear_categories(liked, categories[q])
            _clear_categories(liked_last, categories[q])
        means[:] = 0.0
        for c in range(n):
            for k in range(means.shape[0]):
                means[k] += out[b, c, _CENTRED_COLUMNS[k]]
        for k in range(means.shape[0]):
            means[k] /= n
        for c in range(n):
            for k in range(means.shape[0]):
                out[b, c, _RAW_COLUMNS + k] = out[b, c, _CENTRED_COLUMNS[k]] - means[k]
    for r in range(top_count[short]):
        _clear_categories(warmth, categories[top[short, r]])
