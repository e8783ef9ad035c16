"""A release comes into memory beside the live one: rounds go on meanwhile, and it misses nothing of them."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from learner.data.catalogue import Item
from learner.release.bundle import ReleaseError
from learner.release.files import bundle_sha256, read_release, write_release
from learner.text.space import space_of
from streams.hot_path.live import Live
from streams.hot_path.serving import Serving
from streams.releases.store import StoreError
from streams.settings import Settings
from streams.wire.contract import ReleaseRecord
from streams.worker import release_loader
from streams.worker.release_loader import Loader
from tests.worlds.rounds import world
from tests.worlds.served import poisoned, served_bundle

ITEMS = [Item(item_id=f"more-{number}") for number in range(30)]
NAME = "r-20231115-000000-next"


class Worker:
    """A live release, and a loader beside it."""

    def __init__(self, folder: Path) -> None:
        known, _ = world()
        self.serving = Serving(known, lambda *_: None)
        self.catalogue = known.catalogue
        self.lock = asyncio.Lock()
        settings = Settings(data_dir=folder / "data")
        self.loader = Loader(settings, self.catalogue, ThreadPoolExecutor(1), self.lock)

    def load(self, source: ReleaseRecord | str) -> Live:
        return asyncio.run(self.loader.load(source, self.serving))


@pytest.fixture
def worker(tmp_path: Path) -> Worker:
    return Worker(tmp_path)


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A release with the live one's items and two more."""
    more = [Item(item_id="new-1", title="One"), Item(item_id="new-2")]
    return write_release(tmp_path / "made", served_bundle(NAME, ITEMS + more))


def record(folder: Path, **more: object) -> ReleaseRecord:
    told = {"release": NAME, "url": str(folder), "sha256": bundle_sha256(folder), "role": "live", "at": 1}
    return ReleaseRecord(**told | more)  # type: ignore[arg-type]


def test_it_comes_whole_and_its_items_join_the_catalogue(worker: Worker, made: Path) -> None:
    before = worker.catalogue.size
    live = worker.load(str(made))
    assert live.release.id == NAME
    assert worker.catalogue.size == before + 2
    number = worker.catalogue.index["new-1"]
    assert live.release.own[number]
    assert number in live.nearest(live.release.model.vectors[[number]], 32)
    assert worker.serving.world.live.release.id != NAME  # nobody has swapped it in


def test_a_record_is_fetched_and_checked(worker: Worker, made: Path) -> None:
    assert worker.load(record(made)).release.id == NAME
    with pytest.raises(ReleaseError, match=f"expected release r-other, got {NAME}"):
        worker.load(record(made, release="r-other"))
    with pytest.raises(StoreError):
        worker.load(record(made, sha256="0" * 64))


def test_models_are_tried_before_anything_joins(worker: Worker, tmp_path: Path) -> None:
    bundle = served_bundle(NAME, [Item(item_id="never")])
    bundle.ranker = b"no model"
    with pytest.raises(ReleaseError, match=r"ranker\.onnx"):
        worker.load(str(write_release(tmp_path / "bad", bundle)))
    assert "never" not in worker.catalogue.index


def test_rounds_go_on_between_the_slices(
    worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(release_loader, "_AT_ONCE", 5)
    more = [Item(item_id=f"new-{number}") for number in range(20)]
    made = write_release(tmp_path / "made", served_bundle(NAME, ITEMS + more))
    before, seen = worker.catalogue.size, set[int]()

    async def run() -> None:
        loading = asyncio.create_task(worker.loader.load(str(made), worker.serving))
        while not loading.done():
            async with worker.lock:  # a round
                seen.add(worker.catalogue.size)
            await asyncio.sleep(0)
        await loading

    asyncio.run(run())
    assert {before + 5, before + 10, before + 15} <= seen


def test_what_changes_while_it_loads_is_taken_up_at_the_end(worker: Worker, made: Path) -> None:
    live, ours = worker.load(str(made)), worker.serving.world.live.release
    gone, come = worker.catalogue.index["more-3"], worker.catalogue.announce(Item(item_id="later"))
    worker.catalogue.withdraw("more-3")
    content = np.full(ours.manifest.dims.content, 3.0, np.float32)
    ours.set_vector(come, ours.embed(content, ()), content)
    worker.loader.note([gone, come])
    worker.loader.finish(live, worker.serving)
    vector = live.release.embed(content, ())
    np.testing.assert_array_equal(live.release.model.vectors[come], vector)
    found = live.nearest(vector[None], 40)
    assert come in found
    assert gone not in found


def test_what_a_learner_read_for_a_release_before_it_was_served_is_taken_up(
    worker: Worker, made: Path
) -> None:
    bundle = read_release(made)
    space, size = space_of(bundle.manifest.encoder, bundle.arrays.encoder), bundle.manifest.dims
    signals, content = worker.serving.world.signals, np.full(size.content, 3.0, np.float32)
    early, late, foreign = (
        worker.catalogue.announce(Item(item_id=name)) for name in ("early", "late", "foreign")
    )
    signals.set_vector(early, np.ones(size.vector, np.float32), content, space)
    signals.set_vector(foreign, np.ones(size.vector, np.float32), content, "another")
    live = worker.load(str(made))
    signals.set_vector(late, np.ones(size.vector, np.float32), content, space)
    worker.loader.note([late])
    worker.loader.finish(live, worker.serving)
    assert live.release.own[[early, late, foreign]].tolist() == [True, True, False]
    np.testing.assert_array_equal(live.release.model.vectors[early], live.release.embed(content, ()))


def test_a_model_that_fails_when_it_is_warmed_is_tried_in_peace_and_then_told(
    worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[bool] = []
    warm_up = release_loader.warm_up

    def noted(beside: object) -> None:
        held.append(worker.lock.locked())
        warm_up(beside)  # type: ignore[arg-type]

    monkeypatch.setattr(release_loader, "warm_up", noted)
    bad = write_release(tmp_path / "bad", poisoned(served_bundle(NAME, ITEMS), "ranker"))
    with pytest.raises(Exception, match="not finite"):
        worker.load(str(bad))
    assert held == [False, True]
