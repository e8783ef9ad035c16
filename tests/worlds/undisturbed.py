"""Users' states as they would be had nothing happened but their clicks, and how others differ from them.

Owns the folding of clicks one by one, without Kafka. Knows no ledger and no process.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import msgspec
import numpy as np

from learner.data.catalogue import Catalogue
from learner.release.files import read_release
from learner.release.live import LiveRelease
from streams.hot_path.histories import HISTORY
from streams.hot_path.live import Live
from streams.hot_path.policy import Policy
from streams.hot_path.recommend import recommend
from streams.hot_path.state_record import StateRecord, decode_state, unpack
from streams.recorded.world import Offline
from streams.wire.intake import Arrival
from tests.worlds.aftermath import SHOWN, Placed

EXACT = ("partition", "applied", "events", "items", "times", "kinds", "values", "event_ids")
HIDDEN = 1e-4


def states_after(release: Path, clicks: Iterable[Placed]) -> dict[str, StateRecord]:
    """Users' states after the clicks, folded one by one in the order of their offsets, by one release."""
    catalogue = Catalogue()
    live = Live(LiveRelease(read_release(release), catalogue), catalogue)
    offline = Offline(live, catalogue, Policy())
    for placed in clicks:
        silent = msgspec.structs.replace(placed.click, history=True)  # the same state, and no list
        arrival = Arrival(silent, placed.partition, placed.offset)
        recommend([arrival], offline.states, offline.world, silent.timestamp, rng=None)
    states = offline.states
    return {user: decode_state(states.encode(slot, catalogue)) for user, slot in states.index.items()}


def different(
    expected: Mapping[str, StateRecord], found: Mapping[str, StateRecord], items: set[str]
) -> Iterator[str]:
    """How states differ from those of the undisturbed run.

    Hidden states are compared where nothing but the release's own student and `items` made them: those of
    newer items get their vectors at a moment of their own, and of a longer history a re-encoding sees a part.
    """
    if missing := expected.keys() ^ found.keys():
        yield f"users in only one of both: {sorted(missing)[:SHOWN]}"
    for user in sorted(expected.keys() & found.keys()):
        one, other = expected[user], found[user]
        for name in EXACT:
            if getattr(one, name) != getattr(other, name):
                yield f"{user}: {name} is {getattr(other, name)}, expected {getattr(one, name)}"
        if unlike := _older(one).items() ^ _older(other).items():
            yield f"{user}: what fell out of the history differs: {sorted(unlike)[:SHOWN]}"
        if one.events <= HISTORY and items.issuperset(one.items):
            for name in ("hidden", "vector"):
                ours, theirs = (unpack(getattr(each, name), np.float32) for each in (one, other))
                if ours.shape != theirs.shape or not np.allclose(ours, theirs, atol=HIDDEN):
                    yield f"{user}: {name} of {other.release} is {theirs}, expected {ours}"


def _older(state: StateRecord) -> dict[str, tuple[int, int]]:
    """The last day and the strongest bar of each item; until the next merge one may stand there twice."""
    days, bars = unpack(state.older_days, np.uint16).tolist(), unpack(state.older_bars, np.uint8).tolist()
    found: dict[str, tuple[int, int]] = {}
    for item, day, bar in zip(state.older, days, bars, strict=True):
        last, strongest = found.get(item, (0, 0))
        found[item] = max(last, day), max(strongest, bar)
    return found
