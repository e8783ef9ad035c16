"""Bad records as an operator sees them: which there are, and sending them again once they can be used.

Owns which letters have been retried; `streams.transport.dead_letters` writes them. A retry sends key and
value as they came to the topic they came from. What has been retried is remembered in the committed offset
of a consumer group, and for letters retried ahead of others in that commit's metadata, so that a second retry
sends nothing twice. A crash between the sending and the commit repeats the last batch: at least once, as
everything here, and workers drop a click whose event id they have just seen.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from kafka import OffsetAndMetadata, TopicPartition

from streams.settings import Settings
from streams.transport import clients
from streams.transport.topic_reader import Record, read_to_end
from streams.transport.topics import Names

# Sent and acknowledged before the retry is written down.
BATCH = 500
_UNBOUNDED = 2**31 - 1
# Kafka keeps at most 4,096 bytes with a commit: some 500 offsets ahead of the position.
MAX_METADATA_BYTES = 4096


class LettersError(Exception):
    """A retry that cannot be done: says which letter and why."""


@dataclass(frozen=True)
class Letter:
    """One record of `dead-letters`: where it stands, where it came from, and what was wrong with it."""

    place: tuple[int, int]  # partition and offset in dead-letters
    topic: str
    source: tuple[int, int]  # partition and offset in `topic`
    error: str
    at_ms: int
    key: bytes | None
    value: bytes | None
    retried: bool

    @property
    def at(self) -> str:
        """When it was set aside, as ISO text."""
        return datetime.fromtimestamp(self.at_ms / 1000, UTC).isoformat(timespec="seconds")

    def shown(self) -> dict[str, Any]:
        """As JSON; bytes that are no UTF-8 are shown with replacement characters."""
        return {
            "offset": self.place[1], "partition": self.place[0], "at": self.at_ms, "topic": self.topic,
            "source": {"partition": self.source[0], "offset": self.source[1]}, "error": self.error,
            "key": _text(self.key), "value": _text(self.value), "retried": self.retried,
        }  # fmt: skip


class Retried:
    """Which letters have been sent again, kept in the group `<prefix>dead-letters-retry`."""

    def __init__(self, settings: Settings) -> None:
        self._topic = Names(settings.prefix).dead_letters
        self._settings = settings
        self._group = self._topic + "-retry"
        self._done: dict[int, tuple[int, set[int]]] = {}  # partition -> (all below, these above)

    def __contains__(self, place: tuple[int, int]) -> bool:
        below, above = self._of(place[0])
        return place[1] < below or place[1] in above

    def add(self, places: Iterable[tuple[int, int]]) -> None:
        """Note these letters. Not yet kept."""
        for partition, offset in places:
            below, above = self._of(partition)
            above.add(offset)
            while below in above:
                above.discard(below)
                below += 1
            self._done[partition] = below, {each for each in above if each > below}

    def keep(self) -> None:
        """Write it down at the brokers."""
        commits = {}
        for partition, (below, above) in self._done.items():
            note = ",".join(map(str, sorted(above)))
            if len(note) > MAX_METADATA_BYTES:
                raise LettersError(
                    f"{len(above)} letters were retried ahead of older ones, more than can be remembered; "
                    "retry the older ones too (`nextclick dead-letters retry` without --offset)"
                )
            commits[TopicPartition(self._topic, partition)] = OffsetAndMetadata(below, note, -1)
        with clients.consumer(self._settings, group_id=self._group) as consumer:
            consumer.assign(list(commits))
            consumer.commit(commits)

    def _of(self, partition: int) -> tuple[int, set[int]]:
        if partition not in self._done:
            place = TopicPartition(self._topic, partition)
            with clients.consumer(self._settings, group_id=self._group) as consumer:
                kept = consumer.committed(place, metadata=True)
                below = consumer.beginning_offsets([place])[place]  # older letters exist no more
            above = {int(each) for each in kept.metadata.split(",") if each} if kept else set()
            self._done[partition] = max(below, kept.offset if kept else 0), above
        return self._done[partition]


def read_letters(settings: Settings, retried: Retried, start: int = 0) -> Iterator[Letter]:
    """All letters, oldest first within a partition; those of partition 0 from the offset `start` on."""
    for record in read_to_end(settings, Names(settings.prefix).dead_letters, start={0: start}):
        yield _letter(record, retried)


def retry(settings: Settings, letters: list[Letter], retried: Retried) -> int:
    """Send these letters' records to the topics they came from, unchanged; returns how many.

    A record with a key goes where its key belongs; one without goes to the partition it came from.
    """
    # As they were written: compressed, and however large when they are not.
    with clients.producer(settings, compression_type="gzip", max_request_size=_UNBOUNDED) as sender:
        for start in range(0, len(letters), BATCH):
            batch = letters[start : start + BATCH]
            sent = [
                sender.send(
                    letter.topic, key=letter.key, value=letter.value,
                    partition=letter.source[0] if letter.key is None else None,
                )
                for letter in batch
            ]  # fmt: skip
            for each in sent:
                each.get(timeout=30)
            retried.add(letter.place for letter in batch)
            retried.keep()
    return len(letters)


def _letter(record: Record, retried: Retried) -> Letter:
    headers = {name: value.decode(errors="replace") for name, value in record.headers}
    place = record.partition, record.offset
    return Letter(
        place=place,
        topic=headers.get("topic", ""),
        source=(int(headers.get("partition", -1)), int(headers.get("offset", -1))),
        error=headers.get("error", ""),
        at_ms=int(headers.get("at", record.timestamp)),
        key=record.key,
        value=record.value,
        retried=place in retried,
    )


def _text(data: bytes | None) -> str | None:
    return None if data is None else data.decode(errors="replace")
