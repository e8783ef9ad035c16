"""Visitors who turn out to be users, with a real broker, two workers, and one of them killed meanwhile."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from learner.data.catalogue import Item
from learner.release.files import write_release
from streams.cli import app
from tests.worlds.served import served_bundle
from tests.worlds.system import START_MS, ready

PAIRS = 12
ITEMS = [f"i{number}" for number in range(200)]


@pytest.fixture
def release(tmp_path: Path) -> Path:
    bundle = served_bundle("r-20231114-221320-test", [Item(item_id=item) for item in ITEMS])
    return write_release(tmp_path / "made" / "r", bundle)


@pytest.fixture
def nextclick(system: Any) -> Callable[..., Result]:
    where = ["--bootstrap-servers", system.bootstrap, "--prefix", system.prefix, "--clock", "stream"]

    def run(*arguments: str) -> Result:
        result = CliRunner().invoke(app, [*arguments, *where], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result

    return run


def happened(system: Any, user: str, n: int, event: str = "click") -> str:
    """Sends an event without waiting for the acknowledgement; returns its id."""
    said = {
        "event_id": f"{user}-{n}", "user_id": user, "item_id": ITEMS[n], "event": event,
        "timestamp": START_MS + n,
    }  # fmt: skip
    system.producer.send(system.topic("clicks"), key=user.encode(), value=json.dumps(said).encode())
    return f"{user}-{n}"


def test_nothing_is_lost_or_doubled_where_a_worker_is_killed(system: Any) -> None:
    system.start("worker", name="one")
    ready(system, "one")
    system.start("worker", name="two")
    ready(system, "two")
    asked: list[str] = []
    for n in range(3):
        asked += [
            happened(system, f"{who}{pair}", 10 * n + k)
            for pair in range(PAIRS)
            for k, who in enumerate("vu")
        ]
    for pair in range(PAIRS):
        wish = {"user_id": f"v{pair}", "event": "merge", "into": f"u{pair}", "timestamp": START_MS + 50}
        system.producer.send(system.topic("clicks"), key=f"v{pair}".encode(), value=json.dumps(wish).encode())
        if pair == PAIRS // 2:
            system.producer.flush()
            system.kill("two")
        asked += [happened(system, f"{who}{pair}", 60 + k) for k, who in enumerate("vu")]
    system.start("worker", name="again")
    for n in range(7, 9):
        asked += [
            happened(system, f"{who}{pair}", 10 * n + k)
            for pair in range(PAIRS)
            for k, who in enumerate("vu")
        ]
    system.producer.flush()

    def all_there() -> bool:
        states = system.states()
        return all(states.get(f"u{pair}", {"events": 0})["events"] >= 12 for pair in range(PAIRS))

    system.wait_for(all_there, "all events of visitors and users are the users'")
    system.wait_for(lambda: set(asked) <= set(system.lists()), "a list for each click")
    items = sorted(ITEMS[10 * n + k] for n in (0, 1, 2, 6, 7, 8) for k in range(2))
    for pair in range(PAIRS):
        states = system.states()
        assert states[f"u{pair}"]["events"] == 12
        assert sorted(states[f"u{pair}"]["items"]) == items
        assert (states[f"v{pair}"]["events"], states[f"v{pair}"]["moved_to"]) == (0, f"u{pair}")
        assert {system.lists()[f"v{pair}-{n}"]["user_id"] for n in (60, 70, 80)} == {f"u{pair}"}


def test_a_merge_and_an_export_by_hand(system: Any, nextclick: Callable[..., Result], tmp_path: Path) -> None:
    system.start("worker")
    ready(system)
    for user in ("visitor", "user", "somebody"):
        happened(system, user, 1 if user == "visitor" else 2)
    happened(system, "visitor", 3, "hide")
    system.state("visitor", 2)
    system.state("user", 1)
    said = nextclick("users", "merge", "visitor", "user", "--timeout", "60")
    assert "merged: visitor is user" in said.output
    system.click("visitor", ITEMS[4], START_MS + 4, "visitor-4")
    assert system.answer("visitor-4")["user_id"] == "user"
    assert system.request("visitor")["user_id"] == "user"
    known = json.loads(nextclick("users", "export", "user", "--data-dir", str(system.folder)).stdout)
    assert sorted(event["item_id"] for event in known["state"]["history"]) == [ITEMS[n] for n in (1, 2, 3, 4)]
    words = [record["value"].get("event") for record in known["clicks"]]
    assert sorted(words) == ["click", "click", "merged"]
    assert {record["value"]["user_id"] for record in known["lists"]} == {"user"}
    assert len(known["lists"]) == 3
    assert known["training_history"] == {"clicks": []}
    assert "somebody" not in json.dumps(known)
    out = tmp_path / "user.json"
    said = nextclick("users", "export", "nobody", "--out", str(out), "--data-dir", str(system.folder))
    assert "0 clicks" in said.output
    assert json.loads(out.read_text())["state"] is None
    assert out.stat().st_mode & 0o077 == 0
    hidden = nextclick("user", "user", "--json")
    assert ITEMS[3] in {event["item_id"] for event in json.loads(hidden.stdout)["history"]}
    assert "merged into 'user'" in nextclick("user", "visitor").output
    system.click("user", ITEMS[3], START_MS + 9, "undo-1", event="hide", undo=True)
    system.wait_for(lambda: ITEMS[3] not in system.states()["user"]["items"], "the hide is taken back")
    assert system.states()["user"]["events"] == 3
