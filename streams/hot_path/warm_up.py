"""The first calls are the slow ones: kernels are compiled, models make their plans. Not with users waiting.

Takes a world through the hot path once, with users and signals of its own. Compiling takes 20 to 30 s of
processor time after an installation and is kept beside the code; later starts take a fraction of a second.
"""

from dataclasses import replace

import numpy as np

from learner.signals.state import Signals
from streams.hot_path.recommend import recommend
from streams.hot_path.state_record import decode_state
from streams.hot_path.user_states import UserStates
from streams.hot_path.world import World
from streams.wire.contract import Click, Request
from streams.wire.intake import Arrival

_USERS, _CLICKS = 12, 3  # rounds of 1, 4 and all: the index answers few and many queries differently


def warm_up(world: World) -> None:
    """Runs clicks, requests, a restored state and a signals record through `world`, which is left as it was.

    Items that the clicks are on exist already; without any there is nothing to warm up.
    """
    items = world.catalogue.ids[: world.catalogue.size]
    if not items:
        return
    release = world.live.release
    states = UserStates(release.hidden_size, release.vector_size)
    signals = Signals(world.signals.settings, world.catalogue)
    apart = replace(world, signals=signals)
    now_ms, offset = 1_000_000_000_000, 0
    was_asked = world.steering.texts.asked  # nobody pays for texts who never asks: this is not asking
    for clicks in range(_CLICKS):
        for at_once in (1, 4, _USERS):
            arrivals = []
            for user in range(at_once):
                item = items[(offset + 7 * user) % len(items)]
                message = Click(
                    event_id=f"{offset}", user_id=f"u{user}", item_id=item, event="click",
                    timestamp=now_ms + offset,
                )  # fmt: skip
                arrivals.append(Arrival(message, 0, offset))
                offset += 1
            asked = Request(request_id="r", user_id="nobody", query="anything" if at_once == 1 else None)
            arrivals.append(Arrival(asked, 0, offset))
            recommend(arrivals, states, apart, now_ms + offset, np.random.default_rng(0))
        before = np.array([world.catalogue.index[items[n % len(items)]] for n in range(clicks)], np.int32)
        signals.learn(world.catalogue.index[items[-1]], now_ms + offset, 1, 0.0, before)
    number = world.catalogue.index[items[-1]]
    Signals(world.signals.settings, world.catalogue).apply(items[-1], signals.record(number))
    states.restore(decode_state(states.encode(0, world.catalogue)), world.catalogue)
    world.live.recall.forget()
    world.live.meaning.asked, world.steering.texts.asked = False, was_asked
