"""`nextclick releases` against a real broker: entering bundles, changing roles, looking at them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from learner.data.catalogue import Item
from learner.release.files import write_release
from streams.cli import app
from streams.releases.by_hand import ReleasesError
from streams.releases.topic import records
from streams.settings import Settings
from streams.transport.topics import Names
from tests.golden import make_release_v1 as tiny
from tests.worlds.served import served_bundle

pytestmark = pytest.mark.broker
Call = Callable[..., Any]


@pytest.fixture
def releases(settings: Settings) -> Call:
    """`nextclick releases COMMAND …`; returns its output, parsed where it is asked for as JSON."""

    def call(command: str, *arguments: str, code: int = 0) -> Any:
        result = CliRunner().invoke(
            app,
            [
                "releases", command, *arguments, "--bootstrap-servers", settings.bootstrap_servers,
                "--prefix", settings.prefix, "--data-dir", str(settings.data_dir),
            ],
        )  # fmt: skip
        if code == 0 and result.exception is not None:
            raise result.exception
        assert result.exit_code == code, result.output
        return json.loads(result.stdout) if "--json" in arguments else result.output

    return call


def bundle(tmp_path: Path, release: str, more: tuple[str, ...] = ()) -> Path:
    items = [*tiny.ITEMS, *(Item(item_id=name) for name in more)]
    return write_release(tmp_path / "made" / release, served_bundle(release, items))


def roles(releases: Call) -> dict[str, str]:
    return {listed["release"]: listed["role"] for listed in releases("list", "--json")}


def test_by_hand_from_nothing_to_live_and_back(releases: Call, settings: Settings, tmp_path: Path) -> None:
    assert "no releases" in releases("list")
    first, second = bundle(tmp_path, "r-1"), bundle(tmp_path, "r-2", ("d",))
    assert "r-1 is live" in releases("add", str(first), "--as", "live")
    assert "r-2 is candidate" in releases("add", str(second))
    assert roles(releases) == {"r-1": "live", "r-2": "candidate"}
    assert "r-2 is live" in releases("promote", "r-2", "--reason", "I like it")
    assert roles(releases) == {"r-1": "retired", "r-2": "live"}
    told = releases("show", "r-2", "--json")
    assert told["reason"] == "I like it"
    assert told["manifest"]["items"] == 4
    told = releases("diff", "r-1", "r-2", "--json")
    assert told["items"] == {"added": ["d"], "removed": []}
    assert told["manifest"]["items"] == [3, 4]
    assert "live is r-1" in releases("rollback")
    assert roles(releases) == {"r-1": "live", "r-2": "retired"}
    releases("pin")
    assert list(records(settings))[-1].decision == "pinned"
    assert "no longer pinned" in releases("pin", "--off")
    events = releases("events", "--json")
    assert [(event["kind"], event["release"]) for event in events] == [
        ("entered", "r-1"), ("entered", "r-2"), ("decided", "r-2"), ("replaced", "r-1"),
        ("decided", "r-1"), ("decided", "r-2"), ("pin", "r-1"), ("pin", "r-1"),
    ]  # fmt: skip
    assert "I like it" in releases("events")
    releases("promote", "r-9", code=1)
    releases("rollback", code=1)  # nothing was live before but what was taken back
    # The settings' store is where the records say that the bundles are.
    assert {Path(each.url) for each in records(settings)} == {
        settings.data_dir / "releases" / name for name in ("r-1", "r-2")
    }


def test_any_bundle_can_be_entered(releases: Call, tmp_path: Path, settings: Settings) -> None:
    made = bundle(tmp_path, "r-1")
    releases("add", str(made), "--as", "live")
    (made / "ranker.onnx").write_bytes(b"damaged")
    releases("add", str(made), "--as", "canary")  # the same id and manifest, but not the same bundle
    entered = list(records(settings))[-1]
    assert entered.role == "canary"
    assert entered.release != "r-1"
    manifest = msgspec.json.decode((Path(entered.url) / "manifest.json").read_bytes())
    assert manifest["parents"] == ["r-1"]
    output = releases("verify", code=1)
    assert "ok  r-1" in output
    assert f"fail  {entered.release}" in output
    assert "ranker.onnx" in output
    releases("promote", entered.release, code=1)
    assert roles(releases)["r-1"] == "live"
    assert f"{entered.release} was canary" in releases("rollback")
    assert "ranker.onnx" not in releases("list")  # manifests are whole


def test_what_is_no_release_is_said_in_a_message(
    releases: Call, settings: Settings, tmp_path: Path, topics: Names
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(
        ReleasesError, match=rf"{empty}: expected a release folder with manifest\.json, got none"
    ):
        releases("add", str(empty))
    with pytest.raises(ReleasesError, match=r"there is no release r-9; see `nextclick releases list`"):
        releases("show", "r-9")
    assert list(records(settings)) == []
