"""The hot path over recorded clicks: whoever is answered is known by the release that answers."""

import numpy as np

from learner.data.catalogue import Catalogue, Item
from learner.release.live import LiveRelease
from streams.hot_path.live import Live
from streams.hot_path.policy import Policy
from streams.recorded.world import Offline
from streams.wire.contract import Click
from tests.worlds.served import served_bundle

NOW = 1_700_000_000_000
ITEMS = [Item(item_id=f"i{number}") for number in range(12)]


def offline() -> Offline:
    catalogue = Catalogue()
    live = Live(LiveRelease(served_bundle("r-first", ITEMS), catalogue), catalogue)
    return Offline(live, catalogue, Policy(exploration=0.0))


def clicks(count: int) -> list[Click]:
    return [
        Click(event_id=f"{n}", user_id=f"u{n % 3}", item_id=f"i{n % 5}", event="click", timestamp=NOW + n)
        for n in range(count)
    ]


def test_remembered_clicks_and_answered_ones_make_the_same_states() -> None:
    remembering, answering = offline(), offline()
    for click in clicks(30):
        remembering.remember(click)
        answering.learn(click, answer=True)
    remembering.encode()
    assert remembering.states.index == answering.states.index
    np.testing.assert_allclose(remembering.states.hidden[:3], answering.states.hidden[:3], atol=1e-5)


def test_states_that_were_only_remembered_are_encoded_before_an_answer() -> None:
    world = offline()
    *before, last = clicks(30)
    for click in before:
        world.remember(click)
    assert world.learn(last, answer=True)
    assert world.states.reencoded == 1  # the one who was answered


def test_a_swap_makes_every_state_the_new_releases() -> None:
    world = offline()
    for click in clicks(30):
        world.learn(click, answer=False)
    catalogue = world.world.catalogue
    world.swap(Live(LiveRelease(served_bundle("r-second", ITEMS), catalogue), catalogue))
    assert world.states.reencoded == 3
    assert not len(world.states.stale(["r-second"]))
    assert world.learn(clicks(31)[-1], answer=True)
    assert world.states.reencoded == 3
