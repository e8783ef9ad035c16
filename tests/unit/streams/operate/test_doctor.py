"""The doctor without brokers: versions that matter, and releases that lie elsewhere."""

import importlib.metadata
from pathlib import Path

import fsspec
import msgspec
import pytest

from learner.data.catalogue import Item
from learner.release.files import bundle_sha256, write_release
from streams.operate import doctor, machine_checks, topic_checks
from streams.operate.findings import Finding
from streams.operate.scenarios import Standing
from streams.releases.roles import Roles
from streams.settings import Settings
from streams.wire.contract import ReleaseRecord, Rules
from streams.worker.aside import Aside
from tests.worlds.served import served_bundle


def test_faust_is_the_one_that_is_pinned() -> None:
    assert machine_checks.unpinned("faust-streaming") is None


def test_another_faust_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    version = importlib.metadata.version
    monkeypatch.setattr(
        importlib.metadata, "version", lambda name: "0.16.0" if name == "faust-streaming" else version(name)
    )
    found = {finding.subject: finding for finding in machine_checks.packages()}
    assert found["packages"].status == "fail"
    assert "faust-streaming 0.16.0 is installed, and exactly 0.15.3 is needed" in found["packages"].detail


def test_a_live_release_is_looked_at_wherever_it_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tmp_path / "made"
    write_release(made, served_bundle("r-20231114-221320-test", [Item(item_id="i1")]))
    elsewhere = fsspec.filesystem("memory")
    for file in made.iterdir():
        elsewhere.pipe(f"/doctor/r-1/{file.name}", file.read_bytes())
    settings = Settings(data_dir=tmp_path / "data")

    def found(url: str) -> Finding:
        record = ReleaseRecord(release="r-1", url=url, sha256=bundle_sha256(made), role="live", at=1)
        monkeypatch.setattr(doctor, "roles_now", lambda _: Roles([record]))
        return doctor.live_release(settings)

    assert found("memory://doctor/r-1").detail.startswith("r-20231114-221320-test: 1 item, ")
    missing = found("memory://doctor/r-2")
    assert missing.status == "fail"
    assert "memory://doctor/r-2" in missing.detail
    assert missing.remedy


def test_it_tells_what_a_release_reads_texts_with(tmp_path: Path) -> None:
    bundle = served_bundle("r-20231114-221320-test", [Item(item_id="i1")])
    card = msgspec.structs.replace(bundle.manifest.encoder, name="ours", adapted_from="org/base")
    bundle.manifest = msgspec.structs.replace(bundle.manifest, encoder=card)
    found = machine_checks.release(write_release(tmp_path / "made", bundle))
    assert found.detail.endswith(", texts by ours, adapted from org/base")


def test_users_whose_states_are_set_aside_are_named(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    assert list(topic_checks.aside(settings)) == []
    aside = Aside(tmp_path / "aside" / "nextclick.worker0.tsv")
    for n in range(7):
        aside.name(f"u{n}", "5,000,000 bytes")
    (found,) = topic_checks.aside(settings)
    assert found.status == "warn"
    assert "u0, u1, u2, u3, u4 and 2 more" in found.detail


def test_rules_that_cannot_be_used_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"cart": Standing("cart", Rules(k=6), 3, 1), "home": Standing("home", None)}
    monkeypatch.setattr(topic_checks, "standing", lambda _: known)
    assert topic_checks.scenarios(Settings()).status == "ok"
    known["home"].broken = "no JSON"
    found = topic_checks.scenarios(Settings())
    assert found.status == "warn"
    assert "home: no JSON" in found.detail
    assert "nextclick scenarios put" in found.remedy
