"""The soak in short: a release, a worker killed and one added, items that come and go, and nothing lost."""

from pathlib import Path

import pytest

from learner.data.catalogue import Item
from learner.release.files import write_release
from tests.bench.soak import Plan, failures, soak
from tests.worlds.served import POPULAR, served_bundle
from tests.worlds.system import System

pytestmark = pytest.mark.broker


@pytest.fixture
def release(tmp_path: Path) -> Path:
    items = [Item(item_id=f"i{number}", categories=[f"c{number % 7}"]) for number in range(500)]
    return write_release(tmp_path / "made", served_bundle("r-0", items, POPULAR))


@pytest.mark.drill
@pytest.mark.usefixtures("topics")
def test_a_soak_in_short(system: System) -> None:
    plan = Plan(
        seconds=24, rate=60, release_every=10, item_every=1.0, item_lives=8, add_at=15, kill_at=15, users=60,
        grace_ms=10_000,  # on a machine that is busy otherwise
    )  # fmt: skip
    report = soak(system, plan)
    assert failures(report, times=False) == [], report
    assert report["lists"] >= report["clicks"] > 0
    assert report["items"]["withdrawn"] > 5
    assert report["released"] == 2
