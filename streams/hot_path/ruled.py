"""Lists that more than the ranker has a say in: rules, a query, likeness to an item, items that were named.

Owns which items join the candidates for such a list, what is added to their scores, and how the list is
filled where candidates run out. What the rules are is `rules`' business, the places are `placing`'s. One list
at a time: whoever asks for such a list pays for it alone.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from learner.ranking.arrays import Asks
from learner.ranking.candidates import Allowed
from learner.ranking.columns import RAW
from streams.hot_path import queries, searching
from streams.hot_path.placing import Caps, Placing
from streams.hot_path.policy import Place, by_score, diversify, draw_up
from streams.hot_path.rank import features_of, rows_of, scores_of
from streams.hot_path.wanted import Wanted
from streams.hot_path.world import Ranked, World
from streams.wire.event_ids import event_hash

Items = NDArray[np.int32]
Mask = NDArray[np.bool_]

# Of what the user likes beside what is like the item, both in standard deviations: half keeps the item in the
# lead (docs/log.md).
_TASTE = np.float32(0.5)
# Of how likely an item is clicked by those who clicked the one that others are to be like: to the ranker that
# one is a newcomer's first click, whom it shows what is popular (docs/log.md).
_TOGETHER, _CONDITIONAL = np.float32(0.25), RAW.index("conditional_1")
_BELOW = 20  # candidates below a list that may be tried in it
_AT_ONCE, _MOST_AT_ONCE = 512, 65_536  # further items whose values are looked up in one go


def draw_up_ruled(
    want: Wanted, asks: Asks, ranked: Ranked, row: int, allowed: Allowed | None, world: World,
    rng: np.random.Generator | None,
) -> tuple[Ranked, list[Place]]:  # fmt: skip
    """The list that `want` says, from the candidates in `row`: a batch of one, and places in it."""
    asker, open_ = rows_of(asks, [row]), _open(asks, row, allowed, world)
    pins = _pins(want, open_, world)
    own = _heeding(want, asker, ranked, row, open_, [item for _, item in pins], world)
    count = int(own.candidates.count[0])
    known_user = bool(asker.events[0] > 0)
    rng = None if want.exact or known_user else rng
    if want.placed:
        return _placed(want, asker, own, open_, pins, world, rng)
    return own, draw_up(
        own.scores[0, :count], own.candidates.items[0, :count], world.catalogue.ids, want.length, want.policy,
        known_user=known_user, vectors=world.live.release.model.vectors, rng=rng,
    )  # fmt: skip


def _open(asks: Asks, row: int, allowed: Allowed | None, world: World) -> Mask:
    """Items (V,) that no hard rule but the caps forbids."""
    mask = -1 if allowed is None else int(allowed.of[row])
    listable = world.catalogue.available if allowed is None or mask < 0 else allowed.masks[mask]
    open_: Mask = listable[: world.catalogue.size].copy()
    open_[asks.excluded[asks.excluded_from[row] : asks.excluded_from[row + 1]]] = False
    return open_


def _pins(want: Wanted, open_: Mask, world: World) -> list[tuple[int, int]]:
    """Places (from 0) and numbers of the pinned items that may be listed, in the rules' order."""
    if want.only is not None:
        return []
    index = world.catalogue.index
    pins = [(position - 1, index.get(item_id, -1)) for position, item_id in want.rules.pins]
    return [
        (place, item)
        for place, item in pins
        if place < want.length and item >= 0 and open_[item] and not _hidden(item, want, world)
    ]


def _hidden(item: int, want: Wanted, world: World) -> bool:
    """Whether the request leaves the item out by its hash."""
    return bool(want.hashes) and event_hash(world.catalogue.ids[item]) in want.hashes


def _heeding(
    want: Wanted, asker: Asks, ranked: Ranked, row: int, open_: Mask, pinned: Sequence[int], world: World
) -> Ranked:
    """The candidates and those that the wish is about, with scores that heed it; a batch of one.

    Where the wish is about none, they are the row's own, and only rules add to their scores.
    """
    live, tilts = world.live, world.steering.tilt
    if want.query is None and not want.similar and not pinned:
        return _own(want, ranked, row, world)
    sought, relevance = np.zeros(0, np.int32), np.zeros(0, np.float32)
    if want.query is not None:
        sought, relevance = searching.found(want, open_, world)
    elif (text := _text(want, world)) is not None:
        sought = live.by_content.nearest(text, open_, ranked.candidates.items.shape[1] // 2)
    found = queries.join(ranked.candidates, row, np.concatenate([sought, np.array(pinned, np.int32)]))
    items = found.items[0]
    if not len(items):  # nothing is left for this user
        return Ranked(found, ranked.features, np.zeros((1, 0), np.float32))
    columns = features_of(asker, found, world)
    scores = scores_of(found, columns, world)[0]
    added = tilts(items, want.rules.tilts) if want.rules.tilts else np.float32(0)
    is_sought = None
    if want.query is not None:
        named = np.isin(items, sought)
        if want.reading is not None and not want.reading.text:
            named[:] = True  # all that is left is what was asked for
        scores = queries.mixed(scores + added, queries.placed(relevance, sought, items), named)
        is_sought = named[None]
    elif want.similar:
        scores = queries.standard(scores) + _TOGETHER * queries.standard(columns.alone[0, :, _CONDITIONAL])
        if want.taste is not None:
            theirs = scores_of(found, features_of(want.taste, found, world), world)[0]
            scores = scores + _TASTE * queries.standard(theirs)
        scores = scores + added
    else:
        scores = scores + added
    return Ranked(found, columns, scores[None], is_sought)


def _own(want: Wanted, ranked: Ranked, row: int, world: World) -> Ranked:
    """The row's own candidates as a batch of one."""
    count = int(ranked.candidates.count[row])
    found = queries.join(ranked.candidates, row, np.zeros(0, np.int32))
    scores = ranked.scores[row : row + 1, :count]
    if want.rules.tilts:
        scores = scores + world.steering.tilt(found.items[0], want.rules.tilts)
    return Ranked(found, ranked.features, scores)


def _text(want: Wanted, world: World) -> NDArray[np.float32] | None:
    """What the item that the list is to be like says of itself (T,)."""
    if want.request is not None and want.request.similar_to is not None:
        number = world.catalogue.index.get(want.request.similar_to)
        if number is not None:
            content = world.live.release.model.content[number]
            return content if content.any() else None
    return None


def _placed(
    want: Wanted, asker: Asks, own: Ranked, open_: Mask, pins: Sequence[tuple[int, int]], world: World,
    rng: np.random.Generator | None,
) -> tuple[Ranked, list[Place]]:  # fmt: skip
    """The list by its rules; candidates that fill it up join the others."""
    items = own.candidates.items[0]
    columns = {item: column for column, item in enumerate(items.tolist())}
    caps = Caps(want.rules.caps, world.steering.fields)
    caps.read(items)
    placing = Placing(want.length, items, caps, [(place, columns[item]) for place, item in pins])
    order = by_score(own.scores[0], items, world.catalogue.ids, len(items))
    if want.hashes:
        order = order[[not _hidden(item, want, world) for item in items[order].tolist()]]
    shown = np.zeros(len(open_), np.bool_)  # too often, as the scenario has it
    if want.late is not None:
        shown[want.late] = True
    late = shown[items[order]]
    fine = order[~late]
    if want.policy.diversity > 0 and len(fine):
        near = fine[: max(2 * want.length, want.length + _BELOW)]
        near = diversify(near, world.live.release.model.vectors[items], want.length, want.policy.diversity)
        fine = np.concatenate([near, fine[len(near) :]])
    placing.place(fine.tolist())
    tried = None
    if rng is not None and want.policy.exploration > 0 and not placing.left:
        tried = _try_out(want, fine, placing, rng)
    # Soft rules are given up last: first comes whatever else may stand in the list.
    left = open_.copy()
    left[items] = False
    filling = _fill(placing, want, left & ~shown, caps, world)
    placing.place(order[late].tolist())
    filling += _fill(placing, want, left & shown, caps, world)
    if filling:
        own = _joined(own, np.array(filling, np.int32), want, asker, world)
    places = placing.places()
    if tried is not None:
        places = [_told(place, *tried) for place in places]
    return own, places


def _try_out(
    want: Wanted, fine: NDArray[np.int64], placing: Placing, rng: np.random.Generator
) -> tuple[int, float, bool] | None:
    """For users nobody knows: now and then the last free place goes to an item from below the list.

    Returns that place's column, its chance and whether it was a try.
    """
    chance = want.policy.exploration
    below = [column for column in fine.tolist() if column not in placing.placed][:_BELOW]
    last = placing.last
    if last is None or not below:
        return None
    if rng.random() >= chance:
        return last, 1.0 - chance, False
    tried = placing.try_out(below, rng)
    return None if tried is None else (tried[0], chance / tried[1], True)


def _told(place: Place, column: int, propensity: float, explored: bool) -> Place:
    if place.column != column:
        return place
    return place._replace(propensity=propensity, explored=explored)


def _fill(placing: Placing, want: Wanted, left: Mask, caps: Caps, world: World) -> list[int]:
    """Fills empty places with items that are `left` (V,); returns them, which are the next candidates."""
    if not placing.left:
        return []
    chosen = _fillers(want, left, placing.left, caps, world)
    placing.fill(np.array(chosen, np.int32), "fill" if want.rules.fill else "")
    return chosen


def _fillers(want: Wanted, left: Mask, count: int, caps: Caps, world: World) -> list[int]:
    """Up to `count` of the items that are `left` and fit in, those first that the scenario says.

    The caps have counted them then.
    """
    chosen: list[int] = []
    for items in _in_order(left, want.rules.fill, world):
        start, length = 0, _AT_ONCE
        while start < len(items):
            some = items[start : start + length]
            start += length
            fitting = caps.fitting(some)
            fits = fitting.mask(len(some))
            while fits.any():
                place = int(fits.argmax())
                fits[place] = False
                if _hidden(item := int(some[place]), want, world):
                    continue
                fitting.take(place, item)
                chosen.append(item)
                if len(chosen) == count:
                    return chosen
                fits &= fitting.mask(len(some))
                length = _AT_ONCE
            length = min(2 * length, _MOST_AT_ONCE)  # where nothing fits any more, the rest is passed over
    return chosen


def _in_order(left: Mask, fill: Sequence[str], world: World) -> Iterator[Items]:
    """The items that are `left` (V,), in the order in which they fill a list up."""
    signals, model = world.signals, world.live.release.model
    left = left.copy()
    for name in dict.fromkeys((*fill, "popular", "new")):
        numbers = np.flatnonzero(left).astype(np.int32)
        if name == "popular":
            numbers = numbers[signals.count[numbers] > 0]
            order = np.argsort(-signals.popularity[numbers, model.popular], kind="stable")
        else:
            order = np.argsort(-signals.born_ms[numbers], kind="stable")
        left[numbers] = False
        yield numbers[order]


def _joined(own: Ranked, filling: Items, want: Wanted, asker: Asks, world: World) -> Ranked:
    """With the items that fill the list up as its last candidates: they have scores too."""
    width = own.candidates.items.shape[1]
    found = queries.join(own.candidates, 0, filling)
    place = {item: column for column, item in enumerate(found.items[0, width:].tolist())}
    order = np.array([*range(width), *(width + place[item] for item in filling.tolist())])
    found = found._replace(
        items=found.items[:, order], source=found.source[:, order], because=found.because[:, order],
        ranks=found.ranks[:, order],
    )  # fmt: skip
    columns = features_of(asker, found, world)
    scores = scores_of(found, columns, world)[0, width:]
    if want.rules.tilts:
        scores = scores + world.steering.tilt(filling, want.rules.tilts)
    if want.query is not None or want.similar:
        scores = queries.below(scores, own.scores[0])
    sought = own.sought
    if sought is not None:
        sought = np.concatenate([sought, np.zeros((1, len(filling)), np.bool_)], axis=1)
    return Ranked(found, columns, np.concatenate([own.scores, scores[None]], axis=1), sought)
