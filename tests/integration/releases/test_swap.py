"""Releases come and go while clicks flow: swaps, canaries and bad releases against a real broker."""

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from learner.data.catalogue import Item
from learner.release.files import bundle_sha256, write_release
from streams.cli import app
from streams.releases.canary import assign
from streams.releases.events import told as told_events
from streams.releases.topic import announce, records
from streams.settings import Settings
from streams.wire.contract import ReleaseRecord
from tests.worlds.served import POPULAR, poisoned, served_bundle
from tests.worlds.system import START_MS, System, ready, told

pytestmark = pytest.mark.broker
ITEMS = [Item(item_id=f"i{number}", categories=[f"c{number % 7}"]) for number in range(300)]
USERS = 40


def bundle(folder: Path, release: str, weights: dict[str, float] | None = None, *poison: str) -> Path:
    """A release in a folder; the models named in `poison` are poisoned."""
    weights = weights or POPULAR | {"rules": float(len(release))}
    made = served_bundle(release, ITEMS, weights, repeat_consumption=True)
    return write_release(folder / "made" / release, poisoned(made, *poison))


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """The first release: untrained, so that these tests are fast."""
    return bundle(tmp_path, "r-1")


@pytest.fixture
def releases(system: System) -> Callable[..., str]:
    """`nextclick releases COMMAND …`."""

    def call(command: str, *arguments: str) -> str:
        result = CliRunner().invoke(
            app,
            [
                "releases", command, *arguments, "--bootstrap-servers", system.bootstrap,
                "--prefix", system.prefix, "--data-dir", str(system.settings.data_dir),
            ],
        )  # fmt: skip
        assert result.exit_code == 0, result.output
        return result.output

    return call


class Clicks:
    """Clicks at a steady rate from a thread, by any of the users on any of the first `items`."""

    def __init__(
        self, system: System, per_second: float, items: int = len(ITEMS), users: int = USERS
    ) -> None:
        self._items, self._users = items, users
        self.sent: dict[str, str] = {}  # user by event id
        self._system = system
        self._pause = 1 / per_second
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Clicks":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._system.producer.flush()

    def _run(self) -> None:
        rng = np.random.default_rng(0)
        while not self._stop.is_set():
            number = len(self.sent)
            user, event_id = f"u{rng.integers(self._users)}", f"e{number}"
            click = {
                "event_id": event_id, "user_id": user, "item_id": f"i{rng.integers(self._items)}",
                "event": "click", "timestamp": START_MS + 1000 * number,
            }  # fmt: skip
            self._system.producer.send(
                self._system.topic("clicks"), key=user.encode(), value=json.dumps(click).encode()
            )
            self.sent[event_id] = user
            time.sleep(self._pause)

    def answered(self) -> dict[str, Any]:
        """The lists of all clicks sent, once they are there."""

        def all_there() -> dict[str, Any] | None:
            found = self._system.lists()
            return found if set(self.sent) <= set(found) else None

        lists: dict[str, Any] = self._system.wait_for(all_there, f"{len(self.sent)} lists")
        return lists


@pytest.fixture
def clicks(system: System) -> Iterator[Clicks]:
    system.start("worker", "--release", str(system.release))
    ready(system)
    with Clicks(system, 100) as clicking:
        system.wait_for(lambda: len(clicking.sent) > 50, "clicks")
        yield clicking


@pytest.fixture
def judged(system: System) -> Iterator[Clicks]:
    """Clicks by 80 users on 14 items, and a learner that decides over canaries and trains nothing."""
    system.start("learner", "--set", "learn=none")
    system.start("worker")
    ready(system)
    with Clicks(system, 120, items=14, users=80) as clicking:
        system.wait_for(lambda: len(clicking.sent) > 200, "clicks")
        yield clicking


def seen(system: System, release: str) -> None:
    """Waits until lists of a release come."""
    system.wait_for(lambda: release in {found["release"] for found in system.lists().values()}, release)


def listed(system: System, item: str) -> bool:
    """Whether a list of everything has an item."""
    return item in {each["item_id"] for each in system.request("asker", k=len(ITEMS))["items"]}


def roles(settings: Settings) -> dict[str, str]:
    return {record.release: record.role for record in records(settings)}


def test_swaps_by_hand_lose_nothing_and_a_withdrawn_item_stays_away(
    system: System, clicks: Clicks, releases: Callable[..., str], tmp_path: Path
) -> None:
    releases("add", str(bundle(tmp_path, "r-1")), "--as", "live")
    releases("add", str(bundle(tmp_path, "r-second")), "--as", "live")
    system.send("items", "i5", None)
    system.wait_for(lambda: not listed(system, "i5"), "the withdrawal is known")
    withdrawn = len(clicks.sent)
    seen(system, "r-second")
    canary = bundle(tmp_path, "r-canary")
    releases("add", str(canary), "--as", "canary")
    seen(system, "r-canary")
    of_canary = {name for name, found in system.lists().items() if found["release"] == "r-canary"}
    releases("promote", "r-canary")
    system.wait_for(lambda: system.said("worker").count("release swapped") == 2, "the second swap")
    promoted = len(clicks.sent) + 20
    system.answer(f"e{promoted}")
    releases("rollback")
    system.wait_for(lambda: system.said("worker").count("release swapped") == 3, "the third swap")
    back = len(clicks.sent) + 50
    system.wait_for(lambda: len(clicks.sent) > back, "clicks after it")
    clicks.__exit__()
    lists = clicks.answered()
    assert all(found["items"] for found in lists.values())
    share = system.settings.canary_share
    for event_id, user in clicks.sent.items():
        if event_id in of_canary:
            assert assign(user, share, "r-canary")
        if int(event_id[1:]) > withdrawn:
            assert "i5" not in {item["item_id"] for item in lists[event_id]["items"]}
    assert lists[f"e{promoted}"]["release"] == "r-canary"
    assert system.stop("worker") == 0
    happened = told_events(system.settings.model_copy(update={"data_dir": system.folder}))
    ours = [(e.kind, e.release) for e in happened if "slot" in e.evidence]
    assert ours == [
        ("swap", "r-second"), ("canary", "r-canary"), ("swap", "r-canary"), ("swap", "r-second"),
    ]  # fmt: skip
    assert ("decided", "r-canary") in [(event.kind, event.release) for event in happened]
    figures = told(system, "worker")
    assert (figures["release"], figures["release_swaps"]) == ("r-second", "3")
    assert (figures["recall_live"], figures["clicks"]) == ("1", str(len(clicks.sent)))
    assert lists[max(clicks.sent, key=lambda name: int(name[1:]))]["release"] == "r-second"


@pytest.mark.learner
def test_a_canary_that_hits_less_is_taken_back_by_itself(
    system: System, judged: Clicks, releases: Callable[..., str], tmp_path: Path
) -> None:
    bad = bundle(tmp_path, "r-bad", {name: -weight for name, weight in POPULAR.items()})
    releases("add", str(bad), "--as", "canary", "--set", "canary_share=0.5")
    seen(system, "r-bad")
    system.wait_for(lambda: roles(system.settings)["r-bad"] == "retired", "the verdict", 150)
    system.wait_for(lambda: "canary ended" in system.said("worker"), "its end in the worker")
    decided = len(judged.sent) + 60
    system.wait_for(lambda: len(judged.sent) > decided + 60, "clicks after it")
    judged.__exit__()
    lists = judged.answered()
    assert all(found["items"] for found in lists.values())
    assert {found["release"] for found in lists.values()} == {"r-1", "r-bad"}
    assert {lists[f"e{number}"]["release"] for number in range(decided, len(judged.sent))} == {"r-1"}
    record = list(records(system.settings))[-1]
    assert (record.release, record.decision) == ("r-bad", "rolled_back")
    assert record.evidence["hit_rate_canary"] < record.evidence["hit_rate_live"]
    happened = told_events(system.settings.model_copy(update={"data_dir": system.folder}))
    kinds = [event.kind for event in happened if event.release == "r-bad"]
    assert kinds == ["entered", "canary", "decided", "canary"]


@pytest.mark.learner
def test_a_canary_that_hits_more_goes_live_by_itself(
    system: System, judged: Clicks, releases: Callable[..., str], tmp_path: Path
) -> None:
    blunt = bundle(tmp_path, "r-blunt", {name: -weight for name, weight in POPULAR.items()})
    releases("add", str(blunt), "--as", "live")
    seen(system, "r-blunt")
    releases("add", str(bundle(tmp_path, "r-sharp")), "--as", "canary", "--set", "canary_share=0.5")
    system.wait_for(lambda: roles(system.settings)["r-sharp"] == "live", "the verdict", 150)
    system.wait_for(lambda: system.said("worker").count("release swapped") == 2, "the swap")
    decided = len(judged.sent) + 60
    system.wait_for(lambda: len(judged.sent) > decided + 60, "clicks after it")
    judged.__exit__()
    lists = judged.answered()
    assert all(found["items"] for found in lists.values())
    assert {lists[f"e{number}"]["release"] for number in range(decided, len(judged.sent))} == {"r-sharp"}
    assert roles(system.settings)["r-blunt"] == "retired"
    told = [r for r in records(system.settings) if r.release == "r-sharp"]
    promoted = next(r for r in told if r.decision == "promoted")
    assert promoted.evidence["hit_rate_canary"] > promoted.evidence["hit_rate_live"]
    assert promoted.evidence["low"] > 0


def served_files(folder: Path, port: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1", "--directory", str(folder)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def test_bad_releases_made_live_are_taken_back_and_lists_go_on(
    system: System, clicks: Clicks, releases: Callable[..., str], tmp_path: Path
) -> None:
    releases("add", str(bundle(tmp_path, "r-1")), "--as", "live")
    damaged = bundle(tmp_path, "r-damaged")
    (damaged / "ranker.onnx").write_bytes(b"not a model")
    no_model = replace(served_bundle("r-no-model", ITEMS), ranker=b"raises when loaded")
    bad = {
        "r-damaged": (damaged, "ranker.onnx"),
        "r-nan-ranker": (bundle(tmp_path, "r-nan-ranker", None, "ranker"), "not finite"),
        "r-nan-student": (bundle(tmp_path, "r-nan-student", None, "student"), "not finite"),
        "r-no-model": (write_release(tmp_path / "made" / "r-no-model", no_model), "ranker.onnx"),
    }
    for name, (folder, reason) in bad.items():
        releases("add", str(folder), "--as", "live")
        system.wait_for(
            lambda name=name: roles(system.settings).get(name) == "quarantined", f"{name} taken back"
        )
        taken = next(r for r in reversed(list(records(system.settings))) if r.release == name)
        assert taken.decision == "failed"
        assert reason in taken.reason
        assert list(roles(system.settings).values()).count("live") == 1
        assert roles(system.settings)["r-1"] == "live"
    # One whose store does not answer is not bad: it is waited for.
    late = bundle(tmp_path, "r-late")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    far = ReleaseRecord(
        release="r-late", url=f"http://127.0.0.1:{port}/r-late", sha256=bundle_sha256(late), role="live",
        at=int(time.time() * 1000), decision="promoted",
    )  # fmt: skip
    announce(system.settings, [far])
    system.wait_for(lambda: "does not answer" in system.said("worker"), "a word on the store")
    waiting = len(clicks.sent) + 50
    system.answer(f"e{waiting}")
    assert roles(system.settings)["r-late"] == "live"
    store = served_files(late.parent, port)
    try:
        seen(system, "r-late")
    finally:
        store.kill()
        store.wait()
    clicks.__exit__()
    lists = clicks.answered()
    assert {found["release"] for found in lists.values()} == {"r-1", "r-late"}
    assert {lists[f"e{number}"]["release"] for number in range(waiting + 1)} == {"r-1"}
    happened = told_events(system.settings.model_copy(update={"data_dir": system.folder}))
    assert [e.kind for e in happened if e.release == "r-late" and "slot" in e.evidence] == ["waiting", "swap"]
    assert len([r for r in records(system.settings) if r.decision == "failed" and r.role != "live"]) == 4
