"""The catalogue as its owner sees it: what the topic `items` says of each item, announced and withdrawn.

Owns reading the topic up to now and writing to it. What may be sent is `streams.traffic.admissible`'s
business. Of items that only somebody's click made known it does not know.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from learner.data.catalogue import Item
from learner.release.bundle import ReleaseError
from learner.release.files import read_release
from streams.releases.topic import roles_now
from streams.settings import Settings
from streams.traffic.admissible import prepare
from streams.transport import clients
from streams.transport.delivery import Outgoing
from streams.transport.sending import sending
from streams.transport.topic_reader import TopicMissing, read_to_end
from streams.transport.topics import Names, create_missing
from streams.wire.contract import UNREADABLE, decode_item, decode_tombstone

CHUNK = 20_000

Say = Callable[[str], None]


@dataclass
class Entry:
    """What is said of an item now. `item` is None where nobody described it; `at_ms`: when it was said.

    `source`: "topic", or "release" for what only the live release says.
    """

    item_id: str
    item: Item | None
    available: bool
    at_ms: int | None
    source: str = "topic"


def send_items(
    settings: Settings,
    items: Iterable[Item],
    progress: Callable[[int], None] = lambda _: None,
    say: Say = lambda _: None,
) -> int:
    """Announce items, and return once they are acknowledged; returns how many.

    All are looked at before the first is sent. Raises Inadmissible, and `say`s which were cut to fit.
    """
    prepared = prepare(items)
    for line in prepared.told:
        say(line)
    _send(settings, [Outgoing(item.item_id.encode(), value) for item, value in prepared.records], progress)
    return len(prepared.records)


def withdraw(settings: Settings, item_ids: Iterable[str]) -> int:
    """Withdraw items: no list holds them until they are announced again. Returns how many."""
    keys = [item_id.encode() for item_id in item_ids]
    for key in keys:
        decode_tombstone(key)
    _send(settings, [Outgoing(key, None) for key in keys])
    return len(keys)


def look_up(settings: Settings, item_id: str) -> Entry | None:
    """What is said of one item, or None where nobody has spoken of it."""
    return entries(settings).get(item_id)


def entries(settings: Settings) -> dict[str, Entry]:
    """All items that were announced or withdrawn, and those of the live release where it can be read here.

    In the order in which they were first spoken of.
    """
    found: dict[str, Entry] = {}
    live = roles_now(settings).live
    if live is not None:
        with contextlib.suppress(ReleaseError, OSError):  # it may lie on another machine
            for item in read_release(Path(live.url)).items:
                found[item.item_id] = Entry(item.item_id, item, item.available, None, "release")
    with contextlib.suppress(TopicMissing):
        for record in read_to_end(settings, Names(settings.prefix).items):
            try:
                if record.value is None:
                    item_id = decode_tombstone(record.key)
                    before = found.get(item_id)
                    kept = before.item if before else None
                    found[item_id] = Entry(item_id, kept, False, record.timestamp)
                else:
                    item = decode_item(record.value)
                    found[item.item_id] = Entry(item.item_id, item, item.available, record.timestamp)
            except UNREADABLE:
                continue  # a dead letter by now
    return found


def missing_from(settings: Settings, items: Iterable[Item]) -> list[str]:
    """Items known from before that may be recommended now and are none of these."""
    named = {item.item_id for item in items}
    return [
        each.item_id
        for each in entries(settings).values()
        if each.available and each.item_id not in named and not _bare(each)
    ]


def _bare(entry: Entry) -> bool:
    """Whether a release holds the item only since somebody clicked it: no catalogue has ever named it."""
    return entry.source == "release" and entry.item == Item(item_id=entry.item_id)


def _send(
    settings: Settings, records: list[Outgoing], progress: Callable[[int], None] = lambda _: None
) -> None:
    with clients.admin(settings) as admin:
        create_missing(admin, settings)
    asyncio.run(_deliver(settings, records, progress))


async def _deliver(settings: Settings, records: list[Outgoing], progress: Callable[[int], None]) -> None:
    topic = Names(settings.prefix).items
    async with sending(settings) as delivery:
        for start in range(0, len(records), CHUNK):
            for future in await delivery.send(topic, records[start : start + CHUNK]):
                await future
            progress(min(start + CHUNK, len(records)))
