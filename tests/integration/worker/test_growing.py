"""Drill: the topics by user grow under load, while all processes run; nothing is lost or doubled."""

import json
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaProducer

from learner.data.catalogue import Item
from learner.data.events import KIND_OF_WORD, Kind
from learner.release.files import write_release
from streams.settings import Settings
from streams.wire.partitioner import partition_of
from tests.worlds import aftermath
from tests.worlds.ledger import HUGE, Crowd
from tests.worlds.places import ROOT
from tests.worlds.served import POPULAR, served_bundle
from tests.worlds.system import System, ready

pytestmark = pytest.mark.broker

ITEMS = [Item(item_id=f"i{number}", categories=[f"c{number % 7}"]) for number in range(500)]
RATE, USERS, BEFORE, AFTER = 20.0, 60, 8, 16


@pytest.fixture
def release(tmp_path: Path) -> Path:
    return write_release(tmp_path / "made" / "r-0", served_bundle("r-0", ITEMS, POPULAR))


@pytest.mark.drill
def test_nothing_is_lost_or_doubled(system: System, settings: Settings) -> None:
    system.producer.close()
    # Within three seconds it knows of new partitions, as others do within five minutes.
    system.producer = KafkaProducer(
        bootstrap_servers=system.bootstrap, acks="all", linger_ms=1, metadata_max_age_ms=3_000
    )
    for name, slot in (("worker", "0"), ("worker 2", "1")):
        system.start("worker", "--slot", slot, "--set", "stop_seconds=60", name=name)
    system.start("learner", "--learn", "none")
    ready(system)
    ready(system, "worker 2")
    system.wait_for(lambda: "learner ready" in system.said("learner"), "the learner")
    crowd = Crowd(system, RATE, USERS, [item.item_id for item in ITEMS])
    with crowd.going_on():
        system.wait_for(lambda: len(system.lists()) > 100, "lists under load")
        grown = subprocess.run(
            [
                sys.executable, "-m", "streams", "topics", "grow", "--partitions", str(AFTER),
                "--bootstrap-servers", system.bootstrap, "--prefix", system.prefix,
            ],
            cwd=ROOT, capture_output=True, text=True, check=False, timeout=240,
        )  # fmt: skip
        print(grown.stdout)
        assert grown.returncode == 0, grown.stdout + grown.stderr
        assert f"clicks: {BEFORE} partitions became {AFTER}" in grown.stdout
        _forget_readers(system)
        for name in ("worker", "worker 2"):
            system.wait_for(
                lambda name=name: system.said(name).count("partitions assigned") > 1, f"{name} again"
            )
        seen = len(system.lists())
        system.wait_for(lambda: len(system.lists()) > seen + 200, "lists under load after it")
    ledger = crowd.ledger

    def unanswered() -> list[str]:
        lists = aftermath.lists_of(system.read("recommendations"))
        return aftermath.unanswered(ledger, aftermath.clicks_of(system.read("clicks")), lists)

    system.wait_for(lambda: not unanswered(), "a list for each click and request")
    clicks = _of_producers(system)
    calling = {each["event_id"] for each in clicks if KIND_OF_WORD[each["event"]] is not Kind.IMPRESSION}
    system.wait_for(lambda: _counted(system) >= len(calling), "each click is counted")
    assert _counted(system) == len(calling)
    lists = aftermath.lists_of(system.read("recommendations"))
    assert aftermath.of_several_names(lists) == []
    assert aftermath.repeats(lists) == 0
    assert aftermath.tracebacks(system.folder) == []
    wanted = defaultdict(set)
    for each in clicks:
        if each["event_id"] in calling:  # impressions are no events of a state
            wanted[each["user_id"]].add((each["event_id"], each["item_id"]))
    system.wait_for(lambda: not _wrong(system, wanted), "states of all clicks, where they belong")
    forwarded = [r for r in system.read("clicks") if any(name == "forwarded" for name, _ in r.headers)]
    print(f"{len(clicks)} clicks, {len(forwarded)} of them sent on to new partitions, {len(lists)} lists")
    assert any(record.partition >= BEFORE for record in system.read("clicks"))


def _of_producers(system: System) -> list[dict[str, Any]]:
    """The good clicks, without copies that workers have made."""
    found = []
    for record in system.read("clicks"):
        if any(name == "forwarded" for name, _ in record.headers):
            continue
        try:
            click = json.loads(record.value)
            good = {"event_id", "user_id", "item_id"} <= click.keys() and click[
                "timestamp"
            ] < record.timestamp
        except ValueError:
            continue
        if good:
            found.append(click)
    return found


def _counted(system: System) -> int:
    newest = {record.key: json.loads(record.value) for record in system.read("signals") if record.key}
    return round(sum(record["count"] for record in newest.values()))


def _wrong(system: System, wanted: dict[str, set[tuple[str, str]]]) -> list[str]:
    """Users whose state is not what their clicks make, or stands where nobody looks for it."""
    living: dict[str, dict[int, Any]] = defaultdict(dict)
    for record in system.read("user-states"):
        user = record.key.decode()
        if record.value is None:
            living[user].pop(record.partition, None)
        else:
            living[user][record.partition] = json.loads(record.value)
    wrong = [f"{user} has no clicks" for user in living.keys() - wanted.keys()]
    for user, clicks in wanted.items():
        home = partition_of(user.encode(), AFTER)
        if set(living[user]) != {home}:
            wrong.append(f"{user} in {sorted(living[user])}, not in {home}")
            continue
        state = living[user][home]
        items = Counter(item for _, item in clicks)
        if user != HUGE and (state["events"], Counter(state["items"])) != (len(clicks), items):
            wrong.append(f"{user}: {state['events']} events, not {len(clicks)}")
    return wrong[:5]


def _forget_readers(system: System) -> None:
    """The tests' own consumers have the partitions that there were."""
    for topic in system._topics.values():
        topic.close()
    system._topics.clear()
