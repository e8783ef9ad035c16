"""Fixtures shared by all tests: the embedded broker, a prefix of topics for each test, recorded data.

Also a trained release and real processes: everything as a user would start it.
"""

import fcntl
import gc
import importlib.util
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog

from learner.data.ml100k import fetch_ml100k
from streams.broker.node import EmbeddedBroker
from streams.settings import Settings, load_settings
from streams.transport.topics import Names, create_missing
from tests.worlds.places import DATA, ROOT
from tests.worlds.system import TRAINED, System, ready


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs the broker by its fixtures; skip what needs torch where torch is missing."""
    torch_is_here = importlib.util.find_spec("torch") is not None
    for item in items:
        if "broker" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.broker)
        if item.get_closest_marker("learner") and not torch_is_here:
            item.add_marker(pytest.mark.skip(reason="needs torch: pip install 'nextclick[learner]'"))


def pytest_collection_finish() -> None:
    """All modules that tests import live on: collections of garbage look at them no more, and are quick."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish() -> None:
    """They end as without this."""
    gc.unfreeze()


@pytest.fixture(autouse=True)
def _own_configuration(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Tests see neither the variables nor (in the repository's root) the file of whoever runs them.

    A level of logging that one has set is none of the next one's.
    """
    for name in list(os.environ):
        if name.startswith("NEXTCLICK_") and name not in (
            "NEXTCLICK_DATA",
            "NEXTCLICK_CACHE_DIR",
            "NEXTCLICK_TEST_RELEASE",
        ):
            monkeypatch.delenv(name)
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of this run for what its processes share: under xdist each has a base folder of its own."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def recorded() -> Path:
    """A folder with real clicks and items: ml-100k, as the demo fetches it."""
    return fetch_ml100k(load_settings().cache_dir / "ml-100k")


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedBroker]:
    """A real broker on a free port, one for the whole run (one for each process under xdist)."""
    cache = load_settings().cache_dir
    with EmbeddedBroker(tmp_path_factory.mktemp("broker"), port=0, cache=cache) as running:
        yield running


@pytest.fixture
def prefix() -> str:
    """A prefix of topics that no other test has used."""
    return f"t{uuid.uuid4().hex[:10]}."


@pytest.fixture
def settings(broker: EmbeddedBroker, prefix: str, tmp_path: Path) -> Settings:
    """Settings for the broker, with topics and a data folder of the test's own, and the stream's clock."""
    return load_settings(
        bootstrap_servers=broker.bootstrap_servers, prefix=prefix, clock="stream",
        data_dir=tmp_path / "nextclick", exploration=0.0,
    )  # fmt: skip


@pytest.fixture
def topics(settings: Settings) -> Names:
    """The test's topics, created."""
    from streams.transport import clients

    with clients.admin(settings) as admin:
        create_missing(admin, settings)
    return Names(settings.prefix)


@pytest.fixture(scope="session")
def data_folder() -> Callable[[str], Path]:
    """The folder of a recorded data set by its name; the test is skipped where it is not on this machine."""

    def folder(name: str) -> Path:
        path = DATA / name
        if not (path / "interactions.csv.gz").exists():
            pytest.skip(f"no data set {name} in {DATA}; NEXTCLICK_DATA names the folder that has them")
        return path

    return folder


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
                    "--time-budget", "0.2",
                ],
                check=True, cwd=ROOT, timeout=280,
            )  # fmt: skip
    return out


@pytest.fixture(scope="module")
def working(
    broker: EmbeddedBroker, release: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[System]:
    """A worker for all tests of a file that do not stop it, and leave nothing but users of their own."""
    folder = tmp_path_factory.mktemp("working")
    settings = load_settings(
        bootstrap_servers=broker.bootstrap_servers, prefix=f"working{uuid.uuid4().hex[:10]}.", clock="stream",
        data_dir=folder,
    )  # fmt: skip
    running = System(settings, folder, release)
    try:
        running.start("worker")
        ready(running)
        yield running
    finally:
        running.close()


@pytest.fixture
def system(settings: Settings, tmp_path: Path, release: Path) -> Iterator[System]:
    """A system with nothing running yet, on topics of its own."""
    running = System(settings, tmp_path, release)
    yield running
    running.close()
