"""The demo on a small folder of real clicks: it ends by itself, and its figures are what they claim."""

import csv
import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.worlds.places import ROOT

pytestmark = pytest.mark.learner
KEYS = {
    "clicks", "recommendations", "freshness_ms", "hit_rate@10", "release", "releases", "first_list_s",
    "seconds", "drift",
}  # fmt: skip


def demo(recorded: Path, folder: Path, events: int, minutes: float) -> tuple[dict[str, Any], str]:
    """Runs the demo on the first `events` clicks, with a change of the world; returns report and screen."""
    data = folder / "data"
    data.mkdir()
    with gzip.open(recorded / "interactions.csv.gz", "rt") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: int(row["timestamp"]))
    with (data / "interactions.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows[:events])
    (data / "items.csv.gz").write_bytes((recorded / "items.csv.gz").read_bytes())
    # No Java of the machine's may help: neither on the PATH nor by JAVA_HOME.
    path = os.pathsep.join(
        place for place in os.environ["PATH"].split(os.pathsep) if not (Path(place) / "java").exists()
    )
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "COLUMNS": "120"}
    environment.pop("JAVA_HOME", None)
    done = subprocess.run(
        [
            sys.executable, "-m", "streams", "demo", "--data", str(data), "--once", "--report", "out.json",
            "--time-budget", str(minutes), "--rate", "150", "--port", "0", "--drift",
        ],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=590,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "Traceback" not in done.stderr, done.stderr[-3000:]  # all who read have stopped before the broker
    report = json.loads((folder / "out.json").read_text())
    assert report.keys() == KEYS
    live = events - int(events * 0.8)
    assert report["clicks"] == report["recommendations"] == live
    assert 0 < report["freshness_ms"]["p50"] <= report["freshness_ms"]["p99"]
    assert report["release"].startswith("r-")
    assert report["release"] in report["releases"] or len(report["releases"]) == 1
    assert 0 < sum(made["scored"] for made in report["releases"].values()) <= live
    assert report["first_list_s"] > 0
    assert report["drift"]["items"] > 100
    for words in ("live", "summary", "Nextclick", "popularity", "clicked", "→", "The world changes"):
        assert words in done.stdout
    return report, done.stdout


@pytest.mark.drill
@pytest.mark.timeout(600)
def test_the_demo_ends_with_a_report(recorded: Path, tmp_path: Path) -> None:
    demo(recorded, tmp_path, events=4000, minutes=0.1)


@pytest.mark.drill
@pytest.mark.timeout(600)
def test_the_demo_shows_what_it_promises(recorded: Path, tmp_path: Path) -> None:
    """Trained long enough for its figures to count: above popularity, before the change and after."""
    report, _ = demo(recorded, tmp_path, events=12_000, minutes=0.4)
    before, after = (report["drift"]["hit_rate@10"][name] for name in ("before", "after"))
    assert before["nextclick"] > before["popularity"] > 0
    # .12 and .16: a list that knew its answer, as one does that comes too late, would tell of more
    assert 0 < after["nextclick"] < before["nextclick"] < 0.3
    assert after["nextclick"] > after["popularity"]
