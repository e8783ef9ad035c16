"""Releases by hand, without brokers: what is decided while a bundle is being stored counts."""

import os
from pathlib import Path

import pytest

from learner.data.catalogue import Item
from learner.release.files import write_release
from streams.operate import releases
from streams.operate.releases import add
from streams.releases.by_hand import ReleasesError
from streams.releases.roles import Roles
from streams.settings import Settings, load_settings
from streams.wire.contract import ReleaseRecord
from tests.worlds.served import served_bundle


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(data_dir=tmp_path / "data")


def record(release: str, role: str) -> ReleaseRecord:
    return ReleaseRecord(release=release, url="/r", sha256="", role=role, at=1)  # type: ignore[arg-type]


def entered(
    settings: Settings, tmp_path: Path, patch: pytest.MonkeyPatch, role: str, *seen: Roles
) -> list[tuple[str, str]]:
    """What is announced where the topic reads as `seen`, look by look."""
    looks, sent = iter(seen), list[ReleaseRecord]()
    patch.setattr(releases, "roles_now", lambda _: next(looks))
    patch.setattr(releases, "announce", lambda _, records: sent.extend(records))
    folder = write_release(tmp_path / "r-new", served_bundle("r-new", [Item(item_id="i")]))
    add(settings, folder, role)  # type: ignore[arg-type]
    return [(each.release, each.role) for each in sent]


def test_the_release_that_went_live_meanwhile_is_the_one_that_is_replaced(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Roles([record("a", "live")])
    second = Roles([record("a", "live"), record("b", "live"), record("a", "retired")])
    sent = entered(settings, tmp_path, monkeypatch, "live", first, second)
    assert sent == [("r-new", "live"), ("b", "retired")]


def test_a_canary_needs_a_live_release_also_in_the_end(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    live, gone = Roles([record("a", "live")]), Roles([record("a", "quarantined")])
    assert entered(settings, tmp_path, monkeypatch, "canary", live, live) == [("r-new", "canary")]
    with pytest.raises(ReleasesError, match="meanwhile"):
        entered(settings, tmp_path / "again", monkeypatch, "canary", live, gone)


def test_copies_of_an_entering_that_was_killed_are_swept(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = settings.data_dir / ".entered-aa", settings.data_dir / ".entered-bb"
    for path in (old, new):
        path.mkdir(parents=True)
    os.utime(old, (0, 0))
    entered(settings, tmp_path, monkeypatch, "candidate", Roles(), Roles())
    assert [path for path in (old, new) if path.exists()] == [new]
