"""What has happened to releases: entered, judged, tried, swapped, failed, drifted. For whoever looks later.

Owns the one form that all of it has, and a log of it in the data folder. What everybody must know stands in
the topic `releases`, of which compaction leaves each release's newest record: the learner writes down every
record that it reads there, workers what happens to them alone. Knows no figures and no HTTP.
"""

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec
import structlog

from streams.releases.roles import DRIFTED, PINNED, REPLACED
from streams.releases.topic import records
from streams.settings import Settings
from streams.transport.topic_reader import TopicMissing
from streams.wire.contract import ReleaseRecord

log = structlog.get_logger()

Kind = Literal[
    "entered",  # a release was trained or added
    "gate",  # a candidate passed or was refused
    "decided",  # a canary, or whatever an operator named, was promoted or taken back
    "replaced",  # a release gave its place to another
    "pin",
    "drift",  # the live hit rate has fallen
    "failed",  # a release could not be loaded, or failed at work
    "waiting",  # a worker cannot have a release yet: its store does not answer
    "swap",  # a worker has put a release live
    "canary",  # a worker has begun or ended giving a release to some users
]

MOST_BYTES = 1_000_000  # of a log, then it becomes the old one: some thousand events each
_KINDS: dict[str, Kind] = {
    "trained": "entered", "added": "entered", "first": "entered", "passed": "gate", "refused": "gate",
    "promoted": "decided", "rolled_back": "decided", "failed": "failed", DRIFTED: "drift", PINNED: "pin",
    "unpinned": "pin", REPLACED: "replaced",
}  # fmt: skip


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`at` in Unix ms; `evidence`: the figures behind it, and for a worker's own events its slot."""

    at: int
    kind: Kind
    release: str
    reason: str = ""
    evidence: dict[str, Any] = {}

    @property
    def name(self) -> tuple[int, str, str, str, str]:
        """What distinguishes it from others."""
        return self.at, self.kind, self.release, self.reason, str(self.evidence.get("slot", ""))


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Event).decode


def folder_of(settings: Settings) -> Path:
    """Where the processes of this machine keep their events."""
    return settings.data_dir / "events" / settings.prefix.rstrip(".")


def of_record(record: ReleaseRecord) -> Event:
    """A record of `releases` as an event."""
    return Event(
        at=record.at, kind=_KINDS.get(record.decision, "decided"), release=record.release,
        reason=record.reason or f"{record.decision} {record.role}".strip(),
        evidence={"role": record.role, "decision": record.decision, **record.evidence},
    )  # fmt: skip


class EventLog:
    """The events of one process, as JSON lines in `folder`; a full log is kept until the next one is full.

    A line that a crash has cut short is lost and no other. What cannot be read or written stops nobody.
    """

    def __init__(self, folder: Path, writer: str) -> None:
        self._file = folder / f"{writer}.jsonl"
        self._known: set[tuple[int, str, str, str, str]] = set()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._known = {event.name for event in _read(self._files())}
            if self._file.exists() and not self._file.read_bytes().endswith(b"\n"):
                self._write(b"\n")
        except OSError as error:
            log.warning(
                "the log of events cannot be opened: events are lost until it can", file=str(self._file),
                error=str(error), mend="may this process write there, and is there room on the disk?",
            )  # fmt: skip

    def append(self, event: Event) -> None:
        """Adds an event, unless it is there already: who reads a topic again tells of it again.

        Where it cannot be written, it is lost with a warning: nothing that works may stop for it.
        """
        if event.name in self._known:
            return
        self._known.add(event.name)
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            self._write(_encode(event) + b"\n")
            if self._file.stat().st_size > MOST_BYTES:
                self._file.replace(self._files()[0])
                self._known = {event.name for event in _read(self._files())}
        except OSError as error:
            log.warning(
                "an event could not be kept", kind=event.kind, release=event.release, error=str(error)
            )

    def _write(self, line: bytes) -> None:
        with self._file.open("ab") as file:
            file.write(line)

    def _files(self) -> list[Path]:
        return [self._file.with_suffix(".old.jsonl"), self._file]


def told(settings: Settings) -> list[Event]:
    """All events that this machine and the topic know of, in their order, each once."""
    found = list(_read(sorted(folder_of(settings).glob("*.jsonl"))))
    with contextlib.suppress(TopicMissing):
        found += map(of_record, records(settings))
    return sorted({event.name: event for event in found}.values(), key=lambda event: event.at)


def _read(files: Iterable[Path]) -> Iterator[Event]:
    for file in files:
        with contextlib.suppress(FileNotFoundError):
            for line in file.read_bytes().splitlines():
                with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
                    yield _decode(line)
