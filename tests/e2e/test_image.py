"""Both images, made and run without a container engine, a real broker beside them."""

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from deploy.tools import IN_CI, found, tool
from streams.settings import Settings
from streams.transport.topics import Names
from tests.worlds.bare_image import Image, build
from tests.worlds.places import ROOT

MOST_BYTES, MOST_OF_LEARNER_BYTES = 900_000_000, 8_000_000_000
USER = 10_001


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    yield from built("serve", tmp_path_factory)


@pytest.fixture(scope="module")
def learner_image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    yield from built("learner", tmp_path_factory)


def built(target: str, folders: pytest.TempPathFactory) -> Iterator[Image]:
    for name in ("bwrap", "debootstrap"):
        if not (IN_CI and os.geteuid() == 0) and found(name) is None:
            pytest.skip(f"needs {name}")
        tool(name)
    if os.geteuid() != 0 or subprocess.run(["bwrap", "--ro-bind", "/", "/", "true"], check=False).returncode:
        pytest.skip("bare roots cannot be made here: that takes root, and bwrap that may mount")
    work = folders.mktemp(target)
    yield build(ROOT / "deploy" / "containers" / "Dockerfile", target, work)
    shutil.rmtree(work)


class Container:
    """A process of the image, with a folder of its own to write to; what it says stands in a file."""

    def __init__(self, image: Image, folder: Path, *arguments: str, **environment: str) -> None:
        self.data, self.log = folder / "data", folder / "said.log"
        self.data.mkdir(parents=True, exist_ok=True)
        self.environment = {"NEXTCLICK_METRICS_PORT": free_port()} | environment
        self.image = image
        command = image.running(*image.entrypoint, *arguments, data=self.data, **self.environment)
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)

    def said(self) -> str:
        return re.sub(r"\x1b\[[0-9;]*m", "", self.log.read_text())

    def wait_for(self, what: Callable[[], bool], seconds: float = 180) -> None:
        """Waits until something is true; fails with what the process has said."""
        end = time.monotonic() + seconds
        while not what():
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < end, self.said()
            time.sleep(0.2)

    def ran(self, *command: str) -> subprocess.CompletedProcess[str]:
        """A command beside it, as `exec` would run it."""
        line = self.image.running(*command, data=self.data, **self.environment)
        return subprocess.run(line, capture_output=True, text=True, check=False, timeout=60)

    def healthy(self, *flags: str) -> bool:
        return self.ran("python3", "/usr/local/bin/healthy.py", *flags).returncode == 0

    def stopped(self) -> int:
        """SIGTERM to the process itself, as an engine sends it; the exit code."""
        below = psutil.Process(self.process.pid).children(recursive=True)
        next(each for each in below if each.name() != "bwrap").send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def free_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


@pytest.mark.drill
@pytest.mark.timeout(1500)
def test_worker_and_api_answer_from_a_root_that_nobody_may_write_to(
    image: Image, settings: Settings, topics: Names, release: Path, tmp_path: Path
) -> None:
    assert image.size_bytes <= MOST_BYTES
    given = {
        "NEXTCLICK_BOOTSTRAP_SERVERS": settings.bootstrap_servers,
        "NEXTCLICK_PREFIX": topics.prefix,
        "NEXTCLICK_CLOCK": "stream",
        "NEXTCLICK_API_HOST": "127.0.0.1",  # any other wants keys
    }
    shutil.copytree(release, tmp_path / "worker" / "data" / "release")
    port = free_port()
    running = [Container(image, tmp_path / "worker", "worker", **given, NEXTCLICK_RELEASE="/data/release")]
    try:
        (worker,) = running
        worker.wait_for(lambda: worker.healthy("--ready"))
        api = Container(image, tmp_path / "api", "api", **given, NEXTCLICK_API_PORT=port)
        running.append(api)
        api.wait_for(lambda: api.healthy("--ready"))

        smoke = ["sh", str(ROOT / "deploy" / "smoke.sh"), f"http://127.0.0.1:{port}"]
        done = subprocess.run(smoke, capture_output=True, text=True, timeout=120, check=False)
        assert done.stdout.startswith("OK: a click of smoke-"), done.stderr

        # As the image's user, who may write to one folder; and no kernel was compiled here.
        assert worker.ran("id", "-u").stdout.strip() == str(USER)
        for place in ("/", "/opt/nextclick", "/usr/local/bin", "/tmp", "/var/tmp"):
            assert "Read-only" in worker.ran("touch", f"{place}/mine").stderr
        assert worker.ran("touch", "/data/mine").returncode == 0
        kernels = list((worker.data / "cache" / "numba").rglob("*.nbc"))
        assert len(kernels) > 100
        assert [path.name for path in kernels if not path.is_symlink()] == []
        assert [each.stopped() for each in reversed(running)] == [0, 0]
    finally:
        for each in running:
            each.kill()


@pytest.mark.drill
@pytest.mark.timeout(3000)
def test_a_learner_trains_and_runs_from_a_root_that_nobody_may_write_to(
    learner_image: Image, settings: Settings, topics: Names, recorded: Path, tmp_path: Path
) -> None:
    print(f"the learner's image: {learner_image.size_bytes / 1e9:.2f} GB")
    assert learner_image.size_bytes <= MOST_OF_LEARNER_BYTES
    shutil.copytree(recorded, tmp_path / "data" / "past")
    given = {
        "NEXTCLICK_BOOTSTRAP_SERVERS": settings.bootstrap_servers,
        "NEXTCLICK_PREFIX": topics.prefix,
        "NEXTCLICK_API_HOST": "127.0.0.1",
    }
    past = ("--interactions", "/data/past/interactions.csv.gz", "--items", "/data/past/items.csv.gz")
    train = ("train", *past, "--out", "/data/first", "--quick")
    line = learner_image.running(*learner_image.entrypoint, *train, data=tmp_path / "data", **given)
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stderr
    learner = Container(learner_image, tmp_path, "learner", **given, NEXTCLICK_RELEASE="/data/first")
    try:
        learner.wait_for(lambda: "learner ready" in learner.said() and learner.healthy("--ready"), 300)
        assert "Read-only" in learner.ran("touch", "/opt/nextclick/mine").stderr
        assert learner.stopped() == 0
    finally:
        learner.kill()


@pytest.mark.drill
@pytest.mark.timeout(1500)
def test_a_data_folder_of_somebody_elses_is_named(image: Image, tmp_path: Path) -> None:
    command = image.running(*image.entrypoint, "settings", data=tmp_path)
    os.chown(tmp_path, 0, 0)
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == os.EX_CONFIG
    assert f"/data/cache cannot be written to by user {USER}:{USER}; mount a volume at /data" in done.stderr


@pytest.mark.drill
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("command", ["broker", "up"])
def test_what_the_image_leaves_out_is_named(command: str, image: Image, tmp_path: Path) -> None:
    here = {"NEXTCLICK_API_HOST": "127.0.0.1"}
    line = image.running(*image.entrypoint, command, data=tmp_path, **here)
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == os.EX_CONFIG
    (error,) = done.stderr.strip().splitlines()
    assert "pip install 'nextclick[broker]', or name a Kafka of your own with --bootstrap-servers" in error
