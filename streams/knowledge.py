"""What a worker knows besides its users: the live release, the catalogue and the signals.

Owns their start (all read to their end before the first list), what later records change, and the
verdict on bad ones. Everything is applied under the worker's lock, between two rounds. Knows no users.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import structlog
from aiokafka import ConsumerRecord

from learner.catalogue import Catalogue
from learner.release import ReleaseError
from learner.signals import FRONTIER, SignalError, Signals, SignalSettings
from streams.clock import Clock
from streams.contract import MAX_RECORD_BYTES, UNREADABLE, ReleaseRecord, decode_item, decode_release
from streams.feeds import Feed
from streams.live import Live
from streams.policy import Policy
from streams.recommend import World
from streams.settings import Settings
from streams.topics import Names

log = structlog.get_logger()

SIGNALS_STALE_SECONDS = 5.0
Refuse = Callable[[ConsumerRecord, str], None]


class Knowledge:
    """Feeds a `World`. `refuse(record, error)` is told of bad records, at most once each a process."""

    def __init__(
        self,
        settings: Settings,
        connection: Mapping[str, Any],
        clock: Clock,
        models: Executor,
        lock: asyncio.Lock,
        refuse: Refuse,
    ) -> None:
        self.settings = settings
        self.clock = clock
        self.lock = lock
        self.catalogue = Catalogue()
        self.world: World | None = None
        self.ready = asyncio.Event()
        self.swaps = 0
        self._connection = connection
        self._models = models
        self._refuse = refuse
        self._names = Names(settings.prefix)
        self._changed: set[int] = set()
        self._live: ReleaseRecord | None = None
        self._announced = asyncio.Event()
        self._signals_at = time.monotonic()
        self._stale = False
        self._feeds: list[Feed] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Loads the release, then reads items and signals to their end; `ready` is set then."""
        releases = await self._follow(self._names.releases, self._on_release)
        directory = self.settings.release
        if directory is None:
            await releases.caught_up.wait()
            if self._live is None:
                log.warning(
                    "no release is live: waiting for one",
                    mend="start the learner with --release DIR, or this worker with --release DIR",
                )
                await self._announced.wait()
            directory = self._live.url if self._live else ""
        live = await self._load(directory)
        signals = Signals(
            SignalSettings.from_dict(live.release.manifest.signals), self.catalogue, on_vector=self._on_vector
        )
        policy = Policy(
            name=self.settings.policy,
            k=self.settings.k,
            exploration=self.settings.exploration,
            diversity=self.settings.diversity,
        )
        self.world = World(self.catalogue, signals, live, policy)
        items = await self._follow(self._names.items, self._on_item)
        deltas = await self._follow(self._names.signals, self._on_signal)
        await items.caught_up.wait()
        await deltas.caught_up.wait()
        self._tasks.append(asyncio.create_task(self._follow_releases()))
        log.info("ready", release=live.release.id, items=self.catalogue.size, signals=deltas.records)
        self.ready.set()

    async def stop(self) -> None:
        """Stops reading."""
        for task in self._tasks:
            task.cancel()
        for feed in self._feeds:
            await feed.stop()

    def watch_signals(self, clicks_flow: bool) -> None:
        """Warns when clicks flow and the learner is silent; lists go on from what is known."""
        if not clicks_flow:
            self._signals_at = max(self._signals_at, time.monotonic() - SIGNALS_STALE_SECONDS / 2)
        silent = time.monotonic() - self._signals_at
        if silent > SIGNALS_STALE_SECONDS and not self._stale:
            self._stale = True
            log.warning(
                "signals are stale: nothing from the learner",
                seconds=round(silent, 1),
                mend="is `nextclick learner` running? Lists go on from the signals known so far",
            )
        elif self._stale and silent < SIGNALS_STALE_SECONDS:
            self._stale = False
            log.info("signals are fresh again")

    @property
    def signals_stale(self) -> bool:
        """Whether the learner has been silent for too long."""
        return self._stale

    async def _follow(self, topic: str, on_record: Callable[[ConsumerRecord], None]) -> Feed:
        feed = Feed(topic, self._connection, on_record, lock=self.lock, on_stretch=self._settle)
        self._feeds.append(feed)
        await feed.start()
        return feed

    async def _load(self, directory: str) -> Live:
        """Loads a bundle in the model thread, with a first search to warm it."""
        loop = asyncio.get_running_loop()
        async with self.lock:
            return await loop.run_in_executor(self._models, Live.load, Path(directory), self.catalogue)

    async def _follow_releases(self) -> None:
        """Swaps to what is announced as live from now on, unless this worker is pinned."""
        if self.settings.pin:
            return
        while True:
            await self._announced.wait()
            self._announced.clear()
            record, world = self._live, self.world
            if record is None or world is None or record.release == world.live.release.id:
                continue
            try:
                live = await self._load(record.url)
            except (ReleaseError, OSError) as error:
                log.error("release refused; the live one goes on", release=record.release, error=str(error))
                continue
            async with self.lock:
                world.live = live
                live.follow()
            self.swaps += 1
            log.info("release swapped", release=record.release)

    def _settle(self) -> None:
        """After a stretch of records: the index follows once for all of them."""
        if self.world is not None:
            self.world.signals.follow()
            self.world.live.follow(self._changed)
        self._changed.clear()

    def _on_release(self, record: ConsumerRecord) -> None:
        if record.value is None:
            return
        try:
            decoded = decode_release(record.value)
        except UNREADABLE as error:
            self._refuse(record, str(error))
            return
        if decoded.role == "live":
            self._live = decoded
            self._announced.set()

    def _on_item(self, record: ConsumerRecord) -> None:
        if record.value is None:
            if record.key:
                self._changed.add(self.catalogue.withdraw(record.key.decode(errors="replace")))
            return
        if len(record.value) > MAX_RECORD_BYTES:
            self._refuse(record, f"{len(record.value)} bytes; at most {MAX_RECORD_BYTES} are taken")
            return
        try:
            item = decode_item(record.value)
        except UNREADABLE as error:
            self._refuse(record, str(error))
            return
        number = self.catalogue.announce(item) if item.available else self.catalogue.withdraw(item.item_id)
        self._changed.add(number)

    def _on_signal(self, record: ConsumerRecord) -> None:
        assert self.world is not None
        if record.value is None:
            return
        item_id = record.key.decode(errors="replace") if record.key else FRONTIER
        try:
            self.world.signals.apply(item_id, record.value)
        except (SignalError, *UNREADABLE) as error:
            self._refuse(record, str(error))
            return
        if item_id == FRONTIER:
            self._signals_at = time.monotonic()
            self.clock.hear(self.world.signals.now_ms)

    def _on_vector(self, item: int, vector: Any, content: Any) -> None:
        assert self.world is not None
        self.world.live.release.ensure(self.catalogue)
        self.world.live.release.set_vector(item, vector, content)
        self._changed.add(item)
