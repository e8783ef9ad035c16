"""The rule that chooses a kind of index, and its estimate of memory."""

import numpy as np
import pytest

from indexer.choose import FLAT_ITEMS, bytes_for, choose
from indexer.item_index import ItemIndex
from indexer.rows import Kind


def test_by_number_of_items_and_memory() -> None:
    assert choose(0, 65) == "flat"
    assert choose(FLAT_ITEMS, 65) == "flat"
    assert choose(FLAT_ITEMS + 1, 65) == "ivf"
    assert choose(1_000_000, 65) == "ivf"
    assert choose(1_000_000, 65, memory_budget_bytes=300_000_000) == "ivf"
    assert choose(1_000_000, 65, memory_budget_bytes=200_000_000) == "ivfpq"


def test_a_catalogue_near_a_limit_keeps_its_kind() -> None:
    for items in range(17_000, 24_000, 500):
        assert choose(items, 65, now="flat") == "flat"
        assert choose(items, 65, now="ivf") == "ivf"
    assert choose(26_000, 65, now="flat") == "ivf"
    assert choose(15_000, 65, now="ivf") == "flat"
    budget = bytes_for("ivf", 100_000, 65)
    assert choose(95_000, 65, memory_budget_bytes=budget, now="ivf") == "ivf"
    assert choose(95_000, 65, memory_budget_bytes=budget, now="ivfpq") == "ivfpq"
    assert choose(70_000, 65, memory_budget_bytes=budget, now="ivfpq") == "ivf"


@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivf", "ivfpq"])
def test_memory_is_estimated_to_a_twentieth(kind: Kind) -> None:
    n, dimension = 4000, 33
    vectors = np.random.default_rng(0).standard_normal((n, dimension)).astype(np.float32)
    index = ItemIndex.build(np.arange(n), vectors, kind)
    # at few items tables that grow by doubling and lists at their least number weigh more
    assert bytes_for(kind, n, dimension) == pytest.approx(index.memory_bytes, rel=0.12)


def test_an_index_that_outgrows_its_kind_wants_to_be_built_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("indexer.choose.FLAT_ITEMS", 400)
    vectors = np.random.default_rng(0).standard_normal((1000, 5)).astype(np.float32)
    index = ItemIndex.build(np.arange(300), vectors[:300])
    assert index.kind == "flat"
    index.add(np.arange(300, 480), vectors[300:480])
    assert not index.wants_compaction
    index.add(np.arange(480, 1000), vectors[480:])
    assert index.wants_compaction
    index.compact()
    assert index.kind == "ivf"
    assert not index.wants_compaction
    index.remove(np.arange(100, 1000))
    assert index.wants_compaction
    index.compact()
    assert index.kind == "flat"
