"""What the trainer hears and says on Kafka: clicks into the history, the catalogue, roles of releases.

Owns which records of `clicks` count (those that workers take: whole, on time, in their user's partition)
and in what portions they are kept. Knows no models.
"""

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import structlog

from learner.data.events import KIND_OF_WORD
from learner.data.history import UNDONE, Clicks, History, HistoryError
from streams.releases.roles import Roles
from streams.releases.topic import announce, roles_now
from streams.settings import Settings
from streams.transport.growth import FORWARDED
from streams.transport.topic_reader import bounds_of, ends_of, read_to_end
from streams.transport.topics import Names
from streams.wire.clock import Clock
from streams.wire.contract import UNREADABLE, Click, Item, ReleaseRecord, decode_item, decode_tombstone
from streams.wire.intake import Arrival, admit

log = structlog.get_logger()

PORTION = 50_000  # clicks kept at once: what a crash makes us read again, and memory of some 30 MB


class Announced(NamedTuple):
    """An item as its owner last announced it, and when the first record came that the topic still has."""

    item: Item
    at_ms: int


class Wire(Protocol):
    """What a trainer hears and says: `KafkaWire`, and in tests a list of records."""

    def roles(self) -> Roles:
        """The releases' roles as of now."""

    def announce(self, records: Sequence[ReleaseRecord]) -> None:
        """Sends records to `releases`, in their order."""

    def keep(self, history: History) -> int:
        """Moves new clicks into the history; returns how many."""

    def unread(self, history: History) -> int:
        """How many records of clicks the history does not have."""

    def items(self) -> dict[str, Announced]:
        """The catalogue's owner's word on each item."""


class KafkaWire:
    """The `Wire` to the brokers. `wall_ms` is the wall clock."""

    def __init__(
        self, settings: Settings, wall_ms: Callable[[], int] = lambda: int(time.time() * 1000)
    ) -> None:
        self.settings = settings
        self.names = Names(settings.prefix)
        self._wall_ms = wall_ms

    def roles(self) -> Roles:
        """The topic `releases`, read to its end."""
        return roles_now(self.settings)

    def announce(self, records: Sequence[ReleaseRecord]) -> None:
        """Sends records to `releases`, each acknowledged before the next."""
        announce(self.settings, records)
        for record in records:
            log.info(
                "release decided", release=record.release, role=record.role, decision=record.decision,
                reason=record.reason,
            )  # fmt: skip

    def unread(self, history: History) -> int:
        """How many records of `clicks` the history does not have and the topic has still.

        Raises HistoryError, as `keep` does.
        """
        bounds = bounds_of(self.settings, self.names.clicks)
        _check_ends(history, {number: end for number, (_, end) in bounds.items()})
        return sum(end - max(first, history.next.get(number, 0)) for number, (first, end) in bounds.items())

    def keep(self, history: History) -> int:
        """Moves clicks into the history, up to the topic's present end; returns how many.

        Bad records are passed over, as workers do, and copies of those that workers sent on to their
        partition. Raises HistoryError where the topic was made anew since the checkpoint.
        """
        ends, wall_ms = ends_of(self.settings, self.names.clicks), self._wall_ms()
        _check_ends(history, ends)
        clock = Clock(self.settings.clock, self.settings.max_future_ms)
        kept = 0
        clicks, following = Clicks(), dict(history.next)
        for record in read_to_end(self.settings, self.names.clicks, start=history.next):
            following[record.partition] = record.offset + 1
            if any(name == FORWARDED for name, _ in record.headers):
                continue
            verdict = admit(
                record.value, record.partition, record.offset, requests=False, partitions=None,
                refuses=lambda timestamp: clock.refuses(timestamp, wall_ms),
                names=self.settings.event_names,
            )  # fmt: skip
            if isinstance(verdict, Arrival):
                _add(clicks, verdict, record.timestamp)
            if len(clicks) >= PORTION:
                history.append(clicks, following)
                kept += len(clicks)
                clicks = Clicks()
        if following != history.next:
            history.append(clicks, following)
        return kept + len(clicks)

    def items(self) -> dict[str, Announced]:
        """What `items` says of each item it has ever named, the withdrawn ones as not available."""
        found: dict[str, Announced] = {}
        for record in read_to_end(self.settings, self.names.items):
            try:
                if record.value is None:
                    item = Item(item_id=decode_tombstone(record.key), available=False)
                else:
                    item = decode_item(record.value)
            except UNREADABLE:
                continue
            before = found.get(item.item_id)
            found[item.item_id] = Announced(item, record.timestamp if before is None else before.at_ms)
        return found


def _check_ends(history: History, ends: dict[int, int]) -> None:
    for partition, offset in history.next.items():
        if offset > ends.get(partition, 0):
            raise HistoryError(
                f"{history.url}: keeps partition {partition} of clicks up to offset {offset}, but the "
                f"topic ends at {ends.get(partition, 0)}: it was made anew; move the folder away, or "
                "name another one with --set history=URL"
            )


def _add(clicks: Clicks, arrival: Arrival, arrived_ms: int) -> None:
    click = arrival.message
    assert isinstance(click, Click)
    if click.items or click.merged_from is not None:  # nothing to train on, or kept as the visitor's
        return
    kind = int(KIND_OF_WORD[click.event]) + UNDONE * click.undo
    clicks.add(
        partition=arrival.partition, offset=arrival.offset, arrived_ms=arrived_ms, event_id=click.event_id,
        user_id=click.user_id, item_id=click.item_id, kind=kind, time_ms=click.timestamp,
        value=click.value, scenario=click.scenario,
    )  # fmt: skip
