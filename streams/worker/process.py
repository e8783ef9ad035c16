"""The worker: clicks and requests in, lists out. All wiring of the hot path happens here.

The way of a click: `BatchSource` brings a fetched slice, `Admission` lets each good record in, `Rounds` gives
each user a turn, `recommend` makes the lists, and the `Assignment` sends them, then the states they rest on,
and then marks the slice's offset. They meet in `Worker._take_in` and `Worker._round`.

A round is made in the event loop, which waits for it: a thread of its own would give up the interpreter
at each of its calls into compiled code and wait to get it back (docs/log.md has the figures).
Heartbeats are sent by Faust's consumer thread meanwhile; releases are loaded in a thread too.
"""

import asyncio
import contextlib
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import structlog

from learner.release.files import read_manifest
from streams.hot_path.live import MEASURED
from streams.hot_path.serving import Round, Serving
from streams.hot_path.work import work_of
from streams.runtime.event_loop import fast_loops, few_arenas, freeze_heap
from streams.runtime.repeated import Repeated
from streams.runtime.slots import take_slot
from streams.settings import Settings
from streams.transport import clients, topics
from streams.transport.batches import TP, Batch, BatchSource
from streams.transport.changed_topics import ChangedTopics
from streams.transport.faust_app import new_app
from streams.transport.fence import Fenced
from streams.transport.topics import Names
from streams.wire.clock import Clock
from streams.wire.intake import Arrival
from streams.worker.admission import Admission
from streams.worker.aside import Aside
from streams.worker.assignment import Assignment
from streams.worker.ending import Ending
from streams.worker.figures import Figure, Figures
from streams.worker.first_use import TOO_MANY, FirstUse
from streams.worker.ground import ground
from streams.worker.knowledge import Knowledge
from streams.worker.packing import pack
from streams.worker.patience import Patience
from streams.worker.reports import Reports
from streams.worker.rounds import Rounds
from streams.worker.spill import Spill
from streams.worker.suspicion import Suspicion
from streams.worker.upkeep import tidy
from streams.worker.users import Users

log = structlog.get_logger()

# Clicks whose effects are on their way to the broker: above it the next round waits.
MAX_UNACKNOWLEDGED = 2048
# The event loop and Faust's consumer thread take turns at the interpreter. With Python's 5 ms each round
# would wait for a turn of the other's several times over.
SWITCH_SECONDS = 0.0005
FIGURES_SECONDS = 60.0  # between two log lines with all figures


class Worker:
    """One worker process: a member of the group that shares the partitions of clicks and requests.

    assignment: what lives as long as the partitions that this worker has now, None while it has none
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.names = Names(settings.prefix)
        if settings.release is not None:
            read_manifest(Path(settings.release))  # a wrong folder is said before the group hears of a member
        with clients.admin(settings) as admin:
            topics.create_missing(admin, settings)
            partitions = topics.check(admin, settings)
        group = self.names.worker_group
        self.slot = take_slot(settings.data_dir, group, settings.slot, settings.machine)
        member = f"{group}{self.slot.number}"
        self.connection = clients.async_connection(settings)
        self.clock = Clock(settings.clock, settings.max_future_ms)
        self.rng = np.random.default_rng()
        self.figures = Figures((
            "clicks", "lists", "hurried_lists", "refused", "forwarded", "replayed", "duplicates", "forgotten",
            "impressions", "idle_undos", "moved_on",
            "expired_requests", "behind_requests",
        ))  # fmt: skip
        self.app = new_app(group, settings, instance=self.slot.instance)
        self.source = BatchSource(
            self.app,
            [self.names.clicks, self.names.requests],
            assigned=self._assigned,
            revoking=self._revoking,
            follows={self.names.requests: self.names.clicks},
            partitions=partitions,
        )
        self._changed_topics = ChangedTopics(settings, partitions)
        self._partitions = partitions
        self.suspicion = Suspicion(settings.data_dir / "suspicions" / member)
        self.bad = Repeated("bad record", "`nextclick dead-letters list` shows what and why")
        self.reports = Reports(settings, self.slot.number, self._report, self.bad)
        self.models = ThreadPoolExecutor(1, thread_name_prefix="models")
        self.knowledge = Knowledge(
            settings, self.connection, self.clock, self.models, self.reports, self.app,
            suspect=self.suspicion.take(),
        )  # fmt: skip
        self.admission = Admission(
            self.names, partitions, self.clock, self.figures.counts, self.bad, settings.event_names
        )
        self.rounds: Rounds[Arrival] = Rounds(cost=self._work)
        self.patience = Patience(self._reached, self.rounds.again, self.figures.counts)
        self.first_use = FirstUse(self.rounds, self.knowledge.lock)
        spill = Spill(settings.data_dir / "spilled" / f"{member}.sqlite")
        aside = Aside(settings.data_dir / "aside" / f"{member}.tsv")
        self.users = Users(
            spill, partitions, settings.user_idle_days, settings.users_in_memory,
            partial(ground, settings), aside,
        )  # fmt: skip
        self.assignment: Assignment | None = None
        self._reporting: asyncio.Task[None] | None = None
        self._leaving = AsyncExitStack()  # what ends with the assignment
        self._register_figures()

    def run(self) -> None:
        """Runs until SIGTERM or Ctrl-C; returns when everything in hand is acknowledged."""
        app, source = self.app, self.source

        @app.agent(source.topic, name=f"{self.settings.prefix}recommend")  # type: ignore[untyped-decorator]
        @source.fatal
        async def serve(stream: Any) -> None:
            async for batch in source.batches(stream):
                with contextlib.suppress(Fenced):  # the partition is lost: the next owner reads it
                    await self._take_in(batch)

        @app.task  # type: ignore[untyped-decorator]
        async def learn_the_world() -> None:
            try:
                await self.knowledge.start()
            except Exception as error:
                await app.crash(error)
                raise

        @app.task  # type: ignore[untyped-decorator]
        async def watch_topics() -> None:
            try:
                await self._changed_topics.watch()
            except Exception as error:
                await app.crash(error)
                raise

        @app.task  # type: ignore[untyped-decorator]
        async def watch_brokers() -> None:
            await source.watch_absence(self.settings.bootstrap_servers)

        @app.timer(1.0)  # type: ignore[untyped-decorator]
        async def watch() -> None:
            self._watch()

        @app.timer(FIGURES_SECONDS)  # type: ignore[untyped-decorator]
        async def tell() -> None:
            self._tell()

        log.info(
            "worker starts", slot=self.slot.number, brokers=self.settings.bootstrap_servers,
            prefix=self.settings.prefix, clock=self.settings.clock,
        )  # fmt: skip
        try:
            Ending(app, self.settings.stop_seconds, self._stopped).execute_from_commandline()
        except SystemExit:
            if self.app.crashed:  # Mode ends the process without a word on why
                raise self.app.crash_reason from None
            raise
        finally:
            self._tell()

    # -- the way of a click -------------------------------------------------------------------------

    async def _take_in(self, batch: Batch) -> None:
        """A slice on its way to the rounds: its records are admitted, and wait for their users' turns."""
        if (assignment := self.assignment) is not None:  # else its partition goes: the next owner reads it
            admitted = await assignment.spawn(self.admission.admit(batch, assignment))
            requests = batch.topic == self.names.requests
            await self.rounds.put(batch, admitted, self.patience.keeps if requests else None)
            self.source.taken_in(batch)
            if not requests:
                self.patience.release(batch.partition)
        if not self.rounds.pending:
            self.source.more()

    def _reached(self, partition: int) -> int:
        """The offset in `clicks` before which all of a partition stands in the rounds, or stood there."""
        return self.source.reached.of(TP(self.names.clicks, partition))

    async def _round(self, assignment: Assignment, serving: Serving) -> None:
        """A round on its way out: taken, answered, and packed for the brokers."""
        await assignment.changelog.room(MAX_UNACKNOWLEDGED)
        catalogue, states = serving.world.catalogue, self.users.states
        async with self.knowledge.lock:
            pending = self.first_use.fit(self.patience.awaited(self.rounds.take()), serving.world)
            for record in self.first_use.turned_down():
                letter = assignment.spawn(self.admission.turn_down(record, TOO_MANY, assignment))
                self.source.then(letter, record.done)
            self.source.more()
            if not pending:
                return
            await asyncio.sleep(0)  # the next fetch is on its way while this round is made
            arrivals = [record.payload for record in pending]
            for arrival in arrivals:
                if arrival.message.timestamp is not None:
                    self.clock.observe(arrival.message.timestamp, arrival.user_id)
            self.users.bring_back({arrival.user_id for arrival in arrivals}, catalogue)
            wall_ms = int(time.time() * 1000)
            with self.suspicion.falls_on(serving):
                now_ms = self.clock.now_ms(wall_ms)
                outcomes = serving.answer(Round(arrivals, states, now_ms, self.rng, wall_ms))
        await assignment.deliver(pack(pending, outcomes, self.users, catalogue, self.figures.counts))

    def _work(self, arrival: Arrival) -> float:
        serving = self.knowledge.serving
        assert serving is not None  # rounds begin later
        return work_of(arrival, serving.world.steering.given)

    # -- partitions come and go ---------------------------------------------------------------------

    async def _assigned(self, partitions: frozenset[Any], generation: int) -> None:
        """Takes over the users of new partitions; Faust hands out no batch before this returns."""
        serving = await self.knowledge.known()
        mine = frozenset(
            tp.partition for tp in partitions
            if tp.topic == self.names.clicks and tp.partition < self._partitions  # else added since the start
        )  # fmt: skip
        assignment = await self._leaving.enter_async_context(
            Assignment(self.source, self.connection, self.names, mine)
        )
        started = time.monotonic()
        users = await self.users.take_over(
            assignment.changelog, mine, generation, serving, self.knowledge.lock
        )
        log.info(
            "partitions assigned", partitions=sorted(mine), users=users,
            seconds=round(time.monotonic() - started, 2), generation=generation,
        )  # fmt: skip
        await self.reports.send(assignment, self.knowledge.releases.roles)
        freeze_heap()
        assignment.loop(self.rounds.run(partial(self._round, assignment, serving)))
        assignment.loop(self.patience.run())
        assignment.loop(self.first_use.run(serving.world.steering.masks))
        assignment.loop(self.source.watch_losses())
        assignment.loop(tidy(self.rounds, serving, self.users, self.knowledge.lock, self.suspicion))
        self.assignment = assignment

    async def _revoking(self, partitions: frozenset[Any]) -> None:  # noqa: ARG002
        """Ends the work in hand: what was computed is sent and acknowledged, what waits is left."""
        assignment, self.assignment = self.assignment, None
        self.rounds.clear()
        await self._leaving.aclose()
        for waiting in (self.rounds, self.patience, self.first_use):  # what the last round has sent back
            waiting.clear()
        if assignment is not None and not assignment.sound:
            self.users.distrust()

    async def _stopped(self) -> None:
        """All is sent and the app has stopped: nothing more is read or loaded."""
        await self.knowledge.stop()
        self.models.shutdown(wait=False, cancel_futures=True)

    # -- what it tells ------------------------------------------------------------------------------

    def _register_figures(self) -> None:
        """All but the counters; those that need a release are None before there is one."""
        knowledge, users = self.knowledge, self.users

        def gauge(name: str, of: Callable[[Serving], Figure]) -> None:
            self.figures.gauge(name, lambda: None if knowledge.serving is None else of(knowledge.serving))

        gauge("release", lambda serving: serving.world.live.release.id)
        gauge("canary", lambda serving: serving.canary.live.release.id if serving.canary else None)
        gauge("swaps", lambda serving: serving.swaps)
        gauge("index", lambda serving: serving.world.live.index.kind)
        gauge("indexed", lambda serving: len(serving.world.live.index))
        gauge(f"recall@{MEASURED}", lambda serving: serving.world.live.recall.recall)
        gauge(f"canary_recall@{MEASURED}", lambda s: s.canary.live.recall.recall if s.canary else None)
        gauge("reencoded", lambda serving: serving.reencoded)
        self.figures.gauge("items", lambda: knowledge.catalogue.size)
        self.figures.gauge("available", lambda: int(knowledge.catalogue.available.sum()))
        self.figures.gauge("expired", lambda: int(knowledge.catalogue.expired.sum()))
        for name, read in (
            ("scenarios", lambda scenarios: scenarios.count),
            ("unheard_scenarios", lambda scenarios: scenarios.unheard),
            ("unknown_fields", lambda scenarios: len(scenarios.unknown_fields)),
            ("idle_shown_caps", lambda scenarios: len(scenarios.idle_shown_caps)),
        ):
            self.figures.gauge(name, partial(knowledge.of_scenarios, read))
        self.figures.gauge("signals_age_s", lambda: knowledge.silence.seconds)
        self.figures.gauge("users", lambda: len(users.states))
        self.figures.gauge("spilled", lambda: users.away)
        self.figures.gauge("partitions", lambda: len(users.owned))
        self.figures.gauge("waiting", lambda: self.rounds.pending)
        self.figures.gauge("held", lambda: len(self.patience) + self.rounds.parked)
        self.figures.gauge("slot", lambda: self.slot.number)

    def _tell(self) -> None:
        if self.knowledge.ready.is_set():
            log.info("figures", **self.figures.snapshot())

    def _watch(self) -> None:
        if self.knowledge.ready.is_set():
            self.knowledge.silence.watch(self.figures.counts["clicks"])
            if self.knowledge.scenarios is not None:
                counts = self.figures.counts
                self.knowledge.scenarios.watch(counts["lists"], counts["impressions"])
        self.admission.watch()
        self.reports.watch()
        self._report()

    def _report(self) -> None:
        """Sends what there is to say to everybody; without partitions it waits for some."""
        sending = self._reporting is not None and not self._reporting.done()  # it waits for a broker, perhaps
        if self.assignment is not None and len(self.reports) and not sending:
            self._reporting = self.assignment.spawn(
                self.reports.send(self.assignment, self.knowledge.releases.roles)
            )


def run(settings: Settings) -> None:
    """Runs a worker until it is stopped."""
    sys.setswitchinterval(SWITCH_SECONDS)
    few_arenas()
    fast_loops()
    Worker(settings).run()
