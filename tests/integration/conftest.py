"""A trained release and real processes for the integration tests: everything as a user would start it."""

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.settings import Settings
from tests.worlds.places import ROOT
from tests.worlds.system import TRAINED, System


@pytest.fixture(scope="session")
def release(recorded: Path, shared: Path) -> Path:
    """A release trained briefly on the first half of the clicks, by the first of a run's processes to ask.

    NEXTCLICK_TEST_RELEASE names one made before, for working on a single test.
    """
    if made_before := os.environ.get("NEXTCLICK_TEST_RELEASE"):
        return Path(made_before)
    out = shared / "trained-release"
    with (shared / "trained-release.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not out.exists():
            subprocess.run(
                [
                    sys.executable, "-m", "streams", "train",
                    "--interactions", str(recorded / "interactions.csv.gz"),
                    "--items", str(recorded / "items.csv.gz"), "--to", str(TRAINED), "--out", str(out),
                    "--time-budget", "0.3",
                ],
                check=True, cwd=ROOT, timeout=280,
            )  # fmt: skip
    return out


@pytest.fixture
def system(settings: Settings, tmp_path: Path, release: Path) -> Iterator[System]:
    """A system with nothing running yet, on topics of its own."""
    running = System(settings, tmp_path, release)
    yield running
    running.close()
