"""Candidates: the kernel against scoring the whole catalogue, and what a list must hold whatever happens."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learner.data.catalogue import Item
from learner.data.events import Kind
from learner.ranking.candidates import propose
from learner.ranking.sources import FRESH, SOURCES
from learner.signals.state import Signals
from tests.worlds.plain_signals import (
    SETTINGS,
    WEIGHTS,
    Event,
    PlainSignals,
    a_world,
    asks_of,
    fold,
    plain_candidates,
)

NOTHING_NEAR = np.full((1, 1), -1, np.int32)


@pytest.mark.parametrize(("seed", "weights"), [*((seed, {}) for seed in range(4)), (1, WEIGHTS)])
def test_kernel_agrees_with_scoring_the_whole_catalogue(seed, weights):
    catalogue, events, model = a_world(seed, items=60)
    weighing = replace(SETTINGS, event_weights=weights)
    signals, plain = Signals(weighing, catalogue), PlainSignals(weighing, catalogue)
    histories = [*fold(events, signals, plain).values(), []]
    histories += [history[: 2**n] for n, history in enumerate(histories)]  # of every depth
    model = model._replace(popular_now=(1, 4, 7, 3)[seed])
    for item in (3, 20, 40):
        catalogue.withdraw(f"i{item}")
    rng = np.random.default_rng(seed)
    asks = asks_of(histories, events[-1].time_ms + 60_000, rng, barred=seed % 2 == 0)
    ann = np.array([rng.permutation(60)[:15] for _ in histories], np.int32)
    got = propose(asks, catalogue, signals, model, ann, size=30)
    for row in range(len(histories)):
        want = plain_candidates(asks, row, set(ann[row].tolist()), plain, model, 30)
        n = int(got.count[row])
        assert got.items[row, :n].tolist() == [item for item, _ in want]
        assert [SOURCES[s] for s in got.source[row, :n]] == [source for _, source in want]
        assert (got.items[row, n:] == -1).all()


@given(st.integers(0, 10**6), st.integers(1, 30), st.integers(1, 40), st.floats(0, 1), st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_list_is_full_distinct_and_eligible(seed, items, size, known, clicked):
    """min(size, eligible) items, whatever the user has consumed, also before the first click."""
    catalogue, events, model = a_world(seed, items=items, clicks=60)
    rng = np.random.default_rng(seed)
    signals = Signals(SETTINGS, catalogue)
    histories = list(fold(events if clicked else [], signals).values()) or [[]]
    for item in np.flatnonzero(rng.random(items) < 0.2):
        catalogue.withdraw(f"i{item}")
    asks = asks_of(histories, events[-1].time_ms, rng, barred=False)
    barred = [np.flatnonzero(rng.random(items) < known).astype(np.int32) for _ in histories]
    asks = asks._replace(
        excluded_from=np.cumsum([0, *map(len, barred)]).astype(np.int64), excluded=np.concatenate(barred)
    )
    nearest = rng.integers(-1, items, (len(histories), 5)).astype(np.int32)
    got = propose(asks, catalogue, signals, model, nearest, size)
    for row, out in enumerate(barred):
        eligible = set(np.flatnonzero(catalogue.available[:items]).tolist()) - set(out.tolist())
        listed = got.items[row, : got.count[row]].tolist()
        assert len(listed) == len(set(listed)) == min(size, len(eligible))
        assert set(listed) <= eligible
    assert (signals.marks == -1).all()


def test_a_disliked_item_brings_no_neighbours():
    catalogue, events, model = a_world(1)
    signals = Signals(SETTINGS, catalogue)
    fold(events, signals)
    now, rng = events[-1].time_ms, np.random.default_rng(0)
    popular = int(signals.top[7, 0])
    liked, disliked = (
        propose(
            asks_of([[Event("x", popular, now, kind, 0.0)]], now, rng),
            catalogue,
            signals,
            model,
            NOTHING_NEAR,
            30,
        )
        for kind in (Kind.CLICK, Kind.DISLIKE)
    )
    neighbourly = [SOURCES.index(source) for source in ("rules", "knn", "together")]
    assert (liked.ranks[0, :, neighbourly] >= 0).any()
    assert (liked.because == popular).any()
    assert not (disliked.ranks[0, :, neighbourly] >= 0).any()
    assert (disliked.because == -1).all()


def test_fresh_items_have_their_slots_and_match_the_profile():
    catalogue, events, model = a_world(2)
    signals = Signals(SETTINGS, catalogue)
    fold(events, signals)
    now = events[-1].time_ms
    new = [catalogue.announce(Item(item_id=f"new{k}", published_at=now - 1000)) for k in range(6)]
    grown = type(model)(
        np.vstack([model.vectors, np.zeros((6, 8), np.float32)]),
        np.append(model.bias, np.zeros(6, np.float32)),
        np.vstack([model.content, np.eye(6, 5, dtype=np.float32)]),
    )  # fmt: skip
    grown.content[5] = grown.content[new[4]]
    asks = asks_of([[Event("x", 5, now - 10, Kind.CLICK, 0.0)]], now, np.random.default_rng(0))
    got = propose(asks, catalogue, signals, grown, NOTHING_NEAR, 20)
    fresh = got.items[0, got.source[0] == FRESH].tolist()
    assert fresh[0] == new[4]
    assert len(set(fresh) & set(new)) >= 3
