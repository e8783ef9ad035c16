"""Sends the past of a shop, once: history clicks from a file, with a checkpoint to go on from.

Owns what "loaded" means: a checkpoint for each file, part and prefix of one cluster, written after each
acknowledged chunk. What a crash left between the last checkpoint and the end of the topic is found there
by its event ids, so that going on sends nothing twice. Knows nothing of how the file is read.
"""

import asyncio
import hashlib
import json
import os
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from learner.data.catalogue import Item
from streams.recorded.clicks import RecordedClicks
from streams.settings import Settings
from streams.transport import clients
from streams.transport.delivery import Acknowledgement, Delivery, Outgoing, new_producer
from streams.transport.topic_reader import ends_of, read_to_end
from streams.transport.topics import Names, create_missing
from streams.wire.contract import UNREADABLE, encode

# A chunk is in flight while the next is encoded; a second's worth at the least speed asked of it.
CHUNK = 20_000

Progress = Callable[[int], None]


class AlreadyLoaded(Exception):  # noqa: N818 (a state, and read as one)
    """The file has been loaded completely before."""


@dataclass
class Checkpoint:
    """How far one file's part has been sent.

    `tail`: by partition an offset after which whatever a crash left unmentioned stands.
    """

    file: str
    total: int
    tail: dict[int, int]
    sent: int = 0
    completed_at: str | None = None


def send_items(settings: Settings, items: Iterable[Item], progress: Progress = lambda _: None) -> int:
    """Announce items, and return once they are acknowledged; returns how many."""
    records = [Outgoing(item.item_id.encode(), encode(item)) for item in items]
    _prepare(settings)
    asyncio.run(_send_items(settings, records, progress))
    return len(records)


def load(
    settings: Settings,
    clicks: RecordedClicks,
    part: range,
    *,
    again: bool = False,
    progress: Progress = lambda _: None,
) -> int:
    """Send a part of the recorded clicks as history; returns how many were sent by this call.

    `progress` is called with the number of clicks acknowledged so far, those of earlier runs included.
    Raises AlreadyLoaded where all were sent before, unless `again`.
    """
    cluster, names = _prepare(settings), Names(settings.prefix)
    path = _checkpoint_path(settings, clicks, part, cluster)
    checkpoint = _read(path)
    if checkpoint is not None and checkpoint.completed_at is not None:
        if not again:
            raise AlreadyLoaded(
                f"{clicks.file} was loaded completely at {checkpoint.completed_at} "
                f"({checkpoint.total:,} clicks into {settings.prefix}clicks); --again sends them once more, "
                "and most of them would count twice"
            )
        checkpoint = None
    if checkpoint is None:
        already: set[str] = set()
        checkpoint = Checkpoint(str(clicks.file), len(part), tail=ends_of(settings, names.clicks))
        _write(path, checkpoint)
    else:
        already = _ids_after(settings, checkpoint)
    return asyncio.run(_load(settings, clicks, part, checkpoint, path, already, progress))


async def _send_items(settings: Settings, records: list[Outgoing], progress: Progress) -> None:
    producer = new_producer(clients.async_connection(settings))
    await producer.start()
    try:
        delivery, topic = Delivery(producer), Names(settings.prefix).items
        for start in range(0, len(records), CHUNK):
            for future in await delivery.send(topic, records[start : start + CHUNK]):
                await future
            progress(min(start + CHUNK, len(records)))
    finally:
        await producer.stop()


async def _load(
    settings: Settings,
    clicks: RecordedClicks,
    part: range,
    checkpoint: Checkpoint,
    path: Path,
    already: set[str],
    progress: Progress,
) -> int:
    producer = new_producer(clients.async_connection(settings))
    await producer.start()
    sent = 0
    try:
        delivery, topic = Delivery(producer), Names(settings.prefix).clicks
        in_flight: tuple[int, list[Acknowledgement]] | None = None
        for start in range(part.start + checkpoint.sent, part.stop, CHUNK):
            places = range(start, min(start + CHUNK, part.stop))
            records = [
                Outgoing(click.user_id.encode(), encode(click))
                for click in clicks.clicks(places, history=True)
                if click.event_id not in already
            ]
            if in_flight is not None:
                await _settle(checkpoint, path, in_flight, progress)
            sent += len(records)
            futures = await delivery.send(topic, records)
            in_flight = places.stop - part.start, futures
        if in_flight is not None:
            await _settle(checkpoint, path, in_flight, progress)
        checkpoint.completed_at = datetime.now(UTC).isoformat(timespec="seconds")
        _write(path, checkpoint)
    finally:
        await producer.stop()
    return sent


async def _settle(
    checkpoint: Checkpoint, path: Path, in_flight: tuple[int, list[Acknowledgement]], progress: Progress
) -> None:
    """Wait for a chunk's acknowledgements, then write down that it is sent."""
    done, futures = in_flight
    for future in futures:
        metadata = await future
        checkpoint.tail[metadata.partition] = metadata.offset
    checkpoint.sent = done
    _write(path, checkpoint)
    progress(done)


def _ids_after(settings: Settings, checkpoint: Checkpoint) -> set[str]:
    """Event ids that stand in the topic after the checkpoint: sent by a run that could not say so."""
    ids = set()
    for record in read_to_end(settings, Names(settings.prefix).clicks, start=checkpoint.tail):
        try:
            ids.add(msgspec.json.decode(record.value, type=_EventId).event_id)
        except (*UNREADABLE, TypeError):
            continue  # somebody else's bad record, or an empty one
    return ids


class _EventId(msgspec.Struct):
    event_id: str


def _prepare(settings: Settings) -> str:
    """Make sure of the topics; returns the cluster's id."""
    with clients.admin(settings) as admin:
        create_missing(admin, settings)
        return str(admin.describe_cluster()["cluster_id"])


def _checkpoint_path(settings: Settings, clicks: RecordedClicks, part: range, cluster: str) -> Path:
    """One checkpoint for each content, order, part, cluster and prefix; a new broker's data begin anew."""
    with clicks.file.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    what = f"{digest} {clicks.seed} {part.start}-{part.stop} {cluster} {settings.prefix}"
    return settings.data_dir / "loads" / f"{hashlib.sha256(what.encode()).hexdigest()[:24]}.json"


def _read(path: Path) -> Checkpoint | None:
    if not path.exists():
        return None
    stored = json.loads(path.read_text())
    stored["tail"] = {int(partition): offset for partition, offset in stored["tail"].items()}
    return Checkpoint(**stored)


def _write(path: Path, checkpoint: Checkpoint) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".tmp")
    with draft.open("w") as file:
        json.dump(asdict(checkpoint), file)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
