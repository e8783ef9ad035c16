"""One thread searches while another writes and a third rebuilds."""

import threading
from collections.abc import Callable

import numpy as np
import pytest

from indexer.item_index import ItemIndex
from indexer.rows import Floats, Ints, Kind

N, D = 1200, 6


def vectors_of(items: Ints, version: int) -> Floats:
    """The vector of an item in its n-th version: the version stands in its first dimension."""
    rows = np.random.default_rng(0).standard_normal((4 * N, D)).astype(np.float32)[items]
    rows[:, 0] = 100.0 * version
    return rows


def in_thread(errors: list[BaseException], work: Callable[[], None]) -> threading.Thread:
    def run() -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivf", "ivfpq"])
def test_searches_see_whole_writes_while_the_index_is_rebuilt(kind: Kind) -> None:
    items = np.arange(N, dtype=np.int32)
    index = ItemIndex.build(items, vectors_of(items, 1), kind)
    done = threading.Event()
    errors: list[BaseException] = []
    query = np.zeros((1, D), np.float32)
    query[0, 0] = 1.0

    def search() -> None:
        while not done.is_set():
            found, scores = index.search(query, 50)
            listed = found[found >= 0]
            assert len(set(listed.tolist())) == len(listed)
            assert np.isfinite(scores[found >= 0]).all()
            # a torn vector would score outside the versions there are
            assert scores[found >= 0].min() > 50.0
            assert scores.max() < 450.0

    def rebuild() -> None:
        while not done.is_set():
            assert index.compact()

    threads = [in_thread(errors, search), in_thread(errors, rebuild)]
    rng = np.random.default_rng(1)
    held = dict.fromkeys(items.tolist(), 1)
    for step in range(25):
        version = 2 + step % 3
        changed = rng.permutation(2 * N)[:100].astype(np.int32)
        index.update(changed, vectors_of(changed, version))
        held.update(dict.fromkeys(changed.tolist(), version))
        gone = rng.permutation(2 * N)[:40]
        index.remove(gone)
        for item in gone.tolist():
            held.pop(item, None)
    done.set()
    for thread in threads:
        thread.join()
    assert not errors, errors[0]
    assert sorted(index.items().tolist()) == sorted(held)
    found, scores = index.search(query, len(held))
    versions = np.round(scores[0] / 100).astype(int).tolist()
    if kind != "ivfpq":  # codes round
        assert dict(zip(found[0].tolist(), versions, strict=True)) == held


def test_writes_during_a_rebuild_are_carried_over() -> None:
    items = np.arange(500, dtype=np.int32)
    index = ItemIndex.build(items, vectors_of(items, 1), "ivf")
    later = np.arange(1000, 1200, dtype=np.int32)

    def slow(wanted: Ints) -> Floats:
        """Writes from another thread come while the rebuild asks for vectors."""
        if not index.holds(later).any():
            writer = threading.Thread(
                target=lambda: (index.add(later, vectors_of(later, 2)), index.remove([3, 4]))
            )
            writer.start()
            writer.join()
            assert not index.compact()  # one at a time
        return vectors_of(wanted, 1)

    assert index.compact(slow)
    assert len(index) == 698
    assert not index.holds([3, 4]).any()
    query = np.zeros((1, D), np.float32)
    query[0, 0] = 1.0
    found, scores = index.search(query, 200)
    assert set(found[0].tolist()) == set(later.tolist())
    assert (scores == 200).all()


def test_a_rebuild_that_fails_leaves_the_index_as_it_was() -> None:
    items = np.arange(500, dtype=np.int32)
    index = ItemIndex.build(items, vectors_of(items, 1), "ivf")

    def fails(_: Ints) -> Floats:
        raise OSError("no vectors")

    with pytest.raises(OSError, match="no vectors"):
        index.compact(fails)
    index.remove([5])
    assert len(index) == 499
    assert index.compact()
