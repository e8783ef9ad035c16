"""What measuring a running system needs: users and items of its clicks, and releases to go live.

Owns the choice of all that a measurement is made with, and how times are told. What is timed is `freshness`'s
and `swaps`'s affair; `nextclick bench` says how to call them.
"""

import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from kafka import TopicPartition

from learner.release.bundle import release_id
from learner.release.files import amend
from streams.operate.probe import BenchError
from streams.releases.store import cache_of, fetch
from streams.releases.topic import roles_now
from streams.settings import Settings
from streams.transport import clients
from streams.transport.topic_reader import read_to_end
from streams.transport.topics import Names
from streams.wire.contract import Click

RECENT = 20_000  # clicks that users and items to measure with are taken from


def recent(settings: Settings) -> tuple[list[str], list[str], int]:
    """Users and items of recent clicks, and the stream's time."""
    users: dict[str, None] = {}
    items: dict[str, None] = {}
    now = int(time.time() * 1000) if settings.clock == "wall" else 0
    decode = msgspec.json.Decoder(Click).decode
    topic = Names(settings.prefix).clicks
    with clients.consumer(settings) as consumer:
        places = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or ()]
        ends = consumer.end_offsets(places)
    starts = {place.partition: max(end - RECENT // len(ends), 0) for place, end in ends.items()}
    for record in read_to_end(settings, topic, start=starts):
        try:
            click = decode(record.value or b"")
        except msgspec.DecodeError:
            continue
        users[click.user_id] = None
        if click.item_id:
            items[click.item_id] = None
        now = max(now, click.timestamp) if settings.clock == "stream" else now
    if not users:
        raise BenchError(
            f"no clicks on prefix {settings.prefix!r}: load some first, `nextclick load --interactions …`"
        )
    return list(users), list(items), now


@contextmanager
def copy_of_live(settings: Settings) -> Iterator[tuple[Path, str]]:
    """The live release under another id: a folder, and the id."""
    record = roles_now(settings).live
    if record is None:
        raise BenchError(
            "no release is live; start the learner with --release DIR, or `nextclick releases add`"
        )
    source = fetch(record.url, record.sha256, cache_of(settings))
    with tempfile.TemporaryDirectory(prefix="nextclick-bench-") as folder:
        copy = Path(folder) / "release"
        shutil.copytree(source, copy)
        name = release_id(int(time.time() * 1000))
        amend(copy, release=name)
        yield copy, name


def quantiles(times: Any, at: Sequence[int] = (50, 99)) -> dict[str, float | None]:
    """p50 and p99 (or which are named), None where there is nothing."""
    values = np.asarray(times, float)
    values = values[~np.isnan(values)]
    return {
        f"p{q}": round(float(np.percentile(values, q)), 1) if len(values) else None for q in at
    }  # fmt: skip
