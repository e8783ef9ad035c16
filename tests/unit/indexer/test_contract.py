"""One contract for every kind of index."""

import functools
from collections.abc import Callable

import faiss
import numpy as np
import pytest

from indexer import kinds
from indexer.exact import exact_search
from indexer.gpu import GpuRows, NoGpuError, gpus
from indexer.item_index import ItemIndex, queries, use_threads, with_bias
from indexer.recall import recall_at_k
from indexer.rows import KINDS, Floats, Ints, Kind

D = 9
ROUNDED = {"ivfpq"}  # kinds whose scores are not those of the vectors that were put
Build = Callable[[Ints, Floats], ItemIndex]


def cpu_copy(rows: Floats) -> faiss.Index:
    """Stands in for a copy on a GPU, which also cannot replace or remove rows."""
    index = faiss.IndexFlatIP(rows.shape[1])
    index.add(rows)
    return index


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> None:
    use_threads(1)


@pytest.fixture(params=[*KINDS, "gpu stand-in"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Kind:
    if request.param == "gpu" and not gpus():
        pytest.skip("FAISS sees no GPU")
    if request.param == "gpu stand-in":
        monkeypatch.setattr(kinds, "GpuRows", functools.partial(GpuRows, upload=cpu_copy))
        return "gpu"
    return request.param


def world(n: int, seed: int = 0, dimension: int = D) -> tuple[Ints, Floats, Floats]:
    """Items (n,) with gaps between their numbers, vectors (n, D) in clusters, queries (20, D)."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((12, dimension))
    lengths = np.exp(0.3 * rng.standard_normal((n, 1)))
    vectors = (centres[rng.integers(12, size=n)] + 0.5 * rng.standard_normal((n, dimension))) * lengths
    asked = centres[rng.integers(12, size=20)] + 0.5 * rng.standard_normal((20, dimension))
    items = rng.permutation(3 * n)[:n].astype(np.int32)
    return items, vectors.astype(np.float32), asked.astype(np.float32)


def assert_valid(index: ItemIndex, items: Ints, found: tuple[Ints, Floats], k: int) -> None:
    """Lists are full, distinct, from the catalogue, best first, equal scores by item, padded at the end."""
    listed, scores = found
    assert listed.dtype == np.int32
    assert scores.dtype == np.float32
    assert listed.shape == scores.shape == (len(listed), k)
    places = min(k, len(items))
    assert len(index) == len(items)
    assert (listed[:, :places] >= 0).all()
    assert (listed[:, places:] == -1).all()
    assert np.isneginf(scores[:, places:]).all()
    for row, own in zip(listed[:, :places], scores[:, :places], strict=True):
        assert len(set(row.tolist())) == places
        assert np.isin(row, items).all()
        better = (own[:-1] > own[1:]) | ((own[:-1] == own[1:]) & (row[:-1] < row[1:]))
        assert better.all()


def test_finds_nearly_all_nearest_items_with_their_scores(kind: Kind) -> None:
    items, vectors, asked = world(4000)
    index = ItemIndex.build(items, vectors, kind)
    assert index.kind == kind
    for k in (1, 10, 100):
        found = index.search(asked, k)
        assert_valid(index, items, found, k)
        recall = recall_at_k(items, vectors, asked, found[0]).mean()
        # codes round scores, so of 20 first places a few are taken by the second best
        assert recall > {"ivfpq": 0.55 if k == 1 else 0.75, "hnsw": 0.97, "ivf": 0.97}.get(kind, 0.9999)
    exact = exact_search(items, vectors, asked, 100)
    if kind in ("flat", "gpu"):
        np.testing.assert_allclose(found[1], exact[1], rtol=1e-5, atol=1e-5)
    for b, query in enumerate(asked):
        row_of = {item: row for row, item in enumerate(items.tolist())}
        own = vectors[[row_of[item] for item in found[0][b].tolist()]] @ query
        np.testing.assert_allclose(found[1][b], own, rtol=1e-5, atol=2.5 if kind in ROUNDED else 1e-5)


def test_one_query_gives_the_same_as_a_batch(kind: Kind) -> None:
    items, vectors, asked = world(2000)
    index = ItemIndex.build(items, vectors, kind)
    together = index.search(asked, 10)
    for b in range(len(asked)):
        alone = index.search(asked[b : b + 1], 10)
        np.testing.assert_array_equal(alone[0][0], together[0][b])
        np.testing.assert_allclose(alone[1][0], together[1][b], rtol=1e-5)


def test_lists_longer_than_the_catalogue_hold_all_of_it(kind: Kind) -> None:
    items, vectors, asked = world(1200)
    index = ItemIndex.build(items, vectors, kind)
    found = index.search(asked, 1300)
    assert_valid(index, items, found, 1300)


def test_changes_are_seen_by_the_next_search(kind: Kind) -> None:
    items, vectors, _ = world(1500)
    index = ItemIndex.build(items, vectors, kind)
    far = np.zeros(D, np.float32)
    far[0] = 50.0
    index.add(np.array([9000]), far[None])
    assert index.search(far[None], 3)[0][0, 0] == 9000
    index.update(np.array([9000, 9001]), np.stack([-far, far]))
    assert index.search(far[None], 3)[0][0, 0] == 9001
    assert index.search(-far[None], 3)[0][0, 0] == 9000
    assert len(index) == 1502
    assert index.remove(np.array([9000, 9001, 9002])) == 2
    assert len(index) == 1500
    assert not index.holds([9000, 9001]).any()
    for sign in (1, -1):
        assert_valid(index, items, index.search(sign * far[None], 50), 50)


def test_a_removed_item_is_never_listed_again_and_returns_when_added(kind: Kind) -> None:
    items, vectors, asked = world(1500)
    index = ItemIndex.build(items, vectors, kind)
    best = index.search(asked, 1)[0][:, 0]
    gone = np.unique(best)
    index.remove(gone)
    left = items[~np.isin(items, gone)]
    for k in (5, 1500):
        assert_valid(index, left, index.search(asked, k), k)
    rows = [int(np.flatnonzero(items == item)[0]) for item in gone]
    index.add(gone, vectors[rows])
    again = index.search(asked, 1)[0][:, 0]
    assert (again == best).mean() >= (0.8 if kind in ROUNDED else 1.0)


def test_all_items_may_go_and_others_come(kind: Kind) -> None:
    items, vectors, asked = world(1100)
    index = ItemIndex.build(items, vectors, kind)
    index.remove(items)
    assert len(index) == 0
    found = index.search(asked, 4)
    assert_valid(index, items[:0], found, 4)
    index.add(items[:7], vectors[:7])
    assert_valid(index, items[:7], index.search(asked, 10), 10)


def test_grows_from_nothing_and_becomes_its_kind_at_a_compaction(kind: Kind) -> None:
    items, vectors, asked = world(1500)
    index = ItemIndex(D, kind)
    assert_valid(index, items[:0], index.search(asked, 3), 3)
    for start in range(0, 1500, 300):
        index.add(items[start : start + 300], vectors[start : start + 300])
        assert_valid(index, items[: start + 300], index.search(asked, 20), 20)
    assert index.wants_compaction == (index.kind != kind)
    assert index.compact()
    assert index.kind == kind
    assert not index.wants_compaction
    assert_valid(index, items, index.search(asked, 20), 20)


def test_compaction_changes_no_answer_for_the_worse(kind: Kind) -> None:
    items, vectors, asked = world(3000)
    index = ItemIndex.build(items, vectors, kind)
    index.remove(items[:1200])
    index.update(items[1200:1800], vectors[:600])
    left = items[1200:]
    now = np.concatenate([vectors[:600], vectors[1800:]])
    before = recall_at_k(left, now, asked, index.search(asked, 20)[0]).mean()
    index.compact(lambda wanted: now[[int(np.flatnonzero(left == item)[0]) for item in wanted]])
    found = index.search(asked, 20)
    assert_valid(index, left, found, 20)
    assert recall_at_k(left, now, asked, found[0]).mean() >= before - 0.05


def test_equal_vectors_are_listed_in_the_order_of_their_numbers(kind: Kind) -> None:
    items, vectors, asked = world(1500)
    index = ItemIndex.build(items, vectors, kind)
    long = (20 * asked[0] / np.linalg.norm(asked[0])).astype(np.float32)
    twins = np.array([8007, 8002, 8005, 8001])
    index.add(twins, np.tile(long, (4, 1)))
    assert index.search(asked[:1], 6)[0][0, :4].tolist() == [8001, 8002, 8005, 8007]


@pytest.mark.parametrize("name", ["hnsw", "ivf", "ivfpq"])
def test_items_unlike_all_others_are_found_before_any_rebuild(name: Kind) -> None:
    items, vectors, asked = world(3000)
    later, other, asked_later = world(400, seed=1)
    other, asked_later = other + 4, asked_later + 4
    index = ItemIndex.build(items, vectors, name)
    index.add(10_000 + later, other)
    everything = np.concatenate([items, 10_000 + later]), np.concatenate([vectors, other])
    assert recall_at_k(*everything, asked_later, index.search(asked_later, 50)[0]).mean() > 0.97
    index.remove(10_000 + later[:200])
    assert index.remove(10_000 + later) == 200
    assert_valid(index, items, index.search(asked, 50), 50)


def test_rows_put_among_the_others_stand_in_lists() -> None:
    items, vectors, _ = world(4000, dimension=64)
    index = ItemIndex.build(items[:2000], vectors[:2000], "ivf")
    index.add(items[2000:], vectors[2000:])
    assert index.rows.waste == pytest.approx(1.0)  # as many as it was built from; few of them aside


def test_empty_calls_do_nothing(kind: Kind) -> None:
    items, vectors, asked = world(1500)
    index = ItemIndex.build(items, vectors, kind)
    none = np.zeros(0, np.int64)
    index.add(none, np.zeros((0, D), np.float32))
    index.update(none, np.zeros((0, D), np.float32))
    assert index.remove(none) == 0
    assert index.search(asked[:0], 5)[0].shape == (0, 5)
    assert index.search(asked, 0)[0].shape == (20, 0)
    assert len(index) == 1500


def test_memory_is_counted(kind: Kind) -> None:
    items, vectors, _ = world(4000, dimension=64)
    index = ItemIndex.build(items, vectors, kind)
    raw = vectors.nbytes
    assert index.memory_bytes > (0.1 if kind == "ivfpq" else 1.0) * raw
    assert index.memory_bytes < (0.5 if kind == "ivfpq" else 3.0) * raw


def test_a_gpu_index_without_a_gpu_says_what_to_do() -> None:
    if gpus():
        pytest.skip("there is a GPU")
    with pytest.raises(NoGpuError, match="faiss-gpu"):
        ItemIndex(D, "gpu")


def test_an_item_is_added_once() -> None:
    index = ItemIndex.build([3], np.ones((1, D), np.float32))
    with pytest.raises(ValueError, match="item 3 is in the index already; use update"):
        index.add([4, 3], np.ones((2, D), np.float32))
    assert len(index) == 1


@pytest.mark.parametrize(
    ("items", "vectors", "message"),
    [
        ([1, 1], np.ones((2, D)), "item 1 stands more than once"),
        ([-1], np.ones((1, D)), "0..2"),
        ([2**31], np.ones((1, D)), "0..2"),
        ([0.5], np.ones((1, D)), "whole numbers"),
        ([1], np.ones((2, D)), r"must be \(1, 9\)"),
        ([1], np.ones((1, D + 1)), r"must be \(1, 9\)"),
        ([1, 2], np.r_[np.ones((1, D)), np.full((1, D), np.nan)], "row 1 of the vectors is not finite"),
    ],
)
def test_what_cannot_be_is_refused_whole(items: list[int], vectors: Floats, message: str) -> None:
    index = ItemIndex(D)
    with pytest.raises(ValueError, match=message):
        index.update(items, vectors)
    assert len(index) == 0


def test_queries_of_another_width_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(B, 9\), as the items are; got \(2, 8\)"):
        ItemIndex(D).search(np.ones((2, D - 1), np.float32), 3)
    with pytest.raises(ValueError, match="k must not be negative"):
        ItemIndex(D).search(np.ones((2, D), np.float32), -1)


def test_the_bias_is_part_of_the_score() -> None:
    vectors = np.array([[1, 0], [0, 1]], np.float32)
    rows = with_bias(vectors, np.array([0.0, 2.5], np.float32))
    index = ItemIndex.build([0, 1], rows)
    found = index.search(queries(np.array([[2, 0]], np.float32)), 2)
    assert found[0].tolist() == [[1, 0]]
    assert found[1].tolist() == [[2.5, 2.0]]
