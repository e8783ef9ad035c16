"""Decisions of a worker on releases that failed, until they are on record.

Owns their waiting: a record that could not be sent is sent again, what every worker decides alike is sent by
one of them, and what somebody else has done meanwhile is dropped. Knows no reasons: `release_follower`
decides.
"""

import asyncio
from collections.abc import Sequence

import structlog

from streams.releases.roles import Roles
from streams.transport.delivery import Delivery, Outgoing, acknowledged
from streams.wire.contract import ReleaseRecord, encode

log = structlog.get_logger()


class Decisions:
    """Lists of records of `releases`, in the order of the decisions."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Sequence[ReleaseRecord], bool]] = []
        self._sending = asyncio.Lock()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, records: Sequence[ReleaseRecord], shared: bool) -> None:
        """Takes a decision, whose last record is the failed release's; `shared` where all workers make it."""
        self._waiting.append((records, shared))

    async def send(self, delivery: Delivery, topic: str, roles: Roles, *, first: bool) -> None:
        """Sends what waits; `first` in the worker that sends what is shared.

        What cannot be sent now goes on waiting.
        """
        async with self._sending:
            for decision in list(self._waiting):
                records, shared = decision
                if roles.of(records[-1].release).role in ("live", "canary"):
                    if shared and not first:
                        continue  # the part may come to this worker before another one has done it
                    try:
                        for record in records:  # in their order, each acknowledged before the next
                            sending = [Outgoing(record.release.encode(), encode(record))]
                            await acknowledged(await delivery.send(topic, sending))
                    except Exception as failure:
                        log.warning("a decision was not sent; it is tried again", error=str(failure))
                        return
                self._waiting.remove(decision)
