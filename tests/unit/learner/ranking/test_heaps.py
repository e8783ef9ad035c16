"""What a source shortens before its heap: never what is best, and never out of bounds."""

import numpy as np
import pytest

from learner.ranking import heaps


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("first", [True, False])
def test_scores_that_are_no_numbers_are_no_places_of_an_array(bad: float, first: bool) -> None:
    """An unchecked release may give them; as plain Python, which minds what compiled code overwrites."""
    keys = np.random.default_rng(0).normal(size=100).astype(np.float32)
    keys[0 if first else 50] = bad
    items = np.arange(100, dtype=np.int32)
    good = {item for item in items.tolist() if np.isfinite(keys[item])}
    best = set(sorted(good, key=lambda item: -keys[item])[:9])
    kept = heaps.shorten.py_func(keys, items, 100, 10)
    assert 10 <= kept <= 100
    assert best <= set(items[:kept].tolist())


def test_what_is_dropped_is_surpassed_by_as_many_as_are_wanted() -> None:
    keys = np.random.default_rng(1).normal(size=5_000).astype(np.float32)
    items = np.arange(5_000, dtype=np.int32)
    best = np.argsort(-keys)[:50]
    kept = heaps.shorten(keys.copy(), items, 5_000, 50)
    assert 50 <= kept < 500
    assert set(best.tolist()) <= set(items[:kept].tolist())
