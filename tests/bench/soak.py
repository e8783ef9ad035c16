"""A long run under load in which everything happens: releases, items that come and go, workers too.

    make soak ARGS="--minutes 30 --rate 500 --release-every 180 --report out.json"

Measured from outside, with a plain producer and consumer: that no click is lost, no list is empty or holds an
item that was withdrawn, that memory stays flat, and how fresh lists are. The exit code is 1 where one of that
does not hold. `tests/integration/worker/test_soak.py` runs the same in short.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from learner.data.ml100k import fetch_ml100k
from streams.broker.node import EmbeddedBroker
from streams.operate.bench import copy_of_live, quantiles
from streams.operate.probe import Answer, Probe, Traffic
from streams.operate.releases import add
from streams.runtime.fleet import NEXTCLICK
from streams.settings import Settings, load_settings
from tests.worlds.happenings import STARTS_SECONDS, Memory, Sample, ends, play, wait_for_the_last
from tests.worlds.places import ROOT
from tests.worlds.system import START_MS, System

GRACE_MS = 2000  # after which no list may hold a withdrawn item: the budget for items
SETTLED = 1 / 3  # of the run: memory is compared from then on, when histories and caches are full
GROWTH = 1.15  # of a worker's memory since then, at most
FRESHNESS_P99_MS = 1000.0


@dataclass(frozen=True)
class Plan:
    """What happens when; times in seconds since the first click."""

    seconds: float = 1800.0
    rate: float = 500.0
    release_every: float = 180.0
    item_every: float = 2.0  # a new item, which is withdrawn again when it has lived
    item_lives: float = 20.0
    add_at: float = 600.0
    kill_at: float = 1200.0
    users: int = 2000
    grace_ms: int = GRACE_MS


class Watch(Probe):
    """Looks at every list as it comes and forgets it: a long run's lists would fill the memory."""

    def __init__(self, settings: Settings, grace_ms: int) -> None:
        self.grace_ms = grace_ms
        self.gone: dict[str, int] = {}  # withdrawn item -> when, Unix ms
        self.answered: dict[str, int] = {}  # event id -> CreateTime of its list
        self.releases: dict[str, int] = {}  # lists by release, in the order of their first ones
        self.listed: set[str] = set()  # of the items that come and go
        self.empty = self.stale = 0
        super().__init__(settings)

    def take(self, answer: Answer) -> None:
        """Counts the first list of each click, and judges every list."""
        made = answer.made
        self.answered.setdefault(made.trigger.id, answer.created_ms)
        self.releases[made.release] = self.releases.get(made.release, 0) + 1
        self.empty += not made.items
        for item in made.items:
            if item.item_id.startswith("soak-"):
                self.listed.add(item.item_id)
            withdrawn = self.gone.get(item.item_id)
            self.stale += withdrawn is not None and answer.created_ms > withdrawn + self.grace_ms


@dataclass
class Happening:
    """Everything that goes on beside the clicks, each at its time."""

    system: System
    plan: Plan
    watch: Watch
    traffic: Traffic
    tell: Callable[[str], None]
    announced: int = 0
    released: int = 0
    killed_ms: int = 0
    moved: float = 0.0  # when the users of one worker last went to another

    def __post_init__(self) -> None:
        self.memory = Memory(self.system.fleet)

    def run(self) -> None:
        """Returns when the time is over."""
        plan = self.plan
        play(
            plan.seconds,
            once=[(plan.kill_at, self._kill), (plan.add_at, self._add)],
            again=[(plan.release_every, self._release), (plan.item_every, self._item), (1.0, self._tick)],
        )

    def _tick(self) -> None:
        self.traffic.now += 1000
        self.memory.look()

    def _release(self) -> None:
        with copy_of_live(self.system.settings) as (folder, name):
            add(self.system.settings, folder, "live", "soak")
        self.released += 1
        self.tell(f"release {name}")

    def _item(self) -> None:
        name = f"soak-{self.announced}"
        self.announced += 1
        item = {"item_id": name, "title": f"Soak {name}", "published_at": self.traffic.now}
        self.watch.send(self.watch.names.items, name, item)
        self.traffic.items = [*self.traffic.items[:-1], name]  # somebody clicks it, or it is hardly listed
        old = f"soak-{self.announced - 1 - int(self.plan.item_lives / self.plan.item_every)}"
        if int(old.removeprefix("soak-")) >= 0:
            even = self.announced % 2 == 0
            self.watch.send(
                self.watch.names.items, old, {"item_id": old, "available": False} if even else None
            )
            self.watch.gone[old] = int(time.time() * 1000)

    def _kill(self) -> None:
        self.system.kill("first")
        self.killed_ms, self.moved = int(time.time() * 1000), time.monotonic()
        self.tell("the first worker is killed")

    def _add(self) -> None:
        self.system.start("worker", name="second")
        self.tell("a second worker is started")


def soak(system: System, plan: Plan, tell: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """Runs it all and returns the report. The system needs topics and nothing else."""
    system.start("learner", "--set", "learn=none")
    system.start("worker", name="first")
    system.wait_for(lambda: "partitions assigned" in system.said("first"), "the first worker", STARTS_SECONDS)
    system.wait_for(lambda: "learner ready" in system.said("learner"), "the learner", STARTS_SECONDS)
    watch = Watch(system.settings, plan.grace_ms)
    users = [f"u{number}" for number in range(plan.users)]
    try:
        traffic = Traffic(watch, users, _items(system.release), START_MS, plan.rate)
        happening = Happening(system, plan, watch, traffic, tell)
        with traffic.going_on():
            happening.run()
        tell(f"{len(traffic.sent)} clicks sent; waiting for the last lists")
        wait_for_the_last(lambda: len(traffic.sent.keys() - watch.answered.keys()))
        return _report(plan, happening)
    finally:
        watch.close()


def failures(report: dict[str, Any], *, times: bool) -> list[str]:
    """What does not hold; `times` looks at freshness and memory too, which need a quiet machine and time."""
    wrong = [
        f"{report[name]} {words}"
        for name, words in (
            ("lost", "clicks without a list"), ("empty", "empty lists"),
            ("withdrawn_listed", "lists held an item that had been withdrawn"),
        )
        if report[name]
    ]  # fmt: skip
    if len(report["releases"]) != report["released"] + 1:
        wrong.append(f"lists of {len(report['releases'])} releases, though {report['released']} were added")
    if not report["items"]["listed"]:
        wrong.append("no new item has been listed")
    if times:
        fresh = report["freshness_without_the_kill_ms"]["p99"]  # taking over has a budget of its own: 15 s
        if fresh > FRESHNESS_P99_MS:
            wrong.append(f"freshness p99 {fresh} ms")
        for name, (first, last) in report["rss_mb"].items():
            if last > GROWTH * first:
                wrong.append(f"memory of {name} went from {first} to {last} MB")
    return wrong


def _report(plan: Plan, happening: Happening) -> dict[str, Any]:
    watch, sent = happening.watch, happening.traffic.sent
    times = np.array([[at, watch.answered[e] - at] for e, at in sent.items() if e in watch.answered])
    killed = happening.killed_ms
    near = (times[:, 0] > killed - 20_000) & (times[:, 0] < killed + 20_000)
    return {
        "seconds": plan.seconds, "rate": plan.rate, "clicks": len(sent),
        "lists": sum(watch.releases.values()),
        "lost": len(sent.keys() - watch.answered.keys()), "empty": watch.empty,
        "withdrawn_listed": watch.stale, "released": happening.released, "releases": watch.releases,
        "items": {
            "announced": happening.announced, "withdrawn": len(watch.gone), "listed": len(watch.listed),
        },
        "freshness_ms": quantiles(times[:, 1]), "freshness_without_the_kill_ms": quantiles(times[~near, 1]),
        "rss_mb": {
            name: _settled(samples, happening.moved)
            for (name, _), samples in happening.memory.samples.items()
        },
    }  # fmt: skip


def _settled(samples: list[Sample], moved: float) -> list[float]:
    """Median memory of a process in two short stretches: a third into its life, and the last.

    A worker's life begins anew when it takes over the users of another one.
    """
    values = [megabytes for at, megabytes in samples if at > moved] or [megabytes for _, megabytes in samples]
    return ends(values[int(SETTLED * len(values)) :], max(len(values) // 10, 1))


def _items(release: Path) -> list[str]:
    from learner.release.files import read_release

    return [item.item_id for item in read_release(release).items]


def main() -> None:
    """Runs the soak on a broker of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--rate", type=float, default=500.0, help="clicks a second")
    parser.add_argument("--release-every", type=float, default=180.0, help="seconds between two releases")
    parser.add_argument("--release", type=Path, help="release to begin with; default: trained on ml-100k")
    parser.add_argument("--report", type=Path, help="JSON file to write")
    parser.add_argument("--keep", type=Path, help="folder for logs and data, kept")
    options = parser.parse_args()
    folder = options.keep or Path(tempfile.mkdtemp(prefix="nextclick-soak-"))
    folder.mkdir(parents=True, exist_ok=True)
    cache, seconds = load_settings().cache_dir, 60 * options.minutes
    release = options.release or _trained(folder, cache)
    began = time.monotonic()
    with EmbeddedBroker(folder / "broker", port=0, cache=cache) as broker:
        settings = load_settings(
            bootstrap_servers=broker.bootstrap_servers, prefix="soak.", clock="stream",
            data_dir=folder / "nextclick",
        )  # fmt: skip
        system = System(settings, folder, release)
        plan = Plan(
            seconds=seconds, rate=options.rate, release_every=options.release_every, add_at=seconds / 3,
            kill_at=2 * seconds / 3,
        )  # fmt: skip
        try:
            found = soak(
                system, plan, lambda what: print(f"{time.monotonic() - began:7.0f} s  {what}", flush=True)
            )
        finally:
            system.close()
    wrong = failures(found, times=True)
    told = json.dumps(found | {"failures": wrong}, indent=2)
    print(told)
    if options.report is not None:
        options.report.write_text(told + "\n")
    sys.exit(bool(wrong))


def _trained(folder: Path, cache: Path) -> Path:
    data, out = fetch_ml100k(cache / "ml-100k"), folder / "release"
    subprocess.run(
        [
            *NEXTCLICK, "train", "--interactions", str(data / "interactions.csv.gz"),
            "--items", str(data / "items.csv.gz"), "--to", "0.8", "--out", str(out), "--time-budget", "1",
        ],
        check=True, cwd=ROOT,
    )  # fmt: skip
    return out


if __name__ == "__main__":
    main()
