"""A release's index while its catalogue turns over, and which kind of index a worker comes to have."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from indexer.item_index import queries
from indexer.recall import recall_at_k
from indexer.rows import KINDS, Kind
from learner.data.catalogue import Catalogue, Item
from learner.release.files import write_release
from streams.hot_path.live import MEASURED, Live
from streams.settings import SettingsError, load_settings
from streams.worker import upkeep
from streams.worker.release_loader import Loader
from tests.worlds.served import served_bundle

ITEMS, DIM = 5000, 32
Floats = NDArray[np.float32]


class Vectors:
    """A release of which only the items' vectors matter; about centres that wander."""

    id = "r-1"

    def __init__(self, catalogue: Catalogue) -> None:
        self.rng = np.random.default_rng(0)
        self.centres = self.rng.normal(size=(60, DIM))
        self.model = SimpleNamespace(
            vectors=np.zeros((4 * ITEMS, DIM), np.float32), bias=np.zeros(4 * ITEMS, np.float32)
        )
        self.model.vectors[catalogue.admit_all([Item(item_id=f"i{n}") for n in range(ITEMS)])] = self.drawn(
            ITEMS
        )

    def drawn(self, count: int) -> Floats:
        centres = self.centres[self.rng.integers(len(self.centres), size=count)]
        drawn: Floats = (centres + 0.7 * self.rng.normal(size=(count, DIM))).astype(np.float32)
        return drawn

    def ensure(self, _: Catalogue) -> None: ...

    def refresh(self, _: object) -> None: ...


def churned(kind: Kind) -> tuple[Live, float, float]:
    """A live release of whose items all have come since the index was made; recall before and after."""
    catalogue = Catalogue()
    release: Any = Vectors(catalogue)
    live = Live(release, catalogue, kind=kind)
    fresh = recall(live)
    release.centres += 0.6 * release.rng.normal(size=release.centres.shape)
    for day in range(10):
        changed = []
        for n in range(ITEMS // 10):
            changed.append(catalogue.withdraw(f"i{day * ITEMS // 10 + n}"))
            number = catalogue.announce(Item(item_id=f"day-{day}-{n}"))
            release.model.vectors[number] = release.drawn(1)[0]
            changed.append(number)
        live.follow(changed)
    there = np.flatnonzero(catalogue.available[: catalogue.size])
    release.model.vectors[there] += (0.3 * release.rng.normal(size=(len(there), DIM))).astype(np.float32)
    live.follow(there.tolist())
    return live, fresh, recall(live)


def recall(live: Live) -> float:
    items = live.index.items()
    asked = queries(live._rows(np.sort(items)[:: len(items) // 100])[:, :-1])
    found, _ = live.index.search(asked, MEASURED)
    return float(recall_at_k(items, live._rows(items), asked, found).mean())


@pytest.mark.parametrize("kind", ["hnsw", "ivf", "ivfpq"])
def test_after_heavy_churn_compaction_brings_recall_back(kind: Kind) -> None:
    live, fresh, old = churned(kind)
    assert live.index.kind == kind
    assert live.index.wants_compaction
    assert old < fresh - 0.005
    assert live.compact()
    assert recall(live) > fresh - 0.005
    assert len(live.index) == ITEMS
    assert not live.index.wants_compaction
    assert not live.compact()


def test_the_worker_compacts_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    live, fresh, _ = churned("hnsw")
    monkeypatch.setattr(upkeep, "COMPACT_SECONDS", 0.01)
    serving: Any = SimpleNamespace(loaded=[live])

    async def until_done() -> None:
        compacting = asyncio.create_task(upkeep.compact(serving, ThreadPoolExecutor(1)))
        async with asyncio.timeout(30):
            while live.index.wants_compaction:
                await asyncio.sleep(0.01)
        compacting.cancel()

    asyncio.run(until_done())
    assert recall(live) > fresh - 0.005


@pytest.mark.parametrize(
    ("wanted", "memory_mb", "kind"),
    [
        ("auto", None, "flat"),
        ("auto", 1.0, "flat"),
        ("auto", 0.04, "ivfpq"),
        ("flat", 0.04, "flat"),
        ("hnsw", None, "hnsw"),
        ("ivf", None, "ivf"),
        ("ivfpq", None, "ivfpq"),
    ],
)
def test_settings_choose_the_index(tmp_path: Path, wanted: str, memory_mb: float | None, kind: Kind) -> None:
    items = [Item(item_id=f"i{n}") for n in range(1500)]
    folder = write_release(tmp_path / "r-1", served_bundle("r-1", items))
    settings = load_settings(index_kind=wanted, index_memory_mb=memory_mb, data_dir=tmp_path)

    async def load() -> Live:
        with ThreadPoolExecutor(1) as models:
            loader = Loader(settings, Catalogue(), models, asyncio.Lock())
            return await loader.load(str(folder), None)

    live = asyncio.run(load())
    assert live.index.kind == kind
    assert not live.index.wants_compaction


def test_every_kind_can_be_named_and_no_other() -> None:
    assert [load_settings(index_kind=kind).index for kind in KINDS] == list(KINDS)
    assert load_settings().index is None
    with pytest.raises(SettingsError, match="index_kind"):
        load_settings(index_kind="annoy")
