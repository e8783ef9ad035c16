"""Users who are away for long: their states leave the memory and are there again with their next click."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from learner.data.catalogue import Item
from learner.data.times import DAY_MS
from learner.release.files import write_release
from learner.signals.settings import HALF_LIVES
from tests.worlds.served import served_bundle
from tests.worlds.system import START_MS, System, ready, told

pytestmark = pytest.mark.broker


@pytest.fixture
def release(tmp_path: Path) -> Path:
    items = [Item(item_id=f"i{number}") for number in range(50)]
    return write_release(tmp_path / "made", served_bundle("r-1", items))


def on_disk(folder: Path) -> set[str]:
    """Whose states a worker keeps in its file."""
    users: set[str] = set()
    for file in (folder / "spilled").glob("*.sqlite"):
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as rows:
            users |= {user for (user,) in rows.execute("SELECT user FROM states")}
    return users


@pytest.mark.usefixtures("topics")
def test_states_of_idle_users_are_spilled_and_not_lost(system: System) -> None:
    system.start("worker", "--set", "user_idle_days=30")
    ready(system)
    for number, user in enumerate(("away", "gone", "away")):
        system.answer(system.click(user, f"i{number}", START_MS + number))
    # As the learner tells it: others have clicked since then.
    later = int(START_MS + 31 * DAY_MS)
    frontier = {"item_id": "", "offsets": {}, "now_ms": later, "reference": [0] * (HALF_LIVES + 1)}
    system.send("signals", b"", frontier)
    system.answer(system.click("here", "i5", later))
    system.wait_for(lambda: on_disk(system.folder) == {"away", "gone"}, "states of idle users on the disk")
    made = system.answer(system.click("away", "i3", later + 1))
    assert not {"i0", "i2", "i3"} & {item["item_id"] for item in made["items"]}
    assert system.stop("worker") == 0
    figures = told(system, "worker")
    assert (figures["users"], figures["spilled_users"]) == ("2", "1")

    system.start("worker", "--set", "user_idle_days=30", name="again")
    ready(system, "again")
    system.send("requests", "gone", {"request_id": "q", "user_id": "gone"})
    assert "i1" not in {item["item_id"] for item in system.answer("q")["items"]}
    system.answer(system.click("gone", "i4", later + 2))
    assert system.stop("again") == 0
    figures = told(system, "again")
    assert (figures["users"], figures["spilled_users"], figures["replayed_clicks"]) == ("3", "0", "0")
    states = system.states()
    assert {user: state["items"] for user, state in states.items()} == {
        "away": ["i0", "i2", "i3"], "gone": ["i1", "i4"], "here": ["i5"],
    }  # fmt: skip
