"""The demo's world that changes in mid-stream: which clicks are played, and what is announced at the change.

Owns the file that the demo plays instead of the recording, and the records of `items` that go out with the
change: half of the items that are still clicked go on under other names, and the old names are withdrawn.
What changes is `learner.evaluation.drift_world`'s.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from learner.data.catalogue import Item
from learner.data.dataset import Interactions
from learner.data.events import Kind
from learner.evaluation.drift_world import Change, change_of, changed
from learner.evaluation.plan import stream_from
from learner.evaluation.system import Stream
from streams.settings import Settings
from streams.transport import clients
from streams.transport.topics import Names
from streams.wire.contract import encode


@dataclass(frozen=True)
class DriftWorld:
    """`at`: how many clicks come before the change; `moment`: its time, as `--from` and `--to` take it."""

    file: Path
    at: int
    moment: str
    change: Change
    items: list[Item]  # what the owner says at the change

    def told(self) -> dict[str, Any]:
        """As plain data."""
        genres = self.change.genres
        return {
            "at_click": self.at, "users": self.change.users, "items": self.change.items,
            "genres": None if genres is None else list(genres),
        }  # fmt: skip


def drift_world(
    interactions: Interactions, items: list[Item], start: int, seed: int, file: Path
) -> DriftWorld:
    """Writes the changed clicks to `file`; the world changes halfway from click `start` to the end."""
    stream = stream_from(interactions, items, seed)
    halfway = stream.time_ms[start + (stream.size - start) // 2]
    at = int(np.searchsorted(stream.time_ms, halfway))  # so that a time tells the parts
    change = change_of(stream, at, seed)
    world = changed(stream, change, at)
    _write(world, file)
    moment = datetime.fromtimestamp(int(halfway) / 1000, UTC).isoformat(timespec="milliseconds")
    return DriftWorld(file, at, moment, change, list(_records(world, change)))


def announce(settings: Settings, world: DriftWorld) -> None:
    """Sends what the catalogue's owner says at the change; returns when all of it is acknowledged."""
    topic = Names(settings.prefix).items
    with clients.producer(settings) as producer:
        sent = [producer.send(topic, key=item.item_id.encode(), value=encode(item)) for item in world.items]
        for future in sent:
            future.get(30)


def _records(world: Stream, change: Change) -> Iterator[Item]:
    yield from (record for record in world.records[len(change.item) :] if record is not None)
    for old in np.flatnonzero(change.item >= len(change.item)).tolist():
        yield Item(item_id=world.item_ids[old], available=False)


def _write(stream: Stream, file: Path) -> None:
    words = np.array([kind.word for kind in Kind])
    of_kind = {int(kind): place for place, kind in enumerate(Kind)}
    parquet.write_table(
        pa.table(
            {
                "user_id": np.array(stream.user_ids, object)[stream.user],
                "item_id": np.array(stream.item_ids, object)[stream.item],
                "timestamp": stream.time_ms,
                "event": words[[of_kind[kind] for kind in stream.kind.tolist()]],
                "value": pa.array(stream.value, from_pandas=True),  # nan: none
                "scenario": list(stream.scenario),
            }
        ),
        file,
    )
