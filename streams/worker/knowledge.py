"""What a worker knows besides its users: the releases in use, the catalogue, the signals and the rules.

Owns their start (all is read to its end before the first list), the feeds, and the lock under which all of it
changes, between two rounds. What records mean is `followed`'s and `release_follower`'s. Knows no users.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Executor
from typing import Any

import structlog
from aiokafka import ConsumerRecord
from mode.types import ServiceT

from learner.data.catalogue import Catalogue
from learner.signals.settings import SignalSettings
from learner.signals.state import Signals
from streams.hot_path.policy import Policy
from streams.hot_path.serving import Serving
from streams.hot_path.warm_up import warm_up
from streams.hot_path.world import World
from streams.runtime.ending import ended
from streams.settings import Settings
from streams.transport.feeds import Feed, gathering
from streams.transport.topics import Names
from streams.wire.clock import Clock
from streams.wire.contract import UNREADABLE, decode_release
from streams.worker import upkeep
from streams.worker.followed import Followed
from streams.worker.release_follower import ReleaseFollower
from streams.worker.release_loader import Loader
from streams.worker.reports import Reports
from streams.worker.scenarios import Scenarios
from streams.worker.silence import Silence

log = structlog.get_logger()


class Knowledge:
    """Feeds a `World`. `ready` is set once lists may be made; `serving` is there from then on.

    lock: one round or one stretch of a feed at a time, so that no list sees half a change

    `reports` is told of bad records and failing releases. `service` crashes when any part of this fails.
    `suspect`: the release under which this worker failed the last time.
    """

    def __init__(
        self, settings: Settings, connection: Mapping[str, Any], clock: Clock, models: Executor,
        reports: Reports, service: ServiceT, suspect: str = "",
    ) -> None:  # fmt: skip
        self.settings = settings
        self.lock = asyncio.Lock()
        self.ready = asyncio.Event()
        self.catalogue = Catalogue()
        self.silence = Silence()
        self.loader = Loader(settings, self.catalogue, models, self.lock)
        self.releases = ReleaseFollower(
            settings, self.loader, self.lock, reports.decide, reports.note, suspect=suspect
        )
        self.serving: Serving | None = None
        self.scenarios: Scenarios | None = None
        self._connection = connection
        self._clock = clock
        self._models = models
        self._reports = reports
        self._service = service
        self._names = Names(settings.prefix)
        self._feeds: list[Feed] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Loads the release, then reads items, signals and rules to their end; `ready` is set then."""
        releases = await self._follow(self._names.releases, self._on_release)
        if self.settings.release is None:
            await releases.caught_up.wait()
        live = await self.releases.first()
        signals = Signals(SignalSettings.from_dict(live.release.manifest.signals), self.catalogue)
        world = World(self.catalogue, signals, live, _policy(self.settings))
        self.serving = serving = Serving(world, self.releases.failed)
        followed = Followed(
            self._names.items, serving, self._clock, self.settings.item_idle_days, self._reports.refuse,
            self.loader, self.silence,
        )  # fmt: skip
        self.scenarios = scenarios = Scenarios(self._names.scenarios, world.steering, self._reports.refuse)
        for last_good in (followed.last_good, scenarios.last_good):
            self._reports.restore(last_good)
        items = await self._follow(self._names.items, followed.on_item, followed.settle)
        deltas = await self._follow(self._names.signals, followed.on_signal, followed.settle)
        rules = await self._follow(self._names.scenarios, scenarios.on_record, gather=False)
        for feed in (items, deltas, rules):
            await feed.caught_up.wait()
        await self.releases.keep_a_way_back(serving)
        async with self.lock:
            followed.expire()
            await asyncio.get_running_loop().run_in_executor(self._models, warm_up, world)
        if not self.settings.pin:
            self._spawn(self.releases.run(serving))
        self._spawn(upkeep.compact(serving, self._models))
        self._spawn(upkeep.read_texts(serving))
        self._spawn(upkeep.watch_recall(serving, self._models))
        self._spawn(upkeep.expire(followed, self.lock))
        log.info("ready", release=live.release.id, items=self.catalogue.size, signals=deltas.records)
        self.ready.set()

    def of_scenarios(self, read: Callable[[Scenarios], int]) -> int | None:
        """A figure about the rules, None before there are any to be read."""
        return None if self.scenarios is None else read(self.scenarios)

    async def known(self) -> Serving:
        """Which releases answer, once lists may be made."""
        await self.ready.wait()
        assert self.serving is not None
        return self.serving

    async def stop(self) -> None:
        """Stops reading, and whatever is done beside the rounds."""
        await ended(self._tasks)
        for feed in self._feeds:
            await feed.stop()

    def _on_release(self, record: ConsumerRecord) -> None:
        if record.value is None:
            return
        try:
            decoded = decode_release(record.value)
        except UNREADABLE as error:
            self._reports.refuse(record, str(error))
            return
        self.releases.apply(decoded)

    async def _follow(
        self, topic: str, on_record: Callable[[ConsumerRecord], None],
        on_stretch: Callable[[], None] | None = None, *, gather: bool = True,
    ) -> Feed:  # fmt: skip
        gather_ms = gathering(self.settings.signals_interval_ms) if gather else 0
        feed = Feed(
            topic, self._connection, on_record, lock=self.lock, on_stretch=on_stretch,
            gather_ms=gather_ms, beacon=self._service.beacon,
        )  # fmt: skip
        self._feeds.append(feed)
        await feed.start()
        return feed

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        async def guarded() -> None:
            try:
                await work
            except Exception as error:
                await self._service.crash(error)

        self._tasks.append(asyncio.create_task(guarded()))


def _policy(settings: Settings) -> Policy:
    return Policy(
        name=settings.policy, k=settings.k, exploration=settings.exploration, diversity=settings.diversity
    )
