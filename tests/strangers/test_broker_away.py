"""A broker that is away for longer than sessions and requests last: processes wait and go on."""

from pathlib import Path

import pytest

from tests.worlds.away import BACK, GONE, away

pytestmark = pytest.mark.broker


def test_a_broker_away_for_35_seconds_costs_no_process_and_no_click(release: Path, tmp_path: Path) -> None:
    with away(tmp_path, release) as world:
        world.begin()
        with world.crowd.going_on():
            world.system.wait_for(world.system.lists, "the first list")
            world.goes("killed", 35)
            world.back(1)
        world.settled()
        assert world.wrong() == {}
        for name in ("worker", "learner"):
            said = world.said(name)
            assert (said.count(GONE), said.count(BACK)) == (1, 1)
            assert "[ERROR]" not in said
            assert world.system.stop(name) == 0
