"""What a worker knows besides its users: the releases in use, the catalogue and the signals.

Owns their start (all read to their end before the first list), what later records change, and the
verdict on bad ones. Everything is applied under the worker's lock, between two rounds. Releases are
loaded beside the rounds (`release_loader`) and answer as `serving` divides them. Knows no users.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from typing import Any

import structlog
from aiokafka import ConsumerRecord
from mode.types import ServiceT

from learner.data.catalogue import Catalogue
from learner.release.live import ReleaseError
from learner.signals.record import FRONTIER, SignalError
from learner.signals.settings import SignalSettings
from learner.signals.state import Signals
from streams.hot_path.live import Live, give, renew
from streams.hot_path.policy import Policy
from streams.hot_path.serving import Serving
from streams.hot_path.warm_up import warm_up
from streams.hot_path.world import World
from streams.releases.events import Event, Kind
from streams.releases.roles import DRIFTED, PINNED, RoleError, Roles, changed, take_back
from streams.releases.store import StoreError, StoreUnreachable
from streams.runtime.event_loop import trim_heap
from streams.settings import Settings
from streams.transport.feeds import Feed, gathering
from streams.transport.topics import Names
from streams.wire.clock import Clock
from streams.wire.contract import UNREADABLE, ReleaseRecord, decode_item, decode_release, decode_tombstone
from streams.worker.expiry import Expiry
from streams.worker.release_loader import Loader

log = structlog.get_logger()

SIGNALS_STALE_SECONDS = 5.0
_RETRY_SECONDS = 5.0  # until a store that does not answer is asked again
_COMPACT_SECONDS = 10.0  # between looks at the indexes
# Between two comparisons with an exact search: a second, and a fiftieth of a core at most.
_RECALL_SECONDS, _RECALL_REST = 1.0, 50
_EXPIRE_SECONDS = 60.0  # between looks for idle items
# Decisions that repeat the release that is live already.
_REPEATED = (PINNED, "unpinned", DRIFTED)
Refuse = Callable[[ConsumerRecord, str], None]
Decide = Callable[[Sequence[ReleaseRecord], bool], None]


class Knowledge:
    """Feeds a `World`. `refuse(record, error)` is told of bad records, at most once each a process.

    `decide(records, shared)` gets the records of `releases` that take a failing release back; `shared`
    where every worker comes to the same verdict. `note` is told of swaps and failures. `service` crashes when
    any part of this fails. `suspect`: the release under which this worker failed the last time.
    """

    def __init__(
        self,
        settings: Settings,
        connection: Mapping[str, Any],
        clock: Clock,
        models: Executor,
        lock: asyncio.Lock,
        refuse: Refuse,
        decide: Decide,
        note: Callable[[Event], None],
        service: ServiceT,
        suspect: str = "",
    ) -> None:
        self.settings = settings
        self.clock = clock
        self.lock = lock
        self.catalogue = Catalogue()
        self.roles = Roles()
        self.serving: Serving | None = None
        self.ready = asyncio.Event()
        self._connection = connection
        self._models = models
        self._refuse = refuse
        self._decide = decide
        self._service = service
        self._note_event = note
        self._suspect = suspect
        self._awaited = ""  # a release whose store does not answer
        self._loader = Loader(settings, self.catalogue, models, lock, self._follow_catalogue)
        self._bad: set[str] = set()  # releases that failed here
        self._names = Names(settings.prefix)
        self._changed: set[int] = set()
        self._announced = asyncio.Event()
        self._signals_at = time.monotonic()
        self._stale = False
        self._feeds: list[Feed] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Loads the release, then reads items and signals to their end; `ready` is set then."""
        releases = await self._follow(self._names.releases, self._on_release)
        if self.settings.release is None:
            await releases.caught_up.wait()
            if self.roles.live is None:
                log.warning(
                    "no release is live: waiting for one",
                    mend="start the learner with --release DIR, or this worker with --release DIR",
                )
            while self.roles.live is None:
                self._announced.clear()
                await self._announced.wait()
        live = await self._first()
        signals = Signals(
            SignalSettings.from_dict(live.release.manifest.signals), self.catalogue, on_vector=self._on_vector
        )
        policy = Policy(
            name=self.settings.policy,
            k=self.settings.k,
            exploration=self.settings.exploration,
            diversity=self.settings.diversity,
        )
        self.serving = Serving(World(self.catalogue, signals, live, policy), self._on_failure)
        self._expiry = Expiry(self.settings.item_idle_days, self.catalogue, signals)
        items = await self._follow(self._names.items, self._on_item)
        deltas = await self._follow(self._names.signals, self._on_signal)
        await items.caught_up.wait()
        await deltas.caught_up.wait()
        await self._keep_a_way_back(self.serving)
        async with self.lock:
            self._expire()
            await asyncio.get_running_loop().run_in_executor(self._models, warm_up, self.serving.world)
        if not self.settings.pin:
            self._announced.set()
            self._spawn(self._follow_releases())
        self._spawn(self._compact())
        self._spawn(self._watch_recall())
        self._spawn(self._expire_idle())
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
    def world(self) -> World | None:
        """The live release's world; None before there is one."""
        return None if self.serving is None else self.serving.world

    @property
    def signals_age(self) -> float:
        """Seconds since the learner was last heard, while there are clicks for it to tell of."""
        return time.monotonic() - self._signals_at

    @property
    def signals_stale(self) -> bool:
        """Whether the learner has been silent for too long."""
        return self._stale

    async def _follow(self, topic: str, on_record: Callable[[ConsumerRecord], None]) -> Feed:
        feed = Feed(
            topic, self._connection, on_record, lock=self.lock, on_stretch=self._settle,
            gather_ms=gathering(self.settings.signals_interval_ms), beacon=self._service.beacon,
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

    # -- releases -----------------------------------------------------------------------------------

    async def _first(self) -> Live:
        """The release to begin with: the live one, or where that is damaged the one before."""
        if self.settings.release is not None:
            return await self._loader.load(self.settings.release, None)
        live = self.roles.live
        assert live is not None
        try:
            return await self._loader.load(live, None)
        except (ReleaseError, StoreError, OSError) as error:
            for record in reversed(self.roles.before):
                with contextlib.suppress(ReleaseError, StoreError, OSError):
                    found = await self._loader.load(record, None)
                    log.error(
                        "release refused; the one before begins", release=live.release, error=str(error)
                    )
                    return found
            raise

    async def _keep_a_way_back(self, serving: Serving) -> None:
        """Loads the release before where this worker failed under the live one.

        What it failed at comes again: if the release before can do it, the live one is to blame.
        """
        if serving.world.live.release.id != self._suspect or self.settings.pin:
            return
        for record in reversed(self.roles.before):
            try:
                loaded = await self._loader.load(record, serving.world)
            except Exception as error:  # models raise what they like
                log.warning("no way back to a release", release=record.release, error=str(error))
                continue
            async with self.lock:
                self._loader.finish(loaded, serving.world)
                serving.begin_probation(loaded)
            log.warning(
                "this worker failed under the live release, which is on probation now",
                release=self._suspect, before=record.release,
            )  # fmt: skip
            return

    async def _follow_releases(self) -> None:
        """Loads, swaps and drops as the roles say, until cancelled."""
        while True:
            await self._announced.wait()
            self._announced.clear()
            try:
                await self._take_roles()
                await asyncio.to_thread(trim_heap)  # of what was loaded and what was let go
            except StoreUnreachable as error:
                log.warning("release not loaded yet; what is loaded goes on", error=str(error))
                await asyncio.sleep(_RETRY_SECONDS)
                self._announced.set()

    async def _take_roles(self) -> None:
        serving = self.serving
        assert serving is not None
        live = self.roles.live
        if live is not None and live.release not in self._bad:
            await self._go_live(live, serving)
        if serving.before is not None and self._is_failed(serving.before.release.id):
            serving.forget_before()  # no way back to that
        canary = self.roles.canary
        wanted = None if canary is None or canary.release in self._bad else canary.release
        if serving.canary is not None and serving.canary.live.release.id != wanted:
            async with self.lock:
                name = serving.canary.live.release.id
                serving.end_canary()
            log.info("canary ended")
            self._note("canary", name, "ended")
        if canary is not None and wanted is not None and serving.canary is None:
            share = self.roles.share(self.settings.canary_share)
            loaded = await self._loaded(canary, serving)
            if loaded is None or self.roles.canary is None or self.roles.canary.release != canary.release:
                return
            async with self.lock:
                self._loader.finish(loaded, serving.world)
                serving.begin_canary(loaded, share)
            log.info("canary begins", release=canary.release, share=share)
            self._note("canary", canary.release, "begins", share=share)

    async def _go_live(self, record: ReleaseRecord, serving: Serving) -> None:
        if record.release == serving.world.live.release.id:
            return
        before, began = serving.world.live.release.id, time.monotonic()
        loaded = next((live for live in serving.loaded if live.release.id == record.release), None)
        if loaded is None:
            loaded = await self._loaded(record, serving)
            if loaded is None:
                return
            self._announced.set()  # the roles may have changed meanwhile
            async with self.lock:
                self._loader.finish(loaded, serving.world)
                serving.swap(loaded)
        else:
            async with self.lock:
                serving.swap(loaded)
        log.info("release swapped", release=record.release)
        seconds = round(time.monotonic() - began, 2)
        self._note("swap", record.release, f"instead of {before}", before=before, seconds=seconds)

    async def _loaded(self, record: ReleaseRecord, serving: Serving) -> Live | None:
        """The release in memory; None where it is refused, which is then on record."""
        try:
            return await self._loader.load(record, serving.world)
        except StoreUnreachable as error:
            if self._awaited != record.release:
                self._awaited = record.release
                self._note("waiting", record.release, str(error))
            raise
        except Exception as error:  # models raise what they like; nothing that they do stops a worker
            log.error("release refused; the live one goes on", release=record.release, error=str(error))
            self._note("failed", record.release, str(error))
            self._take_back(record.release, str(error), shared=True)
            return None

    def _on_failure(self, release: str, reason: str) -> None:
        log.error("release failed and was taken out; another one answers", release=release, error=reason)
        self._note("failed", release, reason)
        self._take_back(release, reason, shared=False)

    def _take_back(self, release: str, reason: str, *, shared: bool) -> None:
        self._bad.add(release)
        record = self.roles.records.get(release)
        self._announced.set()
        if record is None or record.role not in ("live", "canary"):
            return  # nobody announced it, or another worker was faster
        at = int(time.time() * 1000)
        try:
            records = take_back(
                self.roles, release, at=at, reason=reason, role="quarantined", decision="failed"
            )
        except RoleError:  # it was the first one of all
            records = [changed(record, "quarantined", at, "failed", reason)]
        self._decide(records, shared)

    def _note(self, kind: Kind, release: str, reason: str, **evidence: Any) -> None:
        at = int(time.time() * 1000)
        self._note_event(Event(at=at, kind=kind, release=release, reason=reason, evidence=evidence))

    def _is_failed(self, release: str) -> bool:
        record = self.roles.records.get(release)
        return release in self._bad or (record is not None and record.role == "quarantined")

    async def _compact(self) -> None:
        """Rebuilds indexes beside the rounds where churn has made that worthwhile."""
        while True:
            await asyncio.sleep(_COMPACT_SECONDS)
            assert self.serving is not None
            for live in self.serving.loaded:
                if live.index.wants_compaction:
                    started = time.monotonic()
                    done = await asyncio.get_running_loop().run_in_executor(self._models, live.compact)
                    seconds = round(time.monotonic() - started, 2)
                    log.info("index compacted", release=live.release.id, done=done, seconds=seconds)

    async def _watch_recall(self) -> None:
        """Measures, for one list in many, how much of it the indexes of the releases in use find."""
        while True:
            took = 0.0
            assert self.serving is not None
            for live in self.serving.loaded:
                took += await asyncio.get_running_loop().run_in_executor(self._models, live.measure_recall)
            await asyncio.sleep(max(_RECALL_SECONDS, _RECALL_REST * took))

    async def _expire_idle(self) -> None:
        while True:
            await asyncio.sleep(_EXPIRE_SECONDS)
            async with self.lock:
                self._expire()

    def _expire(self) -> None:
        assert self.serving is not None
        idle = self._expiry.due()
        if len(idle):
            self.catalogue.expire(idle)
            self._changed.update(idle.tolist())
            self._settle()
            log.info("idle items have left", items=len(idle), days=self.settings.item_idle_days)

    # -- records ------------------------------------------------------------------------------------

    def _follow_catalogue(self, changed: Iterable[int]) -> None:
        if self.serving is not None:
            for live in self.serving.loaded:
                live.follow(changed)

    def _settle(self) -> None:
        """After a stretch of records: the indexes follow once for all of them."""
        if self.serving is not None:
            self.serving.world.signals.follow()
            self._follow_catalogue(self._changed)
        self._loader.note(self._changed)
        self._changed.clear()

    def _on_release(self, record: ConsumerRecord) -> None:
        if record.value is None:
            return
        try:
            decoded = decode_release(record.value)
        except UNREADABLE as error:
            self._refuse(record, str(error))
            return
        self.roles.apply(decoded)
        if decoded.role in ("live", "canary") and decoded.decision not in _REPEATED:
            self._bad.discard(decoded.release)  # somebody wants it tried again
        self._announced.set()

    def _on_item(self, record: ConsumerRecord) -> None:
        try:
            if record.value is None:
                self._changed.add(self.catalogue.withdraw(decode_tombstone(record.key)))
                return
            item = decode_item(record.value)
        except UNREADABLE as error:
            self._refuse(record, str(error))
            return
        number = self.catalogue.announce(item) if item.available else self.catalogue.withdraw(item.item_id)
        for live in self.serving.loaded if self.serving is not None else ():
            renew(live.release, self.catalogue, number)
        self._changed.add(number)

    def _on_signal(self, record: ConsumerRecord) -> None:
        assert self.world is not None
        if record.value is None:
            return
        item_id = record.key.decode(errors="replace") if record.key else FRONTIER
        try:
            item = self.world.signals.apply(item_id, record.value)
        except SignalError as error:
            self._refuse(record, str(error))
            return
        if item >= 0 and self._expiry.is_back(item):
            self.catalogue.revive(item)
            self._changed.add(item)
        if item_id == FRONTIER:
            self._signals_at = time.monotonic()
            self.clock.hear(self.world.signals.now_ms)

    def _on_vector(self, item: int, vector: Any, content: Any) -> None:
        assert self.serving is not None
        for live in self.serving.loaded:
            release = live.release
            release.ensure(self.catalogue)
            if len(content):
                # The vector may be another student's: the learner takes up a new release later than this
                # worker, or earlier. What the text says is the same for all of one encoder.
                if len(content) == release.manifest.dims.content:
                    give(release, self.catalogue, item, content)
            elif live is self.serving.world.live and len(vector) == release.vector_size:
                release.set_vector(item, vector, content)
        self._changed.add(item)
