"""Pairs: which of them a row keeps, and which stand in its head."""

import numpy as np

from learner.data.catalogue import Catalogue
from learner.data.events import Kind
from learner.data.times import DAY_MS
from learner.signals.heads import HEAD
from learner.signals.settings import SignalSettings
from learner.signals.state import Signals
from tests.worlds.pairs import check_pairs


def test_a_full_row_gives_up_its_weakest_pair():
    catalogue = Catalogue()
    items = [catalogue.intern(f"i{k}") for k in range(10)]
    signals = Signals(SignalSettings(neighbours=3), catalogue)
    at = 1_400_000_000_000

    def sources():
        return sorted(signals.neighbours.row(items[0])[0].tolist())

    signals.learn(0, at, Kind.CLICK, 0.0, np.array([3, 2, 1], np.int32))  # distances 3, 2, 1
    assert sources() == [1, 2, 3]
    # At distance 4 a new pair weighs .5, less than the weakest (3: 3**-.5): it does not enter.
    signals.learn(0, at, Kind.CLICK, 0.0, np.array([4, 1, 2, 1], np.int32))
    assert sources() == [1, 2, 3]
    # Right before, it does, and 3 gives way.
    signals.learn(0, at, Kind.CLICK, 0.0, np.array([4], np.int32))
    assert sources() == [1, 2, 4]
    assert signals.neighbours.followers(3).tolist() == []
    assert signals.neighbours.followers(4).tolist() == [0]
    # Years later all old pairs are weaker than any new one.
    signals.learn(0, at + 4000 * int(DAY_MS), Kind.CLICK, 0.0, np.array([9, 8, 7, 6, 5, 6], np.int32))
    assert sources() == [5, 6, 7]


def test_the_head_holds_the_strongest_followers():
    rng = np.random.default_rng(0)
    catalogue = Catalogue()
    for k in range(4 * HEAD):
        catalogue.intern(f"i{k}")
    signals = Signals(SignalSettings(neighbours=40, pair_half_life_ms=2 * DAY_MS), catalogue)
    time = 1_400_000_000_000
    for k in range(6000):
        time += int(rng.exponential(DAY_MS / 30))
        history = np.minimum(rng.exponential(8, 30).astype(np.int32), 4 * HEAD - 1)
        signals.learn(int(rng.integers(0, 4 * HEAD)), time, Kind.CLICK, 0.0, history)
        if k % 1999 == 0:
            check_pairs(signals)
    check_pairs(signals)
    assert (signals.neighbours.after.rows[:, 1] > HEAD).any()
