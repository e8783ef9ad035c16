"""The feature kernel answers to the plain definition, column by column."""

import math
from dataclasses import replace

import numpy as np
import pytest

from learner.data.events import Kind
from learner.data.times import DAY_MS
from learner.ranking import columns
from learner.ranking.arrays import Candidates
from learner.ranking.candidates import propose
from learner.ranking.columns import BLOCKS, CENTRED, FEATURES, RAW, SPAN
from learner.ranking.feature_math import take_logs
from learner.ranking.features import features
from learner.ranking.sources import SOURCES
from learner.signals.settings import SignalSettings
from learner.signals.state import Signals
from learner.training.jobs import newcomers_order
from tests.worlds.plain_signals import (
    SETTINGS,
    WEIGHTS,
    Event,
    PlainSignals,
    a_world,
    asks_of,
    fold,
    plain_features,
)


@pytest.mark.parametrize(
    ("seed", "weights"), [*((seed, {}) for seed in range(6)), (6, WEIGHTS), (7, WEIGHTS)]
)
def test_kernel_agrees_with_the_plain_definition(seed, weights):
    catalogue, events, model = a_world(seed)
    settings = replace(SETTINGS, event_weights=weights)
    signals, plain = Signals(settings, catalogue), PlainSignals(settings, catalogue)
    behind = seed % 3 * 10  # clicks that users' states know and signals do not know yet
    fold(events[: len(events) - behind], signals, plain)
    every = list(fold(events).values())
    histories = [*every, [], *(every[0][:n] for n in (1, 2, 3, 9, 14))]
    rng = np.random.default_rng(seed)
    asks = asks_of(histories, events[-1].time_ms + 3_600_000, rng, barred=seed % 2 == 0)
    ann = np.array([rng.permutation(40)[:10] for _ in histories], np.int32)
    candidates = propose(asks, catalogue, signals, model, ann, size=25)
    got = features(asks, candidates, catalogue, signals, model).table()
    assert got.shape == (len(histories), 25, len(FEATURES))
    for row in range(len(histories)):
        n = int(candidates.count[row])
        want = plain_features(
            asks, row, candidates.items[row, :n].tolist(), candidates.ranks[row], plain, model
        )
        for column, name in enumerate(FEATURES):
            # One comparison of a share may fall otherwise in single precision, no more.
            atol = 5e-3 if name.startswith("follows_") else 3e-4
            np.testing.assert_allclose(
                got[row, :n, column], want[:, column], rtol=2e-4, atol=atol, err_msg=f"{name}, row {row}"
            )
        assert not got[row, n:].any()


def test_logarithms_taken_together_are_those_taken_one_by_one():
    rng = np.random.default_rng(0)
    for n in (1, 15, 16, 80, 4096):
        x = np.exp(rng.uniform(-40, 40, n)).astype(np.float32)
        x[: 5 * (n > 5)] = (1.0, math.sqrt(0.5), np.nextafter(np.float32(1.0), 0), 1e-3, 2.0)[: 5 * (n > 5)]
        expected = np.log(x.astype(np.float64))
        take_logs(x)
        np.testing.assert_allclose(x, expected, rtol=2e-7, atol=1e-7)


def test_names_are_distinct_and_centred_columns_exist():
    assert len(set(FEATURES)) == len(FEATURES)
    assert set(CENTRED) <= set(RAW)


def test_what_was_computed_stays_while_the_signals_go_on():
    """A list in the making holds no view of the signals and shares no room with the next one."""
    catalogue, events, model = a_world(5)
    signals = Signals(SETTINGS, catalogue)
    histories = fold(events[:200], signals)
    asks = asks_of(list(histories.values()), events[199].time_ms, np.random.default_rng(0))
    nobody_near = np.full((len(histories), 1), -1, np.int32)
    candidates = propose(asks, catalogue, signals, model, nobody_near, 20)
    made = features(asks, candidates, catalogue, signals, model)
    items, table = candidates.items.copy(), made.table().copy()
    fold(events[200:], signals)
    later = propose(asks, catalogue, signals, model, nobody_near, 20)
    assert (features(asks, later, catalogue, signals, model).table() != table).any()
    np.testing.assert_array_equal(candidates.items, items)
    np.testing.assert_array_equal(made.table(), table)


def test_a_dislike_is_no_evidence_but_is_remembered():
    catalogue, events, model = a_world(6)
    signals = Signals(SETTINGS, catalogue)
    fold(events, signals)
    now = events[-1].time_ms
    liked = [Event("x", 3, now - 5000, Kind.CLICK, 0.0), Event("x", 4, now - 4000, Kind.CLICK, 0.0)]
    averse = [*liked, Event("x", 7, now - 3000, Kind.DISLIKE, 0.0)]
    asks = asks_of([liked, averse], now, np.random.default_rng(0), barred=False)
    asks.user_vector[1] = asks.user_vector[0]
    items = np.tile(np.arange(20, dtype=np.int32), (2, 1))
    candidates = Candidates(
        items,
        np.zeros((2, 20), np.uint8),
        items,
        np.zeros((2, 20, len(SOURCES)), np.int16),
        np.full(2, 20, np.int32),
    )
    columns = features(asks, candidates, catalogue, signals, model).table()
    changed = {FEATURES[c] for c in np.flatnonzero((columns[0] != columns[1]).any(0))}
    # The user's pace counts every event; no pair, taste, category or profile does.
    assert changed <= {
        "dislike_similarity",
        "user_events",
        "user_day",
        "user_hour",
        "user_session",
        "user_gap",
    }
    dislike = columns[1, :, FEATURES.index("dislike_similarity")]
    assert dislike[7] == pytest.approx(1.0, abs=1e-5)
    assert not columns[0, :, FEATURES.index("dislike_similarity")].any()


@pytest.mark.parametrize("years", [-40, -1, 0, 40])
def test_features_are_finite_for_whoever_asks_about_another_time(years):
    catalogue, events, model = a_world(7)
    signals = Signals(SignalSettings(), catalogue)
    histories = fold(events, signals)
    now = events[-1].time_ms + years * 365 * DAY_MS
    asks = asks_of([*histories.values(), []], int(now), np.random.default_rng(0))
    candidates = propose(
        asks, catalogue, signals, model, np.arange(10, dtype=np.int32)[None].repeat(99, 0), 25
    )
    columns = features(asks, candidates, catalogue, signals, model).table()
    assert np.isfinite(columns).all()
    assert np.abs(columns).max() < 1e4


@pytest.mark.parametrize("popular_now", [0, 3, 7])
def test_newcomers_get_what_is_popular_among_all_and_among_them(popular_now):
    catalogue, events, model = a_world(1)
    signals, plain = Signals(SETTINGS, catalogue), PlainSignals(SETTINGS, catalogue)
    fold(events, signals, plain)
    now = events[-1].time_ms + 1000
    asks = asks_of([[]], now, np.random.default_rng(0))
    candidates = propose(asks, catalogue, signals, model, np.full((1, 1), -1, np.int32), 40)
    rows = features(asks, candidates, catalogue, signals, model).table()[0]
    deviation = np.random.default_rng(0).uniform(0.5, 3, len(FEATURES)).astype(np.float32)
    scores = (rows / deviation) @ newcomers_order(SETTINGS, popular_now, deviation)
    nearest = {0: 2, 3: 4, 7: 6}[popular_now]  # of the half-lives kept by depth
    for score, item in zip(scores.tolist(), candidates.items[0].tolist(), strict=True):
        among_all = plain.popularity(item, popular_now, now) + 0.05
        among_them = (
            plain.by_depth(item, 0, nearest, now) + 0.02 * plain.popularity(item, nearest, now) + 0.05
        )
        assert score == pytest.approx(0.5 * math.log(among_all * among_them), abs=1e-3)


def test_a_users_own_clicks_are_not_what_their_items_could_be_found_by():
    catalogue, _, model = a_world(3)
    signals, now = Signals(SETTINGS, catalogue), 1_500_000_000_000
    crowd = [
        Event(f"u{user}", item, now - 90_000 + 10 * item, Kind.CLICK, 0.0)
        for user in range(3)
        for item in range(10)
    ]
    alone = [Event("x", 20 + k, now - 5000 + k, Kind.CLICK, 0.0) for k in range(9)]
    fold(crowd + alone, signals)
    asks = asks_of([alone, crowd[:9]], now, np.random.default_rng(0), barred=False)
    shown = np.tile(np.arange(10, dtype=np.int32), (2, 1))
    none = np.zeros((2, 10, len(SOURCES)), np.int16)
    candidates = Candidates(shown, np.zeros((2, 10), np.uint8), shown, none, np.full(2, 10, np.int32))
    columns = features(asks, candidates, catalogue, signals, model).table()

    def follows(row, name):
        return columns[row, 0, FEATURES.index(f"follows_{name}")]

    weights = sum(0.85**d for d in range(8))  # the oldest of nine has nothing before it
    below_all, tied = 0.8 / (1 + weights), (0.8 + 0.5 * weights) / (1 + weights)
    # Nobody else has clicked what x has, and no candidate has come together with it.
    for name in ("popularity_1", "popularity_5", "popularity_all"):
        assert follows(0, name) == pytest.approx(below_all, abs=1e-5)
    for name in ("knn_1", "knn_10", "rules", "rule_1"):
        assert follows(0, name) == pytest.approx(tied, abs=1e-5)
    # Of the crowd everybody went the same way: without the user's own click, two still did.
    assert follows(1, "rule_1") > tied
    assert (columns[:, 1:] == columns[:, :1])[:, :, RAW.index("follows_age")].all()  # of the user alone


def test_each_block_has_the_columns_that_the_table_names():
    """Blocks write views of these slices by these names; what stands there the plain definition says."""
    assert SPAN._fields == tuple(BLOCKS)
    assert [name for block in BLOCKS for name in RAW[getattr(SPAN, block)]] == list(RAW)
    for block, names in BLOCKS.items():
        places = getattr(columns, block.upper())
        assert RAW[getattr(SPAN, block)] == names == places._fields
        assert tuple(places) == tuple(range(len(names)))
