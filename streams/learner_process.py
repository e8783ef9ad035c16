"""The learner: every click changes the signals that workers rank with. All wiring of it happens here.

The way of a click: `Feed` reads all partitions of clicks, `Folding` counts each click once,
`SignalsPublisher` sends what changed. `LearnerLock` sees to it that one learner lives. New items get
vectors from `NewItems`. Training, gates and canaries have their places below and come with M2.
"""

import asyncio
import signal
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import structlog
from aiokafka import ConsumerRecord
from mode import Service

from learner.catalogue import Catalogue
from learner.signals import FRONTIER, SignalError, Signals, SignalSettings
from streams import kafka_client, topics
from streams.clock import Clock
from streams.contract import MAX_RECORD_BYTES, ReleaseRecord, decode_item, decode_release, encode
from streams.delivery import Delivery, Outgoing, acknowledged, new_producer
from streams.feeds import Feed
from streams.folding import Folding
from streams.learner_lock import LearnerLock
from streams.new_items import NewItems
from streams.settings import Settings
from streams.signals_publisher import SignalsPublisher
from streams.topics import Names

if TYPE_CHECKING:
    from learner.release import LiveRelease

log = structlog.get_logger()


class Learner(Service):  # type: ignore[misc]
    """One learner process. Crashes, and with it the process, when any of its parts fails."""

    def __init__(self, settings: Settings, partitions: int, fence: Callable[[], None]) -> None:
        super().__init__()
        self.settings = settings
        self.names = Names(settings.prefix)
        self.connection = kafka_client.async_connection(settings)
        self.producer = new_producer(self.connection)
        self.delivery = Delivery(self.producer, fence)
        self.catalogue = Catalogue()
        self.clock = Clock(settings.clock, settings.max_future_ms)
        self.live: ReleaseRecord | None = None
        self.release: LiveRelease | None = None
        self._partitions = partitions
        self._tasks: list[asyncio.Task[None]] = []
        self._feeds: list[Feed] = []

    async def on_start(self) -> None:
        """Restores what was known and begins to learn; returns when all clicks of the past are counted."""
        started = time.monotonic()
        await self.producer.start()
        await self._caught_up(self._feed(self.names.releases, self._on_release))
        self._load_release()
        if self.settings.release is not None and self.live is None:
            await self._announce()
        signal_settings = (
            SignalSettings()
            if self.release is None
            else SignalSettings.from_dict(self.release.manifest.signals)
        )
        self.signals = Signals(signal_settings, self.catalogue, keep_offsets=True)
        self.publisher = SignalsPublisher(
            self.signals, self.delivery, self.names.signals, self.settings.signals_interval_ms
        )
        self.new_items = NewItems(self.catalogue, self.signals, self.release, self.publisher.changed)
        await self._caught_up(self._feed(self.names.items, self._on_item))
        restoring = self._feed(self.names.signals, self._on_signal)
        await self._caught_up(restoring)
        await restoring.stop()  # from now on this process alone writes there
        self.folding = Folding(
            self.signals, self.catalogue, self.clock, self._partitions, _scale_of(self.release)
        )
        self.folding.begin()
        clicks = self._feed(self.names.clicks, self._on_click, on_stretch=self._on_stretch)
        await self._caught_up(clicks, check=lambda: self.folding.check(clicks.ends))
        self._spawn(self.publisher.run())
        self._spawn(self.new_items.run())
        log.info(
            "learner ready", seconds=round(time.monotonic() - started, 1), items=self.catalogue.size,
            users=len(self.folding), **self.folding.counts,
        )  # fmt: skip

    async def on_stop(self) -> None:
        """Sends what is counted and not sent yet."""
        for feed in self._feeds:
            await feed.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if not self.crashed and hasattr(self, "folding"):
            await self.publisher.publish()
        await self.producer.stop()

    # -- what is read -------------------------------------------------------------------------------

    def _feed(
        self,
        topic: str,
        on_record: Callable[[ConsumerRecord], None],
        on_stretch: Callable[[], None] | None = None,
    ) -> Feed:
        feed = Feed(topic, self.connection, on_record, on_stretch=on_stretch, beacon=self.beacon)
        self._feeds.append(feed)
        return feed

    async def _caught_up(self, feed: Feed, check: Callable[[], None] = lambda: None) -> None:
        """Starts the feed and waits for the end that its topic has now; raises what stopped it."""
        await feed.start()
        waiting = asyncio.ensure_future(feed.caught_up.wait())
        stopped = await self.wait_for_stopped(waiting)
        if feed.crashed:
            raise feed.crash_reason
        if not stopped:
            check()

    def _on_click(self, record: ConsumerRecord) -> None:
        self.folding.fold(record.value, record.partition, record.offset, int(time.time() * 1000))

    def _on_stretch(self) -> None:
        self.publisher.changed()

    def _on_item(self, record: ConsumerRecord) -> None:
        """Bad records are passed over: a worker sends them to the dead letters."""
        if record.value is None:
            if record.key:
                self.catalogue.withdraw(record.key.decode(errors="replace"))
            return
        if len(record.value) > MAX_RECORD_BYTES:
            return
        try:
            item = decode_item(record.value)
        except (msgspec.DecodeError, RecursionError):
            return
        if not item.available:
            self.catalogue.withdraw(item.item_id)
            return
        self.new_items.announced(self.catalogue.announce(item))

    def _on_signal(self, record: ConsumerRecord) -> None:
        if record.value is None:
            return
        try:
            self.signals.apply(record.key.decode(errors="replace") if record.key else FRONTIER, record.value)
        except SignalError as error:
            log.warning("bad signals record passed over", error=str(error), offset=record.offset)

    def _on_release(self, record: ConsumerRecord) -> None:
        if record.value is None:
            return
        try:
            decoded = decode_release(record.value)
        except (msgspec.DecodeError, RecursionError):
            return
        if decoded.role == "live":
            self.live = decoded
            if self.release is not None and decoded.release != self.release.id:
                self._on_live(decoded)

    # -- releases -----------------------------------------------------------------------------------

    def _load_release(self) -> None:
        """The release whose settings count: the live one, or with --release the one that begins."""
        directory = self.live.url if self.live is not None else self.settings.release
        if directory is None:
            log.warning(
                "no release is live: learning signals with the default settings",
                mend="train one with `nextclick train`, then restart with --release DIR",
            )
            return
        from learner.release import load_release

        self.release = load_release(Path(directory), self.catalogue)

    async def _announce(self) -> None:
        """Makes the given release live where nothing is."""
        assert self.release is not None
        assert self.settings.release is not None
        directory = Path(self.settings.release).resolve()
        record = ReleaseRecord(
            release=self.release.id,
            url=str(directory),
            sha256=manifest_digest(directory),
            role="live",
            at=int(time.time() * 1000),
            decision="first",
            reason="nothing was live when the learner started with this release",
        )
        key = record.release.encode()
        await acknowledged(await self.delivery.send(self.names.releases, [Outgoing(key, encode(record))]))
        log.info("release announced as live", release=record.release, directory=str(directory))

    def _on_live(self, record: ReleaseRecord) -> None:
        """Another release went live while this learner runs."""
        log.info("release went live", release=record.release)

    # -- places for what comes with M2: a trainer in its own process, the gate, the canary -------------

    # -- the rest -----------------------------------------------------------------------------------

    def _spawn(self, work: object) -> None:
        async def guarded() -> None:
            try:
                await work  # type: ignore[misc]
            except asyncio.CancelledError:
                raise
            except Exception as error:
                await self.crash(error)

        self._tasks.append(asyncio.create_task(guarded()))


def manifest_digest(directory: Path) -> str:
    """sha256 of the manifest, which holds that of every other file of the release."""
    from hashlib import sha256

    return sha256((directory / "manifest.json").read_bytes()).hexdigest()


def _scale_of(release: "LiveRelease | None") -> Callable[[int, float], float]:
    """Values on the release's scale; few distinct ones come, ratings above all."""
    if release is None:
        return lambda _kind, _value: 0.0

    @lru_cache(maxsize=4096)
    def normalised(kind: int, value: float) -> float:
        scaled = release.normalised(np.array([kind]), np.array([value], np.float32))
        return float(scaled[0])

    return normalised


async def _serve(settings: Settings, partitions: int) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with LearnerLock(settings, lost=stop.set) as lock:
        learner = Learner(settings, partitions, lock.check)
        try:
            await learner.start()
            await learner.wait_for_stopped(asyncio.ensure_future(stop.wait()))
        finally:
            await learner.stop()
        if learner.crashed:
            raise learner.crash_reason
        lock.check()


def run(settings: Settings) -> None:
    """Runs the learner until SIGTERM or Ctrl-C.

    Raises LearnerRunning where one runs already, and whatever stopped it.
    """
    with kafka_client.admin(settings) as admin:
        topics.create_missing(admin, settings)
        partitions = topics.check(admin, settings)
    asyncio.run(_serve(settings, partitions))
