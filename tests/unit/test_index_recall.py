"""Recall by hand, in closed form, and watched."""

import math

import numpy as np
import pytest

from indexer.item_index import ItemIndex
from indexer.recall import RecallMonitor, recall_at_k

ITEMS = np.array([10, 20, 30, 40], np.int32)
VECTORS = np.array([[4], [3], [3], [1]], np.float32)
QUERY = np.ones((1, 1), np.float32)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([10, 20], 1.0),
        ([10, 30], 1.0),  # equal to 20
        ([10, 40], 0.5),
        ([40, -1], 0.0),
        ([20, 30], 1.0),  # both reach the second best score, 3
        ([10, 10], 0.5),  # one item twice
        ([10, 99], 0.5),  # none of the catalogue
        ([10, 20, 30, 40, -1, -1], 1.0),  # no more to be found
        ([10, 20, 30, -1], 0.75),
        ([], 1.0),
    ],
)
def test_by_hand(found: list[int], expected: float) -> None:
    lists = np.array([found], np.int32).reshape(1, -1)
    assert recall_at_k(ITEMS, VECTORS, QUERY, lists).tolist() == [expected]


def test_of_an_empty_catalogue_everything_is_found() -> None:
    lists = np.full((2, 3), -1, np.int32)
    assert recall_at_k(ITEMS[:0], VECTORS[:0], np.ones((2, 1), np.float32), lists).tolist() == [1.0, 1.0]


def test_random_lists_score_at_chance() -> None:
    rng = np.random.default_rng(0)
    n, k = 200, 20
    vectors = rng.standard_normal((n, 5)).astype(np.float32)
    lists = np.stack([rng.permutation(n)[:k] for _ in range(500)]).astype(np.int32)
    shares = recall_at_k(np.arange(n, dtype=np.int32), vectors, rng.standard_normal((500, 5)), lists)
    assert abs(shares.mean() - k / n) < 4 * math.sqrt(k / n / k / 500)


def test_the_watch_follows_what_it_samples() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((300, 5)).astype(np.float32)
    items = np.arange(300, dtype=np.int32)
    index = ItemIndex.build(items, vectors)
    watch = RecallMonitor(np.random.default_rng(1), share=0.5, waiting=1000, memory=50)
    assert math.isnan(watch.measure(items, vectors))
    for _ in range(40):
        queries = rng.standard_normal((5, 5)).astype(np.float32)
        watch.observe(queries, index.search(queries, 10)[0])
    assert watch.measure(items, vectors) == 1.0
    assert 60 < watch.measured < 140
    for _ in range(200):
        queries = rng.standard_normal((5, 5)).astype(np.float32)
        found = index.search(queries, 10)[0]
        found[:, 5:] = -1  # half of each list is lost
        watch.observe(queries, found)
    assert 0.45 < watch.measure(items, vectors) < 0.55


def test_the_watch_keeps_no_more_than_it_may() -> None:
    watch = RecallMonitor(np.random.default_rng(0), share=1.0, waiting=3)
    watch.observe(np.ones((10, 1), np.float32), np.full((10, 2), 10, np.int32))
    watch.measure(ITEMS, VECTORS)
    assert watch.measured == 3
