"""Drill: with the rights that docs/operating/secure.md names, and no others, nothing is denied to anybody."""

import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kafka.admin import ACLOperation, ResourceType

from streams.settings import load_settings
from tests.worlds.over_http import wait_for_answer
from tests.worlds.places import ROOT
from tests.worlds.strict import StrictBroker
from tests.worlds.system import START_MS, System

PREFIX = "shop."
PARTS = ("worker", "learner", "api")


def rights() -> dict[str, tuple[set[str], set[str], set[str]]]:
    """What each process reads, writes and joins, as the document's table has it: full names."""
    text = (ROOT / "docs" / "operating" / "secure.md").read_text(encoding="utf-8")
    found = {}
    for part, *columns in re.findall(r"^\| (worker|learner|api) \| (.+?) \| (.+?) \| (.+?) \|$", text, re.M):
        reads, writes, groups = (
            {each.strip() for each in re.sub(r"\([^)]*\)", "", column).split(",")} for column in columns
        )
        found[part] = (
            {PREFIX + name for name in reads}, {PREFIX + name for name in writes},
            {name.replace("PREFIX", PREFIX) for name in groups - {"none"}},
        )  # fmt: skip
    assert tuple(found) == PARTS
    return found


@pytest.fixture
def strict(tmp_path: Path) -> Iterator[StrictBroker]:
    broker = StrictBroker(tmp_path / "broker", port=0, cache=load_settings().cache_dir)
    table, everywhere = rights(), (ACLOperation.DESCRIBE, ACLOperation.DESCRIBE_CONFIGS)
    topics = {name for reads, writes, _ in table.values() for name in reads | writes}
    broker.users = ("first", *PARTS, "nobody")
    with broker:
        for user in ("first", *PARTS):
            broker.allow(user, ResourceType.TOPIC, topics, *everywhere)
        broker.allow("first", ResourceType.TOPIC, topics, ACLOperation.CREATE)
        for part, (reads, writes, groups) in table.items():
            broker.allow(part, ResourceType.TOPIC, reads, ACLOperation.READ)
            broker.allow(part, ResourceType.TOPIC, writes, ACLOperation.WRITE)
            if groups:
                broker.allow(part, ResourceType.GROUP, groups, ACLOperation.READ)
        yield broker


def ask(address: str, method: str = "GET", body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address, data, {"content-type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read() or b"null")


@pytest.mark.drill
def test_nothing_is_denied_to_who_has_the_rights_of_the_table(
    strict: StrictBroker, release: Path, tmp_path: Path
) -> None:
    settings = load_settings(
        bootstrap_servers=strict.bootstrap_servers, prefix=PREFIX, clock="stream", data_dir=tmp_path
    )
    system, door = System(settings, tmp_path, release), f"127.0.0.1:{strict.door}"
    try:
        place = ("--bootstrap-servers", door, "--prefix", PREFIX)
        create = [sys.executable, "-m", "streams", "topics", "create", *place]
        subprocess.run(create, check=True, cwd=ROOT, env={**os.environ, **strict.login("first")}, timeout=200)
        for part in PARTS:
            more = ("--port", "0") if part == "api" else ()
            system.start(part, "--bootstrap-servers", door, *more, env=strict.login(part))
        said = system.wait_for(
            lambda: re.search(r"http://127\.0\.0\.1:\d+", system.said("api")), "api listens"
        )
        http = said[0]
        system.wait_for(lambda: "learner ready" in system.said("learner"), "the learner")
        system.wait_for(lambda: "partitions assigned" in system.said("worker"), "the partitions")
        wait_for_answer(system, http + "/readyz")

        click = {"user_id": "u1", "item_id": "50", "event": "click", "timestamp": START_MS}
        ask(http + "/v1/clicks", "POST", click)
        user = http + "/v1/users/u1"
        assert ask(user + "/recommendations?timeout_ms=20000")["items"]
        assert ask(http + "/v1/search?q=war&user_id=u1&timeout_ms=20000")["items"]
        ask(http + "/v1/items/new-1", "PUT", {"item_id": "new-1", "title": "Something new"})
        ask(http + "/v1/scenarios/home", "PUT", {"k": 5})
        ask(user, "DELETE")
        system.send("clicks", "u1", b"{broken")
        system.send("items", "broken", b"{broken")
        system.send("clicks", None, click | {"event_id": "misplaced"}, partition=0)
        system.send("clicks", None, click | {"event_id": "misplaced"}, partition=1)
        letters = lambda: len(system.read("dead-letters")) >= 1  # noqa: E731
        system.wait_for(letters, "a dead letter")
        system.wait_for(lambda: system.read("signals"), "signals")
        system.wait_for(lambda: system.read("user-states"), "states")
        assert {json.loads(each.value)["process"] for each in system.read("figures")} >= {"worker", "api"}

        system.start("worker", "--bootstrap-servers", door, name="second", env=strict.login("worker"))
        system.wait_for(
            lambda: "partitions assigned" in system.said("second"), "a second worker's partitions"
        )
        for name in [*system.fleet.children]:
            assert system.stop(name, 90) == 0
        assert strict.denied() == set(), sorted(strict.denied())

        system.start("worker", "--bootstrap-servers", door, name="nobody", env=strict.login("nobody"))
        system.ended("nobody")
        assert any(each.startswith("nobody ") for each in strict.denied())
    finally:
        system.close()
