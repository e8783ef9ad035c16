"""Which keys there are: the topic `keys` as every reader takes it, record by record.

Owns that a broken record changes nothing, and that the newest of a name counts. What keys allow is
`streams.api.keys`' business.
"""

from typing import Any

import structlog

from streams.settings import Settings
from streams.transport.topic_reader import TopicMissing, read_to_end
from streams.transport.topics import Names
from streams.wire.contract import UNREADABLE, decode_key, decode_tombstone
from streams.wire.keys import KeyRecord

log = structlog.get_logger()


class KeyTable:
    """All keys by name; `by_digest` finds one by the SHA-256 of its text."""

    def __init__(self) -> None:
        self.by_name: dict[str, KeyRecord] = {}
        self.by_digest: dict[str, KeyRecord] = {}

    def take(self, record: Any) -> None:
        """One record of the topic. A broken one is told and changes nothing."""
        try:
            name = decode_tombstone(record.key)
            told = None if record.value is None else decode_key(record.value)
            if told is not None and told.name != name:
                raise UNREADABLE[0](f"name is {told.name!r}, and the record's key {name!r}")
        except UNREADABLE as error:
            log.warning("a record of keys cannot be used", offset=record.offset, why=str(error))
            return
        before = self.by_name.pop(name, None)
        if before is not None and self.by_digest.get(before.sha256) is before:
            del self.by_digest[before.sha256]
        if told is not None:
            self.by_name[name] = self.by_digest[told.sha256] = told


def standing_keys(settings: Settings) -> KeyTable:
    """The keys that there are now; none where there is no such topic yet. Raises BrokerUnreachable."""
    table = KeyTable()
    try:
        for record in read_to_end(settings, Names(settings.prefix).keys):
            table.take(record)
    except TopicMissing:
        pass
    return table
