"""Metrics by hand-computed values, closed forms and properties."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from learner.judging.metrics import (
    expected_position,
    hit,
    interval,
    ndcg,
    novelty,
    per_group,
    reciprocal_rank,
    resampled,
)

positions = st.lists(st.floats(1, 1000), min_size=1, max_size=50).map(np.array)


def test_ndcg_by_hand():
    found = ndcg(np.array([1, 2, 3, 10, 11, np.inf]))
    assert found == pytest.approx([1.0, 0.63093, 0.5, 0.28906, 0.0, 0.0], abs=1e-5)


def test_hit_and_reciprocal_rank_by_hand():
    at = np.array([1, 4, 10, 10.5, 20, np.inf])
    assert hit(at).tolist() == [1, 1, 1, 0, 0, 0]
    assert hit(at, 20).tolist() == [1, 1, 1, 1, 1, 0]
    assert reciprocal_rank(at).tolist() == [1, 0.25, 0.1, 0, 0, 0]


def test_an_answer_that_ties_with_all_stands_in_the_middle():
    assert expected_position(np.array([0, 2]), np.array([0, 99])).tolist() == [1.0, 52.5]


def test_the_expected_position_is_the_mean_over_all_orders_of_the_tied():
    better, tied = 3, 4
    orders = [1 + better + place for place in range(tied + 1)]
    assert expected_position(np.array(better), np.array(tied)) == np.mean(orders)


def test_random_ranking_has_its_closed_form():
    # One right answer anywhere among n items: HR@10 = 10 / n, NDCG@10 the mean of the gains over n.
    n = 50
    at = np.arange(1, n + 1)
    assert hit(at).mean() == 10 / n
    assert ndcg(at).mean() == pytest.approx(sum(1 / np.log2(1 + p) for p in range(1, 11)) / n)


@given(positions)
def test_metrics_are_ordered_and_bounded(at):
    gain, found, reciprocal = ndcg(at), hit(at), reciprocal_rank(at)
    assert np.all((reciprocal >= 0) & (reciprocal <= gain) & (gain <= found) & (found <= 1))


@given(positions, st.floats(0.1, 10))
def test_a_worse_position_never_gains(at, worse):
    assert np.all(ndcg(at + worse) <= ndcg(at))
    assert np.all(reciprocal_rank(at + worse) <= reciprocal_rank(at))


def test_novelty_by_hand():
    # Shares with one click added to each of two items: 4 of 8 and 1 of 8, so 1 and 3 bits.
    assert novelty(np.array([3, 0]), total=6, known=2) == pytest.approx(2.0)
    assert np.isnan(novelty(np.array([]), total=6, known=2))


def test_per_group_sums_each_column():
    sums = per_group(np.array([0, 1, 0]), np.array([[1.0, 10], [2, 20], [3, 30]]), 3)
    assert sums.tolist() == [[4, 40], [2, 20], [0, 0]]


def test_resampling_draws_users_and_all_columns_alike():
    rng = np.random.default_rng(1)
    sums = rng.random((300, 1))
    totals = resampled(np.hstack([sums, 2 * sums, np.ones_like(sums)]), np.random.default_rng(0), 500)
    assert totals.shape == (500, 3)
    assert totals[:, 1] / totals[:, 0] == pytest.approx(2.0)
    assert np.all(totals[:, 2] == 300)  # as many users as there are
    # The spread of the mean has a closed form: standard deviation over the root of the users.
    spread = (totals[:, 0] / 300).std()
    assert spread == pytest.approx(sums.std() / np.sqrt(300), rel=0.15)


def test_resampling_is_the_same_for_the_same_seed_and_any_block():
    sums = np.arange(12.0).reshape(6, 2)
    first, second = (resampled(sums, np.random.default_rng(3), 50) for _ in range(2))
    assert np.array_equal(first, second)
    assert resampled(np.zeros((0, 2)), np.random.default_rng(3), 50).shape == (50, 2)


def test_interval_covers_the_middle_of_what_is_finite():
    low, high = interval(np.r_[np.arange(1001.0), np.nan, np.inf])
    assert (low, high) == (25.0, 975.0)
    assert interval(np.array([np.nan])) is None
