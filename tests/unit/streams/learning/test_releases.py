"""The release that the learner goes by: how it is taken up while clicks are counted."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from learner.data.catalogue import Catalogue, Item
from learner.release.files import bundle_sha256, write_release
from learner.release.live import LiveRelease
from streams.learning import releases
from streams.learning.releases import ReleaseInUse
from streams.releases.roles import changed
from streams.releases.store import StoreUnreachable, fetch
from streams.settings import load_settings
from streams.transport.delivery import Outgoing
from streams.wire.contract import ReleaseRecord, decode_release
from tests.worlds.served import served_bundle

ITEMS = [Item(item_id=f"i{n}") for n in range(600)]


def announced(folder: Path, name: str) -> ReleaseRecord:
    return ReleaseRecord(release=name, url=str(folder), sha256=bundle_sha256(folder), role="live", at=1)


async def taken_up(releases: ReleaseInUse, count: int = 1) -> list[str]:
    """Follows until so many releases have been taken up."""
    names: list[str] = []
    enough = asyncio.Event()

    async def taken(release: LiveRelease) -> None:
        names.append(release.id)
        if len(names) == count:
            enough.set()

    following = asyncio.create_task(releases.follow(taken))
    async with asyncio.timeout(10):
        await enough.wait()
    following.cancel()
    return names


def test_a_store_that_does_not_answer_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_release(tmp_path / "r-1", served_bundle("r-1", ITEMS))
    asked = []

    def unsteady(*arguments: Any) -> Path:
        asked.append(arguments)
        if len(asked) < 3:
            raise StoreUnreachable("s3://releases: does not answer")
        return fetch(*arguments)

    monkeypatch.setattr(releases, "fetch", unsteady)
    monkeypatch.setattr(releases, "RETRY_SECONDS", 0.01)
    known = ReleaseInUse(load_settings(data_dir=tmp_path / "data"), Catalogue())
    known.apply(announced(folder, "r-1"))
    assert asyncio.run(taken_up(known)) == ["r-1"]
    assert len(asked) == 3


def test_it_is_made_beside_the_clicks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_release(tmp_path / "r-1", served_bundle("r-1", ITEMS))
    threads = []

    class Watched(LiveRelease):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            threads.append(threading.current_thread())
            super().__init__(*arguments, **options)

    monkeypatch.setattr(releases, "LiveRelease", Watched)
    catalogue = Catalogue()
    catalogue.intern("clicked-before")
    known = ReleaseInUse(load_settings(data_dir=tmp_path / "data"), catalogue)
    known.apply(announced(folder, "r-1"))
    assert asyncio.run(taken_up(known)) == ["r-1"]
    assert threading.main_thread() not in threads
    assert known.release is not None
    assert known.release.own[: catalogue.size].tolist() == [False] + [True] * len(ITEMS)


def test_a_damaged_release_is_passed_over_and_leaves_no_item(tmp_path: Path) -> None:
    bundle = served_bundle("r-bad", [Item(item_id="bad")])
    bundle.student = b"?"
    bad = write_release(tmp_path / "r-bad", bundle)
    good = write_release(tmp_path / "r-good", served_bundle("r-good", ITEMS))
    catalogue = Catalogue()
    known = ReleaseInUse(load_settings(data_dir=tmp_path / "data"), catalogue)
    known.apply(announced(bad, "r-bad"))

    async def both() -> list[str]:
        following = asyncio.create_task(taken_up(known))
        await asyncio.sleep(0.2)
        known.apply(announced(good, "r-good"))
        return await following

    assert asyncio.run(both()) == ["r-good"]
    assert "bad" not in catalogue.index


class Topic:
    """Stands for `Delivery`: the topic `releases`, as a list."""

    def __init__(self) -> None:
        self.records: list[ReleaseRecord] = []

    async def send(self, _: str, records: list[Outgoing]) -> list[Any]:
        self.records += [decode_release(record.value or b"") for record in records]
        return []


def test_where_the_live_release_was_quarantined_nothing_is_live_and_the_given_one_may_be(
    tmp_path: Path,
) -> None:
    failed = write_release(tmp_path / "r-1", served_bundle("r-1", ITEMS))
    given = write_release(tmp_path / "r-2", served_bundle("r-2", ITEMS))
    known = ReleaseInUse(load_settings(data_dir=tmp_path / "data", release=str(given)), Catalogue())
    known.apply(announced(failed, "r-1"))
    known.apply(changed(known.roles.of("r-1"), "quarantined", 2, "failed", "it fails"))
    topic: Any = Topic()

    async def start() -> None:
        await known.load()
        await known.announce(topic, "releases")

    assert known.roles.live is None
    asyncio.run(start())
    assert known.release is not None
    assert known.release.id == "r-2"
    assert [(record.release, record.role) for record in topic.records] == [("r-2", "live")]
