"""Clicks into states, and whose student the states are of."""

import numpy as np
import pytest

from learner.data.catalogue import Item
from learner.release.live import LiveRelease
from streams.hot_path.fold import prepare
from streams.hot_path.live import Live
from streams.hot_path.recommend import recommend
from streams.hot_path.user_states import UserStates
from streams.hot_path.world import World
from streams.wire.contract import Click
from streams.wire.intake import Arrival
from tests.worlds.rounds import NOW, arrivals, world
from tests.worlds.served import served_bundle


def swapped(known: World) -> None:
    """Another release is live, that knows other items."""
    bundle = served_bundle("r-next", [Item(item_id=f"more-{number}") for number in range(25)])
    bundle.arrays.vectors += 1
    known.live = Live(LiveRelease(bundle, known.catalogue), known.catalogue)


def clicked(offset: int, **fields: object) -> Arrival:
    said = {"event_id": f"e{offset}", "user_id": "u", "item_id": "more-1", "event": "click"} | fields
    return Arrival(Click(timestamp=NOW + offset, **said), 0, offset)  # type: ignore[arg-type]


def test_after_a_swap_states_are_made_the_new_releases_first() -> None:
    known, states = world()
    some = arrivals(np.random.default_rng(0), users=6, count=200)
    recommend(some, states, known, NOW, rng=None)
    swapped(known)
    after = [clicked(300, user_id="u1"), clicked(301, user_id="new", item_id="joined-meanwhile")]
    with pytest.raises(AssertionError):
        recommend(after, states, known, NOW, rng=None)
    prepare(after, states, known.live)
    assert states.reencoded == 1
    outcomes = recommend(after, states, known, NOW, rng=None)
    fresh = UserStates(known.live.release.hidden_size, known.live.release.vector_size)
    again = recommend([*some, *after], fresh, known, NOW, rng=None)
    for user in ("u1", "new"):
        np.testing.assert_allclose(
            states.hidden[states.index[user]], fresh.hidden[fresh.index[user]], atol=1e-5
        )
    assert [len(o.recommendation.items) for o in outcomes if o.recommendation] == [
        len(o.recommendation.items) for o in again[-2:] if o.recommendation
    ]


def test_an_impression_is_only_known_to_have_been_there() -> None:
    known, states = world()
    recommend([clicked(1)], states, known, NOW, rng=None)
    slot = states.index["u"]
    before = states.hidden[slot].copy()
    seen = [clicked(2, event="impression"), clicked(2, event="impression")]
    outcomes = recommend(seen, states, known, NOW, rng=None)
    assert [outcome.fate.value for outcome in outcomes] == ["done", "replayed"]
    assert (states.applied[slot], states.events[slot]) == (2, 1)
    np.testing.assert_array_equal(states.hidden[slot], before)
