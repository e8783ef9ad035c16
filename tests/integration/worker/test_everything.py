"""Drill: under a steady load everything happens at once, and nothing is lost, listed wrongly or forgotten.

    DRILL_SECONDS=90 python -m pytest -s -m drill tests/integration/worker/test_everything.py

is the short form, of about two minutes; without the variable it takes nine (`make drills`). What happened,
and what came of it, is printed.
"""

import math
import os
import random
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from learner.data.catalogue import Item
from learner.release.files import write_release
from streams.hot_path.state_record import StateRecord
from streams.operate.releases import Entered, add
from streams.releases.by_hand import ReleasesError, pin, promote_by_hand, roll_back
from streams.releases.roles import RoleError
from streams.releases.topic import records, roles_now
from streams.wire.contract import decode_release, encode
from tests.worlds import aftermath, undisturbed
from tests.worlds.aftermath import told
from tests.worlds.happenings import STARTS_SECONDS, Memory, play, wait_for_the_last
from tests.worlds.ledger import HUGE, Crowd
from tests.worlds.served import POPULAR, served_bundle
from tests.worlds.system import START_MS, System

pytestmark = pytest.mark.broker

SECONDS = float(os.environ.get("DRILL_SECONDS", "420"))
RATE, USERS = 30.0, 200
ITEMS = [Item(item_id=f"i{number}", categories=[f"c{number % 7}"]) for number in range(2000)]
BURST = 1500  # clicks of the one user at once, twice
SHARE = 0.3  # of the users get a canary
PATIENCE = 0.1  # of the run: until the estimate decides on a canary
ITEM_EVERY, ITEM_LIVES = 2.0, 6  # seconds between two new items, and how many of them are there
SOON = 60.0  # seconds that the script waits for something at most
GRACE_MS = 2000.0  # after which no list may hold a withdrawn item


def made(folder: Path, name: str, *, broken: bool = False) -> Path:
    """A release whose lists follow weights of its own; items, vectors and student are those of all others."""
    rules = math.nan if broken else random.Random(name).uniform(0.5, 2.0)
    return write_release(folder / name, served_bundle(name, ITEMS, POPULAR | {"rules": rules}))


@pytest.fixture
def release(tmp_path: Path) -> Path:
    return made(tmp_path / "made", "r-0")


class Drill:
    """What happens, each in a function, and when, in `script`."""

    def __init__(self, system: System, folder: Path, seconds: float) -> None:
        self.system, self.seconds = system, seconds
        self.settings = system.settings.model_copy(update={"canary_share": SHARE})
        self.folder = folder  # of releases before they are entered
        self.store = Path(system.settings.store_url)
        self.crowd = Crowd(system, RATE, USERS, [item.item_id for item in ITEMS])
        self.memory = Memory(system.fleet)
        self.unwatched_ms: list[tuple[float, float]] = []  # from when to when there was no learner
        self._learner_gone_ms = 0.0
        self.announced = 0
        self._live = ""  # before the store went away

    def script(self) -> list[tuple[Any, ...]]:
        """What happens once, with its moment as a share of the run.

        Of the learner and the second worker the second half sees all: their memory is compared there.
        """
        return [
            (0.03, self.burst),
            (0.06, self.enter, "r-1", "live"),
            (0.08, self.kill, "first"),
            (0.10, self.worker, "first"),
            (0.12, self.worker, "third"),
            (0.14, self.enter, "r-2", "canary"),
            (0.16, self.kill, "learner"),
            (0.19, self.learner),  # its canary's test begins anew, and has decided before the store goes
            (0.36, self.store_goes),
            (0.37, self.kill, "second"),
            (0.38, self.worker, "second"),
            (0.42, self.store_comes_back),
            (0.44, self.leave, "third"),
            (0.50, self.enter, "r-bad", "live", True),
            (0.56, self.see_quarantined, "r-bad"),
            (0.58, self.enter, "r-3", "live"),
            (0.62, self.burst),
            (0.63, self.kill, "first"),
            (0.66, self.worker, "first"),
            (0.70, self.pin),
            (0.74, self.enter, "r-4", "canary"),
            (0.78, self.unpin),
            (0.82, self.roll_back),
            (0.86, self.promote, "r-2"),
            (0.90, self.roll_back, "r-2"),
        ]

    def run(self) -> None:
        """Returns when the last lists have come and all processes have ended, in peace."""
        self.learner()
        for name in ("first", "second"):
            self.worker(name)
            self._wait_said(name, "partitions assigned", STARTS_SECONDS)
        self._wait_said("learner", "learner ready", STARTS_SECONDS)
        began = time.monotonic()
        with self.crowd.going_on():
            play(
                self.seconds,
                once=[(share * self.seconds, partial(self._do, *step)) for share, *step in self.script()],
                again=[(ITEM_EVERY, self.item), (1.0, self.look)],
            )
        self.half, self.end = began + self.seconds / 2, began + self.seconds
        wait_for_the_last(lambda: len(self._missing()))
        for name in ("first", "second", "learner"):
            assert self.system.stop(name) == 0, self.system.said(name)[-3000:]

    # -- processes ------------------------------------------------------------------------------------

    def learner(self) -> None:
        minutes = PATIENCE * self.seconds / 60
        self.system.start("learner", "--learn", "none", "--set", f"canary_minutes={minutes}")
        self.unwatched_ms.append((self._learner_gone_ms, time.time() * 1000))

    def worker(self, name: str) -> None:
        """Of no release but what is live: not as `System.start` would."""
        system = self.system
        system.fleet.start(
            name, "--bootstrap-servers", system.bootstrap, "--prefix", system.prefix, "--clock", "stream",
            "--data-dir", str(system.folder), "--exploration", "0", command="worker",
        )  # fmt: skip

    def kill(self, name: str) -> None:
        self.system.kill(name)
        if name == "learner":
            self._learner_gone_ms = time.time() * 1000

    def leave(self, name: str) -> None:
        assert self.system.stop(name) == 0, self.system.said(name)[-3000:]

    # -- releases -------------------------------------------------------------------------------------

    def enter(self, name: str, role: Entered, broken: bool = False) -> None:
        add(self.settings, made(self.folder, name, broken=broken), role)

    def see_quarantined(self, name: str) -> None:
        def quarantined() -> bool:
            found = [decode_release(record.value) for record in self.system.read("releases")]
            return (name, "quarantined") in [(record.release, record.role) for record in found]

        self.system.wait_for(quarantined, f"{name} quarantined", SOON)

    def promote(self, name: str) -> None:
        with suppress(ReleasesError):  # it is live already, by the canary's test
            promote_by_hand(self.settings, name)

    def roll_back(self, name: str | None = None) -> None:
        with suppress(ReleasesError, RoleError):  # the canary's test, or a worker, was faster
            roll_back(self.settings, name)

    def pin(self) -> None:
        pin(self.settings, None)

    def unpin(self) -> None:
        with suppress(ReleasesError):
            pin(self.settings, None, off=True)

    def store_goes(self) -> None:
        live = roles_now(self.settings).live
        self._live = live.release if live else ""
        self.store.rename(self.store.with_name("away"))

    def store_comes_back(self) -> None:
        """When a worker has started without it."""
        self._wait_said("second", "partitions assigned", SOON)
        self.store.with_name("away").rename(self.store)
        self.promote(self._live)

    # -- clicks and items -----------------------------------------------------------------------------

    def burst(self) -> None:
        self.crowd.burst(BURST)

    def item(self) -> None:
        """One comes; another one goes, of those that came or of the release's."""
        number, crowd = self.announced, self.crowd
        self.announced += 1
        name = f"n{number}"
        self.system.send("items", name, {"item_id": name, "published_at": START_MS + 1000 * number})
        crowd.newest = name
        gone = f"n{number - ITEM_LIVES}" if number % 3 else f"i{number}"
        if number >= ITEM_LIVES:
            tombstone = None if number % 2 else encode(Item(item_id=gone, available=False))
            self.system.send("items", gone, tombstone)
            crowd.ledger.withdrawn[gone] = time.time() * 1000

    # -- what comes of it -----------------------------------------------------------------------------

    def look(self) -> None:
        """Nobody ends who was not told to."""
        self.memory.look()
        self.system.fleet.check()

    def _missing(self) -> set[str]:
        lists = self.system.lists()
        clicks = aftermath.clicks_of(self.system.read("clicks"))
        called = {placed.click.event_id for placed in clicks if placed.calls_for_list}
        return (called | {sent.id for sent in self.crowd.ledger.requests}) - lists.keys()

    def _wait_said(self, name: str, words: str, seconds: float) -> None:
        self.system.fleet.wait_said(self.system.fleet.children[name], words, seconds)

    def _do(self, work: Callable[..., None], *words: object) -> None:
        began = time.monotonic()
        work(*words)
        took = time.monotonic() - began
        print(f"{time.strftime('%X')} {work.__name__} {words or ''} took {took:.1f} s", flush=True)


@pytest.mark.drill
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("topics")
def test_everything_at_once(system: System, release: Path, tmp_path: Path) -> None:
    drill = Drill(system, tmp_path / "made", SECONDS)
    drill.run()
    ledger = drill.crowd.ledger
    clicks = aftermath.clicks_of(system.read("clicks"))
    lists = aftermath.lists_of(system.read("recommendations"))
    decisions = list(records(system.settings))
    print(
        f"{len(ledger.clicks)} clicks, {len(ledger.requests)} requests, {len(ledger.bad)} bad records, "
        f"{len(ledger.withdrawn)} items withdrawn; {len(lists)} lists, {aftermath.repeats(lists)} repeated"
    )
    for record in decisions:
        print(msgspec.json.encode(record).decode())

    expected = undisturbed.states_after(release, clicks)
    states = {user: msgspec.convert(state, StateRecord) for user, state in system.states().items()}
    of_release = {item.item_id for item in ITEMS}
    wrong = {
        "clicks and requests without a list": aftermath.unanswered(ledger, clicks, lists),
        "triggers with several ids": aftermath.of_several_names(lists),
        "lists with what had been consumed": aftermath.consumed_again(ledger, clicks, lists),
        "lists with what had been withdrawn": aftermath.withdrawn_listed(ledger, lists, GRACE_MS),
        "bad records and letters": aftermath.letters_of(ledger, system.read("dead-letters")),
        "states unlike those of an undisturbed run": undisturbed.different(expected, states, of_release),
        "decisions without evidence": aftermath.without_evidence(decisions, "by hand"),
        "decisions that nobody had watched for": aftermath.decided_unwatched(
            decisions, drill.unwatched_ms, 1000 * PATIENCE * SECONDS
        ),
        "tracebacks": aftermath.tracebacks(system.folder),
        "memory": aftermath.grown(drill.memory, drill.half, drill.end),
    }
    assert {what: seen for what, found in wrong.items() if (seen := told(found))} == {}
    assert expected[HUGE].events > BURST
    assert len({made.release for made in lists}) >= 4
