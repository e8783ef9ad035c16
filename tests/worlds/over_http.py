"""A system with an api in front of it, for tests that speak HTTP alone."""

import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from streams.broker.node import EmbeddedBroker
from streams.settings import load_settings
from tests.worlds.system import System


@contextmanager
def served(broker: EmbeddedBroker, prefix: str, folder: Path, release: Path) -> Iterator[tuple[System, str]]:
    """A worker that has its partitions and an api that is ready: the system, and the api's address."""
    settings = load_settings(
        bootstrap_servers=broker.bootstrap_servers, prefix=prefix, clock="stream", data_dir=folder
    )
    system = System(settings, folder, release)
    try:
        system.start("worker")
        url = listening(system)
        system.wait_for(lambda: "partitions assigned" in system.said("worker"), "partitions", 280)
        yield system, url
    finally:
        system.close()


def listening(system: System, port: int = 0, name: str = "api", env: dict[str, str] | None = None) -> str:
    """Starts an api; returns its address once it is ready."""
    system.start("api", "--port", str(port), name=name, env=env)

    def said() -> "re.Match[str] | None":
        return re.search(r"address=(\S+)", re.sub(r"\x1b\[[0-9;]*m", "", system.said(name)))

    url: str = system.wait_for(said, f"{name} listens").group(1)
    wait_for_answer(system, url + "/readyz")
    return url


def wait_for_answer(system: System, url: str) -> None:
    """Waits until a read is answered by 200."""

    def answered() -> bool:
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    system.wait_for(answered, f"200 from {url}")
