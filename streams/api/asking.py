"""Workers are asked for lists: requests, the answers that come to them, and what is asked once more.

Owns the requests that wait, and that an answer of a worker that has not read what this process knows is no
reason to keep anybody waiting beyond his time. Knows no held lists and no HTTP.
"""

import asyncio
import time
import uuid
from collections.abc import Coroutine
from typing import Any, TypeVar

import msgspec

from streams.api.brokers import Brokers, NotAcknowledged
from streams.api.problems import Away, OffSchema
from streams.api.steering import Steering
from streams.transport.topics import Names
from streams.wire.contract import UNREADABLE, Request, decode_request, encode
from streams.wire.partitioner import partition_of
from streams.wire.steering import Applied

MOST_ASKED = 5_000  # requests that wait for their answers; more are refused, and memory stays bounded
# Of a list by a worker that has not read what this process has: how often another is asked for, and when.
_TRIES, _LAG_SECONDS = 3, 0.05
# Where that did not help it is not tried again for so long: more requests make no worker quicker.
_REST_SECONDS = 5.0

Made = TypeVar("Made")


class _Named(msgspec.Struct):
    item_id: str


class _Glance(msgspec.Struct):
    """What of an answer tells what its worker had read."""

    items: list[_Named]
    rules: int | None = None


_glance = msgspec.json.Decoder(_Glance).decode


class Asking:
    """`made` asks; `answered` is told of the answers."""

    def __init__(self, names: Names, steering: Steering) -> None:
        self.brokers: Brokers | None = None
        self._names, self._steering = names, steering
        self._asked: dict[str, asyncio.Future[bytes]] = {}
        self._running: set[asyncio.Task[Any]] = set()
        self._rests_until = 0.0

    async def made(
        self, asked: Request, prefix: str, need: int, until: float, again_until: float | None = None
    ) -> bytes:
        """By a request whose id begins with `prefix`, asked again where the answer `is_late`.

        Topics overtake each other: who has withdrawn an item or changed rules sees it in the next list.
        need: the click that the answer must know, -1 for none; until: of time.monotonic(), when there has to
        be an answer; again_until: when there has to be one that came, though it may be late.
        Raises TimeoutError, NotAcknowledged, Away, OffSchema.
        """
        begun = time.monotonic()
        value = await self._ask(asked, prefix, need, until)
        took, again_until = time.monotonic() - begun, until if again_until is None else again_until
        if self._rests_until > begun:
            return value
        for _ in range(_TRIES):
            if not self.is_late(value, asked) or time.monotonic() + took + 2 * _LAG_SECONDS >= again_until:
                return value
            await asyncio.sleep(_LAG_SECONDS)
            if not self.is_late(value, asked):  # this process was behind, and has read it meanwhile
                return value
            try:
                value = await self._ask(asked, prefix, need, again_until - _LAG_SECONDS)
            except (Away, TimeoutError, NotAcknowledged):
                break
        if self.is_late(value, asked):
            self._rests_until = time.monotonic() + _REST_SECONDS
        return value

    def is_late(self, value: bytes, asked: Request) -> bool:
        """Whether a list goes by rules that hold no longer, or has an item that is withdrawn."""
        glance = _glance(value)
        if any(each.item_id in self._steering.withdrawn for each in glance.items):
            return True
        return asked.rules is None and self._steering.is_past(glance.rules, asked.scenario)

    def answered(self, request_id: str, value: bytes) -> None:
        """An answer has come."""
        waits = self._asked.get(request_id)
        if waits is not None and not waits.done():
            waits.set_result(value)

    def partition(self, user_id: str) -> int:
        """Where the user's clicks stand; -1 as long as nobody knows."""
        count = self.brokers.partitions if self.brokers is not None else 0
        return partition_of(user_id.encode(), count) if count else -1

    def spawn(self, work: Coroutine[Any, Any, Made]) -> "asyncio.Task[Made]":
        """A task that goes on without whoever began it."""
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        task.add_done_callback(failed)  # looks at the error, so that nobody else has to
        return task

    async def _ask(self, asked: Request, prefix: str, need: int, until: float) -> bytes:
        """Sends a request and awaits its answer."""
        if (seconds := until - time.monotonic()) <= 0:
            raise TimeoutError
        if len(self._asked) >= MOST_ASKED:
            raise Away("too many lists are asked for at once; try again", 1)
        at_least = None
        if need >= 0 and asked.user_id is not None and (partition := self.partition(asked.user_id)) >= 0:
            at_least = Applied(partition, need)
        request = msgspec.structs.replace(
            asked, request_id=f"{prefix}{uuid.uuid4().hex}", at_least=at_least,
            expires_at=int((time.time() + seconds) * 1000),
        )  # fmt: skip
        try:
            decode_request(value := encode(request))
        except (*UNREADABLE, TypeError) as error:
            raise OffSchema(str(error)) from error
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._asked[request.request_id] = answer
        self.spawn(self._send(request, value, answer))
        try:
            async with asyncio.timeout(seconds):
                return await answer
        finally:
            self._asked.pop(request.request_id, None)

    async def _send(self, request: Request, value: bytes, answer: "asyncio.Future[bytes]") -> None:
        try:
            if self.brokers is None:
                raise NotAcknowledged("there is no broker")
            await self.brokers.send(self._names.requests, request.key.encode(), value)
        except NotAcknowledged as error:
            if not answer.done():
                answer.set_exception(error)
                answer.exception()  # nobody may wait for it any more


def failed(made: "asyncio.Task[Any]") -> bool:
    """Whether a task that is done gave nothing."""
    return made.cancelled() or made.exception() is not None
