"""One learner for each prefix: its membership of a consumer group is the lock.

Whoever is assigned the group's partitions is the learner. The assignor leaves them with whoever has
them, so a second learner gets none and knows that a first one lives; a dead one's session ends and the
next gets them. Knows nothing of what a learner does.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.coordinator.assignors.abstract import AbstractPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata

from streams.runtime.slots import Slot, SlotError, take_slot
from streams.settings import Settings
from streams.transport.clients import async_connection, follow_moves
from streams.transport.fence import Fence, Fenced, Unsure
from streams.transport.topics import Names

# Loading the text model may hold the process up for seconds (14 s were seen on a busy machine with cold
# disks), which must not be taken for its death. A restart on the same data folder need not wait for it.
SESSION_SECONDS = 20.0
_HEARTBEAT_SECONDS = 1.5
_JOIN_SECONDS = 60.0  # with a margin over session and rebalance of a member that has died
_NEVER_MS = 2_000_000_000  # this member polls nothing and must not be taken for stuck
_HOLDER = b"holder"


class LearnerRunning(Exception):  # noqa: N818 (it names what is the matter)
    """A learner of the same prefix lives: a second one would count every click twice."""


class LearnerLock:
    """Use as `async with LearnerLock(settings) as lock`; pass `lock.check` to `Delivery` as its fence.

    Entering raises LearnerRunning where another learner lives, and waits for the session of a dead one
    to end; a restart on the same data folder takes over at once. `lost` is called when the group gives
    the place to another process, which it does only after this one was silent for a session; `regained` when
    it had let go of this process and has taken it back: another one may have lived in between.
    """

    def __init__(
        self, settings: Settings, lost: Callable[[], None] = lambda: None,
        regained: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        self._settings = settings
        self._group = f"{settings.prefix}learner"
        self._fence = Fence(SESSION_SECONDS)
        self._lost, self._regained = lost, regained
        self._slot: Slot | None = None
        self._consumer: AIOKafkaConsumer | None = None
        self._assignor: _Holder | None = None

    async def __aenter__(self) -> "LearnerLock":
        try:
            self._slot = take_slot(self._settings.data_dir, self._group, 0)
        except SlotError:
            raise self._running(f"with the data folder {self._settings.data_dir}") from None
        try:
            await self._join(self._slot.instance)
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._consumer is not None:
            # A static member that goes for good would otherwise be waited for until its session ends.
            if self._consumer._coordinator is not None:
                self._consumer._coordinator._group_instance_id = None
            await self._consumer.stop()
        if self._slot is not None:
            self._slot.release()

    def check(self) -> None:
        """Raises `Fenced` where another learner has taken over."""
        if self._assignor is not None and not self._assignor.holding:
            raise Fenced("another learner has taken over while this one was silent; this one stops")

    def hold(self) -> None:
        """Raises `Fenced`, or `Unsure` where another learner may have taken over: what is written waits."""
        self.check()
        if self._fence.lost:
            raise Unsure("the group has let go of this learner, and another one may have taken over")
        self._fence.hold()

    @property
    def silent(self) -> float:
        """Seconds since the group's last word."""
        return self._fence.silent

    def check_client(self) -> None:
        """Raises what has ended this member's place for good, such as a right that was taken from it."""
        if self._consumer is not None and self._consumer._coordinator is not None:
            self._consumer._coordinator.check_errors()

    async def _join(self, instance: str) -> None:
        self._assignor = assignor = _Holder(self._on_assignment)
        self._consumer = consumer = AIOKafkaConsumer(
            group_id=self._group,
            group_instance_id=instance,
            client_id=f"learner-{instance}",
            enable_auto_commit=False,
            session_timeout_ms=int(SESSION_SECONDS * 1000),
            heartbeat_interval_ms=int(_HEARTBEAT_SECONDS * 1000),
            rebalance_timeout_ms=int(SESSION_SECONDS * 1000),
            max_poll_interval_ms=_NEVER_MS,
            partition_assignment_strategy=[assignor],
            **async_connection(self._settings),
        )
        assignor.consumer = consumer
        follow_moves(consumer._client)
        await consumer.start()
        self._fence.watch(consumer)
        consumer.subscribe([Names(self._settings.prefix).releases])
        try:
            await asyncio.wait_for(assignor.decided.wait(), _JOIN_SECONDS)
        except TimeoutError:
            raise LearnerRunning(
                f"cannot join the consumer group {self._group} within {_JOIN_SECONDS:.0f} s; "
                "`nextclick doctor` looks for the reason"
            ) from None
        if not assignor.holding:
            raise self._running("elsewhere")

    def _on_assignment(self, held_before: bool, holding: bool) -> None:
        let_go = self._fence.lost
        self._fence.renew()
        if held_before and holding and let_go:
            self._regained()
        if self._consumer is not None and holding:
            # The partition is a token: its records are not read here.
            asyncio.get_running_loop().call_soon(lambda: self._pause())
        if held_before and not holding:
            self._lost()

    def _pause(self) -> None:
        if self._consumer is not None:
            self._consumer.pause(*self._consumer.assignment())

    def _running(self, where: str) -> LearnerRunning:
        return LearnerRunning(
            f"a learner for the prefix {self._settings.prefix} runs already, {where}: stop it first, "
            "or give this one another --prefix"
        )


class _Holder(AbstractPartitionAssignor):  # type: ignore[misc]
    """Assigns everything to the member that holds it, else to the first.

    aiokafka asks for a class with class methods; an instance does, and keeps no state in the class.
    """

    name = "holder"
    version = 0

    def __init__(self, on_change: Callable[[bool, bool], None]) -> None:
        self.holding = False
        self.decided = asyncio.Event()
        self.consumer: Any = None
        self._on_change = on_change

    def assign(  # type: ignore[override]
        self, cluster: Any, members: Mapping[str, ConsumerProtocolMemberMetadata]
    ) -> dict[str, ConsumerProtocolMemberAssignment]:
        """Called on the group's leader."""
        holders = [name for name, metadata in members.items() if metadata.user_data == _HOLDER]
        chosen = min(holders or members)
        topics = {topic for metadata in members.values() for topic in metadata.subscription}
        everything = [(topic, sorted(cluster.partitions_for_topic(topic) or ())) for topic in sorted(topics)]
        return {
            name: ConsumerProtocolMemberAssignment(self.version, everything if name == chosen else [], b"")
            for name in members
        }

    def metadata(self, topics: Iterable[str]) -> ConsumerProtocolMemberMetadata:  # type: ignore[override]
        """A member that was thrown out (its generation is reset) claims nothing."""
        member = self.consumer is not None and self.consumer._coordinator.generation > 0
        claim = _HOLDER if self.holding and member else b""
        return ConsumerProtocolMemberMetadata(self.version, list(topics), claim)

    def on_assignment(self, assignment: ConsumerProtocolMemberAssignment) -> None:  # type: ignore[override]
        """Called on each member after a rebalance."""
        before, self.holding = self.holding, bool(assignment.partitions())
        self.decided.set()
        self._on_change(before, self.holding)
