"""The catalogue in a SQLite file: what its owner says of each item, for pages, look-ups and changes.

Owns the file, which is made anew from the topic `items` where it is missing, broken or of another topic.
Several processes may share one: each row carries its record's offset, and an older one changes nothing.
"""

import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import structlog

from learner.data.catalogue import Item
from streams.wire.contract import UNREADABLE, decode_item, decode_tombstone

log = structlog.get_logger()

_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS items (
    item_id TEXT PRIMARY KEY, offset INTEGER NOT NULL, available INTEGER NOT NULL, title TEXT NOT NULL,
    value BLOB
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS reached (one INTEGER PRIMARY KEY CHECK (one = 1), offset INTEGER NOT NULL);
"""
_PUT = """
INSERT INTO items VALUES (?, ?, ?, ?, ?) ON CONFLICT (item_id) DO UPDATE SET
    offset = excluded.offset, available = excluded.available, title = excluded.title, value = excluded.value
WHERE excluded.offset > items.offset
"""
_REACH = """
INSERT INTO reached VALUES (1, ?) ON CONFLICT (one) DO UPDATE SET offset = max(offset, excluded.offset)
"""


@dataclass(frozen=True)
class Entry:
    """What the topic says of an item; `item` None where it was withdrawn by a tombstone."""

    item_id: str
    offset: int
    item: Item | None


class Catalogue:
    """`on_record` takes the records of `items`, `flush` writes what came."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._rows: list[tuple[str, int, int, str, bytes | None]] = []
        self._next = 0
        self._base = self._opened()

    def close(self) -> None:
        """Closes the file."""
        self.flush()
        self._base.close()

    @property
    def reached(self) -> int:
        """The offset of the next record to be read."""
        row = self._base.execute("SELECT offset FROM reached").fetchone()
        return int(row[0]) if row else 0

    def begin(self, end: int) -> int:
        """Where to read from in a topic that ends at `end`; a file that knows more is of another topic."""
        if self.reached > end:
            log.info("the catalogue's file is of another topic and is made anew", file=str(self._file))
            self._anew()
        return self.reached

    def on_record(self, record: Any) -> None:
        """A record of `items`; a broken one changes nothing."""
        self._next = record.offset + 1
        try:
            if record.value is None:
                self._rows.append((decode_tombstone(record.key), record.offset, 0, "", None))
                return
            item = decode_item(record.value)
        except UNREADABLE:
            return
        value = msgspec.msgpack.encode(item)
        self._rows.append((item.item_id, record.offset, int(item.available), item.title or "", value))

    def flush(self) -> None:
        """Writes what came since."""
        if not self._next:
            return
        with self._base:
            self._base.executemany(_PUT, self._rows)
            self._base.execute(_REACH, (self._next,))
        self._rows, self._next = [], 0

    def get(self, item_id: str) -> Entry | None:
        """What is known of an item; None where the topic has never said anything."""
        self.flush()
        row = self._base.execute("SELECT item_id, offset, value FROM items WHERE item_id = ?", (item_id,))
        found = row.fetchone()
        return None if found is None else _entry(*found)

    def withdrawn(self) -> Iterator[str]:
        """All items that may not be listed."""
        for (item_id,) in self._base.execute("SELECT item_id FROM items WHERE available = 0"):
            yield item_id

    def page(self, after: str, limit: int, words: str = "") -> list[Entry]:
        """Items in the order of their ids; `words`: those that have them in the title or as the id.

        On a connection of its own: it may look through all of it, in a thread.
        """
        with contextlib.closing(sqlite3.connect(f"file:{self._file}?mode=ro", uri=True)) as base:
            like = "%" + words.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
            rows = base.execute(
                "SELECT item_id, offset, value FROM items WHERE item_id > ? AND value IS NOT NULL"
                " AND (? = '' OR item_id = ? OR title LIKE ? ESCAPE '\\') ORDER BY item_id LIMIT ?",
                (after, words, words, like, limit),
            )
            return [_entry(*row) for row in rows]

    def _opened(self) -> sqlite3.Connection:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        try:
            return self._connected()
        except sqlite3.DatabaseError as error:
            log.warning("the catalogue's file is made anew", file=str(self._file), why=str(error))
            for name in ("", "-wal", "-shm"):
                self._file.with_name(self._file.name + name).unlink(missing_ok=True)
            return self._connected()

    def _connected(self) -> sqlite3.Connection:
        base = sqlite3.connect(self._file, timeout=30.0, check_same_thread=False)  # one at a time
        try:
            base.execute("PRAGMA journal_mode = WAL")
            base.execute("PRAGMA synchronous = NORMAL")  # the topic has it all
            (version,) = base.execute("PRAGMA user_version").fetchone()
            if version not in (0, _VERSION):
                raise sqlite3.DatabaseError(f"its version is {version}, expected {_VERSION}")
            base.executescript(_SCHEMA)
            base.execute(f"PRAGMA user_version = {_VERSION}")
            base.commit()
        except sqlite3.DatabaseError:
            base.close()
            raise
        return base

    def _anew(self) -> None:
        with self._base:
            self._base.execute("DELETE FROM items")
            self._base.execute("DELETE FROM reached")


def _entry(item_id: str, offset: int, value: bytes | None) -> Entry:
    item = None if value is None else msgspec.msgpack.decode(value, type=Item)
    return Entry(item_id, offset, item)


def field_of(item: Item, name: str) -> Any:
    """A field of an item by its name, an attribute too; None where it has none."""
    plain = name.removeprefix("attributes.")
    if plain == name and name in Item.__struct_fields__ and name not in ("attributes", "v"):
        found = getattr(item, name)
        if found not in (None, []):
            return found
    return item.attributes.get(plain)
