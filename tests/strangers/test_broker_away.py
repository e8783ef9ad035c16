"""A broker that is away for longer than sessions and requests last: processes wait and go on."""

from pathlib import Path

import pytest

from streams.settings import load_settings
from streams.transport.topic_reader import TopicMissing, ends_of
from tests.worlds.away import BACK, GONE, away

pytestmark = pytest.mark.broker


@pytest.mark.drill
def test_a_broker_away_for_35_seconds_costs_no_process_no_command_and_no_click(
    release: Path, recorded: Path, tmp_path: Path
) -> None:
    with away(tmp_path, release) as world:
        world.begin()
        fleet, where = world.system.fleet, ("--bootstrap-servers", world.system.bootstrap)
        with world.crowd.going_on():
            world.system.wait_for(world.system.lists, "the first list")
            fleet.start("watch", *where, "--prefix", world.system.prefix)
            play = fleet.start(
                "play", *where, "--prefix", "played.", "--interactions",
                str(recorded / "interactions.csv.gz"), "--rate", "20", "--from", "0.988", ends=True,
            )  # fmt: skip
            world.system.wait_for(lambda: world.said("watch"), "watch shows something")
            world.system.wait_for(lambda: _sent(world.system.bootstrap), "play has begun")
            world.goes("killed", 35)
            world.back(1, "worker", "learner", "watch", "play")
        world.settled()
        assert world.wrong() == {}
        fleet.finish(play)
        assert "played 1,200 clicks" in world.said("play")
        for name in ("worker", "learner", "watch", "play"):
            said = world.said(name)
            assert (said.count(GONE), said.count(BACK)) == (1, 1)
            assert "[ERROR]" not in said[said.index(GONE) :]  # before it one address of two answers nobody
        for name in ("worker", "learner"):
            assert world.system.stop(name) == 0


def _sent(bootstrap: str) -> bool:
    settings = load_settings(bootstrap_servers=bootstrap, prefix="played.")
    try:
        return sum(ends_of(settings, "played.clicks").values()) > 0
    except TopicMissing:
        return False
