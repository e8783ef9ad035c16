"""Drill: a broker that is stopped, killed and held still for 5 to 90 s in turn, and moves at the end."""

from pathlib import Path

import pytest

from tests.worlds.away import BACK, GONE, away
from tests.worlds.system import START_MS

TURNS = (("killed", 5), ("still", 15), ("stopped", 30), ("still", 60), ("killed", 90), ("still", 90))


@pytest.mark.timeout(900)
@pytest.mark.drill
@pytest.mark.broker
def test_each_click_gets_its_list_and_counts_once_whatever_the_broker_does(
    release: Path, tmp_path: Path
) -> None:
    with away(tmp_path, release) as world:
        world.begin()
        with world.crowd.going_on():
            world.system.wait_for(world.system.lists, "the first list")
            for times, (how, seconds) in enumerate(TURNS, 1):
                world.goes(how, seconds)
                world.back(times)
        world.settled()
        assert world.wrong() == {}
        world.moves(10)
        world.back(len(TURNS) + 1)
        for n in range(20):
            world.system.answer(world.system.click(f"after-{n}", "1", START_MS + n))
        world.settled()
        for name in ("worker", "learner"):
            said = world.said(name)
            assert said.count(GONE) == said.count(BACK) == len(TURNS) + 1
            assert world.system.stop(name) == 0
