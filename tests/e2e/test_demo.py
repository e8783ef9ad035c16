"""The demo on a small folder of real clicks: it ends by itself, and its figures are what they claim."""

import csv
import gzip
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from learner.data.ml100k import fetch_ml100k
from streams.settings import load_settings
from tests.worlds.places import ROOT

EVENTS = 12_000


@pytest.mark.learner
def test_the_demo_ends_with_a_report(tmp_path: Path) -> None:
    recorded = fetch_ml100k(load_settings().cache_dir / "ml-100k")
    data = tmp_path / "data"
    data.mkdir()
    with gzip.open(recorded / "interactions.csv.gz", "rt") as file:
        rows = sorted(itertools.islice(csv.DictReader(file), 100_000), key=lambda row: int(row["timestamp"]))
    with (data / "interactions.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows[:EVENTS])
    (data / "items.csv.gz").write_bytes((recorded / "items.csv.gz").read_bytes())
    # No Java of the machine's may help: neither on the PATH nor by JAVA_HOME.
    path = os.pathsep.join(
        folder for folder in os.environ["PATH"].split(os.pathsep) if not (Path(folder) / "java").exists()
    )
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "COLUMNS": "120"}
    environment.pop("JAVA_HOME", None)
    done = subprocess.run(
        [
            sys.executable, "-m", "streams", "demo", "--data", str(data), "--once", "--report", "out.json",
            "--time-budget", "0.4", "--rate", "150", "--port", "0", "--drift",
        ],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=290,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    report = json.loads((tmp_path / "out.json").read_text())
    assert report.keys() == {
        "clicks", "recommendations", "freshness_ms", "hit_rate@10", "release", "seconds", "drift",
    }  # fmt: skip
    live = EVENTS - int(EVENTS * 0.8)
    assert report["clicks"] == report["recommendations"] == live
    assert 0 < report["freshness_ms"]["p50"] <= report["freshness_ms"]["p99"]
    before, after = (report["drift"]["hit_rate@10"][name] for name in ("before", "after"))
    assert before["nextclick"] > before["popularity"] > 0
    # .12 and .16: a list that knew its answer, as one does that comes too late, would tell of more
    assert 0 < after["nextclick"] < before["nextclick"] < 0.3
    assert after["nextclick"] > after["popularity"]
    assert report["drift"]["items"] > 100
    assert report["release"].startswith("r-")
    for words in ("live", "summary", "Nextclick", "popularity", "clicked", "→", "The world changes"):
        assert words in done.stdout
    assert "Traceback" not in done.stderr, done.stderr[-3000:]  # all who read have stopped before the broker
