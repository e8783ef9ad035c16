"""The worker: clicks and requests in, lists out. All wiring of the hot path happens here.

The way of a click: `BatchSource` brings a fetched slice, `intake` judges each record, `Rounds` gives each
user a turn, `recommend` makes the lists in the model thread, `Delivery` sends them, `Changelog` sends the
states they rest on, and the slice's offset is marked.
"""

import asyncio
import functools
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import structlog
from aiokafka import ConsumerRecord
from mode import Worker as ModeWorker

from streams import kafka_client, topics
from streams.batches import Batch, BatchSource
from streams.changelog import Changelog, Restored
from streams.clock import Clock
from streams.contract import encode
from streams.dead_letters import DeadLetters
from streams.delivery import Delivery, Outgoing, new_producer
from streams.faust_app import new_app
from streams.feeds import new_reader
from streams.intake import Arrival, Misplaced, Refused, admit
from streams.knowledge import Knowledge
from streams.partitioner import partition_of
from streams.recommend import Fate, Outcome, World, recommend
from streams.rounds import Pending, Rounds
from streams.settings import Settings
from streams.slots import take_slot
from streams.topics import Names
from streams.user_states import UserStates, decode_state

log = structlog.get_logger()

# Clicks whose effects are on their way to the broker: above it the next round waits.
MAX_UNACKNOWLEDGED = 2048
# A round this short is made where it is: the loop waits for it no longer than for a stretch of signals,
# while a thread of its own would give up the interpreter at every call into compiled code and wait to
# get it back.
SHORT_ROUND = 4
# The event loop and the model thread take turns at the interpreter. With Python's 5 ms each round would wait
# for a turn of the other's several times over.
SWITCH_SECONDS = 0.0005
_STATES_A_TURN = 200  # restored between two turns for heartbeats


class Worker:
    """One worker process: a member of the group that shares the partitions of clicks and requests."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.names = Names(settings.prefix)
        with kafka_client.admin(settings) as admin:
            topics.create_missing(admin, settings)
            self.partitions = topics.check(admin, settings)
        group = f"{settings.prefix}worker"
        self.slot = take_slot(settings.data_dir, group, settings.slot)
        self.connection = kafka_client.async_connection(settings)
        self.clock = Clock(settings.clock, settings.max_future_ms)
        self.rng = np.random.default_rng()
        self.rounds: Rounds[Arrival] = Rounds()
        self.counts = dict.fromkeys(("clicks", "lists", "refused", "forwarded", "replayed", "duplicates"), 0)
        # One round or one stretch of a feed at a time: no list sees half a change.
        self.lock = asyncio.Lock()
        self.models = ThreadPoolExecutor(1, thread_name_prefix="models")
        self.knowledge = Knowledge(
            settings, self.connection, self.clock, self.models, self.lock, self._refuse_shared
        )
        self.app = new_app(group, settings, instance=self.slot.instance)
        self.source = BatchSource(
            self.app,
            [self.names.clicks, self.names.requests],
            assigned=self._assigned,
            revoking=self._revoking,
        )
        self.states: UserStates | None = None
        self._owned: frozenset[int] = frozenset()
        self._generation = -1
        self._working: asyncio.Task[None] | None = None
        self._background: set[asyncio.Task[Any]] = set()
        self._shared_refusals: list[tuple[ConsumerRecord, str]] = []

    def run(self) -> None:
        """Runs until SIGTERM or Ctrl-C; returns when everything in hand is acknowledged."""
        app, source = self.app, self.source

        @app.agent(source.topic, name=f"{self.settings.prefix}recommend")  # type: ignore[untyped-decorator]
        @source.fatal
        async def serve(stream: Any) -> None:
            async for batch in source.batches(stream):
                await self.rounds.put(batch, await self._judge(batch))

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

        log.info(
            "worker starts", slot=self.slot.number, brokers=self.settings.bootstrap_servers,
            prefix=self.settings.prefix, clock=self.settings.clock,
        )  # fmt: skip
        ModeWorker(
            app, loglevel="warning", override_logging=False, redirect_stdouts=False
        ).execute_from_commandline()

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
        self._working = asyncio.create_task(self._work())

    async def _revoking(self, partitions: frozenset[Any]) -> None:  # noqa: ARG002
        """Ends the work in hand: what was computed is sent and acknowledged, what waits is left."""
        self.rounds.clear()
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

    async def _restore(self, restored: Restored) -> int:
        assert self.states is not None
        world = self.world
        for number, value in enumerate(restored.states.values()):
            self.states.restore(decode_state(value), world.catalogue)
            if number % _STATES_A_TURN == 0:
                await asyncio.sleep(0)
        async with self.lock:
            world.live.follow()
        return len(restored.states)

    # -- records in ---------------------------------------------------------------------------------

    async def _judge(self, batch: Batch) -> list[tuple[str, Arrival]]:
        """Decodes a slice; bad records go to the dead letters, misplaced ones to their partition."""
        requests = batch.topic == self.names.requests
        good: list[tuple[str, Arrival]] = []
        acknowledgements = []
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
                self.counts["forwarded"] += 1
                acknowledgements += await self.delivery.send(
                    batch.topic,
                    [Outgoing(verdict.key, record.value, verdict.partition, list(record.headers))],
                )
            else:
                assert isinstance(verdict, Refused)
                self.counts["refused"] += 1
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
        self._shared_refusals.append((record, error))
        if self._working is not None:
            self._spawn(self._send_shared_refusals())

    async def _send_shared_refusals(self) -> None:
        if 0 not in self._owned:
            return  # kept: the partition may come to this worker later
        refusals, self._shared_refusals = self._shared_refusals, []
        for record, error in refusals:
            for future in await self.letters.send(record, error, int(time.time() * 1000)):
                await future

    # -- rounds -------------------------------------------------------------------------------------

    async def _work(self) -> None:
        try:
            while True:
                await self.rounds.wait()
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

    async def _round(self) -> None:
        async with self.lock:
            pending = self.rounds.take()
            if not pending:
                return
            for record in pending:
                message = record.payload.message
                if message.timestamp is not None:
                    self.clock.observe(message.timestamp, message.user_id)
            arrivals = [record.payload for record in pending]
            if len(arrivals) <= SHORT_ROUND:
                outcomes = self._recommend(arrivals)
            else:
                loop = asyncio.get_running_loop()
                outcomes = await loop.run_in_executor(self.models, self._recommend, arrivals)
        lists, states = self._encode(outcomes)
        for partition, records in _by_partition(pending, outcomes).items():
            sent = await self.delivery.send(self.names.recommendations, lists.get(partition, []))
            durable = self.changelog.commit(partition, sent, states.get(partition, {}), len(records))
            durable.add_done_callback(functools.partial(self._finish, records))

    def _recommend(self, arrivals: Sequence[Arrival]) -> list[Outcome]:
        assert self.states is not None
        wall_ms = int(time.time() * 1000)
        return recommend(arrivals, self.states, self.world, self.clock.now_ms(wall_ms), self.rng, wall_ms)

    def _encode(
        self, outcomes: Sequence[Outcome]
    ) -> tuple[dict[int, list[Outgoing]], dict[int, dict[bytes, bytes | None]]]:
        """Records of a round by partition. A state's value is fixed here, before anything is sent."""
        assert self.states is not None
        lists: dict[int, list[Outgoing]] = {}
        states: dict[int, dict[bytes, bytes | None]] = {}
        for outcome in outcomes:
            arrival = outcome.arrival
            key = arrival.user_id.encode()
            if outcome.recommendation is not None:
                self.counts["lists"] += 1
                value = encode(outcome.recommendation)
                lists.setdefault(arrival.partition, []).append(Outgoing(key, value, arrival.partition))
            if outcome.changed:
                self.counts["clicks"] += 1
                state = self.states.encode(outcome.slot, self.world.catalogue)
                states.setdefault(arrival.partition, {})[key] = state
            self.counts["replayed"] += outcome.fate is Fate.REPLAYED
            self.counts["duplicates"] += outcome.fate is Fate.DUPLICATE
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
    def world(self) -> World:
        """What lists are computed from; only after `knowledge.ready`."""
        assert self.knowledge.world is not None
        return self.knowledge.world

    def _watch(self) -> None:
        before, self._clicks_before = getattr(self, "_clicks_before", 0), self.counts["clicks"]
        if self.knowledge.ready.is_set():
            self.knowledge.watch_signals(clicks_flow=self.counts["clicks"] > before)

    def _spawn(self, work: Any) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.ensure_future(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task


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
    Worker(settings).run()
