"""Inverted lists by themselves: where rows stand, that ids and codes move together, and when to rebuild."""

import numpy as np
import pytest

from indexer import inverted
from indexer.inverted import InvertedRows
from indexer.rows import Floats, Ints, Kind

D = 8
CODED: list[Kind] = ["ivf", "ivfpq"]


def world(n: int = 2000, seed: int = 0) -> tuple[Ints, Floats]:
    """Items (n,) in an order of their own, vectors (n, D) about ten centres."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((10, D)) * 3
    vectors = centres[rng.integers(10, size=n)] + 0.3 * rng.standard_normal((n, D))
    return rng.permutation(n).astype(np.int32), vectors.astype(np.float32)


def lists_of(rows: InvertedRows) -> dict[int, int]:
    """The list of each item, as FAISS has it."""
    return {item: n for n in range(int(rows._index.nlist)) for item in rows._ids(n).tolist()}


def assert_whole(rows: InvertedRows) -> None:
    """What is noted of items is what stands in the lists."""
    lists = lists_of(rows)
    noted = {item: int(rows._list_of[item]) for item in np.flatnonzero(rows._list_of >= 0).tolist()}
    assert lists == noted
    assert rows._index.ntotal == rows._count == len(lists)
    assert sorted(rows.items().tolist()) == sorted([*lists, *rows._aside.items().tolist()])
    assert len(rows) == len(rows.items())


@pytest.mark.parametrize("kind", CODED)
def test_each_row_stands_in_the_list_of_its_nearest_centroid(kind: Kind) -> None:
    items, vectors = world()
    rows = InvertedRows.build(kind, items, vectors)
    assert_whole(rows)
    centroids = rows._nearest_lists.reconstruct_n(0, rows._index.nlist)[:, :D]
    distances = ((vectors[:, None] - centroids[None]) ** 2).sum(2)
    lists = lists_of(rows)
    chosen = distances[np.arange(len(items)), [lists[item] for item in items.tolist()]]
    np.testing.assert_allclose(chosen, distances.min(1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", CODED)
def test_a_gap_is_filled_by_the_last_row_with_its_codes(kind: Kind) -> None:
    items, vectors = world()
    rows = InvertedRows.build(kind, items, vectors)
    before = rows.vectors(items)
    lists = lists_of(rows)
    gone = np.array(sorted(items.tolist(), key=lambda item: (lists[item], item))[::3], np.int32)
    rows.drop(gone)
    assert_whole(rows)
    assert not rows.holds(gone).any()
    left = ~np.isin(items, gone)
    assert rows.holds(items[left]).all()
    np.testing.assert_array_equal(rows.vectors(items[left]), before[left])
    assert not rows.holds(np.array([10**6], np.int32)).any()


@pytest.mark.parametrize("kind", CODED)
def test_items_renumbered_keep_their_vectors(kind: Kind) -> None:
    items, vectors = world()
    rows = InvertedRows.build(kind, items, vectors)
    before = rows.vectors(np.arange(2000, dtype=np.int32))
    numbers = np.random.default_rng(1).permutation(3000)[:2000].astype(np.int32)
    numbers[:50] = -1
    rows.renumber(numbers)
    assert_whole(rows)
    assert sorted(rows.items().tolist()) == sorted(numbers[50:].tolist())
    np.testing.assert_array_equal(rows.vectors(numbers[50:]), before[50:])


def test_a_list_holds_its_rows_as_they_were_put() -> None:
    items, vectors = world()
    rows = InvertedRows.build("ivf", items, vectors)
    np.testing.assert_array_equal(rows.vectors(items), vectors)
    assert rows.vectors(items[:0]).shape == (0, D)


def test_a_row_far_from_all_centroids_stands_aside_and_is_exact() -> None:
    items, vectors = world()
    rows = InvertedRows.build("ivfpq", items, vectors)
    far = np.full((1, D), 40.0, np.float32)
    rows.put(np.array([5000], np.int32), far)
    assert rows._aside.items().tolist() == [5000]
    assert_whole(rows)
    found, scores = rows.search(far, 2)
    assert found[0, 0] == 5000
    assert scores[0, 0] == pytest.approx(D * 1600)
    np.testing.assert_array_equal(rows.vectors(np.array([5000], np.int32)), far)
    rows.put(np.array([5000], np.int32), vectors[:1])  # it has become like the others
    assert not len(rows._aside)
    assert_whole(rows)


def test_a_list_too_short_is_filled_from_all_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inverted, "PROBES", 1)
    monkeypatch.setattr(inverted, "SCANNED_A_PLACE", 0)
    items, vectors = world()
    rows = InvertedRows.build("ivf", items, vectors)
    found, _ = rows.search(vectors[:3], 1900)
    assert (found >= 0).all()
    assert all(len(set(row.tolist())) == 1900 for row in found)


def test_waste_asks_for_a_rebuild_as_rows_come_or_go(monkeypatch: pytest.MonkeyPatch) -> None:
    items, vectors = world()
    rows = InvertedRows.build("ivf", items, vectors)
    assert rows.waste == 0
    rows.put(items[:500], vectors[:500])
    assert rows.waste == pytest.approx(0.25)
    rows.drop(items[:1000])
    assert rows.waste == pytest.approx(1.0)
    monkeypatch.setattr(inverted, "ASIDE_ROWS", 4)
    fresh = InvertedRows.build("ivf", items, vectors)
    fresh.put(np.arange(5000, 5004, dtype=np.int32), np.full((4, D), 40.0, np.float32))
    assert fresh.waste == pytest.approx(1.0)


def test_builds_are_equal_everywhere() -> None:
    items, vectors = world()
    one, other = (InvertedRows.build("ivfpq", items, vectors) for _ in range(2))
    assert lists_of(one) == lists_of(other)
    np.testing.assert_array_equal(one.vectors(items), other.vectors(items))
