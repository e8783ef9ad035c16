"""What a list of its own knows of its asker at the moment of asking, beside what every list knows.

Owns which items such a list leaves out, and askers as they would be: had they clicked something, or as
somebody who clicked the one item that others are to be like. Changes no state.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from learner.ranking.arrays import Asks
from streams.hot_path.fallen import Bar
from streams.hot_path.profile import profile
from streams.hot_path.rank import Bars, rows_of
from streams.hot_path.searching import standing_for
from streams.hot_path.user_states import UserStates
from streams.hot_path.wanted import NO_ITEMS, Wanted
from streams.hot_path.what_if import had_clicked, had_clicked_before, nobody
from streams.hot_path.world import Outcome, World

_HOUR_MS = 3_600_000
FEW_EVENTS = 5  # of a user, below which a request's interests stand in for clicks
_BY_WORD = 3  # items that stand for one of them, for somebody without a click; one for who has several


def kept_out(
    want: Wanted, excluded: Sequence[str], world: World, now_ms: int
) -> tuple[Sequence[str], Bars | None]:
    """Ids of items that the list leaves out, and by which rule it leaves out what the user has met."""
    if want.only is not None:  # whoever names items gets them
        return (), None
    rules, request = want.rules, want.request
    bars = rules.bars(world.live, now_ms)
    more: list[str] = []
    if request is not None and bars[0] <= Bar.CONSUMED:  # a click would keep them out
        more += request.if_clicked
        more += request.interests  # words among them are no ids
    if request is not None and request.similar_to is not None:
        more.append(request.similar_to)
    return [*excluded, *rules.block, *more], bars


def note(want: Wanted, asks: Asks, row: int, outcome: Outcome, states: UserStates, world: World) -> None:
    """Takes down what later clicks of the round must not change, and changes the row of `asks` in place."""
    slot, request, rules = outcome.slot, want.request, want.rules
    now_ms = int(asks.now_ms[row])
    if rules.shown_cap is not None and slot >= 0:
        within = int(rules.shown_cap.hours * _HOUR_MS)
        late = states.shown_too_often(slot, rules.shown_cap.times, within, now_ms)
        want.late = late if len(late) else None
    if request is None:
        return
    if request.profile:
        want.profile = profile(slot, states, world)
    if not (request.if_clicked or request.interests or request.similar_to is not None):
        return
    live = world.live
    hidden = (
        states.hidden[slot, : live.release.hidden_size].copy()
        if slot >= 0 and asks.events[row]
        else np.zeros(live.release.hidden_size, np.float32)
    )
    if request.interests and asks.events[row] < FEW_EVENTS:
        hidden = had_clicked_before(asks, row, _interests(request.interests, asks, row, world), world)
    if request.if_clicked:
        hidden = had_clicked(asks, row, hidden, _numbers(request.if_clicked, want, world), world)
    if request.similar_to is not None:
        if asks.events[row]:
            want.taste = rows_of(asks, [row])
        liked = _numbers([request.similar_to], want, world)
        had_clicked(asks, row, nobody(asks, row, world), liked, world)
        if not len(liked):
            want.only = NO_ITEMS


def _numbers(item_ids: Sequence[str], want: Wanted, world: World) -> NDArray[np.int32]:
    """Numbers (n,) of the items that there are; the others are noted as unknown."""
    index = world.catalogue.index
    want.unknown += tuple(item_id for item_id in item_ids if item_id not in index)
    return np.array([index[item_id] for item_id in item_ids if item_id in index], np.int32)


def _interests(interests: Sequence[str], asks: Asks, row: int, world: World) -> NDArray[np.int32]:
    """Numbers (n,) of the items that stand for words or ids, the first named last: it counts most.

    They come before what the asker has clicked, and are the fewer the more that is.
    """
    by_word = max(1, _BY_WORD - int(asks.events[row]))
    open_ = world.catalogue.available[: world.catalogue.size].copy()
    begin, end = asks.excluded_from[row], asks.excluded_from[row + 1]
    open_[asks.excluded[begin:end]] = False
    numbers: list[int] = []
    for interest in reversed(interests):
        number = world.catalogue.index.get(interest)
        if number is not None:
            numbers.append(number)
        else:
            numbers += standing_for(interest, open_, by_word, world).tolist()
    return np.array(numbers, np.int32)
