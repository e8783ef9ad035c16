"""The release that the learner goes by: how it is taken up while clicks are counted."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from learner.data.catalogue import Catalogue, Item
from learner.data.events import Kind
from learner.release.bundle import MANIFEST, STUDENT, ReleaseError
from learner.release.files import bundle_sha256, write_release
from learner.release.live import LiveRelease
from learner.signals.settings import SignalSettings
from streams.learning import releases
from streams.learning.releases import ReleaseInUse
from streams.releases.roles import REPLACED, changed
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
    async with asyncio.timeout(90):
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


def damaged(folder: Path, name: str, **manifest: object) -> ReleaseRecord:
    """The record of a release, one of whose files cannot be read."""
    write_release(folder / name, served_bundle(name, ITEMS, **manifest))
    (folder / name / STUDENT).write_bytes(b"?")
    return announced(folder / name, name)


def before(folder: Path, name: str) -> ReleaseRecord:
    """The record of a release that was live until another one replaced it."""
    whole = announced(write_release(folder / name, served_bundle(name, ITEMS)), name)
    return changed(whole, "retired", 2, REPLACED, "another one is live")


def in_use(tmp_path: Path, *records: ReleaseRecord, **options: Any) -> ReleaseInUse:
    known = ReleaseInUse(load_settings(data_dir=tmp_path / "data", **options), Catalogue())
    for record in records:
        known.apply(record)
    return known


def away(monkeypatch: pytest.MonkeyPatch, *names: str, times: int = 10**9) -> list[str]:
    """The store does not answer when it is asked for these, so many times; returns who was asked for."""
    asked: list[str] = []

    def unsteady(url: str, *arguments: Any) -> Path:
        asked.append(Path(url).name)
        if asked[-1] in names and asked.count(asked[-1]) <= times:
            raise StoreUnreachable(f"{url}: does not answer")
        return fetch(url, *arguments)

    monkeypatch.setattr(releases, "fetch", unsteady)
    monkeypatch.setattr(releases, "RETRY_SECONDS", 0.01)
    return asked


def test_a_start_waits_for_a_store_that_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_release(tmp_path / "r-1", served_bundle("r-1", ITEMS))
    asked = away(monkeypatch, "r-1", times=2)
    known = in_use(tmp_path, announced(folder, "r-1"))
    asyncio.run(known.load())
    assert known.release is not None
    assert asked == ["r-1"] * 3


def test_while_a_start_waits_for_the_store_another_release_may_go_live(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    away(monkeypatch, "r-1")
    monkeypatch.setattr(releases, "RETRY_SECONDS", 1000)
    folder = write_release(tmp_path / "r-2", served_bundle("r-2", ITEMS))
    known = in_use(tmp_path, announced(write_release(tmp_path / "r-1", served_bundle("r-1", ITEMS)), "r-1"))

    async def start() -> None:
        loading = asyncio.create_task(known.load())
        await asyncio.sleep(0.05)
        known.apply(announced(folder, "r-2"))
        async with asyncio.timeout(90):
            await loading

    asyncio.run(start())
    assert known.release is not None
    assert known.release.id == "r-2"


def test_a_start_goes_by_the_release_before_while_the_live_one_does_not_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_release(tmp_path / "r-2", served_bundle("r-2", ITEMS))
    known = in_use(tmp_path, before(tmp_path, "r-1"), announced(folder, "r-2"))
    away(monkeypatch, "r-2", times=2)

    async def start() -> list[str]:
        await known.load()
        assert known.release is not None
        assert known.release.id == "r-1"
        return await taken_up(known)

    assert asyncio.run(start()) == ["r-2"]


def test_a_start_goes_by_the_release_before_or_the_given_one_where_the_live_one_is_damaged(
    tmp_path: Path,
) -> None:
    known = in_use(tmp_path, before(tmp_path, "r-1"), damaged(tmp_path, "r-2"))
    asyncio.run(known.load())
    assert known.release is not None
    assert known.release.id == "r-1"

    given = write_release(tmp_path / "given", served_bundle("r-3", ITEMS))
    known = in_use(tmp_path, damaged(tmp_path, "r-4"), release=str(given))
    topic: Any = Topic()

    async def start() -> None:
        await known.load()
        await known.announce(topic, "releases")

    asyncio.run(start())
    assert known.release is not None
    assert known.release.id == "r-3"
    assert topic.records == []  # whose release is live is for an operator or the gate to say


def test_where_no_release_can_be_read_its_manifest_says_how_signals_are_counted(tmp_path: Path) -> None:
    own = SignalSettings(pair_half_life_ms=12 * 3_600_000)
    manifest = {"signals": own.as_dict(), "value_scale": {"rating": (3.0, 1.0)}, "repeat_consumption": True}
    known = in_use(tmp_path, damaged(tmp_path, "r-1", **manifest))
    asyncio.run(known.load())
    assert known.release is None
    assert known.signal_settings() == own
    assert known.scale()(int(Kind.RATING), 4.0) == 1.0
    assert known.repeats()

    lost = in_use(tmp_path, announced(tmp_path / "r-1", "r-5"), release=str(tmp_path / "gone"))
    (tmp_path / "r-1" / MANIFEST).unlink()
    asyncio.run(lost.load())
    assert lost.signal_settings() == SignalSettings()


def test_a_given_release_that_is_damaged_is_refused_where_nothing_is_live(tmp_path: Path) -> None:
    damaged(tmp_path, "r-1")
    with pytest.raises(ReleaseError, match=STUDENT):
        asyncio.run(in_use(tmp_path, release=str(tmp_path / "r-1")).load())


def test_whether_the_data_repeats_is_asked_of_the_release_that_is_live_now(tmp_path: Path) -> None:
    """A learner that began with no release, as the first run of all does."""
    known = in_use(tmp_path)
    asyncio.run(known.load())
    assert not known.repeats()
    repeating = served_bundle("r-1", ITEMS, repeat_consumption=True)
    known.apply(announced(write_release(tmp_path / "r-1", repeating), "r-1"))
    assert asyncio.run(taken_up(known)) == ["r-1"]
    assert known.repeats()
    known.settings = load_settings(repeat_consumption="no")
    assert not known.repeats()


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


def test_a_given_release_that_was_quarantined_is_not_made_live_by_a_restart(tmp_path: Path) -> None:
    failed = write_release(tmp_path / "r-1", served_bundle("r-1", ITEMS))
    known = ReleaseInUse(load_settings(data_dir=tmp_path / "data", release=str(failed)), Catalogue())
    known.apply(announced(failed, "r-1"))
    known.apply(changed(known.roles.of("r-1"), "quarantined", 2, "failed", "it fails"))
    topic: Any = Topic()

    async def start() -> None:
        await known.load()
        await known.announce(topic, "releases")

    asyncio.run(start())
    assert topic.records == []
