"""The catalogue in a SQLite file: what its owner says of each item, and what the live release alone knows.

Owns the file, which is made anew from the topic `items` where it is missing, broken or of another topic.
Several processes may share one: each row carries its record's offset, and an older one changes nothing.
"""

import contextlib
import itertools
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import structlog

from learner.data.catalogue import Item
from streams.wire.contract import UNREADABLE, decode_item, decode_tombstone

log = structlog.get_logger()

_VERSION = 2
_AT_ONCE = 2_000  # rows of a release in one transaction: whoever writes meanwhile waits for no more
_SCHEMA = """
CREATE TABLE IF NOT EXISTS items (
    item_id TEXT PRIMARY KEY, offset INTEGER NOT NULL, available INTEGER NOT NULL, title TEXT NOT NULL,
    value BLOB
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS released (item_id TEXT PRIMARY KEY, title TEXT NOT NULL, value BLOB) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS live (one INTEGER PRIMARY KEY CHECK (one = 1), release TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS reached (one INTEGER PRIMARY KEY CHECK (one = 1), offset INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS topic (one INTEGER PRIMARY KEY CHECK (one = 1), identity TEXT NOT NULL);
"""
_PUT = """
INSERT INTO items VALUES (?, ?, ?, ?, ?) ON CONFLICT (item_id) DO UPDATE SET
    offset = excluded.offset, available = excluded.available, title = excluded.title, value = excluded.value
WHERE excluded.offset > items.offset
"""
_REACH = """
INSERT INTO reached VALUES (1, ?) ON CONFLICT (one) DO UPDATE SET offset = max(offset, excluded.offset)
"""


_ONE = "SELECT item_id, offset, value FROM items WHERE item_id = ?"
_ONE_RELEASED = "SELECT item_id, -1, value FROM released WHERE item_id = ?"
_FITS = "item_id > :after AND (item_id = :words OR ({titled}))"
_PAGE = """
SELECT * FROM (SELECT item_id, offset, value FROM items WHERE {fits} AND value IS NOT NULL
    ORDER BY item_id LIMIT :limit)
UNION ALL
SELECT * FROM (SELECT item_id, -1, value FROM released WHERE {fits}
    AND NOT EXISTS (SELECT 1 FROM items WHERE items.item_id = released.item_id) ORDER BY item_id LIMIT :limit)
ORDER BY item_id LIMIT :limit
"""
_MOST_WORDS = 32  # that are looked for; the others are passed over


@dataclass(frozen=True)
class Entry:
    """What is known of an item; `item` None where it was withdrawn by a tombstone.

    offset: of its record, -1 where only the live release knows it
    """

    item_id: str
    offset: int
    item: Item | None

    @property
    def announced(self) -> bool:
        """Whether its owner has told it."""
        return self.offset >= 0


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

    def begin(self, end: int, identity: str = "") -> int:
        """Where to read from in a topic that ends at `end`; a file that is of another topic is made anew.

        identity: the topic's id, "" where brokers tell none: a file that knows more is then of another one
        """
        self._rows, self._next = [], 0
        row = self._base.execute("SELECT identity FROM topic").fetchone()
        before = str(row[0]) if row else identity
        if self.reached > end or (identity and before and identity != before):
            log.info("the catalogue's file is of another topic and is made anew", file=str(self._file))
            self._anew()
        if identity:
            with self._base:
                self._base.execute("INSERT OR REPLACE INTO topic VALUES (1, ?)", (identity,))
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
        """What is known of an item; None where nobody knows it."""
        self.flush()
        for query in (_ONE, _ONE_RELEASED):
            found = self._base.execute(query, (item_id,)).fetchone()
            if found is not None:
                return _entry(*found)
        return None

    @property
    def released(self) -> str:
        """Whose items stand beside those of the owner; "" of none."""
        row = self._base.execute("SELECT release FROM live").fetchone()
        return str(row[0]) if row else ""

    def put_released(self, release: str, items: Iterable[Item]) -> None:
        """The live release's items, in the place of those of the one before; for a thread."""
        with contextlib.closing(sqlite3.connect(self._file, timeout=30.0)) as base:
            with base:
                base.execute("DELETE FROM released")
                base.execute("DELETE FROM live")
            rows = ((each.item_id, each.title or "", msgspec.msgpack.encode(each)) for each in items)
            while some := list(itertools.islice(rows, _AT_ONCE)):
                with base:
                    base.executemany("INSERT OR REPLACE INTO released VALUES (?, ?, ?)", some)
            with base:
                base.execute("INSERT OR REPLACE INTO live VALUES (1, ?)", (release,))

    def withdrawn(self) -> Iterator[str]:
        """All items that may not be listed."""
        for (item_id,) in self._base.execute("SELECT item_id FROM items WHERE available = 0"):
            yield item_id

    def page(self, after: str, limit: int, words: str = "") -> list[Entry]:
        """Items in the order of their ids; `words`: those that have all of them in the title, or are the id.

        On a connection of its own: it may look through all of it, in a thread.
        """
        with contextlib.closing(sqlite3.connect(f"file:{self._file}?mode=ro", uri=True)) as base:
            likes = {f"like{n}": _like(word) for n, word in enumerate(words.split()[:_MOST_WORDS])}
            titled = " AND ".join(f"title LIKE :{name} ESCAPE '\\'" for name in likes) or "TRUE"
            asked = {"after": after, "words": words, "limit": limit, **likes}
            rows = base.execute(_PAGE.format(fits=_FITS.format(titled=titled)), asked)
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
            self._base.execute("DELETE FROM topic")
            self._base.execute("DELETE FROM live")
            self._base.execute("DELETE FROM released")


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


def _like(word: str) -> str:
    """What SQL takes for "has this word in it"."""
    return "%" + word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
