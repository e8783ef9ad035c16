"""Askers as they would be had they clicked something, or as somebody who clicked one item alone.

Owns what such a click adds to what is known of an asker. No state changes.
"""

from typing import NamedTuple

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
    now_ms = int(asks.now_ms[row])
    for number in items.tolist():
        hidden = _had(asks, row, hidden, Event(number, now_ms, int(Kind.CLICK), 0.0), world)
    return hidden


def had_clicked_before(asks: Asks, row: int, items: NDArray[np.int32], world: World) -> NDArray[np.float32]:
    """Puts clicks on `items` (n,) before all that is known of a row of `asks`, in place.

    Returns the hidden state (S,) float32 after all of it. For askers with few events: each is a step.
    """
    known = [
        Event(
            int(asks.items[row, n]),
            int(asks.times[row, n]),
            int(asks.kinds[row, n]),
            float(asks.values[row, n]),
        )
        for n in range(int(asks.length[row]))
    ]
    events = int(asks.events[row])
    first_ms = known[0].time_ms if known else int(asks.now_ms[row])
    hidden = nobody(asks, row, world)
    for number in items.tolist():
        hidden = _had(asks, row, hidden, Event(number, first_ms, int(Kind.CLICK), 0.0), world)
    for event in known:
        hidden = _had(asks, row, hidden, event, world)
    asks.events[row] = events + len(items)
    return hidden


class Event(NamedTuple):
    """An event of an asker; `value` normalised."""

    item: int
    time_ms: int
    kind: int
    value: float


def _had(
    asks: Asks, row: int, hidden: NDArray[np.float32], event: Event, world: World
) -> NDArray[np.float32]:
    """Adds an event to a row of `asks`, in place; returns the hidden state after it."""
    release = world.live.release
    length = int(asks.length[row])
    before = int(asks.times[row, length - 1]) if length else -1
    if length == asks.items.shape[1]:
        for events in (asks.items, asks.times, asks.kinds, asks.values):
            events[row, :-1] = events[row, 1:]
        length -= 1
    asks.items[row, length], asks.times[row, length] = event.item, event.time_ms
    asks.kinds[row, length], asks.values[row, length] = event.kind, event.value
    asks.length[row] = length + 1
    asks.events[row] += 1
    gap = log_gap(np.array([event.time_ms]), np.array([before]))
    after, vector = release.step(
        release.model.vectors[[event.item]], np.array([event.kind]), gap, np.array([event.value], np.float32),
        hidden[None],
    )  # fmt: skip
    asks.user_vector[row] = vector[0]
    own: NDArray[np.float32] = after[0]
    return own


def nobody(asks: Asks, row: int, world: World) -> NDArray[np.float32]:
    """Makes a row of `asks` that of somebody without a past, in place; returns such a one's hidden state."""
    release = world.live.release
    asks.items[row], asks.times[row], asks.kinds[row], asks.values[row] = -1, 0, 0, 0.0
    asks.length[row] = asks.events[row] = 0
    asks.user_vector[row] = release.initial_vector
    return np.zeros(release.hidden_size, np.float32)
