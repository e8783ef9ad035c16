"""Terminals, settings and ids as they are: data are shown as they came, and a wrong setting is one line."""

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.table import Table
from typer.testing import CliRunner

from learner.data.catalogue import Item
from streams.cli import app
from streams.runtime import terminal
from streams.settings import SettingsError, load_settings
from streams.traffic.catalogue import send_items
from streams.transport.login import Certificates
from tests.worlds.places import ROOT
from tests.worlds.system import START_MS, ready


def nextclick(*arguments: Any, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "streams", *map(os.fsencode, map(str, arguments))], capture_output=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment}, check=False, timeout=60,
    )  # fmt: skip


@pytest.mark.parametrize(
    "text", ["u[/x]", "[bold]", "[link=x]y", ":smile:", "[red]sale[/]", "a [rec] (2007)", "\\[b]", "日本"]
)
def test_texts_are_printed_as_they_are_in_lines_and_tables(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    console = terminal.console()
    console.print(text)
    table = Table("item", box=None)
    table.add_row(text)
    console.print(table, soft_wrap=False)
    assert [line.strip() for line in capsys.readouterr().out.splitlines()] == [text, "item", text]


def test_commands_and_paths_stay_whole_in_a_pipe(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    command = "nextclick topics repair --data-dir /" + "very/" * 40 + "long"
    console = terminal.console()
    console.print(command)
    table = Table("do", box=None)
    table.add_row(command)
    console.print(table, soft_wrap=False)
    assert capsys.readouterr().out.count(command) == 2


def test_what_an_encoding_lacks_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    narrow = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", narrow)
    terminal.replace_unknown()
    terminal.console().print("Amélie → 日本")
    print(terminal.shown_json('{"title": "日本"}'))
    narrow.flush()
    assert narrow.buffer.getvalue() == b'Am?lie ? ??\n{"title": "\\u65e5\\u672c"}\n'  # type: ignore[attr-defined]


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "cp437"])
def test_doctor_ends_without_a_traceback_on_any_terminal(encoding: str, tmp_path: Path) -> None:
    said = nextclick(
        "doctor", "--bootstrap-servers", "127.0.0.1:1", "--data-dir", tmp_path / "日本",
        PYTHONUTF8="0", PYTHONIOENCODING=encoding,
    )  # fmt: skip
    assert b"Traceback" not in said.stderr
    assert b"no Kafka broker answers" in said.stdout
    assert said.returncode == 1


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ("--bootstrap-servers localhost:kafka", "the port 'kafka' is no number"),
        ("--bootstrap-servers localhost:99999", "the port '99999' is no number"),
        ("--bootstrap-servers https://broker:9092", "a scheme or a path"),
        ("--bootstrap-servers fe80::1:9092", "stands in brackets"),
        ("--bootstrap-servers :9092", "names no host"),
        (
            "--set security_protocol=SSL --set ssl_cafile=/no/where.pem",
            "ssl_cafile: /no/where.pem is no file",
        ),
        ("--set security_protocol=SSL --set ssl_keyfile=/k.pem", "ssl_keyfile needs ssl_certfile"),
        ("--set security_protocol=SSL --set ssl_cafile=pyproject.toml", "holds no certificates"),
    ],
)
def test_a_wrong_setting_is_one_line_and_78(flags: str, says: str) -> None:
    said = nextclick("topics", "describe", *flags.split())
    assert said.returncode == 78
    (line,) = said.stderr.decode().splitlines()
    assert line.startswith("error: ")
    assert says in line


def test_a_key_that_fits_no_certificate_is_told_and_never_asked_for(tmp_path: Path) -> None:
    certificate = tmp_path / "c.pem"
    certificate.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    with pytest.raises(SettingsError, match="ssl_certfile"):
        Certificates.of(load_settings(security_protocol="SSL", ssl_certfile=certificate))


def test_brokers_may_be_ipv6_and_written_with_spaces() -> None:
    assert load_settings(bootstrap_servers="[::1]:9092, a:1 ,b,").bootstrap_servers == "[::1]:9092,a:1,b"


def test_bytes_that_are_no_text_are_told() -> None:
    said = subprocess.run(
        [sys.executable.encode(), b"-m", b"streams", b"user", b"jos\xe9"], capture_output=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"},
    )  # fmt: skip
    assert said.returncode == 2
    assert b"bytes that are no text" in said.stderr
    assert b"Traceback" not in said.stderr


def test_without_a_home_caches_are_temporary(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    for name in ("NEXTCLICK_CACHE_DIR", "HOME"):
        monkeypatch.delenv(name, raising=False)
    nobody = RuntimeError("Could not determine home directory.")

    def homeless(_: Path) -> Path:
        raise nobody

    monkeypatch.setattr(Path, "expanduser", homeless)
    assert load_settings().cache_dir.name == f"nextclick-{os.getuid()}"


def test_a_folder_that_cannot_be_used_is_one_line_that_names_it_and_the_option(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    program = (
        f"import streams.cli as cli\ncli.app = lambda: cli.Path({str(file / 'below')!r}).mkdir()\ncli.main()"
    )
    said = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, check=False)
    assert said.returncode == 78
    assert b"Traceback" not in said.stderr
    last = said.stderr.decode().splitlines()[-1]
    assert str(file) in last
    assert "--data-dir" in last


def test_ids_with_brackets_and_a_leading_minus_are_shown_as_they_are(system: Any) -> None:
    send_items(system.settings, [Item(item_id="1", title="Night [/b] talk"), Item(item_id="2")])
    system.start("worker")
    ready(system)
    for user in ("u[/x]", "[bold]", "-1", "-x9"):
        system.answer(system.click(user, "1", START_MS))
        system.state(user, 1)
        for command in ("user", "recommend"):
            shown = CliRunner().invoke(
                app, [command, user, "--bootstrap-servers", system.bootstrap, "--prefix", system.prefix]
            )
            assert shown.exit_code == 0, shown.output
            assert shown.output.startswith(user)
    assert "Night [/b] talk" in shown.output + CliRunner().invoke(
        app, ["user", "-1", "--bootstrap-servers", system.bootstrap, "--prefix", system.prefix]
    ).output  # fmt: skip


def test_ids_and_titles_of_others_stay_on_their_line() -> None:
    assert terminal.on_a_line("a\nb\x1b[31m\u2028\u9b6f\u200d") == "a\\nb\\x1b[31m\\u2028\u9b6f\u200d"
