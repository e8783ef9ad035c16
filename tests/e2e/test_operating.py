"""The runbook: each command of its `sh` blocks as it stands there, its settings file, its table of them."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from streams.settings import ENV_PREFIX, Settings, load_settings
from streams.transport.topics import Names
from tests.worlds.guarded import Authority
from tests.worlds.places import ROOT

FOLDER = ROOT / "docs" / "operating"
PAGES = ("README.md", "install.md", "configure.md", "secure.md", "scale.md", "upgrade.md")


def blocks(page: str, kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", (FOLDER / page).read_text(), re.S)


def rows() -> list[str]:
    """The table of configure.md, as the settings are."""
    found = []
    for name, field in Settings.model_fields.items():
        default = "" if field.default_factory is not None or field.default is None else field.default
        shown = ",".join(default) if isinstance(default, tuple) else str(default)
        found.append(f"| `{name}` | {f'`{shown}`' if shown else ''} | {field.description} |")
    return found


def test_every_setting_stands_in_the_table_as_it_is() -> None:
    told = re.findall(r"^\| `.*\|$", (FOLDER / "configure.md").read_text(), re.M)
    assert told == rows(), "docs/operating/configure.md: the table is not that of streams/settings.py"


def test_the_settings_file_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "password").write_text("hush")
    Authority(tmp_path)
    for page in ("secure.md", "configure.md"):
        for text in blocks(page, "toml"):
            (tmp_path / "nextclick.toml").write_text(text)
            assert load_settings().provenance["bootstrap_servers"] == "file nextclick.toml"


def test_the_pages_name_each_other_and_only_pages_that_are_there() -> None:
    for page in [*FOLDER.glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+?)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} names {target}"
    index = (FOLDER / "README.md").read_text()
    assert {page.name for page in FOLDER.glob("*.md")} - {"README.md"} <= set(
        re.findall(r"\((\w+\.md)\)", index)
    )


def test_shells_are_told_how_to_complete() -> None:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "_NEXTCLICK_COMPLETE": "complete_bash", "COMP_CWORD": "1"}
    said = subprocess.run(
        [sys.executable, "-c", "from streams.cli import app; app(prog_name='nextclick')"],
        env=env | {"COMP_WORDS": "nextclick top"}, capture_output=True, text=True, check=False, timeout=60,
    ).stdout  # fmt: skip
    assert said.split() == ["top", "topics"]


def test_every_command_does_what_it_is_there_for(topics: Names, settings: Settings, tmp_path: Path) -> None:
    assert topics.clicks.startswith(settings.prefix)
    own = {
        "BOOTSTRAP_SERVERS": settings.bootstrap_servers,
        "PREFIX": settings.prefix,
        "DATA_DIR": str(tmp_path / "data"),
    }
    env = {
        **os.environ,
        **{f"{ENV_PREFIX}{name}": value for name, value in own.items()},
        "PYTHONPATH": str(ROOT),
    }
    lines = {
        line: page for page in PAGES for text in blocks(page, "sh") for line in text.strip().splitlines()
    }
    assert len(lines) >= 12
    said = {}
    for line, page in lines.items():
        words = shlex.split(line)
        assert words[0] == "nextclick", f"{page}: {line}"
        if words[1] == "compile":
            continue  # `make setup` does it
        done = subprocess.run(
            [sys.executable, "-m", "streams", *words[1:]], cwd=tmp_path, env=env, capture_output=True,
            text=True, check=False, timeout=120,
        )  # fmt: skip
        # Without worker and release doctor finds what is missing, which is what it is for.
        assert done.returncode == 0 or words[1] == "doctor", f"{page}: {line}\n{done.stdout}{done.stderr}"
        assert "Traceback" not in done.stderr, done.stderr
        said[line] = done.stdout
    assert "clicks: 8 partitions became 16" in said["nextclick topics grow --partitions 16"]
    assert "workers" in said["nextclick doctor"]
