"""Worlds whose right setting is known, for the choices that depend on the data."""

from types import SimpleNamespace

import numpy as np

from learner.data.event_weights import weights_by_kind
from learner.data.events import Kind
from learner.data.times import DAY_MS
from learner.training import tuning
from learner.training.tuning import tune

HALF_LIVES = tuple(hours * 3_600_000.0 for hours in (1, 24, 24 * 30, 24 * 1000))


def log_of(user, item, time_ms):
    n = len(user)
    return SimpleNamespace(
        user=np.asarray(user, np.int32),
        item=np.asarray(item, np.int32),
        time_ms=np.asarray(time_ms, np.int64),
        kind=np.full(n, Kind.CLICK, np.uint8),
        value=np.full(n, np.nan, np.float32),
    )


def drifting(hours_per_theme: float, n: int = 6000, seed: int = 0) -> SimpleNamespace:
    """Ever new users click what is in fashion: five items of a theme, which changes for good."""
    rng = np.random.default_rng(seed)
    time = np.sort(rng.uniform(0, 100 * hours_per_theme * 3.6e6, size=n)).astype(np.int64)
    theme = (time / (hours_per_theme * 3.6e6)).astype(int)
    return log_of(np.arange(n), theme * 5 % 500 + rng.integers(5, size=n), time)


def test_fast_fashion_wants_a_short_half_life() -> None:
    assert tune(drifting(2), 6000, 500, HALF_LIVES, repeats=False).popular_now == 0


def test_lasting_taste_wants_a_long_half_life() -> None:
    rng = np.random.default_rng(0)
    chance = 1 / np.arange(1, 301)
    item = rng.choice(300, size=6000, p=chance / chance.sum())
    log = log_of(np.arange(6000), item, np.arange(6000) * 3.6e6)
    chosen = tune(log, 6000, 300, HALF_LIVES, repeats=False)
    assert chosen.popular_now == 3
    assert chosen.popularity_ndcg[3] == max(chosen.popularity_ndcg)


def pairs_world(rotate_days: float | None, n: int = 8000, seed: int = 0) -> SimpleNamespace:
    """Users click an item and then its partner; partners change every `rotate_days`, or never."""
    rng = np.random.default_rng(seed)
    first = rng.integers(100, size=n // 2)
    time = np.sort(rng.uniform(0, 400 * DAY_MS, size=n // 2)).astype(np.int64)
    shift = np.zeros(n // 2, int) if rotate_days is None else (time / (rotate_days * DAY_MS)).astype(int)
    partner = 100 + (first + shift * 7) % 100
    item = np.stack([first, partner], 1).ravel()
    return log_of(np.repeat(np.arange(n // 2), 2), item, np.repeat(time, 2) + np.tile([0, 1000], n // 2))


def test_pairs_that_rotate_want_to_fade() -> None:
    assert tune(pairs_world(10), 8000, 200, HALF_LIVES, repeats=False).pair_half_life_ms <= 30 * DAY_MS


def test_pairs_that_last_want_to_stay() -> None:
    assert tune(pairs_world(None), 8000, 200, HALF_LIVES, repeats=False).pair_half_life_ms >= 120 * DAY_MS


def test_later_events_change_nothing() -> None:
    log = drifting(2)
    before = tune(log, 4000, 500, HALF_LIVES, repeats=False)
    log.item[4000:] = 0
    assert tune(log, 4000, 500, HALF_LIVES, repeats=False) == before


def test_no_item_is_met_twice_in_a_small_catalogue(monkeypatch) -> None:
    """As plain Python the kernel refuses places behind an array's end, which compiled it would write to."""
    monkeypatch.setattr(tuning, "_walk_pairs", tuning._walk_pairs.py_func)
    rng = np.random.default_rng(0)
    log = log_of(rng.integers(20, size=200), rng.integers(60, size=200), np.arange(200) * 1000)
    tune(log, 200, 60, HALF_LIVES, repeats=False)


def test_almost_nothing_gives_middle_values() -> None:
    chosen = tune(log_of([0], [0], [0]), 1, 1, HALF_LIVES, repeats=False)
    assert chosen.popular_now != chosen.popular
    assert tune(log_of([], [], []), 0, 0, HALF_LIVES, repeats=False).pair_half_life_ms > 0


def test_what_counts_nothing_is_no_part_and_what_counts_little_decides_little() -> None:
    fashion, lasting = (
        drifting(2),
        log_of(np.arange(6000), np.arange(6000) % 7 + 490, np.arange(6000) * 3.6e4),
    )
    both = np.argsort(np.r_[fashion.time_ms, lasting.time_ms], kind="stable")
    mixed = SimpleNamespace(
        **{name: np.r_[getattr(fashion, name), getattr(lasting, name)][both] for name in vars(fashion)}
    )
    mixed.user = np.arange(12_000, dtype=np.int32)
    mixed.kind = np.where(both < 6000, np.uint8(Kind.VIEW), np.uint8(Kind.PURCHASE))

    def tuned(log, n, **weights):
        by_kind = weights_by_kind(weights).tolist()
        return tune(log, n, 500, HALF_LIVES, repeats=False, weights=by_kind)

    assert tuned(mixed, 12_000, purchase=0) == tune(fashion, 6000, 500, HALF_LIVES, repeats=False)
    assert tuned(mixed, 12_000, view=0) == tune(lasting, 6000, 500, HALF_LIVES, repeats=False)
    heavy, light = tuned(mixed, 12_000, purchase=100), tuned(mixed, 12_000, purchase=0.01)
    assert heavy.popularity_ndcg != light.popularity_ndcg
