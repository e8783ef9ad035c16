"""The learner: every click changes the signals that workers rank with. All wiring of it happens here.

The way of a click: `Feed` reads all partitions of clicks, `Counting` counts each click once,
`SignalsPublisher` sends what changed. `LearnerLock` sees to it that one learner lives. New items get
vectors from `NewItems`. A process of its own trains and judges candidates (`streams.training.process`), and
`CanaryWatch` decides on canaries.
"""

import asyncio
import contextlib
import signal
import time
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

import numpy as np
import structlog
from aiokafka import ConsumerRecord
from mode import Service

from learner.data.catalogue import Catalogue
from learner.release.live import LiveRelease
from learner.signals.record import FRONTIER, SignalError
from learner.signals.recounting import Restored
from learner.signals.state import Signals
from streams.figures.record import Speaker
from streams.figures.registry import Figures
from streams.figures.scraped import serve_metrics
from streams.figures.sender import say_figures
from streams.learning.canary_watch import CanaryWatch
from streams.learning.counting import Counting
from streams.learning.figures import register
from streams.learning.hit_rates import Popular
from streams.learning.lock import LearnerLock
from streams.learning.new_items import NewItems
from streams.learning.publisher import SignalsPublisher
from streams.learning.releases import ReleaseInUse
from streams.learning.warm_up import warm_up
from streams.releases.events import EventLog, of_record
from streams.releases.events import folder_of as events_folder
from streams.runtime.ending import ended
from streams.runtime.event_loop import fast_loops, freeze_heap
from streams.settings import Settings
from streams.training.encoders import text_server
from streams.training.process import keep_trainer
from streams.transport import clients, topics
from streams.transport.absence import Absence
from streams.transport.changed_topics import ChangedTopics
from streams.transport.delivery import Delivery, Outgoing, acknowledged, new_producer
from streams.transport.feeds import Feed, gathering
from streams.transport.growth import FORWARDED, settled
from streams.transport.topics import Names
from streams.wire.clock import Clock
from streams.wire.contract import (
    UNREADABLE,
    ReleaseRecord,
    decode_item,
    decode_release,
    decode_tombstone,
    encode,
)

log = structlog.get_logger()

OLD_MS = 1000  # clicks sent longer ago are a load of history or a backlog; nobody waits for their effect


class Learner(Service):  # type: ignore[misc]
    """One learner process. Crashes, and with it the process, when any of its parts fails."""

    def __init__(self, settings: Settings, partitions: int, lock: LearnerLock) -> None:
        super().__init__()
        self.settings = settings
        self.names = Names(settings.prefix)
        self.connection = clients.async_connection(settings)
        self.producer = new_producer(self.connection)
        self.delivery = Delivery(self.producer, lock.check, lock.hold)
        self._absence = Absence(settings.bootstrap_servers, lambda: lock.silent, lock.check_client)
        self.catalogue = Catalogue()
        self.clock = Clock(settings.clock, settings.max_future_ms)
        self.releases = ReleaseInUse(settings, self.catalogue)
        self.events = EventLog(events_folder(settings), "learner")
        self.counting: Counting | None = None
        self.canaries: CanaryWatch | None = None
        self._partitions = partitions
        self.figures = Figures("learner")
        self._decisions = self.figures.counts("nextclick_release_decisions_total")
        self._clicks: Feed | None = None
        self._sent_ms = 0  # when the click that was read last was sent
        self._gather_ms = gathering(settings.signals_interval_ms)
        self._tasks: list[asyncio.Task[None]] = []
        self._feeds: list[Feed] = []

    async def on_start(self) -> None:
        """Restores what was known and begins to learn; returns when all clicks of the past are counted."""
        started = time.monotonic()
        self._speak()
        self._spawn(self._absence.watch())
        warming = asyncio.create_task(asyncio.to_thread(warm_up))
        self._tasks.append(warming)
        await self.producer.start()
        await self._caught_up(self._feed(self.names.releases, self._on_release))
        await self.releases.load()
        await self.releases.announce(self.delivery, self.names.releases)
        self.new_items = NewItems(self.catalogue, self._on_change, partial(text_server, self.settings))
        self.new_items.compare_with(self.releases.release)
        self.signals = Signals(
            self.releases.signal_settings(), self.catalogue, keep_offsets=True,
            on_vector=self.new_items.restored,
        )  # fmt: skip
        self.publisher = SignalsPublisher(
            self.signals, self.delivery, self.names.signals,
            self.settings.signals_interval_ms - self._gather_ms,
        )  # fmt: skip
        await self._caught_up(self._feed(self.names.items, self._on_item))
        self.restored = Restored(self.signals)
        restoring = self._feed(self.names.signals, self._on_signal)
        await self._caught_up(restoring)
        await restoring.stop()  # from now on this process alone writes there
        self.counting = Counting(
            self.signals, self.catalogue, self.clock, self.releases.scale(),
            event_names=self.settings.event_names,
        )  # fmt: skip
        self.restored.begin()
        self.counting.begin(self.restored.offsets)
        self._spawn(self.publisher.run())
        clicks = self._clicks = self._feed(self.names.clicks, self._on_click, on_stretch=self._on_clicks)
        await self._caught_up(clicks)
        self.counting.check(clicks.ends)
        self.counting.all_read()
        self._tell_of_recount()
        self._on_change()
        await self.new_items.begin(self.signals)
        await warming
        freeze_heap()
        self._spawn(self.new_items.run(self.signals))
        self._spawn(self.releases.follow(self._taken_up))
        log.info(
            "learner ready", seconds=round(time.monotonic() - started, 1), items=self.catalogue.size,
            users=len(self.counting), **self.counting.counts,
        )  # fmt: skip
        if without := self.signals.without_depths:
            log.warning(
                "the signals of some items were counted by a version that knew nothing of users' depths",
                items=without,
                mend="lists for newcomers get better as clicks come; to count what the topic clicks still "
                "holds, delete the topic signals (older counts are lost) and restart learner and workers",
            )
        self._spawn(self._watch_canaries())
        self._spawn(keep_trainer(self.settings, self.releases.roles))
        self._spawn(ChangedTopics(self.settings, None).watch())

    async def on_stop(self) -> None:
        """Sends what is counted and not sent yet."""
        for feed in self._feeds:
            await feed.stop()
        await ended(self._tasks)
        if not self.crashed and self.counting is not None and self.counting.rebuilt:
            await self._in_time(self.publisher.publish())
        await self._in_time(self.producer.stop())

    async def _in_time(self, ending: Coroutine[Any, Any, Any]) -> None:
        """Waits for that, but not for a broker that is away: the next start counts what was not sent."""
        try:
            await asyncio.wait_for(ending, self.settings.stop_seconds / 2)
        except TimeoutError:
            log.warning(
                "ended before all was sent", seconds=self.settings.stop_seconds / 2,
                mend="nothing is lost: the next start counts it again; does the broker answer?",
            )  # fmt: skip

    # -- what is read -------------------------------------------------------------------------------

    def _feed(
        self,
        topic: str,
        on_record: Callable[[ConsumerRecord], None],
        on_stretch: Callable[[], None] | None = None,
    ) -> Feed:
        feed = Feed(
            topic, self.connection, on_record, on_stretch=on_stretch, gather_ms=self._gather_ms,
            beacon=self.beacon,
        )  # fmt: skip
        self._feeds.append(feed)
        return feed

    async def _caught_up(self, feed: Feed) -> None:
        """Starts the feed and waits for the end that its topic has now; raises what stopped it."""
        await feed.start()
        await self.wait_for_stopped(asyncio.ensure_future(feed.caught_up.wait()))
        if feed.crashed:
            raise feed.crash_reason

    def _on_click(self, record: ConsumerRecord) -> None:
        assert self.counting is not None
        self._sent_ms = record.timestamp
        self.counting.count(
            record.value, record.partition, record.offset, int(time.time() * 1000),
            sent_ms=record.timestamp, copied=any(name == FORWARDED for name, _ in record.headers),
        )  # fmt: skip

    def _on_change(self) -> None:
        # Until then a record would claim clicks that are not counted again yet.
        if self.counting is not None and self.counting.rebuilt:
            self.publisher.changed()

    def _on_clicks(self) -> None:
        if self.counting is not None and self.counting.rebuilt:
            self.publisher.changed(old=time.time() * 1000 - self._sent_ms > OLD_MS)

    def _on_item(self, record: ConsumerRecord) -> None:
        """Bad records are passed over: a worker sends them to the dead letters."""
        try:
            if record.value is None:
                self.catalogue.withdraw(decode_tombstone(record.key))
                return
            item = decode_item(record.value)
        except UNREADABLE:
            return
        if not item.available:
            self.catalogue.withdraw(item.item_id)
            return
        self.new_items.announced(self.catalogue.announce(item))

    def _on_signal(self, record: ConsumerRecord) -> None:
        if record.value is None:
            return
        try:
            self.restored.apply(record.key.decode(errors="replace") if record.key else FRONTIER, record.value)
        except SignalError as error:
            log.warning("bad signals record passed over", error=str(error), offset=record.offset)

    def _tell_of_recount(self) -> None:
        """Where events weigh otherwise than in the signals that were found: how far back the new reach."""
        if not self.restored.offsets or self.counting is None:
            return
        weights, since_ms = self.settings.event_weights, self.counting.since_ms
        log.warning(
            "event_weights have changed: the signals were counted again from the clicks that the topic keeps",
            clicks=self.counting.counts["counted"],
            since="none is left" if since_ms is None else _iso(since_ms),
            weights=",".join(f"{word}={weight:g}" for word, weight in weights.items()) or "all events alike",
        )

    async def _taken_up(self, release: LiveRelease) -> None:
        """Another release went live while this learner runs."""
        if self.releases.signal_settings() != self.signals.settings:
            log.error(
                "the release was trained with other settings of signals than those in use",
                release=release.id,
                mend="workers and learner must agree: delete the topic signals and restart them all",
            )
        assert self.counting is not None
        self.counting.normalised = self.releases.scale()
        self.signals.forget_vectors()
        self.new_items.compare_with(release)

    # -- releases -----------------------------------------------------------------------------------

    def _on_release(self, record: ConsumerRecord) -> None:
        """Bad records are passed over, as those of items are."""
        with contextlib.suppress(*UNREADABLE):
            if record.value is not None:
                decoded = decode_release(record.value)
                self.releases.apply(decoded)
                self.events.append(of_record(decoded))
                if self.counting is not None:  # else it was decided before this process came
                    self._decisions.add(decoded.decision)

    async def _watch_canaries(self) -> None:
        self.canaries = CanaryWatch(
            self.settings, self.connection, self.releases.roles, self._decided,
            repeats=self.releases.repeats, note=self.events.append, popular=Popular(self.signals).holds,
        )  # fmt: skip
        await self.canaries.run()

    async def _decided(self, records: Sequence[ReleaseRecord]) -> None:
        for record in records:  # in their order, each acknowledged before the next
            sending = [Outgoing(record.release.encode(), encode(record))]
            await acknowledged(await self.delivery.send(self.names.releases, sending))

    def send_all_again(self) -> None:
        """Another learner may have sent signals meanwhile: those of this one are whole, and replace them."""
        if self.counting is not None and self.counting.rebuilt:
            self.signals.touched.update(np.flatnonzero(self.signals.count).tolist())
            self.publisher.changed(old=True)

    # -- what it tells ------------------------------------------------------------------------------

    @property
    def behind(self) -> int | None:
        """Clicks that are not counted yet, None before any are read."""
        if self._clicks is None:
            return None
        ends = (self.canaries and self.canaries.ends) or self._clicks.ends
        return sum(max(0, end - self._clicks.positions.get(number, 0)) for number, end in ends.items())

    @property
    def topic_partitions(self) -> int | None:
        """How many partitions of clicks there are, None before any are read."""
        return None if self._clicks is None else len(self._clicks.positions) or None

    def _speak(self) -> None:
        register(self.figures, self)
        serve_metrics(self.settings, self.figures)
        self._spawn(say_figures(self.settings, Speaker(self.figures, "learner", release=self._live)))

    def _live(self) -> str | None:
        live = self.releases.roles.live
        return None if live is None else live.release

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


def _iso(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="seconds")


async def _serve(settings: Settings, partitions: int) -> None:
    stop = asyncio.Event()
    starting: asyncio.Task[None] | None = asyncio.current_task()

    def end() -> None:
        stop.set()
        if starting is not None:
            starting.cancel()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    learners: list[Learner] = []

    def regained() -> None:
        for learner in learners:
            learner.send_all_again()

    try:
        async with LearnerLock(settings, lost=stop.set, regained=regained) as lock:
            learner = Learner(settings, partitions, lock)
            learners.append(learner)
            try:
                await learner.start()
                starting = None
                await learner.wait_for_stopped(asyncio.ensure_future(stop.wait()))
            finally:
                await learner.stop()
            if learner.crashed:
                raise learner.crash_reason
            lock.check()
    except asyncio.CancelledError:
        if not stop.is_set():
            raise
    log.info("learner stopped")


def run(settings: Settings) -> None:
    """Runs the learner until SIGTERM or Ctrl-C.

    Raises LearnerRunning where one runs already, and whatever stopped it.
    """
    with clients.admin(settings) as admin:
        topics.create_missing(admin, settings)
        partitions = settled(admin, settings)
    fast_loops()
    asyncio.run(_serve(settings, partitions))
