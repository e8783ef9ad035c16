"""Writes the last good record of a key again, where a broken one has taken its place.

Owns the sending, which is for the owner of partition 0 of `clicks`. For which records it is due, and which of
two that were written at once counts, is `streams.transport.last_good`'s business.
"""

import asyncio

import structlog
from aiokafka.errors import MessageSizeTooLargeError, RecordListTooLargeError

from streams.runtime.repeated import Repeated
from streams.transport.delivery import Delivery, Outgoing, acknowledged
from streams.transport.last_good import Due, LastGood, Unknown, restoring

log = structlog.get_logger()

_AT_ONCE = 256  # records on their way


class Restoring:
    """What waits for a worker that may write it; `told` says what was written."""

    def __init__(self) -> None:
        self.told = Repeated(
            "a broken record had taken the place of a good one, which was written again",
            "`nextclick dead-letters list` shows the broken ones and what is wrong with them",
        )
        self._topics: list[LastGood] = []
        self._sending = asyncio.Lock()

    def __len__(self) -> int:
        return sum(len(topic) for topic in self._topics)

    def add(self, topic: LastGood) -> None:
        """One more topic to look after."""
        self._topics.append(topic)

    async def send(self, delivery: Delivery) -> None:
        """Writes all that is due; what cannot be sent now goes on waiting."""
        async with self._sending:
            for topic in self._topics:
                due = topic.due()
                for at in range(0, len(due), _AT_ONCE):
                    if not await self._some(delivery, topic, due[at : at + _AT_ONCE]):
                        return

    async def _some(self, delivery: Delivery, topic: LastGood, due: list[Due]) -> bool:
        sent = []
        try:
            for each in due:
                try:
                    value = topic.value(each)
                except Unknown:
                    topic.done(each)
                    continue
                record = Outgoing(each.key, value, each.partition, restoring(each))
                sent.append((each, await delivery.send(topic.topic, [record])))
            for each, futures in sent:
                await self._settled(topic, each, futures)
        except Exception as failure:
            log.warning("a good record was not written again; it is tried again", error=str(failure))
            return False
        return True

    async def _settled(self, topic: LastGood, due: Due, futures: list) -> None:  # type: ignore[type-arg]
        named = {"topic": topic.topic, "key": due.key.decode(errors="replace"), "offset": due.offset}
        try:
            await acknowledged(futures)
        except (MessageSizeTooLargeError, RecordListTooLargeError):
            log.error("the brokers do not take a good record that is to be written again", **named)
        else:
            self.told.note(topic.topic, **named)
        topic.done(due)
