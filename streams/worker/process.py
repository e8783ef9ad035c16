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
import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import structlog

from learner.release.files import read_manifest
from streams.figures.record import Speaker
from streams.figures.scraped import serve_metrics
from streams.figures.sender import say_figures
from streams.figures.tracer import open_tracer
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
from streams.transport.growth import Grown, settled
from streams.transport.lag import Lag
from streams.transport.topics import Names
from streams.wire.clock import Clock
from streams.wire.intake import Arrival
from streams.worker.admission import Admission
from streams.worker.aside import Aside
from streams.worker.assignment import Assignment
from streams.worker.ending import Ending
from streams.worker.figures import Measured, register
from streams.worker.first_use import TOO_MANY, FirstUse
from streams.worker.ground import ground
from streams.worker.knowledge import Knowledge
from streams.worker.packing import pack
from streams.worker.patience import Patience
from streams.worker.reports import Reports
from streams.worker.rounds import Rounds
from streams.worker.spill import Spill
from streams.worker.suspicion import Suspicion
from streams.worker.traced import UNTRACED, Traces
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
            partitions = settled(admin, settings)
        group = self.names.worker_group
        self.slot = take_slot(settings.data_dir, group, settings.slot, settings.machine)
        member = f"{group}{self.slot.number}"
        self.connection = clients.async_connection(settings)
        self.clock = Clock(settings.clock, settings.max_future_ms)
        self.rng = np.random.default_rng()
        self.measured = Measured()
        self.lag = Lag()
        self.tracer = open_tracer(settings, "worker", self.slot.instance)
        self.traces = UNTRACED if self.tracer is None else Traces(self.tracer)
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
            self.names, partitions, self.clock, self.measured.counts, self.bad, settings.event_names,
            self.traces,
        )  # fmt: skip
        self.rounds: Rounds[Arrival] = Rounds(cost=self._work)
        self.patience = Patience(self._reached, self.rounds.again, self.measured.counts)
        self.first_use = FirstUse(self.rounds, self.knowledge.lock)
        spill = Spill(settings.data_dir / "spilled" / f"{member}.sqlite")
        aside = Aside(settings.data_dir / "aside" / f"{member}.tsv")
        self.users = Users(
            spill, partitions, settings.user_idle_days, settings.users_in_memory,
            partial(ground, settings, read=partitions), aside,
        )  # fmt: skip
        self.assignment: Assignment | None = None
        self.begins_again = False
        self._reporting: asyncio.Task[None] | None = None
        self._leaving = AsyncExitStack()  # what ends with the assignment
        register(self.measured.figures, self)
        self.speaker = Speaker(
            self.measured.figures,
            self.slot.instance,
            release=self._release,
            partitions=lambda: self.users.owned,
        )

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
            except Grown as grown:
                self._begin_again(grown)
            except Exception as error:
                await app.crash(error)
                raise

        @app.task  # type: ignore[untyped-decorator]
        async def watch_brokers() -> None:
            await source.watch_absence(self.settings.bootstrap_servers)

        @app.task  # type: ignore[untyped-decorator]
        async def say() -> None:
            await say_figures(self.settings, self.speaker)

        @app.timer(1.0)  # type: ignore[untyped-decorator]
        async def watch() -> None:
            self._watch()

        @app.timer(FIGURES_SECONDS)  # type: ignore[untyped-decorator]
        async def tell() -> None:
            self._tell()

        serve_metrics(self.settings, self.measured.figures)
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
            if self.tracer is not None:
                self.tracer.close()

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
            mark = self.traces.round(arrivals)
            self.users.bring_back({arrival.user_id for arrival in arrivals}, catalogue)
            wall_ms, started = int(time.time() * 1000), time.perf_counter()
            with self.suspicion.falls_on(serving):
                now_ms = self.clock.now_ms(wall_ms)
                outcomes = serving.answer(Round(arrivals, states, now_ms, self.rng, wall_ms, mark))
            arrived = self.measured.round(wall_ms, time.perf_counter() - started)
        parcels = pack(pending, outcomes, self.users, catalogue, self.measured.counts)
        await assignment.deliver(*self.traces.packed(parcels, outcomes, mark, arrived))

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
        try:
            users = await self.users.take_over(
                assignment.changelog, mine, generation, serving, self.knowledge.lock
            )
        except Grown as grown:
            self._begin_again(grown)
            await asyncio.Event().wait()  # until this is cancelled, for the end
            return
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

    def _begin_again(self, grown: Grown) -> None:
        """Ends as when told to, and then begins anew; the group shall not wait for this member meanwhile."""
        log.info("the topics grow: this worker ends its work, and begins again with them", why=str(grown))
        if not self.begins_again:
            self.begins_again = True
            self.source.leave()
            os.kill(os.getpid(), signal.SIGTERM)

    async def _stopped(self) -> None:
        """All is sent and the app has stopped: nothing more is read or loaded."""
        await self.knowledge.stop()
        self.models.shutdown(wait=False, cancel_futures=True)

    # -- what it tells ------------------------------------------------------------------------------

    def _release(self) -> str | None:
        serving = self.knowledge.serving
        return None if serving is None else serving.world.live.release.id

    def _tell(self) -> None:
        if self.knowledge.ready.is_set():
            log.info("figures", **self.speaker.plain())

    def _watch(self) -> None:
        if self.knowledge.ready.is_set():
            counts = self.measured.counts
            self.knowledge.silence.watch(counts["clicks"])
            if self.knowledge.scenarios is not None:
                self.knowledge.scenarios.watch(counts["lists"], counts["impressions"])
        clicks = (tp for tp in self.source.partitions if tp.topic == self.names.clicks)
        self.lag.look(clicks, self.source.progress)
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
    worker = Worker(settings)
    try:
        worker.run()
    finally:
        if worker.begins_again:  # the same process to whoever watches it, with the partitions of now
            os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606
