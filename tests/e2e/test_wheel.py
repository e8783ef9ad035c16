"""Drill: a wheel made from the files alone, without a repository, works where nothing else is installed."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.worlds.places import ROOT


def _run(*words: str | Path, cwd: Path) -> str:
    clean = {name: of for name, of in os.environ.items() if not name.startswith(("NEXTCLICK_", "PYTHON"))}
    done = subprocess.run(
        [str(word) for word in words], cwd=cwd, capture_output=True, text=True, check=False, timeout=1200,
        env=clean,
    )  # fmt: skip
    assert done.returncode == 0, f"{words}\n{done.stdout}{done.stderr}"
    return done.stdout


def _installer(python: Path) -> list[str | Path]:
    uv = Path(sys.executable).with_name("uv")
    return [uv, "pip", "install", "--python", python] if uv.exists() else [python, "-m", "pip", "install"]


@pytest.mark.drill
def test_a_wheel_works_in_an_empty_environment(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for name in _run("git", "ls-files", cwd=ROOT).splitlines():
        if not name.startswith("tests/") and (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, source / name)
    _run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", tmp_path, source, cwd=tmp_path)
    (wheel,) = tmp_path.glob("nextclick-*.whl")
    assert wheel.name.startswith("nextclick-0.1.0.dev0-")  # the fallback: there is no repository
    with zipfile.ZipFile(wheel) as packed:
        names = packed.namelist()
    assert {name.partition("/")[0] for name in names if ".dist-info" not in name} == {
        "indexer", "kernels", "learner", "nextclick", "streams",
    }  # fmt: skip
    assert "streams/operate/sizing_constants.json" in names

    _run(sys.executable, "-m", "venv", tmp_path / "empty", cwd=tmp_path)
    python = tmp_path / "empty" / "bin" / "python"
    _run(*_installer(python), wheel, cwd=tmp_path)
    nextclick = python.with_name("nextclick")
    assert _run(nextclick, "--version", cwd=tmp_path) == "nextclick 0.1.0.dev0\n"
    assert "worker" in _run(nextclick, "--help", cwd=tmp_path)
    assert "--install-completion" in _run(nextclick, "--help", cwd=tmp_path)
    planned = json.loads(_run(nextclick, "plan", "--json", cwd=tmp_path))
    assert planned["plan"]["workers"]["processes"]["value"] >= 2
    assert json.loads(_run(nextclick, "schema", cwd=tmp_path))
    _run(python, "-c", "import streams.worker.process, streams.api.process, nextclick", cwd=tmp_path)
    assert "torch" not in _run(python, "-m", "pip", "list", cwd=tmp_path)

    (tmp_path / "clicks.csv").write_text("user_id,item_id,timestamp\nu,i,1\nu,j,2\n")
    for extra, words in {  # what is left out ends with 78 and says how to have it
        "broker": ["broker"],
        "learner": ["train", "--interactions", "clicks.csv", "--out", "release"],
        "otel": ["api", "--port", "0", "--set", "otlp_endpoint=http://127.0.0.1:4318"],
    }.items():
        done = subprocess.run([nextclick, *words], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == os.EX_CONFIG, done.stderr
        assert f"pip install 'nextclick[{extra}]'" in " ".join(done.stderr.split())
        assert "Traceback" not in done.stderr
