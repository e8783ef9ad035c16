"""A release that nobody trained, its world, and arrivals of every kind."""

import numpy as np

from learner.data.catalogue import Catalogue, Item
from learner.release.live import LiveRelease
from learner.signals.settings import SignalSettings
from learner.signals.state import Signals
from streams.hot_path.live import Live
from streams.hot_path.policy import Policy
from streams.hot_path.user_states import UserStates
from streams.hot_path.world import World
from streams.wire.contract import Click, Request
from streams.wire.intake import Arrival
from tests.worlds.served import served_bundle

NOW = 1_700_000_000_000


def world() -> tuple[World, UserStates]:
    """A world that knows the release's items and no user."""
    catalogue = Catalogue()
    bundle = served_bundle("r-20231114-221320-test", [Item(item_id=f"more-{number}") for number in range(30)])
    release = LiveRelease(bundle, catalogue)
    live = Live(release, catalogue)
    signals = Signals(SignalSettings.from_dict(release.manifest.signals), catalogue)
    signals.follow()
    return World(catalogue, signals, live, Policy(exploration=0.0)), UserStates(
        release.hidden_size, release.vector_size
    )


def arrivals(rng: np.random.Generator, users: int, count: int) -> list[Arrival]:
    """Clicks of every kind, sent twice now and then, and requests."""
    items = [f"more-{number}" for number in range(30)] + ["nobody-announced-me"]
    kinds = ["click", "view", "purchase", "rating", "like", "dislike", "hide", "impression"]
    made: list[Arrival] = []
    for offset in range(count):
        user = f"u{rng.integers(users)}"
        if rng.random() < 0.1:
            made.append(Arrival(Request(request_id=f"r{offset}", user_id=user, k=5), 0, offset))
            continue
        click = Click(
            event_id=f"e{rng.integers(0.9 * count)}", user_id=user, item_id=str(rng.choice(items)),
            event=str(rng.choice(kinds)), timestamp=NOW + offset, history=bool(rng.random() < 0.1),  # type: ignore[arg-type]
        )  # fmt: skip
        made.append(Arrival(click, 0, offset))
    return made
