"""Any sequence of changes gives what the exact reference gives."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from indexer import flat
from indexer.exact import exact_search
from indexer.item_index import ItemIndex
from indexer.rows import Kind
from indexer.select import best, merged, ordered

D = 3
# Whole numbers: their inner products are exact in float32 in any order, so ties are real and frequent.
VECTOR = arrays(np.float32, D, elements=st.integers(-3, 3).map(float))
ITEM = st.integers(0, 40)
CHANGES = st.lists(
    st.one_of(
        st.tuples(st.just("update"), st.dictionaries(ITEM, VECTOR, max_size=8)),
        st.tuples(st.just("remove"), st.sets(ITEM, max_size=8)),
        st.tuples(st.just("compact"), st.none()),
    ),
    max_size=12,
)


def run(index: ItemIndex, held: dict[int, Any], changes: list[tuple[str, Any]], k: int) -> None:
    """Applies changes to index and dictionary, and compares every list in between."""
    rng = np.random.default_rng(0)
    for name, argument in changes:
        if name == "update":
            index.update(list(argument), np.array(list(argument.values()), np.float32).reshape(-1, D))
            held.update(argument)
        elif name == "remove":
            gone = [item for item in argument if held.pop(item, None) is not None]
            assert index.remove(list(argument)) == len(gone)
        else:
            assert index.compact()
        assert len(index) == len(held)
        assert sorted(index.items().tolist()) == sorted(held)
        items = np.array(list(held), np.int32)
        vectors = np.array(list(held.values()), np.float32).reshape(-1, D)
        for batch in (1, 9):
            asked = rng.integers(-3, 4, (batch, D)).astype(np.float32)
            expected = exact_search(items, vectors, asked, k)
            found = index.search(asked, k)
            np.testing.assert_array_equal(found[1], expected[1])
            np.testing.assert_array_equal(found[0], expected[0])


@settings(max_examples=150, deadline=None)
@given(changes=CHANGES, k=st.integers(1, 45))
def test_flat_equals_the_reference_after_any_changes(changes: list[tuple[str, Any]], k: int) -> None:
    run(ItemIndex(D, "flat"), {}, changes, k)


@settings(max_examples=15, deadline=None)
@given(changes=CHANGES, kind=st.sampled_from(["hnsw", "ivf"]))
def test_approximate_kinds_equal_the_reference_where_the_list_holds_everything(
    changes: list[tuple[str, Any]], kind: Kind
) -> None:
    vectors = np.random.default_rng(1).integers(-3, 4, (300, D)).astype(np.float32)
    items = np.arange(30, 330)
    index = ItemIndex.build(items, vectors, kind)
    assert index.kind == kind
    run(index, dict(zip(items.tolist(), vectors, strict=True)), changes, 400)


@settings(max_examples=15, deadline=None)
@given(changes=CHANGES)
def test_coded_lists_hold_the_right_items_after_any_changes(changes: list[tuple[str, Any]]) -> None:
    vectors = np.random.default_rng(1).standard_normal((1100, D)).astype(np.float32)
    index = ItemIndex.build(np.arange(20, 1120), vectors, "ivfpq")
    held = set(range(20, 1120))
    for name, argument in changes:
        if name == "update":
            index.update(list(argument), np.array(list(argument.values()), np.float32).reshape(-1, D))
            held |= set(argument)
        elif name == "remove":
            assert index.remove(list(argument)) == len(held & argument)
            held -= argument
        assert len(index) == len(held)
        found = index.search(vectors[:3], 1200)[0]
        assert all(set(row[row >= 0].tolist()) == held for row in found)


@settings(max_examples=200, deadline=None)
@given(
    scores=arrays(
        np.float32, st.tuples(st.integers(1, 3), st.integers(0, 90)), elements=st.integers(0, 6).map(float)
    ),
    k=st.integers(0, 12),
)
def test_the_best_k_are_those_of_a_full_sort(scores: Any, k: int) -> None:
    items = np.random.default_rng(scores.shape[1]).permutation(scores.shape[1]).astype(np.int32)
    found, own = best(scores, items, k)
    for b in range(len(scores)):
        order = np.lexsort((items, -scores[b]))[:k]
        assert found[b, : len(order)].tolist() == items[order].tolist()
        assert own[b, : len(order)].tolist() == scores[b][order].tolist()
        assert (found[b, len(order) :] == -1).all()


def test_lists_are_ordered_and_merged_with_padding_last() -> None:
    items = np.array([[7, 3, 5, -1, -1]], np.int32)
    scores = np.array([[2, 1, 1, -np.inf, -np.inf]], np.float32)
    assert ordered(items.copy(), scores.copy())[0].tolist() == [[7, 3, 5, -1, -1]]
    assert ordered(items[:, [0, 2, 1, 3, 4]], scores.copy())[0].tolist() == [[7, 3, 5, -1, -1]]
    assert merged(items[:, [3, 2, 0, 4, 1]], scores[:, [3, 2, 0, 4, 1]], 3)[0].tolist() == [[7, 3, 5]]


def test_both_ways_of_a_flat_search_agree(monkeypatch: Any) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((500, 8), np.float32)
    asked = rng.standard_normal((12, 8), np.float32)
    index = ItemIndex.build(np.arange(500), vectors, "flat")
    by_blas = index.search(asked, 20)
    monkeypatch.setattr(flat, "BLAS_ROWS", 0)
    by_faiss = index.search(asked, 20)
    np.testing.assert_array_equal(by_blas[0], by_faiss[0])
    np.testing.assert_allclose(by_blas[1], by_faiss[1], rtol=1e-5, atol=1e-6)


def _by_sorting(scores: NDArray[np.float32], items: NDArray[np.int32], k: int) -> list[tuple[int, float]]:
    order = np.lexsort((items, -scores))[:k]
    return list(zip(items[order].tolist(), scores[order].tolist(), strict=True))


@pytest.mark.parametrize("n", [1, 2, 97, 1700, 5001, 12_000])
@pytest.mark.parametrize(
    "spread", ["normal", "few values", "all equal", "one far", "one endless", "huge", "tiny", "packed head"]
)
def test_the_best_are_those_of_a_full_sort(n: int, spread: str) -> None:
    rng = np.random.default_rng(n)
    scores = rng.normal(size=(3, n)).astype(np.float32)
    if spread == "few values":
        scores = np.round(scores)
    elif spread == "all equal":
        scores[:] = 0.25
    elif spread == "one far":
        scores[:, 0] = 1e9
    elif spread == "one endless":
        scores[:, 0], scores[1, -1] = np.inf, -np.inf
    elif spread == "huge":
        scores = np.clip(scores, -3, 3) * np.float32(1e38)
    elif spread == "tiny":
        scores *= np.float32(1e-40)
    elif spread == "packed head":
        scores[:, : n // 2] = 9.0 + rng.integers(3, size=n // 2).astype(np.float32) * 1e-6
    items = rng.permutation(2 * n)[:n].astype(np.int32)
    for k in {1, min(n, 40), n, n + 3}:
        found, their_scores = best(scores, items, k)
        assert found.shape == their_scores.shape == (3, k)
        for row in range(3):
            got = list(zip(found[row].tolist(), their_scores[row].tolist(), strict=True))
            assert got[:n] == _by_sorting(scores[row], items, k)
            assert got[n:] == [(-1, -np.inf)] * (k - n)
