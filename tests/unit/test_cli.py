"""The command line: instant help, flags that every command has, errors that are messages."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

COMMANDS = (
    "demo", "broker", "worker", "learner", "train", "replay", "load", "play", "watch", "recommend", "user",
    "doctor", "settings", "schema", "topics create", "topics describe", "topics repair", "dead-letters list",
    "dead-letters retry",
)  # fmt: skip
KAFKA = (
    "worker", "learner", "load", "play", "watch", "recommend", "user", "doctor", "settings", "topics create",
    "topics describe", "topics repair", "dead-letters list", "dead-letters retry",
)  # fmt: skip
ROOT = Path(__file__).parents[2]


def _nextclick(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from streams.cli import main; main()", *arguments],
        capture_output=True, text=True, cwd=cwd, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False,
    )  # fmt: skip


def _help_of(command: str) -> str:
    from typer.testing import CliRunner

    from streams.cli import app

    result = CliRunner().invoke(app, [*command.split(), "--help"])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    assert "Usage:" in _help_of(command)


@pytest.mark.parametrize("command", KAFKA)
def test_whatever_talks_to_kafka_can_be_told_where_and_how(command: str) -> None:
    text = _help_of(command)
    for flag in ("--bootstrap-servers", "--prefix", "--clock", "--config", "--set"):
        assert flag in text


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, contextlib\n"
        "from streams.cli import app\n"
        "with contextlib.suppress(SystemExit): app(['--help'])\n"
        "heavy = {'kafka', 'aiokafka', 'faust', 'pydantic', 'numpy', 'numba', 'torch', 'rich', 'jgo'}\n"
        "sys.exit(', '.join(sorted(heavy & set(sys.modules))) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "broker" in done.stdout


def test_a_wrong_setting_is_a_message_not_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "nextclick.toml").write_text("clock = 'sundial'")
    done = _nextclick("settings", cwd=tmp_path)
    assert done.returncode == 1
    assert "error: clock (file nextclick.toml)" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_broker_that_is_not_there_is_a_message(tmp_path: Path) -> None:
    done = _nextclick("topics", "describe", "--bootstrap-servers", "127.0.0.1:1", cwd=tmp_path)
    assert done.returncode == 1
    assert "no Kafka broker answers at 127.0.0.1:1" in done.stderr.replace("\n", " ")
    assert "nextclick broker" in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.stderr


def test_settings_show_values_and_origins(tmp_path: Path) -> None:
    done = _nextclick("settings", "--json", "--prefix", "p.", "--set", "k=7", cwd=tmp_path)
    shown = json.loads(done.stdout)
    assert shown["prefix"] == {"value": "p.", "from": "command line"}
    assert shown["k"]["value"] == "7"
    assert shown["clock"] == {"value": "wall", "from": "default"}


def test_the_schema_is_printed(tmp_path: Path) -> None:
    assert set(json.loads(_nextclick("schema", cwd=tmp_path).stdout)["properties"]) >= {"clicks", "items"}
    assert json.loads(_nextclick("schema", "--topic", "clicks", cwd=tmp_path).stdout)["title"]
    assert _nextclick("schema", "--topic", "teapots", cwd=tmp_path).returncode == 2
