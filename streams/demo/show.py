"""The demo: everything on one machine, live traffic, and the figures as they come.

Owns the order of events (broker, training, processes, history, traffic, summary) and the screen. Each
part runs as the command a user would type, in a process of its own with a log file; this process only
watches the topics. Knows no models.
"""

import contextlib
import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
from rich.console import Console
from rich.live import Live as Screen
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from learner.data.catalogue import Item
from learner.data.dataset import Interactions, load_interactions, load_items
from learner.data.events import Kind
from learner.data.ml100k import fetch_ml100k
from learner.data.repeats import data_repeats
from streams.broker.node import EmbeddedBroker
from streams.demo.drift import DriftWorld, announce, drift_world
from streams.demo.scoreboard import DecayedPopularity, Scoreboard, best_half_life
from streams.demo.screen import Follower, draw, summary
from streams.settings import Settings
from streams.transport import clients
from streams.transport.topic_reader import Record, follow, read_to_end
from streams.transport.topics import Names
from streams.wire.contract import UNREADABLE, Click, decode_click, decode_list

SPLIT = 0.8
TRAFFIC_SECONDS = 150  # what the rest of the clicks is played in, unless told otherwise
SUMMARY_WAIT_SECONDS = 20


class DemoError(Exception):
    """A part of the demo failed: names it, its log and the last lines of it."""


@dataclass
class Part:
    """A process of the demo."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def check(self) -> None:
        """Raises DemoError if the process has ended by itself."""
        code = self.process.poll()
        if code is not None:
            lines = self.log.read_text(errors="replace").splitlines()[-15:]
            raise DemoError(
                f"`nextclick {self.name}` ended with exit code {code}; its log is {self.log}, and ends:\n"
                + "\n".join(f"  {line}" for line in lines)
            )


class Demo:
    """A run of the demo; `run` does all of it."""

    def __init__(self, settings: Settings, console: Console) -> None:
        self.settings = settings
        self.console = console
        self.folder = settings.data_dir / "demo"
        self.parts: list[Part] = []
        self._stop = threading.Event()
        self._failure: BaseException | None = None
        self._watcher: threading.Thread | None = None
        self.ready = threading.Event()

    @contextlib.contextmanager
    def step(self, title: str) -> Iterator[None]:
        """One line of progress with its time."""
        started = time.monotonic()
        columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        with Progress(*columns, console=self.console, transient=True) as progress:
            progress.add_task(title, total=None)
            yield
        self.console.print(f"[green]✓[/] {title} [dim]{time.monotonic() - started:.1f} s[/]")

    def start(self, name: str, *arguments: str) -> Part:
        """Starts `nextclick NAME ARGUMENTS` with a log of its own."""
        log = self.folder / "logs" / f"{name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output:
            process = subprocess.Popen(
                [
                    sys.executable, "-m", "streams", name, *arguments,
                    "--set", f"log_level={self.settings.log_level}",
                ],
                stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        part = Part(name, process, log)
        self.parts.append(part)
        return part

    def finish(self, part: Part) -> None:
        """Waits for a command that ends by itself."""
        while part.process.poll() is None:
            time.sleep(0.1)
        self.parts.remove(part)
        if part.process.returncode:
            part.check()

    def watch(self, reading: Callable[[], None]) -> None:
        """Lets `reading` go on in a thread of its own; it returns soon after `_stop` is set."""
        self._watcher = threading.Thread(target=reading, daemon=True)
        self._watcher.start()

    def stop(self) -> None:
        """Stops every process, the last started first, and the watching: its broker is about to go."""
        self._stop.set()
        for part in reversed(self.parts):
            part.process.terminate()
        for part in reversed(self.parts):
            try:
                part.process.wait(20)
            except subprocess.TimeoutExpired:
                part.process.kill()
        if self._watcher is not None:
            self._watcher.join(5)

    def check(self) -> None:
        """Raises DemoError if a part that should run has ended, or the watching failed."""
        for part in self.parts:
            part.check()
        if self._failure is not None:
            raise DemoError(f"watching the topics failed: {self._failure}")


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


@dataclass(frozen=True)
class Recording:
    """The data set, and the files it stands in."""

    file: Path
    items_file: Path
    interactions: Interactions
    items: list[Item]
    drift: DriftWorld | None = None

    @property
    def split(self) -> int:
        """How many clicks are the past."""
        return int(len(self.interactions) * SPLIT)


def run(settings: Settings, wishes: Wishes) -> None:
    """Runs the demo; unless `once`, everything stays up until Ctrl-C. Raises DemoError, with what to do."""
    console = Console()
    demo = Demo(settings, console)
    shutil.rmtree(demo.folder / "broker", ignore_errors=True)
    shutil.rmtree(demo.folder / "nextclick", ignore_errors=True)
    demo.folder.mkdir(parents=True, exist_ok=True)
    with demo.step("Data"):
        recording = _recording(wishes.data or fetch_ml100k(settings.cache_dir / "ml-100k"))
    console.print(
        f"  {len(recording.interactions):,} events, {len(recording.items):,} items from "
        f"{recording.file.parent}; the first {SPLIT:.0%} are the past"
    )
    if wishes.drift:
        with demo.step("A world that changes in mid-stream"):
            recording = _changing(recording, demo.folder, wishes.seed)
    with demo.step("Broker: a real Apache Kafka on this machine"):
        broker = EmbeddedBroker(
            demo.folder / "broker",
            port=settings.broker_port,
            heap=settings.broker_heap,
            cache=settings.cache_dir,
        )
        broker.start()
    try:
        _play(demo, broker, recording, wishes)
    except KeyboardInterrupt:
        console.print("\nstopping …")
    finally:
        demo.stop()
        broker.stop()


def _play(demo: Demo, broker: EmbeddedBroker, recording: Recording, wishes: Wishes) -> None:
    console, settings = demo.console, demo.settings
    interactions, split = recording.interactions, recording.split
    clicks = ("--interactions", str(recording.file))
    items = ("--items", str(recording.items_file))
    prefix = f"demo{int(time.time())}."
    at = ("--bootstrap-servers", broker.bootstrap_servers, "--prefix", prefix, "--clock", "stream")
    folder = ("--data-dir", str(demo.folder / "nextclick"))
    release = demo.folder / "release"
    shutil.rmtree(release, ignore_errors=True)
    with demo.step(f"Training on the past ({wishes.time_budget:g} minutes at most)"):
        demo.finish(
            demo.start(
                "train", *clicks, "--to", str(SPLIT), *items, "--out", str(release),
                "--time-budget", str(wishes.time_budget), "--seed", str(wishes.seed),
            )
        )  # fmt: skip
    watched = settings.model_copy(
        update={"bootstrap_servers": broker.bootstrap_servers, "prefix": prefix, "clock": "stream"}
    )
    with demo.step("Worker and learner"):
        demo.start("learner", *at, *folder, "--release", str(release))
        demo.start("worker", *at, *folder, "--release", str(release))
        _wait_for_topics(demo, watched)
    with demo.step(f"Loading the past: {split:,} clicks"):
        demo.finish(demo.start("load", *at, *folder, *clicks, "--to", str(SPLIT), *items))
        _wait_until_folded(demo, watched)
    with demo.step("Tuning popularity, the list to compare with"):
        board = _board(interactions, split)
    told = [*recording.items, *(recording.drift.items if recording.drift else ())]
    follower = Follower({item.item_id: item.title for item in told if item.title})
    demo.watch(lambda: _watch(demo, watched, board, follower))
    usual = min(max((len(interactions) - split) / TRAFFIC_SECONDS, 20.0), 1000.0)
    pace: tuple[str, ...] = ("--rate", f"{usual if wishes.rate is None else wishes.rate:g}")
    if wishes.speed is not None:
        pace = ("--speed", f"{wishes.speed:g}")
    console.print(
        f"[bold]Live[/]: {len(interactions) - split:,} clicks, {' '.join(pace)} at most; a user's next click "
        "waits for the list\n"
    )
    # Else the hit rate of a system that lags would know, from other topics, of the clicks it is judged by.
    pace = (*pace, "--patient")
    demo.ready.wait(30)
    started = time.monotonic()
    start = str(SPLIT)
    if recording.drift is not None:
        start = recording.drift.moment
        player = demo.start("play", *at, *clicks, "--from", str(SPLIT), "--to", start, *pace)
        _show(demo, board, follower, player, recording.drift.at - split)
        announce(watched, recording.drift)
        board.change()
        console.print(_said(recording.drift))
    player = demo.start("play", *at, *clicks, "--from", start, *pace)
    _show(demo, board, follower, player, len(interactions) - split)
    seconds = time.monotonic() - started
    console.print(summary(board, seconds))
    if wishes.report is not None:
        made_by = json.loads((release / "manifest.json").read_text())["release"]
        wishes.report.write_bytes(report(board, made_by, seconds, recording.drift))
        console.print(f"figures written to {wishes.report}")
    if wishes.once:
        return
    where = f"--bootstrap-servers {broker.bootstrap_servers} --prefix {prefix}"
    user = follower.user or "1"
    console.print(
        f"Everything stays up. In another terminal:\n"
        f"  .venv/bin/nextclick watch {where}\n"
        f"  .venv/bin/nextclick recommend {user} {where} --clock stream\n"
        f"  .venv/bin/nextclick user {user} {where} --json\n"
        "Ctrl-C ends it."
    )
    while True:
        demo.check()
        time.sleep(0.5)


def report(board: Scoreboard, release: str, seconds: float, drift: DriftWorld | None = None) -> bytes:
    """The figures as JSON; null for what nobody was there to measure."""
    figures = {
        "clicks": board.clicks,
        "recommendations": board.lists,
        "freshness_ms": {"p50": board.freshness(0.5), "p99": board.freshness(0.99)},
        "hit_rate@10": {"nextclick": board.hit_rate, "popularity": board.popular_hit_rate},
        "release": release,
        "seconds": round(seconds, 1),
    }
    if drift is not None:
        stretches = {"before": board.before or board.all, "after": board.since}
        figures["drift"] = drift.told() | {
            "hit_rate@10": {
                name: {"nextclick": rates.hit_rate, "popularity": rates.popular_hit_rate}
                for name, rates in stretches.items()
            }
        }
    return msgspec.json.format(msgspec.json.encode(figures), indent=2) + b"\n"  # NaN becomes null


def _recording(folder: Path) -> Recording:
    file, items_file = _existing(folder, "interactions"), _existing(folder, "items")
    interactions = load_interactions(file).in_order(0)  # the order in which `load` and `play` send
    return Recording(file, items_file, interactions, load_items(items_file))


def _changing(recording: Recording, folder: Path, seed: int) -> Recording:
    file = folder / "changing.parquet"
    world = drift_world(recording.interactions, recording.items, recording.split, seed, file)
    return replace(recording, file=file, interactions=load_interactions(file).in_order(0), drift=world)


def _said(world: DriftWorld) -> str:
    change = world.change
    who = f"of {change.genres[0]} and {change.genres[1]}" if change.genres else "drawn by chance"
    return (
        f"\n[bold]The world changes[/]: {change.users:,} users {who} swap tastes, {change.items:,} items are "
        "replaced by new ones\n"
    )


def _existing(folder: Path, name: str) -> Path:
    for ending in (".csv.gz", ".csv", ".parquet"):
        if (folder / f"{name}{ending}").exists():
            return folder / f"{name}{ending}"
    raise DemoError(f"{folder} has no {name}.csv or {name}.csv.gz; --data names a folder that has both files")


def _board(interactions: Interactions, split: int) -> Scoreboard:
    """The scoreboard, with popularity tuned on the past and taught with it."""
    users = [interactions.user_ids[n] for n in interactions.user[:split]]
    items = [interactions.item_ids[n] for n in interactions.item[:split]]
    times = interactions.time_ms[:split].tolist()
    repeats = data_repeats(interactions.user[:split], interactions.item[:split], interactions.kind[:split])
    board = Scoreboard(DecayedPopularity(best_half_life(items, users, times)), repeats=repeats)
    for n in range(split):
        past = Click(
            event_id=str(n), user_id=users[n], item_id=items[n], event=Kind(int(interactions.kind[n])).word,  # type: ignore[arg-type]
            timestamp=times[n], history=True,
        )  # fmt: skip
        board.see_click(past, 0)
    return board


def _wait_for_topics(demo: Demo, settings: Settings) -> None:
    from streams.transport.topics import partition_counts

    names = Names(settings.prefix).all()
    with clients.admin(settings) as admin:
        while not all(partition_counts(admin, names).values()):
            demo.check()
            time.sleep(0.2)


def _wait_until_folded(demo: Demo, settings: Settings) -> None:
    """Returns when worker and learner have taken in every click that is in the topic now."""
    from kafka import TopicPartition

    names = Names(settings.prefix)
    with clients.consumer(settings) as consumer, clients.admin(settings) as admin:
        places = [TopicPartition(names.clicks, p) for p in consumer.partitions_for_topic(names.clicks)]
        ends = {place: end for place, end in consumer.end_offsets(places).items() if end}
        group = f"{settings.prefix}worker"
        while True:
            demo.check()
            committed = admin.list_group_offsets([group])[group]
            if all(place in committed and committed[place].offset >= end for place, end in ends.items()):
                break
            time.sleep(0.3)
    while True:
        demo.check()
        frontier = {}
        for record in read_to_end(settings, names.signals):
            if record.key == b"" and record.value is not None:
                frontier = json.loads(record.value)["offsets"]
        if all(frontier.get(str(place.partition), -1) >= end - 1 for place, end in ends.items()):
            return
        time.sleep(1)


def _watch(demo: Demo, settings: Settings, board: Scoreboard, follower: Follower) -> None:
    """Reads clicks and lists as they come, until the demo stops."""
    names = Names(settings.prefix)
    try:
        for record in follow(settings, {names.clicks: "end", names.recommendations: "end"}):
            demo.ready.set()
            if demo._stop.is_set():
                return
            if record is None:
                continue
            with contextlib.suppress(*UNREADABLE):  # a worker looks after bad records
                _see(record, board, follower, is_click=record.topic == names.clicks)
    except Exception as error:
        demo._failure = error


def _see(record: Record, board: Scoreboard, follower: Follower, *, is_click: bool) -> None:
    if is_click:
        click = decode_click(record.value)
        board.see_click(click, record.timestamp)
        follower.see_click(click)
    else:
        recommendation = decode_list(record.value)
        board.see_list(recommendation, record.timestamp)
        follower.see_list(recommendation)


def _show(demo: Demo, board: Scoreboard, follower: Follower, player: Part, expected: int) -> None:
    """Draws the screen until the last click has been answered."""
    started, shown_at, shown_clicks, speed = time.monotonic(), time.monotonic(), 0, 0.0
    deadline: float | None = None
    with Screen(console=demo.console, refresh_per_second=4, transient=False) as screen:
        while True:
            if player in demo.parts and player.process.poll() is not None:
                demo.finish(player)
                deadline = time.monotonic() + SUMMARY_WAIT_SECONDS
            demo.check()
            now = time.monotonic()
            if now - shown_at >= 1.0:
                speed = (board.clicks - shown_clicks) / (now - shown_at)
                shown_at, shown_clicks = now, board.clicks
            screen.update(draw(board, follower, speed, expected, now - started))
            if deadline is not None and (board.lists >= board.clicks >= expected or now > deadline):
                return
            time.sleep(0.2)
