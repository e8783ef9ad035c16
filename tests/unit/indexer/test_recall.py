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


class Forgetful:
    """An index that loses half of each list."""

    def __init__(self, index: ItemIndex) -> None:
        self.index = index

    def items(self) -> np.ndarray:
        return self.index.items()

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        found, scores = self.index.search(queries, k)
        found[:, k // 2 :] = -1
        return found, scores


def test_the_watch_follows_what_is_asked() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((5000, 5)).astype(np.float32)
    index = ItemIndex.build(np.arange(5000), vectors)
    watch = RecallMonitor(10, memory=50)

    def ask(index: ItemIndex | Forgetful, times: int) -> float:
        for _ in range(times):
            watch.observe(rng.standard_normal((5, 5)).astype(np.float32))
            watch.measure(index, lambda items: vectors[items])
        return watch.recall

    assert math.isnan(watch.measure(index, lambda items: vectors[items]))
    assert ask(index, 20) == 1.0
    assert 0.45 < ask(Forgetful(index), 300) < 0.55
    assert watch.measured == 320
    assert watch.measure(index, lambda items: vectors[items]) == watch.recall
    assert watch.measured == 320  # nothing was asked


def test_what_has_changed_since_is_no_error_of_the_index() -> None:
    index = ItemIndex.build(ITEMS, VECTORS)
    watch = RecallMonitor(2)
    watch.observe(QUERY)
    index.remove([10])
    index.update([50], np.array([[9]], np.float32))
    vectors = {20: 3.0, 30: 3.0, 40: 1.0, 50: 9.0}
    of = np.vectorize(lambda item: vectors[int(item)], otypes=[np.float32])
    assert watch.measure(index, lambda items: of(items)[:, None]) == 1.0


def test_of_a_catalogue_smaller_than_k_all_is_found() -> None:
    watch = RecallMonitor(100)
    watch.observe(QUERY)
    assert watch.measure(ItemIndex.build(ITEMS, VECTORS), lambda items: VECTORS[items // 10 - 1]) == 1.0
