"""The demo: `nextclick up` on recorded clicks, live traffic, and the figures as they come.

Owns the order of events: the system comes up with a first release, the past is taken in, the rest is played,
the better release comes in meanwhile, and a summary. This process only watches the topics. Knows no models.
"""

import shutil
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from learner.data.dataset import Interactions
from learner.data.ml100k import fetch_ml100k
from streams.demo import scoreboard, screen
from streams.demo.drift import announce
from streams.demo.recording import SPLIT, Recording
from streams.demo.report import report
from streams.demo.scoreboard import Scoreboard
from streams.demo.screen import Follower, step
from streams.demo.watcher import Watcher
from streams.runtime.progress import bars
from streams.settings import Settings
from streams.up import process as up
from streams.up.beginning import Files
from streams.up.claim import Claim
from streams.up.supervisor import Part
from streams.up.system import QUICK_MINUTES, System
from streams.up.system import Wishes as UpWishes

TRAFFIC_SECONDS = 300  # what the rest of the clicks is played in, unless told otherwise
CANARY_MINUTES = 0.5  # of that traffic are enough to see harm
SUMMARY_WAIT_SECONDS = 20
_KEPT = ("slots", "up", "machine-id")  # of an earlier demo; all else begins anew


@dataclass(frozen=True)
class Wishes:
    """What the user asked for on the command line.

    time_budget: minutes of processor time that the better release may take
    """

    data: Path | None = None
    speed: float | None = None
    rate: float | None = None
    time_budget: float = 1.0
    once: bool = False
    report: Path | None = None
    seed: int = 0
    drift: bool = False


def run(settings: Settings, wishes: Wishes) -> None:
    """Runs the demo; unless `once`, everything stays up until Ctrl-C.

    Raises RecordingError, PartFailed or WatchError, with what to do.
    """
    console, folder = Console(), settings.data_dir / "demo"
    with Claim(folder) as claim:
        _begin_anew(folder)
        with step(console, "Data"):
            recording = Recording.of(wishes.data or fetch_ml100k(settings.cache_dir / "ml-100k"))
        console.print(
            f"  {len(recording.interactions):,} events, {len(recording.items):,} items from "
            f"{recording.file.parent}; the first {SPLIT:.0%} are the past"
        )
        if wishes.drift:
            with step(console, "A world that changes in mid-stream"):
                recording = recording.changing(folder, wishes.seed)
        words = up.Watcher(console)
        beginning = UpWishes(
            Files(recording.file, recording.items_file, to=SPLIT),
            minutes=min(QUICK_MINUTES, wishes.time_budget), seed=wishes.seed,
        )  # fmt: skip
        system = System(_own(settings, wishes, folder), beginning, claim, words.say, words.hear)
        try:
            with up.until_told_to_end():
                Demo(wishes, recording, system, words, console).play()
        except KeyboardInterrupt:
            console.print("\nstopping …")
        finally:
            system.stop()


def _begin_anew(folder: Path) -> None:
    for old in folder.iterdir():
        if old.name not in _KEPT:
            shutil.rmtree(old) if old.is_dir() else old.unlink()
    for old in (folder / "up").iterdir():
        if old.name != "pid":
            shutil.rmtree(old) if old.is_dir() else old.unlink()


def _own(settings: Settings, wishes: Wishes, folder: Path) -> Settings:
    """A broker, topics and a folder of the demo's own; any port for the api unless one was named."""
    return settings.model_copy(
        update={
            "broker_data": None, "data_dir": folder, "prefix": f"demo{int(time.time())}.", "clock": "stream",
            "train_minutes": wishes.time_budget, "canary_minutes": CANARY_MINUTES,
            "api_port": 0 if settings.provenance["api_port"] == "default" else settings.api_port,
        }
    )  # fmt: skip


class _Teaching:
    """Tunes popularity, the list to compare with, beside all else."""

    def __init__(self, past: Interactions) -> None:
        self._past = past
        self._board: Scoreboard | None = None
        self._thread = threading.Thread(target=self._teach, daemon=True)
        self._thread.start()

    def board(self) -> Scoreboard:
        """Waits for its end."""
        self._thread.join()
        assert self._board is not None
        return self._board

    def _teach(self) -> None:
        self._board = scoreboard.taught(self._past)


@dataclass
class Demo:
    """A run of the demo on a system that is not started yet.

    first_list_s: from the start of this process to the first live list
    """

    wishes: Wishes
    recording: Recording
    system: System
    words: up.Watcher
    console: Console
    first_list_s: float = 0.0

    def play(self) -> None:
        """From the start to the summary, and on until Ctrl-C unless it is for `once`."""
        console, system = self.console, self.system
        minutes = system.wishes.minutes
        console.print(
            f"A real Apache Kafka starts on this machine, a first release is trained on the past for "
            f"{60 * minutes:.0f} s, and meanwhile the past goes into the topics"
        )
        teaching = _Teaching(self.recording.interactions.at(slice(0, self.recording.split)))
        system.start()
        with bars(console, width=14) as tell:
            up.begin(system, self.words, tell, wholly=True)
        with step(console, "Tuning popularity, the list to compare with"):
            board = teaching.board()
        with Watcher(system.settings, board, Follower(self.recording.titles())) as watcher:
            seconds = self._go_live(watcher)
            console.print(screen.summary(board, seconds))
            if self.wishes.report is not None:
                live = system.tidings.live if system.tidings is not None else None
                told = report(board, live or "", seconds, self.first_list_s, self.recording.drift)
                self.wishes.report.write_bytes(told)
                console.print(f"figures written to {self.wishes.report}")
            if not self.wishes.once:
                self._stay_up(watcher)

    def _go_live(self, watcher: Watcher) -> float:
        """Plays the rest, and returns how many seconds that took."""
        recording, drift, split = self.recording, self.recording.drift, str(SPLIT)
        self.console.print(
            f"[bold]Live[/]: {recording.live:,} clicks, {' '.join(self._pace)} at most; a user's next click "
            "waits for the list. The lists are the first release's; a better one is trained beside them\n"
        )
        watcher.ready.wait(30)
        started = time.monotonic()
        if drift is None:
            self._play(watcher, recording.live, "--from", split)
        else:
            self._play(watcher, drift.at - recording.split, "--from", split, "--to", drift.moment)
            announce(self.system.settings, drift)
            watcher.board.change()
            self.console.print(screen.said(drift))
            self._play(watcher, recording.live, "--from", drift.moment)
        return time.monotonic() - started

    def _play(self, watcher: Watcher, expected: int, *part: str) -> None:
        """Plays a part of the clicks, and shows it until `expected` ones in all have been answered."""
        # Patient, else the hit rate of a system that lags would know, from other topics, of the clicks that
        # it is judged by.
        clicks = ("--interactions", str(self.recording.file))
        player = self.system.run("play", *clicks, *part, *self._pace, "--patient")
        played = _Played(self, player, watcher, expected)
        screen.show(self.console, watcher.board, watcher.follower, expected, played.over)

    def look(self, watcher: Watcher) -> None:
        """Starts again what has ended, and notes the first list. Raises PartFailed and WatchError."""
        self.system.look()
        watcher.check()
        if not self.first_list_s and watcher.board.lists:
            self.first_list_s = time.monotonic() - self.words.began
            self.words.say("the first live list has come")

    def _stay_up(self, watcher: Watcher) -> None:
        settings, user = self.system.settings, watcher.follower.user or "1"
        where = f"--bootstrap-servers {settings.bootstrap_servers} --prefix {settings.prefix}"
        self.console.print(
            f"Everything stays up. In another terminal:\n"
            f"  curl '{self.system.address}/v1/users/{user}/recommendations?k=5&fields=title'\n"
            f"  .venv/bin/nextclick watch {where}\n"
            f"  .venv/bin/nextclick recommend {user} {where} --clock stream\n"
            f"  .venv/bin/nextclick user {user} {where} --json\n"
            "Ctrl-C ends it."
        )
        while True:
            self.look(watcher)
            time.sleep(0.2)

    @property
    def _pace(self) -> tuple[str, str]:
        """How fast clicks are played at most."""
        if self.wishes.speed is not None:
            return "--speed", f"{self.wishes.speed:g}"
        usual = min(max(self.recording.live / TRAFFIC_SECONDS, 20.0), 1000.0)
        return "--rate", f"{usual if self.wishes.rate is None else self.wishes.rate:g}"


@dataclass
class _Played:
    """Whether what a player sends has been sent and answered."""

    demo: Demo
    player: Part
    watcher: Watcher
    expected: int
    deadline: float | None = None  # for the last lists

    def over(self) -> bool:
        """Raises PartFailed and WatchError where it cannot go on."""
        self.demo.look(self.watcher)
        if self.deadline is None:
            if not self.player.done:
                return False
            self.deadline = time.monotonic() + SUMMARY_WAIT_SECONDS
        board = self.watcher.board
        answered = board.lists >= board.clicks >= self.expected
        return answered or time.monotonic() > self.deadline
