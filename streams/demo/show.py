"""The demo: everything on one machine, live traffic, and the figures as they come.

Owns the order of events: broker, training, processes, history, traffic, summary. Each part runs as the
command a user would type, in a process of its own with a log file; this process only watches the topics.
Knows no models.
"""

import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from learner.data.ml100k import fetch_ml100k
from streams.broker.node import EmbeddedBroker
from streams.demo import scoreboard, screen
from streams.demo.drift import announce
from streams.demo.recording import SPLIT, Recording
from streams.demo.report import report
from streams.demo.screen import Follower, step
from streams.demo.waiting import wait_for_topics, wait_until_taken_in
from streams.demo.watcher import Watcher
from streams.runtime.fleet import Child, Fleet
from streams.settings import Settings

TRAFFIC_SECONDS = 150  # what the rest of the clicks is played in, unless told otherwise
SUMMARY_WAIT_SECONDS = 20


@dataclass(frozen=True)
class Wishes:
    """What the user asked for on the command line."""

    data: Path | None = None
    speed: float | None = None
    rate: float | None = None
    time_budget: float = 2.0
    once: bool = False
    report: Path | None = None
    seed: int = 0
    drift: bool = False


def run(settings: Settings, wishes: Wishes) -> None:
    """Runs the demo; unless `once`, everything stays up until Ctrl-C.

    Raises FleetError, RecordingError or WatchError, with what to do.
    """
    console, folder = Console(), settings.data_dir / "demo"
    for old in ("broker", "nextclick", "release"):
        shutil.rmtree(folder / old, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    with step(console, "Data"):
        recording = Recording.of(wishes.data or fetch_ml100k(settings.cache_dir / "ml-100k"))
    console.print(
        f"  {len(recording.interactions):,} events, {len(recording.items):,} items from "
        f"{recording.file.parent}; the first {SPLIT:.0%} are the past"
    )
    if wishes.drift:
        with step(console, "A world that changes in mid-stream"):
            recording = recording.changing(folder, wishes.seed)
    broker = EmbeddedBroker(
        folder / "broker", port=settings.broker_port, heap=settings.broker_heap, cache=settings.cache_dir
    )
    with step(console, "Broker: a real Apache Kafka on this machine"):
        broker.start()
    prefix = f"demo{int(time.time())}."
    watched = settings.model_copy(
        update={"bootstrap_servers": broker.bootstrap_servers, "prefix": prefix, "clock": "stream"}
    )
    try:
        with Fleet(folder / "logs") as fleet:
            try:
                Demo(watched, wishes, recording, folder, fleet, console).play()
            except KeyboardInterrupt:
                console.print("\nstopping …")
    finally:
        broker.stop()


@dataclass(frozen=True)
class Demo:
    """A run of the demo on a broker that is up; `settings` name it and the topics."""

    settings: Settings
    wishes: Wishes
    recording: Recording
    folder: Path
    fleet: Fleet
    console: Console

    @property
    def release(self) -> Path:
        """What is trained."""
        return self.folder / "release"

    def play(self) -> None:
        """From the training to the summary, and on until Ctrl-C unless it is for `once`."""
        self._start_up()
        with step(self.console, "Tuning popularity, the list to compare with"):
            board = scoreboard.taught(self.recording.interactions.at(slice(0, self.recording.split)))
        with Watcher(self.settings, board, Follower(self.recording.titles())) as watcher:
            seconds = self._go_live(watcher)
            self.console.print(screen.summary(board, seconds))
            if self.wishes.report is not None:
                made_by = json.loads((self.release / "manifest.json").read_text())["release"]
                self.wishes.report.write_bytes(report(board, made_by, seconds, self.recording.drift))
                self.console.print(f"figures written to {self.wishes.report}")
            if not self.wishes.once:
                self._stay_up(watcher)

    def _start_up(self) -> None:
        """Trains, starts worker and learner, and loads the past."""
        minutes, release = self.wishes.time_budget, ("--release", str(self.release))
        with step(self.console, f"Training on the past ({minutes:g} minutes at most)"):
            self._do(
                "train", *self._clicks, *self._items, "--to", str(SPLIT), "--out", str(self.release),
                "--time-budget", str(minutes), "--seed", str(self.wishes.seed),
            )  # fmt: skip
        with step(self.console, "Worker and learner"):
            self._start("learner", *self._at, *self._data, *release)
            self._start("worker", *self._at, *self._data, *release)
            wait_for_topics(self.fleet, self.settings)
        with step(self.console, f"Loading the past: {self.recording.split:,} clicks"):
            self._do("load", *self._at, *self._data, *self._clicks, *self._items, "--to", str(SPLIT))
            wait_until_taken_in(self.fleet, self.settings)

    def _go_live(self, watcher: Watcher) -> float:
        """Plays the rest, and returns how many seconds that took."""
        recording, drift, split = self.recording, self.recording.drift, str(SPLIT)
        self.console.print(
            f"[bold]Live[/]: {recording.live:,} clicks, {' '.join(self._pace)} at most; a user's next click "
            "waits for the list\n"
        )
        watcher.ready.wait(30)
        started = time.monotonic()
        if drift is None:
            self._play(watcher, recording.live, "--from", split)
        else:
            self._play(watcher, drift.at - recording.split, "--from", split, "--to", drift.moment)
            announce(self.settings, drift)
            watcher.board.change()
            self.console.print(screen.said(drift))
            self._play(watcher, recording.live, "--from", drift.moment)
        return time.monotonic() - started

    def _play(self, watcher: Watcher, expected: int, *part: str) -> None:
        """Plays a part of the clicks, and shows it until `expected` ones in all have been answered."""
        # Patient, else the hit rate of a system that lags would know, from other topics, of the clicks that
        # it is judged by.
        player = self._start("play", *self._at, *self._clicks, *part, *self._pace, "--patient", ends=True)
        played = _Played(self.fleet, player, watcher, expected)
        screen.show(self.console, watcher.board, watcher.follower, expected, played.over)

    def _stay_up(self, watcher: Watcher) -> None:
        user = watcher.follower.user or "1"
        where = f"--bootstrap-servers {self.settings.bootstrap_servers} --prefix {self.settings.prefix}"
        self.console.print(
            f"Everything stays up. In another terminal:\n"
            f"  .venv/bin/nextclick watch {where}\n"
            f"  .venv/bin/nextclick recommend {user} {where} --clock stream\n"
            f"  .venv/bin/nextclick user {user} {where} --json\n"
            "Ctrl-C ends it."
        )
        while True:
            self.fleet.check()
            watcher.check()
            time.sleep(0.5)

    @property
    def _pace(self) -> tuple[str, str]:
        """How fast clicks are played at most."""
        if self.wishes.speed is not None:
            return "--speed", f"{self.wishes.speed:g}"
        usual = min(max(self.recording.live / TRAFFIC_SECONDS, 20.0), 1000.0)
        return "--rate", f"{usual if self.wishes.rate is None else self.wishes.rate:g}"

    def _start(self, command: str, *flags: str, ends: bool = False) -> Child:
        return self.fleet.start(command, *flags, "--set", f"log_level={self.settings.log_level}", ends=ends)

    def _do(self, command: str, *flags: str) -> None:
        self.fleet.finish(self._start(command, *flags, ends=True))

    @property
    def _at(self) -> tuple[str, ...]:
        settings = self.settings
        servers = ("--bootstrap-servers", settings.bootstrap_servers)
        return *servers, "--prefix", settings.prefix, "--clock", "stream"

    @property
    def _data(self) -> tuple[str, str]:
        return "--data-dir", str(self.folder / "nextclick")

    @property
    def _clicks(self) -> tuple[str, str]:
        return "--interactions", str(self.recording.file)

    @property
    def _items(self) -> tuple[str, str]:
        return "--items", str(self.recording.items_file)


@dataclass
class _Played:
    """Whether what a player sends has been sent and answered."""

    fleet: Fleet
    player: Child
    watcher: Watcher
    expected: int
    deadline: float | None = None  # for the last lists

    def over(self) -> bool:
        """Raises FleetError and WatchError where a part that should run has ended."""
        if self.deadline is None and self.player.code == 0:
            self.fleet.finish(self.player)
            self.deadline = time.monotonic() + SUMMARY_WAIT_SECONDS
        self.fleet.check()
        self.watcher.check()
        if self.deadline is None:
            return False
        board = self.watcher.board
        answered = board.lists >= board.clicks >= self.expected
        return answered or time.monotonic() > self.deadline
