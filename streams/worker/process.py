"""The worker: clicks and requests in, lists out. All wiring of the hot path happens here.

The way of a click: `BatchSource` brings a fetched slice, `intake` judges each record, `Rounds` gives each
user a turn, `recommend` makes the lists, `Delivery` sends them, `Changelog` sends the states they rest on,
and the slice's offset is marked.

A round is made in the event loop, which waits for it: a thread of its own would give up the interpreter
at each of its calls into compiled code and wait to get it back (docs/log.md has the figures).
Heartbeats are sent by Faust's consumer thread meanwhile; releases are loaded in a thread too.
"""

import asyncio
import functools
import os
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import structlog
from aiokafka import ConsumerRecord
from mode import Worker as ModeWorker

from learner.release.files import read_manifest
from streams.hot_path.live import MEASURED
from streams.hot_path.recommend import calls_for_list
from streams.hot_path.serving import Round, Serving
from streams.hot_path.state_record import decode_state
from streams.hot_path.user_states import UserStates
from streams.hot_path.world import Fate, Outcome, World
from streams.releases.events import Event, EventLog
from streams.releases.events import folder_of as events_folder
from streams.runtime.event_loop import fast_loops, few_arenas, freeze_heap, trim_heap
from streams.runtime.slots import take_slot
from streams.settings import Settings
from streams.transport import clients, topics
from streams.transport.batches import Batch, BatchSource
from streams.transport.changelog import Changelog, Restored
from streams.transport.dead_letters import DeadLetters, SharedRefusals
from streams.transport.delivery import Delivery, Outgoing, new_producer
from streams.transport.faust_app import new_app
from streams.transport.feeds import new_reader
from streams.transport.topics import Names
from streams.wire.clock import Clock
from streams.wire.contract import ReleaseRecord, encode
from streams.wire.intake import Arrival, Misplaced, Refused, admit
from streams.wire.partitioner import partition_of
from streams.worker.decisions import Decisions
from streams.worker.figures import Figure, Figures
from streams.worker.knowledge import Knowledge
from streams.worker.rounds import ROUND, Pending, Rounds
from streams.worker.spill import Spill
from streams.worker.suspicion import Suspicion

log = structlog.get_logger()

# Clicks whose effects are on their way to the broker: above it the next round waits.
MAX_UNACKNOWLEDGED = 2048
# The event loop and Faust's consumer thread take turns at the interpreter. With Python's 5 ms each round
# would wait for a turn of the other's several times over.
SWITCH_SECONDS = 0.0005
# A fetched slice reaches the rounds within this many turns of the event loop.
TURNS = 4
# States re-encoded at once while nobody waits: at most 128 student steps, some 8 ms in all.
IDLE_USERS = 8
# States of idle users that go to disk between two rounds: some 3 ms in all.
SPILLED_AT_ONCE = 50
# Between two times that free memory goes back to the system, while nobody waits: what a load of clicks has
# needed is not needed again (20 MB of 100,000 clicks).
TRIMMED_EVERY_S = 60.0
# The work of a click that calls for no list, in lists.
ONLY_FOLDED = 1 / 8
FIGURES_SECONDS = 60.0  # between two log lines with all figures
_STATES_A_TURN = 200  # restored between two turns for heartbeats


class Worker:
    """One worker process: a member of the group that shares the partitions of clicks and requests."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.names = Names(settings.prefix)
        if settings.release is not None:
            read_manifest(Path(settings.release))  # a wrong folder is said before the group hears of a member
        with clients.admin(settings) as admin:
            topics.create_missing(admin, settings)
            self.partitions = topics.check(admin, settings)
        group = f"{settings.prefix}worker"
        self.slot = take_slot(settings.data_dir, group, settings.slot)
        self.connection = clients.async_connection(settings)
        self.clock = Clock(settings.clock, settings.max_future_ms)
        self.rng = np.random.default_rng()
        self.rounds: Rounds[Arrival] = Rounds(cost=_work_of)
        self.events = EventLog(events_folder(settings), f"worker-{self.slot.number}")
        self.figures = Figures(
            ("clicks", "lists", "hurried_lists", "refused", "forwarded", "replayed", "duplicates")
        )
        # One round or one stretch of a feed at a time: no list sees half a change.
        self.lock = asyncio.Lock()
        self.models = ThreadPoolExecutor(1, thread_name_prefix="models")
        self.app = new_app(group, settings, instance=self.slot.instance)
        self.suspicion = Suspicion(settings.data_dir / "suspicions" / f"{group}{self.slot.number}")
        self.knowledge = Knowledge(
            settings, self.connection, self.clock, self.models, self.lock, self._refuse_shared, self._decide,
            self._note, self.app, suspect=self.suspicion.take(),
        )  # fmt: skip
        self.source = BatchSource(
            self.app,
            [self.names.clicks, self.names.requests],
            assigned=self._assigned,
            revoking=self._revoking,
        )
        self.states: UserStates | None = None
        self.spill = Spill(settings.data_dir / "spilled" / f"{group}{self.slot.number}.sqlite")
        self._owned: frozenset[int] = frozenset()
        self._generation = -1
        self._working: asyncio.Task[None] | None = None
        self._idling: asyncio.Task[None] | None = None
        self._background: set[asyncio.Task[Any]] = set()
        self._shared_refusals = SharedRefusals(settings.retention_days * topics.DAY_MS)
        self._decisions = Decisions()
        self._clicks_before = self._forwarded_before = 0
        self._register_figures()

    def run(self) -> None:
        """Runs until SIGTERM or Ctrl-C; returns when everything in hand is acknowledged."""
        app, source = self.app, self.source

        @app.agent(source.topic, name=f"{self.settings.prefix}recommend")  # type: ignore[untyped-decorator]
        @source.fatal
        async def serve(stream: Any) -> None:
            async for batch in source.batches(stream):
                await self.rounds.put(batch, await self._judge(batch))
                if not self.rounds.pending:
                    source.more()

        @app.task  # type: ignore[untyped-decorator]
        async def learn_the_world() -> None:
            try:
                await self.knowledge.start()
            except Exception as error:
                await app.crash(error)
                raise

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
            _Process(app, self.settings.stop_seconds).execute_from_commandline()
        except SystemExit:
            if self.app.crashed:  # Mode ends the process without a word on why
                raise self.app.crash_reason from None
            raise
        finally:
            self._tell()

    # -- partitions come and go -------------------------------------------------------------------

    async def _assigned(self, partitions: frozenset[Any], generation: int) -> None:
        """Restores the states of new partitions; Faust hands out no batch before this returns."""
        await self.knowledge.ready.wait()
        world = self.world
        producer = new_producer(self.connection)
        await producer.start()
        self.delivery = Delivery(producer, self.source.fence)
        self.producer = producer
        self.changelog = Changelog(self.names.user_states, self.delivery, lambda: new_reader(self.connection))
        self.letters = DeadLetters(
            self.names.dead_letters, self.delivery, lambda: new_reader(self.connection)
        )
        await self.letters.refresh()
        if self.states is None or generation != self._generation + 1:
            # Somebody else may have owned the partitions in a generation this worker has missed.
            self.states = _new_states(world)
            self.spill.clear()
            self._owned = frozenset()
        mine = frozenset(tp.partition for tp in partitions if tp.topic == self.names.clicks)
        self._forget(self._owned - mine)
        started, users = time.monotonic(), 0
        async for restored in self.changelog.restore(sorted(mine), generation):
            if restored.partition not in self._owned:
                users += await self._restore(restored)
        self._owned, self._generation = mine, generation
        log.info(
            "partitions assigned", partitions=sorted(mine), users=users,
            seconds=round(time.monotonic() - started, 2), generation=generation,
        )  # fmt: skip
        await self._send_shared_refusals()
        await self._send_decisions()
        freeze_heap()
        self._working = asyncio.create_task(self._work())
        self._idling = asyncio.create_task(self._idle())

    async def _revoking(self, partitions: frozenset[Any]) -> None:  # noqa: ARG002
        """Ends the work in hand: what was computed is sent and acknowledged, what waits is left."""
        self.rounds.clear()
        if self._idling is not None:
            self._idling.cancel()
            await asyncio.wait([self._idling])
        if self._working is not None:
            self._working.cancel()
            await asyncio.wait([self._working])
            self._working = None
            await self.changelog.drain()
            await asyncio.sleep(0)  # the last futures' callbacks mark their batches
            await self.producer.stop()

    def _forget(self, partitions: frozenset[int]) -> None:
        if not partitions or self.states is None:
            return
        for user in list(self.states.index):
            if partition_of(user.encode(), self.partitions) in partitions:
                self.states.forget(user)
        self.spill.forget(partitions)

    async def _restore(self, restored: Restored) -> int:
        assert self.states is not None
        world, away_ms = self.world, self._away_ms()
        values = iter(restored.states.values())
        while some := [(decode_state(value), value) for value in islice(values, _STATES_A_TURN)]:
            away = [(state, value) for state, value in some if state.last_ms < away_ms]
            spilled = self._spilled([(state.user_id, restored.partition, value) for state, value in away])
            for state, _ in some:
                if not spilled or state.last_ms >= away_ms:
                    self.states.restore(state, world.catalogue)
            await asyncio.sleep(0)
        async with self.lock:
            for live in self.serving.loaded:
                live.follow()
        return len(restored.states)

    # -- records in ---------------------------------------------------------------------------------

    async def _judge(self, batch: Batch) -> list[tuple[str, Arrival]]:
        """Decodes a slice; bad records go to the dead letters, misplaced ones to their partition."""
        requests = batch.topic == self.names.requests
        good: list[tuple[str, Arrival]] = []
        acknowledgements: list[asyncio.Future[Any]] = []
        now_ms = int(time.time() * 1000)
        for record in batch.records:
            verdict = admit(
                record.value, batch.partition, record.offset,
                requests=requests, partitions=self.partitions,
                refuses=lambda timestamp: self.clock.refuses(timestamp, now_ms),
            )  # fmt: skip
            if isinstance(verdict, Arrival):
                good.append((verdict.user_id, verdict))
            elif isinstance(verdict, Misplaced):
                self.figures.counts["forwarded"] += 1
                acknowledgements += await self.delivery.send(
                    batch.topic,
                    [Outgoing(verdict.key, record.value, verdict.partition, list(record.headers))],
                )
            else:
                assert isinstance(verdict, Refused)
                self.figures.counts["refused"] += 1
                log.warning(
                    "bad record", error=verdict.error, topic=batch.topic,
                    partition=batch.partition, offset=record.offset,
                )  # fmt: skip
                acknowledgements += await self.letters.send(record, verdict.error, now_ms)
        for future in acknowledgements:
            await future  # before the slice may be finished
        return good

    def _refuse_shared(self, record: ConsumerRecord, error: str) -> None:
        """A bad item, signal or release: every worker reads it, the owner of partition 0 sends it."""
        log.warning("bad record", error=error, topic=record.topic, offset=record.offset)
        self._shared_refusals.add(record, error, int(time.time() * 1000))
        if self._working is not None:
            self._spawn(self._send_shared_refusals())

    async def _send_shared_refusals(self) -> None:
        if 0 in self._owned:  # otherwise they wait: the partition may come to this worker later
            await self._shared_refusals.send(self.letters, int(time.time() * 1000))

    def _decide(self, records: Sequence[ReleaseRecord], shared: bool) -> None:
        """Takes a failing release back for everybody; where all workers see it, one of them does."""
        self._decisions.add(records, shared)
        if self._working is not None:
            self._spawn(self._send_decisions())

    def _note(self, event: Event) -> None:
        evidence = {"slot": self.slot.number, **event.evidence}
        self.events.append(msgspec.structs.replace(event, evidence=evidence))

    async def _send_decisions(self) -> None:
        await self._decisions.send(
            self.delivery, self.names.releases, self.knowledge.roles, first=0 in self._owned
        )

    # -- rounds -------------------------------------------------------------------------------------

    async def _work(self) -> None:
        try:
            while True:
                await self.rounds.wait()
                await self._gather()
                while self.changelog.pending > MAX_UNACKNOWLEDGED:
                    await asyncio.sleep(0.001)
                # Cancelled only between rounds: a state that was folded must reach the changelog.
                await asyncio.shield(self._spawn(self._round()))
        except asyncio.CancelledError:
            while self._background:
                await asyncio.wait(self._background)
            raise
        except Exception as error:
            await self.app.crash(error)

    async def _gather(self) -> None:
        """Lets in what has been fetched already: slices of one fetch come one after the other.

        Behind a backlog too: another user's click must not wait a round for each of the loop's turns.
        """
        before = -1
        while before < self.rounds.pending and before < ROUND:
            before = self.rounds.pending
            for _ in range(TURNS):
                await asyncio.sleep(0)

    async def _round(self) -> None:
        async with self.lock:
            pending = self.rounds.take()
            self.source.more()
            if not pending:
                return
            await asyncio.sleep(0)  # the next fetch is on its way while this round is made
            for record in pending:
                message = record.payload.message
                if message.timestamp is not None:
                    self.clock.observe(message.timestamp, message.user_id)
            if len(self.spill):
                self._bring_back({record.payload.user_id for record in pending})
            outcomes = self._recommend([record.payload for record in pending])
        lists, states = self._encode(outcomes)
        for partition, records in _by_partition(pending, outcomes).items():
            sent = await self.delivery.send(self.names.recommendations, lists.get(partition, []))
            durable = self.changelog.commit(partition, sent, states.get(partition, {}), len(records))
            durable.add_done_callback(functools.partial(self._finish, records))

    def _recommend(self, arrivals: Sequence[Arrival]) -> list[Outcome]:
        assert self.states is not None
        wall_ms = int(time.time() * 1000)
        try:
            now_ms = self.clock.now_ms(wall_ms)
            return self.serving.answer(Round(arrivals, self.states, now_ms, self.rng, wall_ms))
        except Exception:
            self.suspicion.note(self.world.live.release.id)
            raise

    async def _idle(self) -> None:
        """While no rounds are pending: re-encodes states after a swap, spills those of idle users, tidies."""
        trimmed = time.monotonic()
        try:
            while True:
                done = 0
                if not self.rounds.pending and self.states is not None:
                    async with self.lock:
                        done = self._reencode(self.states) or self._spill_idle(self.states)
                    if not done and time.monotonic() - trimmed > TRIMMED_EVERY_S:
                        await asyncio.to_thread(trim_heap)
                        trimmed = time.monotonic()
                await asyncio.sleep(0.02 if done else 1.0)
        except Exception as error:
            await self.app.crash(error)

    def _reencode(self, states: UserStates) -> int:
        try:
            return self.serving.idle(states, IDLE_USERS)
        except Exception:
            self.suspicion.note(self.world.live.release.id)
            raise

    def _away_ms(self) -> float:
        """The event time before which a user's last event makes the user an idle one."""
        return self.world.signals.now_ms - self.settings.user_idle_days * topics.DAY_MS

    def _spill_idle(self, states: UserStates) -> int:
        slots = states.idle(self._away_ms())[:SPILLED_AT_ONCE].tolist()
        users = [states.users[slot] for slot in slots]
        away = [
            (user, partition_of(user.encode(), self.partitions), states.encode(slot, self.world.catalogue))
            for user, slot in zip(users, slots, strict=True)
        ]
        if not self._spilled(away):
            return 0
        for user in users:
            states.forget(user)
        if users:
            log.info("states of idle users spilled", users=len(users), in_all=len(self.spill))
        return len(users)

    def _spilled(self, states: Sequence[tuple[str, int, bytes]]) -> bool:
        """Whether states could be put on disk; where not they stay in memory."""
        try:
            self.spill.put(states)
        except sqlite3.Error as error:
            log.warning("states of idle users stay in memory", error=str(error), mend="is the disk full?")
            return False
        return True

    def _bring_back(self, users: set[str]) -> None:
        assert self.states is not None
        for user in users:
            if user not in self.states.index and (value := self.spill.take(user)) is not None:
                self.states.restore(decode_state(value), self.world.catalogue)

    def _encode(
        self, outcomes: Sequence[Outcome]
    ) -> tuple[dict[int, list[Outgoing]], dict[int, dict[bytes, bytes | None]]]:
        """Records of a round by partition. A state's value is fixed here, before anything is sent."""
        assert self.states is not None
        lists: dict[int, list[Outgoing]] = {}
        states: dict[int, dict[bytes, bytes | None]] = {}
        last = {outcome.slot: outcome for outcome in outcomes if outcome.changed}
        for outcome in outcomes:
            arrival = outcome.arrival
            key = arrival.user_id.encode()
            if outcome.recommendation is not None:
                self.figures.counts["lists"] += 1
                self.figures.counts["hurried_lists"] += outcome.hurried
                value = encode(outcome.recommendation)
                lists.setdefault(arrival.partition, []).append(Outgoing(key, value, arrival.partition))
            if outcome.changed:
                self.figures.counts["clicks"] += 1
                if outcome is last[outcome.slot]:
                    state = self.states.encode(outcome.slot, self.world.catalogue)
                    states.setdefault(arrival.partition, {})[key] = state
            self.figures.counts["replayed"] += outcome.fate is Fate.REPLAYED
            self.figures.counts["duplicates"] += outcome.fate is Fate.DUPLICATE
        return lists, states

    def _finish(self, records: Sequence[Pending[Arrival]], durable: asyncio.Future[None]) -> None:
        if durable.cancelled():
            return
        error = durable.exception()
        if error is not None:
            self._spawn(self.app.crash(error))
            return
        for record in records:
            record.done()

    # -- the rest -----------------------------------------------------------------------------------

    @property
    def serving(self) -> Serving:
        """Which releases answer; only after `knowledge.ready`."""
        assert self.knowledge.serving is not None
        return self.knowledge.serving

    @property
    def world(self) -> World:
        """What lists are computed from; only after `knowledge.ready`."""
        assert self.knowledge.world is not None
        return self.knowledge.world

    def _register_figures(self) -> None:
        """All but the counters; those that need a release are None before there is one."""
        knowledge = self.knowledge

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
        self.figures.gauge("signals_age_s", lambda: knowledge.signals_age)
        self.figures.gauge("users", lambda: 0 if self.states is None else len(self.states))
        self.figures.gauge("spilled", lambda: len(self.spill))
        self.figures.gauge("partitions", lambda: len(self._owned))
        self.figures.gauge("waiting", lambda: self.rounds.pending)
        self.figures.gauge("slot", lambda: self.slot.number)

    def _tell(self) -> None:
        if self.knowledge.ready.is_set():
            log.info("figures", **self.figures.snapshot())

    def _watch(self) -> None:
        before, self._clicks_before = self._clicks_before, self.figures.counts["clicks"]
        if self.knowledge.ready.is_set():
            self.knowledge.watch_signals(clicks_flow=self.figures.counts["clicks"] > before)
        if self.figures.counts["forwarded"] > self._forwarded_before:
            self._forwarded_before = self.figures.counts["forwarded"]
            log.warning(
                "misplaced records forwarded", so_far=self._forwarded_before,
                mend="key records by user_id; librdkafka clients need partitioner=murmur2_random",
            )  # fmt: skip
        if self._working is not None and len(self._shared_refusals):
            self._spawn(self._send_shared_refusals())
        if self._working is not None and len(self._decisions):
            self._spawn(self._send_decisions())

    def _spawn(self, work: Any) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.ensure_future(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task


class _Process(ModeWorker):  # type: ignore[misc]
    """Signals and the event loop around an app; once told to stop it ends in time, come what may.

    A broker that is gone would be waited for a minute and more, and whoever sent the signal kills by then.
    """

    def __init__(self, app: Any, stop_seconds: float) -> None:
        super().__init__(app, loglevel="warning", override_logging=False, redirect_stdouts=False)
        self._stop_seconds = stop_seconds

    async def stop(self) -> None:
        """Stops the app, or ends the process without it."""
        deadline = threading.Timer(self._stop_seconds, _end, (self._stop_seconds,))
        deadline.daemon = True
        deadline.start()
        try:
            await super().stop()
        finally:
            deadline.cancel()


def _end(seconds: float) -> None:
    log.warning(
        "ended before all was stopped", seconds=seconds,
        mend="nothing is lost: what was not acknowledged is read again; does the broker answer?",
    )  # fmt: skip
    os._exit(1)


def _work_of(arrival: Arrival) -> float:
    return 1.0 if calls_for_list(arrival) else ONLY_FOLDED


def _new_states(world: World) -> UserStates:
    release = world.live.release
    return UserStates(release.hidden_size, release.vector_size, views_consume=release.manifest.views_consume)


def _by_partition(
    pending: Sequence[Pending[Arrival]], outcomes: Sequence[Outcome]
) -> dict[int, list[Pending[Arrival]]]:
    groups: dict[int, list[Pending[Arrival]]] = {}
    for record, outcome in zip(pending, outcomes, strict=True):
        groups.setdefault(outcome.arrival.partition, []).append(record)
    return groups


def run(settings: Settings) -> None:
    """Runs a worker until it is stopped."""
    sys.setswitchinterval(SWITCH_SECONDS)
    few_arenas()
    fast_loops()
    Worker(settings).run()
