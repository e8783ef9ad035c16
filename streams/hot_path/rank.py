"""From what is known of askers to scored candidates: the index, the signals, one feature kernel, the ranker.

Owns what an ask knows and the order of the stages; `learner.ranking` owns candidates and features. Changes
nothing, and knows no messages.
"""

from collections.abc import Mapping, Sequence
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from learner.ranking.arrays import Asks, Candidates
from learner.ranking.candidates import Allowed, propose
from learner.ranking.columns import ITEM_CLICKS, KNOWN
from learner.ranking.features import Features, features
from streams.hot_path.allowed import nearest_allowed
from streams.hot_path.fallen import Bar
from streams.hot_path.histories import Histories
from streams.hot_path.user_states import UserStates
from streams.hot_path.world import Mark, Ranked, World, unmarked

Bars = tuple[Bar, int | None]
"""From which bar on met items stay out, and the time (ms) before which consumed ones come back, or None."""

NO_BARS: Mapping[int, Bars | None] = {}
NO_ITEMS: NDArray[np.int32] = np.zeros(0, np.int32)


def rank(slots: NDArray[np.int64], now_ms: NDArray[np.int64], states: UserStates, world: World) -> Ranked:
    """Candidates and scores for a batch of asks; changes nothing.

    `slots` (B,) int64, -1 for users nobody knows; `now_ms` (B,) int64.
    """
    return rank_asks(ask(slots, now_ms, states, world), world)


def ask(
    slots: NDArray[np.int64],
    now_ms: NDArray[np.int64],
    states: UserStates,
    world: World,
    excluded: Sequence[Sequence[str]] = (),
    bars: Mapping[int, Bars | None] = NO_BARS,
) -> Asks:
    """What is known of the askers now: lists made of it later know no later click.

    `excluded`: item ids a row that the asker does not want. `bars`: of rows whose met items are kept out by
    another rule than the release's; None keeps nothing out.
    """
    release = world.live.release
    histories = states.gather(slots)
    vectors = states.vector[slots, : release.vector_size]  # a copy
    vectors[histories.length == 0] = release.initial_vector
    barred = _barred(slots, histories, states, world, excluded, bars)
    excluded_from = np.array([0, *accumulate(map(len, barred))], np.int64)
    return Asks(
        items=histories.items,
        times=histories.times,
        kinds=histories.kinds,
        values=release.normalised(histories.kinds, histories.values),
        length=histories.length,
        events=histories.events,
        now_ms=now_ms,
        user_vector=vectors,
        excluded_from=excluded_from,
        excluded=barred[0] if len(barred) == 1 else np.concatenate(barred),
    )


def joined(parts: Sequence[Asks]) -> Asks:
    """Asks noted at different moments, as one batch."""
    if len(parts) == 1:
        return parts[0]
    together = Asks(*map(np.concatenate, zip(*parts, strict=True)))
    counts = np.concatenate([np.diff(part.excluded_from) for part in parts])
    return together._replace(excluded_from=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64))


def rows_of(asks: Asks, rows: Sequence[int]) -> Asks:
    """Some of the asks (n,), with what their lists must not hold."""
    first, last = asks.excluded_from[:-1], asks.excluded_from[1:]
    excluded = [asks.excluded[first[row] : last[row]] for row in rows]
    return asks.rows(np.array(rows))._replace(
        excluded_from=np.cumsum([0, *map(len, excluded)]).astype(np.int64), excluded=np.concatenate(excluded)
    )


def rank_asks(
    asks: Asks, world: World, size: int | None = None, allowed: Allowed | None = None, mark: Mark = unmarked
) -> Ranked:
    """Candidates and scores of asks; `size` C defaults to the policy's."""
    candidates = candidates_of(asks, world, size, allowed)
    mark("candidates")
    columns = features_of(asks, candidates, world)
    mark("features")
    scores = scores_of(candidates, columns, world)
    mark("ranking")
    return Ranked(candidates, columns, scores)


def candidates_of(
    asks: Asks, world: World, size: int | None = None, allowed: Allowed | None = None
) -> Candidates:
    """The union of the nearest items with what signals propose.

    `allowed`: which items the asks' filters leave, for asks that have one.
    """
    live = world.live
    wanted = size or world.policy.candidates
    # Sources take turns, so half of a list is the most that one of them gives where others have anything to
    # say. A heavy user's nearest items are mostly consumed ones: look further, within reason, and for this
    # user alone.
    depths = wanted // 2 + np.minimum(asks.excluded_from[1:] - asks.excluded_from[:-1], 300)
    if allowed is not None:
        nearest = nearest_allowed(asks.user_vector, wanted // 2, depths, allowed, world)
    else:
        nearest = live.nearest(asks.user_vector, max(min(int(depths.max(initial=0)), len(live.index)), 1))
        if len(depths) > 1:
            nearest[np.arange(nearest.shape[1]) >= depths[:, None]] = -1
    return propose(
        asks, world.catalogue, world.signals, live.release.model, nearest, size=wanted, allowed=allowed
    )


def features_of(asks: Asks, candidates: Candidates, world: World) -> Features:
    """What the ranker reads of the candidates."""
    return features(asks, candidates, world.catalogue, world.signals, world.live.release.model)


def scores_of(candidates: Candidates, columns: Features, world: World) -> NDArray[np.float32]:
    """The ranker's scores (B, C), calibrated; -inf where there is no candidate.

    Lists of users without a past have an order of their own, which calibration is not learned for.
    """
    release = world.live.release
    scores = release.rank(columns)
    offsets = release.model.calibration[candidates.items]
    offsets[columns.alone[..., ITEM_CLICKS] == 0] += release.manifest.unclicked
    scores += offsets * (columns.alone[:, :1, KNOWN] > 0)
    np.copyto(scores, -np.inf, where=candidates.items < 0)
    return scores


def _barred(
    slots: NDArray[np.int64],
    histories: Histories,
    states: UserStates,
    world: World,
    excluded: Sequence[Sequence[str]],
    bars: Mapping[int, Bars | None],
) -> list[NDArray[np.int32]]:
    """Items that each row's list must not hold."""
    least = world.live.least_bar
    rows = [states.barred(slot, histories, row, least) for row, slot in enumerate(slots.tolist())]
    for row, rule in bars.items():
        if rule is None:
            rows[row] = NO_ITEMS
        elif rule != (least, None):
            rows[row] = states.barred(int(slots[row]), histories, row, *rule)
    for row, ids in enumerate(excluded):
        if ids:
            index = world.catalogue.index
            numbers = np.array([index[i] for i in ids if i in index], np.int32)
            rows[row] = np.concatenate([rows[row], numbers])
    return rows
