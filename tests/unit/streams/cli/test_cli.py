"""The command line: instant help, flags that every command has, errors that are messages."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
import typer
from aiokafka.errors import KafkaTimeoutError
from typer.testing import CliRunner

from streams import cli
from streams.cli import app
from streams.cli.options import EVERYWHERE, FLAGS, takes_settings
from streams.settings import Settings
from tests.worlds.places import ROOT

TOGETHER = (
    "worker", "learner", "load", "play", "watch", "recommend", "similar", "rank", "user", "doctor", "forget",
    "settings",
)  # fmt: skip
GROUPS = (
    "items",
    "scenarios",
    "releases",
    "bench",
    "topics",
    "dead-letters",
    "users",
)  # all of whose commands talk to Kafka


def _commands(group: Any, name: str = "") -> Iterator[str]:
    """Every command there is, as it is typed."""
    if not hasattr(group, "commands"):
        yield name.strip()
    else:
        for part, command in group.commands.items():
            yield from _commands(command, f"{name} {part}")


COMMANDS = tuple(_commands(typer.main.get_command(app)))
KAFKA = tuple(name for name in COMMANDS if name in TOGETHER or name.split()[0] in GROUPS)


def _nextclick(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from streams.cli import main; main()", *arguments],
        capture_output=True, text=True, cwd=cwd, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False,
    )  # fmt: skip


def _said(*arguments: str, code: int) -> str:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == code, result.output
    return result.output


def test_all_commands_are_known_here() -> None:
    assert {"demo", "tune", "releases events", "bench swap", "simulate drift", "topics repair"} <= {*COMMANDS}
    assert {"worker", "releases add", "dead-letters retry"} <= {*KAFKA}
    assert not {"demo", "broker", "train", "tune", "replay", "schema", "simulate drift"} & {*KAFKA}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    usage, _, rest = _said(*command.split(), "--help", code=0).strip().partition("\n")
    assert usage.startswith(f"Usage: nextclick {command} [OPTIONS]")
    first = rest.split("\n\n")[0].strip()
    assert first
    assert not first.startswith("Options:")


@pytest.mark.parametrize("command", KAFKA)
def test_whatever_talks_to_kafka_can_be_told_where_and_how(command: str) -> None:
    text = _said(*command.split(), "--help", code=0)
    for flag in ("--bootstrap-servers", "--prefix", "--clock", "--config", "--set"):
        assert flag in text


@pytest.mark.parametrize("command", COMMANDS)
def test_a_wrong_option_is_one_line_that_names_it(command: str) -> None:
    said = _said(*command.split(), "--teapot", code=2)
    (line,) = [line for line in said.splitlines() if line.startswith("Error: ")]
    assert "No such option: --teapot" in line
    assert said.endswith(line + "\n")
    assert f"Try 'nextclick {command} -h' for help." in said


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("teapot", "No such command 'teapot'"),
        ("train", "Missing option '--interactions'"),
        ("train --interactions none --out o", "'--interactions': file 'none' does not exist"),
        ("train --time-budget soon", "'--time-budget': Input should be a valid number"),
        ("tune --trials 0", "'--trials': Input should be greater than or equal to 1"),
        ("replay --protocol guess", "'guess' is not one of 'prequential', 'leave-one-out'"),
        ("worker --k many", "'--k': Input should be a valid integer"),
        ("worker --set k", "--set: expected NAME=VALUE, got 'k'"),
        ("similar", "Missing argument"),
        ("releases diff r-1", "Missing argument"),
    ],
)
def test_a_wrong_value_is_one_line_that_says_what_was_expected(typed: str, says: str) -> None:
    said = _said(*typed.split(), code=2)
    assert says in said.splitlines()[-1]
    assert "Traceback" not in said


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


def test_a_command_that_has_loaded_triton_ends_without_its_leaks() -> None:
    pytest.importorskip("triton")
    code = "import triton; from streams.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "--version"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_a_wrong_setting_is_a_message_not_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "nextclick.toml").write_text("clock = 'sundial'")
    done = _nextclick("settings", cwd=tmp_path)
    assert done.returncode == 78
    assert "error: clock (file nextclick.toml)" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_broker_that_is_not_there_is_a_message(tmp_path: Path) -> None:
    done = _nextclick("topics", "describe", "--bootstrap-servers", "127.0.0.1:1", cwd=tmp_path)
    assert done.returncode == 75
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


# A value of each setting with a flag that is not the default, as it is typed.
TYPED = {
    "bootstrap_servers": "kafka:1", "prefix": "p.", "clock": "stream", "data_dir": "/d", "log_level": "error",
    "partitions": "3", "release": "/r", "pin": "true", "slot": "7", "k": "7", "exploration": "0.7",
    "diversity": "0.7", "repeat_consumption": "yes", "signals_interval_ms": "7", "release_store": "/s",
    "learn": "none", "train_every_minutes": "7", "train_after_clicks": "7", "train_minutes": "7",
    "canary_share": "0.7", "canary_minutes": "7", "broker_port": "7", "broker_heap": "7m",
    "encoder_model": "/m", "encoder_url": "http://m/v1", "encoder_pooling": "cls", "encoder_item_prompt": "i",
    "encoder_query_prompt": "q",
    "api_host": "127.0.0.7", "api_port": "7", "api_cache_mb": "7",
    "broker_data": "/b", "trust_user_ids": "true",
}  # fmt: skip


def _settings_of(*arguments: str, name: str = "") -> Settings:
    """What a command with every flag gets; of flags that are spelt alike it has that of `name`."""
    alike = {"api_port", "broker_port"} - {name if name == "api_port" else "broker_port"}
    found: list[Settings] = []
    app = typer.Typer()
    app.command()(
        takes_settings(*(each for each in FLAGS if each not in EVERYWHERE and each not in alike))(
            found.append
        )
    )
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return found[0]


@pytest.mark.parametrize("name", FLAGS)
def test_a_setting_can_be_given_by_set_and_its_flag_wins(name: str) -> None:
    default, wanted = getattr(Settings(), name), getattr(Settings(**{name: TYPED[name]}), name)
    assert wanted != default
    assert getattr(_settings_of("--set", f"{name}={TYPED[name]}"), name) == wanted
    option = FLAGS[name].__metadata__[0]
    flag = str(option.default or option.param_decls[0]).split("/")[0]
    switches = ("pin", "trust_user_ids")
    given = [flag] if name in switches else [flag, TYPED[name]]
    other = "no" if name == "repeat_consumption" else "false" if name in switches else None
    others = [] if other is None else ["--set", f"{name}={other}"]
    assert getattr(_settings_of(*others, *given, name=name), name) == wanted


@pytest.mark.parametrize(("level", "told"), [("warning", ["grave"]), ("info", ["small", "grave"])])
def test_the_log_level_is_heeded(level: str, told: list[str]) -> None:
    app = typer.Typer()

    def command(_: Settings) -> None:
        structlog.get_logger().info("small")
        structlog.get_logger().warning("grave")

    app.command()(takes_settings("log_level")(command))
    said = CliRunner().invoke(app, ["--log-level", level]).output
    assert [word for word in ("small", "grave") if word in said] == told


def test_a_misspelt_variable_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEXTCLICK_CLOK", "stream")
    done = _nextclick("settings", cwd=tmp_path)
    assert done.returncode == 0
    assert "NEXTCLICK_CLOK is no setting" in done.stderr
    assert "NEXTCLICK_CLOCK" in done.stderr


def test_a_broker_that_stays_away_from_a_process_is_a_line_and_a_start_again_helps(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def away() -> None:
        raise KafkaTimeoutError("no answer for 40 s")

    monkeypatch.setattr(cli, "app", away)
    monkeypatch.setattr(sys, "argv", ["nextclick", "worker"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 75
    said = capsys.readouterr().err.replace("\n", " ")
    assert "KafkaTimeoutError" in said
    assert "no answer for 40 s" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(("flags", "minutes"), [((), 6.0), (("--quick",), 0.35)])
def test_a_quick_training_has_a_budget_of_its_own(
    flags: tuple[str, ...], minutes: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    from streams.training import train

    given: dict[str, Any] = {}
    monkeypatch.setattr(train, "run", lambda *_, **named: given.update(named))
    file = tmp_path / "clicks.csv"
    file.touch()
    said = CliRunner().invoke(app, ["train", "--interactions", str(file), "--out", "out", *flags])
    assert said.exit_code == 0, said.output
    assert given["time_budget"] == minutes


@pytest.mark.parametrize("user", ["user", "-1", "-x9"])
def test_an_id_may_look_like_anything(user: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also like the name of the argument that it is."""
    from streams.operate import one_user

    asked: list[str] = []

    def export(_: Settings, name: str) -> dict[str, str]:
        asked.append(name)
        return {"user_id": name}

    monkeypatch.setattr(one_user, "export", export)
    _said("users", "export", "--prefix", "p.", user, "--clock", "stream", code=0)
    assert asked == [user]
