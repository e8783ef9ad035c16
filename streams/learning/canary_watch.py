"""Watches how lists are answered: ends the canary's test, and notices when the live release hits less.

Owns the reading of `clicks` and `recommendations` for that: from the beginning of a running canary, so that
a restart forgets no answer, or else from now on. Nothing is decided before all is read that stood there.
`answers` matches the two, `watched` says which time counts, `decider` decides. One in the learner; knows no
bundle.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord
from aiokafka.errors import KafkaError

from learner.judging.drift import HitRateDrift
from streams.learning.answers import Answers, decode_list
from streams.learning.decider import Decider, Note
from streams.learning.watched import Watched
from streams.releases.roles import Roles
from streams.settings import Settings
from streams.transport.feeds import new_reader
from streams.transport.topics import Names
from streams.wire.contract import UNREADABLE, ReleaseRecord, decode_click

log = structlog.get_logger()

Send = Callable[[Sequence[ReleaseRecord]], Awaitable[None]]
DECIDE_SECONDS = 1.0
_FETCHED = 2000  # records at a time


class CanaryWatch:
    """The reading side; `run()` until cancelled. `roles` is kept up to date by whoever reads `releases`.

    `repeats` says whether items come again in this data; it is asked all along, since another release may
    know better than the one of the start. `popular`: see `Answers`.
    """

    def __init__(
        self, settings: Settings, connection: Mapping[str, Any], roles: Roles, send: Send,
        *, repeats: Callable[[], bool] = lambda: False, note: Note = lambda _: None,
        popular: Callable[[int, Collection[int]], bool] = lambda *_: False,
    ) -> None:  # fmt: skip
        names = Names(settings.prefix)
        self.topics = (names.clicks, names.recommendations)
        self.decider = Decider(settings, roles, HitRateDrift(), note)
        self.answers = Answers(expects=self.decider.expect, popular=popular)
        self.ends: dict[int, int] = {}  # of `clicks` by partition, as of the last look
        self.watched = Watched()
        self._connection, self._roles, self._send, self._repeats = connection, roles, send, repeats
        self._event_names = settings.event_names

    async def run(self) -> None:
        """Reads, and sends what is decided."""
        consumer = new_reader(self._connection, *self.topics)
        await consumer.start()
        try:
            await self._seek(consumer)
            await self._look(consumer)
            looked = time.monotonic()
            while True:
                fetched = await consumer.getmany(timeout_ms=500, max_records=_FETCHED)
                for records in fetched.values():
                    self.take(records)
                    await asyncio.sleep(0)
                if time.monotonic() - looked >= DECIDE_SECONDS:
                    looked = time.monotonic()
                    await self._look(consumer)
        finally:
            await consumer.stop()

    async def _look(self, consumer: AIOKafkaConsumer) -> None:
        """Decides where all is read that stood in the topics at an earlier look."""
        places = list(consumer.assignment())
        try:
            ends = await consumer.end_offsets(places)
            positions = {place: await consumer.position(place) for place in places}
        except KafkaError as error:
            log.debug("no decision on a canary while the broker does not answer", error=str(error))
            self.watched.lost()
            return
        self.ends = {place.partition: end for place, end in ends.items() if place.topic == self.topics[0]}
        ms = self.watched.look(time.monotonic(), positions, ends)
        if ms is None:
            return
        if ms == 0 and self._roles.canary is not None:
            log.info("all answers since the canary began are read", answers=self.decider.answers)
        self.decider.watched(ms)
        records = self.decider.decide(int(time.time() * 1000))
        if records:
            await self._send(records)

    async def _seek(self, consumer: AIOKafkaConsumer) -> None:
        """To the beginning of the running canary; without one to the end."""
        places = list(consumer.assignment())
        canary = self._roles.canary
        ends = await consumer.end_offsets(places)
        found = {} if canary is None else await consumer.offsets_for_times(dict.fromkeys(places, canary.at))
        for place in places:
            at = found.get(place)
            consumer.seek(place, ends[place] if at is None else at.offset)

    def take(self, records: Iterable[ConsumerRecord]) -> None:
        """Records of the two topics, each partition's in their order."""
        self.answers.repeats = self._repeats()
        for record in records:
            if record.value is None:
                continue
            try:
                if record.topic == self.topics[0]:
                    answer = self.answers.see_click(decode_click(record.value, self._event_names))
                else:
                    answer = self.answers.see_list(decode_list(record.value))
            except UNREADABLE:
                continue
            if answer is not None:
                self.decider.observe(answer)
