"""What the page of alerts says to type at three in the morning does what it says, as it stands there."""

import json
import re
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from learner.release.bundle import release_id
from learner.release.files import amend
from streams.cli import app
from streams.operate.releases import add
from streams.settings import Settings
from streams.transport.topics import Names
from tests.worlds.over_http import listening
from tests.worlds.places import ROOT
from tests.worlds.system import System

PAGE = (ROOT / "docs" / "operating" / "alerts.md").read_text(encoding="utf-8")
TYPED = sorted({" ".join(each.split()) for each in re.findall(r"(?:`|\$ )nextclick\s([^`#]+)", PAGE)})
STARTED = {"worker", "learner"}  # they run until they are stopped: most other tests start them
ENDLESS = {"top": "top --once", "top --sort lag": "top --once --sort lag"}


@pytest.fixture
def outage(
    system: System, settings: Settings, topics: Names, release: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> tuple[str, str]:  # fmt: skip
    """An api and no worker, a bad click, and two releases: the one before and the live one."""
    for name, value in {
        "BOOTSTRAP_SERVERS": settings.bootstrap_servers, "PREFIX": topics.prefix,
        "DATA_DIR": str(settings.data_dir), "CLOCK": "stream",
    }.items():  # fmt: skip
        monkeypatch.setenv(f"NEXTCLICK_{name}", value)
    monkeypatch.chdir(tmp_path)
    other = tmp_path / "other"
    shutil.copytree(release, other)
    amend(other, release=release_id(1_700_000_000_000))
    before, live = (add(settings, each, "live").release for each in (other, release))
    letter = {"error": "no item_id", "topic": topics.clicks, "partition": "0", "offset": "0", "at": "1"}
    headers = [(name, value.encode()) for name, value in letter.items()]
    system.send("dead-letters", "u1", b"{}", headers=headers)
    listening(system)
    return before, live


def typed(words: str) -> Result:
    done = CliRunner().invoke(app, words.split())
    assert done.exception is None or isinstance(done.exception, SystemExit), (
        words,
        done.output,
        done.exception,
    )
    return done


def roles() -> dict[str, str]:
    return {each["release"]: each["role"] for each in json.loads(typed("releases list --json").stdout)}


def test_each_command_does_what_the_page_says(outage: tuple[str, str]) -> None:
    before, live = outage
    assert {"releases rollback ID", "releases promote ID", "dead-letters retry", "topics repair"} <= {*TYPED}
    said = {}
    for words in reversed(TYPED):  # so that what is taken back is taken back first, and promoted again
        if words not in STARTED:
            done = typed(ENDLESS.get(words, words).replace("ID", live))
            assert done.exit_code == 0, (words, done.output)
            said[words] = done.output
            if "rollback" in words:
                assert roles() == {before: "live", live: "retired"}
    assert roles() == {before: "retired", live: "live"}
    assert "none is running" in said["doctor"]
    assert "1 record refused; 1 × no item_id" in said["doctor"]
    assert "no worker speaks" in said["top --once"]
    assert "sent 1 record again" in said["dead-letters retry"]
    assert "was taken back" in said["releases events"]
    assert "nothing to repair" in said["topics repair"]
