"""One system behind an api for all tests of a file that speak HTTP alone."""

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from learner.release.files import amend
from streams.api.examples import PARAMETERS
from streams.broker.node import EmbeddedBroker
from streams.operate.releases import add
from tests.worlds.over_http import served, wait_for_answer
from tests.worlds.system import System


@dataclass(frozen=True)
class OverHttp:
    """The system, its api's address, and the live release, which has one before it to go back to."""

    system: System
    url: str
    live: str


@pytest.fixture(scope="module")
def over_http(
    broker: EmbeddedBroker, release: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OverHttp]:
    """A worker, an api, two releases, a user with a click, a dead letter. Tests share it and leave it so."""
    folder = tmp_path_factory.mktemp("over-http")
    other = folder / "other"
    shutil.copytree(release, other)
    amend(other, release=PARAMETERS["release"])  # as the description's examples have it
    with served(broker, f"http{time.time_ns()}.", folder, release) as (system, url):
        live = [add(system.settings, each, "live").release for each in (release, other)][-1]
        system.click("u1", "50", 893_000_000_000)
        system.send("clicks", "u1", b"{broken")
        wait_for_answer(system, url + "/v1/items/50")
        yield OverHttp(system, url, live)
