"""Askers as they would be had they just clicked something, or as somebody who clicked one item alone.

Owns what such a click adds to what is known of an asker. No state changes.
"""

import numpy as np
from numpy.typing import NDArray

from learner.data.events import Kind
from learner.data.inputs import log_gap
from learner.ranking.arrays import Asks
from streams.hot_path.world import World


def had_clicked(
    asks: Asks, row: int, hidden: NDArray[np.float32], items: NDArray[np.int32], world: World
) -> NDArray[np.float32]:
    """Adds clicks on `items` (n,) at the time of asking to a row of `asks`, in place.

    `hidden` (S,) float32 is the asker's before them; returns the one after.
    """
    release = world.live.release
    room = asks.items.shape[1]
    now_ms = int(asks.now_ms[row])
    for number in items.tolist():
        length = int(asks.length[row])
        before = int(asks.times[row, length - 1]) if length else -1
        if length == room:
            for events in (asks.items, asks.times, asks.kinds, asks.values):
                events[row, :-1] = events[row, 1:]
            length -= 1
        asks.items[row, length], asks.times[row, length] = number, now_ms
        asks.kinds[row, length], asks.values[row, length] = int(Kind.CLICK), 0.0
        asks.length[row] = length + 1
        asks.events[row] += 1
        gap = log_gap(np.array([now_ms]), np.array([before]))
        after, vector = release.step(
            release.model.vectors[[number]], np.array([int(Kind.CLICK)]), gap, np.zeros(1, np.float32),
            hidden[None],
        )  # fmt: skip
        hidden, asks.user_vector[row] = after[0], vector[0]
    return hidden


def nobody(asks: Asks, row: int, world: World) -> NDArray[np.float32]:
    """Makes a row of `asks` that of somebody without a past, in place; returns such a one's hidden state."""
    release = world.live.release
    asks.items[row], asks.times[row], asks.kinds[row], asks.values[row] = -1, 0, 0, 0.0
    asks.length[row] = asks.events[row] = 0
    asks.user_vector[row] = release.initial_vector
    return np.zeros(release.hidden_size, np.float32)
