"""Recorded interactions and items: what a file's columns mean.

Owns the columns of `interactions` and `items` files, the numbering of their users and items, replay
order and the ids of recorded events. Does not know Kafka, models or the process's catalogue, whose
numbers are others than the ones here.
"""

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learner.data.catalogue import Item
from learner.data.events import KIND_OF_WORD, Kind
from learner.data.faulty import shown
from learner.data.inputs import value_scale
from learner.data.item_columns import attributes, available, dates, lists, prices, texts
from learner.data.naming import CLICK_NAMES, ITEM_NAMES
from learner.data.repeats import data_repeats
from learner.data.tables import DataError, Table, read_table

__all__ = ["DataError", "Interactions", "load_interactions", "load_items"]

log = logging.getLogger(__name__)

_WORDS = {**KIND_OF_WORD, "": Kind.CLICK, "review": Kind.RATING}
_CLICK_COLUMNS = ("user_id", "item_id", "timestamp"), ("event", "value", "rating", "scenario")
_NAMED = 5  # of the unknown words for events
_ITEM_COLUMNS = (
    "title", "description", "categories", "tags", "attributes", "keywords", "price", "image",
    "published_at", "available",
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Interactions:
    """Recorded events as parallel arrays (n,), in the file's order or in time order (`in_order`).

    user, item: int32, numbers into `user_ids` and `item_ids` (order of first appearance in the file)
    time_ms: int64, Unix milliseconds; kind: uint8, codes of `learner.data.events.Kind`
    value: float32, rating, dwell seconds or price, nan where there is none
    place: int32, numbers into `scenarios`, whose first entry is None
    occurrence: int32, how many equal rows stand before this one in the file
    """

    user: NDArray[np.int32]
    item: NDArray[np.int32]
    time_ms: NDArray[np.int64]
    kind: NDArray[np.uint8]
    value: NDArray[np.float32]
    place: NDArray[np.int32]
    occurrence: NDArray[np.int32]
    user_ids: list[str]
    item_ids: list[str]
    scenarios: list[str | None]

    def __len__(self) -> int:
        return len(self.user)

    @property
    def scenario(self) -> list[str | None]:
        """The scenario of each event, None where the file names none."""
        return [self.scenarios[place] for place in self.place.tolist()]

    def in_order(self, seed: int) -> "Interactions":
        """The same events in global time order, ties broken by a permutation drawn with `seed`."""
        shuffled = np.random.default_rng(seed).permutation(len(self))
        return self.at(shuffled[np.argsort(self.time_ms[shuffled], kind="stable")])

    def at(self, places: NDArray[np.integer] | slice) -> "Interactions":
        """The events at some places, numbered as before."""
        return replace(
            self, user=self.user[places], item=self.item[places], time_ms=self.time_ms[places],
            kind=self.kind[places], value=self.value[places], place=self.place[places],
            occurrence=self.occurrence[places],
        )  # fmt: skip

    def split(self, fraction: float) -> tuple["Interactions", "Interactions"]:
        """The first `fraction` of the events as they stand, and the rest."""
        if not 0 <= fraction <= 1:
            raise ValueError(f"expected a fraction from 0 to 1, got {fraction}")
        end = int(fraction * len(self))
        return self.at(slice(0, end)), self.at(slice(end, None))

    def repeats(self) -> bool:
        """Whether consumed items may be recommended again, decided from these events in this order."""
        return data_repeats(self.user, self.item, self.kind)

    def value_scale(self) -> dict[str, tuple[float, float]]:
        """Mean and standard deviation of the values of each kind that has any, by the kind's word."""
        return value_scale(self.kind, self.value)

    def event_ids(self) -> list[str]:
        """An id for each event: 24 hexadecimal digits, a hash of its fields and its occurrence number.

        The same row of the same file always gets the same id, whatever order or part it stands in.
        """
        columns = zip(
            self.user.tolist(), self.item.tolist(), self.time_ms.tolist(), self.kind.tolist(),
            self.value.tolist(), self.place.tolist(), self.occurrence.tolist(), strict=True,
        )  # fmt: skip
        users, items, scenarios = self.user_ids, self.item_ids, self.scenarios
        # Lengths come first, so that no two different rows spell the same text.
        rows = (
            f"{len(users[u])} {len(items[i])} {users[u]}{items[i]} {t} {k} {v:.9g} {n} {scenarios[s]}"
            for u, i, t, k, v, s, n in columns
        )
        return [blake2b(row.encode(), digest_size=12).hexdigest() for row in rows]


def columns_named(pairs: str | None) -> dict[str, str]:
    """What `--columns user_id=userId,item_id=movieId` says: the file's names by ours. Raises DataError."""
    named: dict[str, str] = {}
    known = list(dict.fromkeys((*_CLICK_COLUMNS[0], *_CLICK_COLUMNS[1], *_ITEM_COLUMNS)))
    for pair in filter(None, (pairs or "").split(",")):
        name, equals, source = (part.strip() for part in pair.partition("="))
        if not (equals and name and source):
            raise DataError(f"--columns {pair}: expected NAME=COLUMN, such as user_id=userId")
        if name not in known:
            raise DataError(f"--columns {pair}: expected one of {', '.join(known)} before the =, got {name}")
        named[name] = source
    return named


def load_interactions(path: Path | str, columns: Mapping[str, str] | None = None) -> Interactions:
    """Reads an interactions file, in the file's order: delimited text, JSON Lines or Parquet, also gzipped.

    Columns: user_id, item_id, timestamp (seconds, milliseconds or ISO 8601), and optionally event, value or
    rating, scenario; common other names are taken, and those that `columns` gives (the file's by ours).
    Raises DataError, which names line and column.
    """
    table = read_table(Path(path), *_CLICK_COLUMNS, CLICK_NAMES, columns)
    if not table.rows:
        raise DataError(
            f"{path}: expected at least one row below the header, got none; check how it was written"
        )
    user, user_ids = table.ids("user_id")
    item, item_ids = table.ids("item_id")
    times = table.times_ms("timestamp", strict=True)
    if (missing := np.isnan(times)).any():
        table.fail("timestamp", int(np.argmax(missing)), "a time", "", "give every row a time")
    place, scenarios = _scenarios(table)
    fields = (user, item, times.astype(np.int64), _kinds(table), _values(table), place)
    return Interactions(*fields, _occurrences(*fields), user_ids, item_ids, scenarios)


def load_items(path: Path | str, columns: Mapping[str, str] | None = None) -> list[Item]:
    """Reads an items file, in the formats of interactions. Of several rows for one item the last one counts.

    Columns: item_id and any of title, description, categories, tags, keywords (more tags), attributes,
    price, image, published_at, available; lists are split by "|", or JSON or Python literals. `columns` has
    the file's names by ours. Raises DataError, which names line and column.
    """
    table = read_table(Path(path), ("item_id",), _ITEM_COLUMNS, ITEM_NAMES, columns)
    numbers, ids = table.ids("item_id")
    tags = [
        first + [tag for tag in more if tag not in first]
        for first, more in zip(lists(table, "tags"), lists(table, "keywords"), strict=True)
    ]
    rows = zip(
        numbers.tolist(), texts(table, "title"), texts(table, "description"), lists(table, "categories"),
        tags, attributes(table), texts(table, "image"), prices(table), dates(table), available(table),
        strict=True,
    )  # fmt: skip
    found = {
        number: Item(
            item_id=ids[number], title=title, description=description, categories=categories, tags=tagged,
            attributes=attributes, image=image, price=price, published_at=date, available=available,
        )
        for number, title, description, categories, tagged, attributes, image, price, date, available in rows
    }  # fmt: skip
    if len(found) < table.rows:
        log.warning("%s: %d rows repeat an item; the last one of each counts", path, table.rows - len(found))
    return list(found.values())


def _kinds(table: Table) -> NDArray[np.uint8]:
    if "event" not in table:
        return np.full(table.rows, Kind.CLICK, np.uint8)
    codes, words = table.said("event")
    words = [word.lower() for word in words]
    unknown: Counter[str] = Counter()
    for word, count in zip(words, np.bincount(codes, minlength=len(words)).tolist(), strict=True):
        if word not in _WORDS:
            unknown[word] += count
    if unknown:
        said = ", ".join(f"{shown(word)} ({count:,})" for word, count in unknown.most_common(_NAMED))
        others = f" and {len(unknown) - _NAMED:,} others" if len(unknown) > _NAMED else ""
        log.warning(
            "%s: unknown events are read as click: %s%s; write %s for what they mean, or leave the rows out",
            table.path, said, others, ", ".join(KIND_OF_WORD),
        )  # fmt: skip
    return np.array([_WORDS.get(word, Kind.CLICK) for word in words], np.uint8)[codes]


def _values(table: Table) -> NDArray[np.float32]:
    """The column `value`, and `rating` where that has nothing."""
    values = np.full(table.rows, np.nan)
    for name in ("value", "rating"):
        if name in table:
            column = table.numbers(name, "write a number or leave it empty")
            if (large := np.abs(column) > np.finfo(np.float32).max).any():
                row = int(np.argmax(large))
                table.fail(name, row, "a number below 3e38", column[row], "write a number or leave it empty")
            values = np.where(np.isnan(values), column, values)
    return values.astype(np.float32)


def _scenarios(table: Table) -> tuple[NDArray[np.int32], list[str | None]]:
    if "scenario" not in table:
        return np.zeros(table.rows, np.int32), [None]
    codes, words = table.words("scenario")
    names: list[str | None] = [None, *(word for word in words if word)]
    numbers = {word or "": number for number, word in enumerate(names)}
    return np.array([numbers[word] for word in words], np.int32)[codes], names


def _occurrences(*columns: NDArray[Any]) -> NDArray[np.int32]:
    """How many equal rows stand before each: (n,) int32.

    Rows are compared by 64 bits of hash. Should two different rows ever share them, one of them counts
    as a second occurrence, which is as unique and as lasting as a first.
    """
    key = np.zeros(len(columns[0]), np.uint64)
    for column in columns:
        bits = column.view(np.uint32) if column.dtype == np.float32 else column
        key = (key ^ bits.astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio
        key ^= key >> np.uint64(29)
    order = np.argsort(key, kind="stable")
    first = np.r_[True, key[order][1:] != key[order][:-1]]
    run = np.arange(len(key)) - np.maximum.accumulate(np.where(first, np.arange(len(key)), 0))
    occurrence = np.empty(len(key), np.int32)
    occurrence[order] = run
    return occurrence
