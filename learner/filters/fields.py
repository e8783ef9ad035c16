"""The items' fields as columns by item number, read from the records when first asked for.

Owns which name means what, and that columns follow the catalogue. Knows no filters.
"""

import functools
import operator
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from learner.data.catalogue import CHANGES_KEPT, Catalogue
from learner.filters import values
from learner.filters.lane import Lane
from learner.filters.language import OWN

ITEM_ID = "item_id"
MEMORY_BYTES = 256 << 20  # at a million items some twenty columns
MOST_COLUMNS = 256  # more than one filter can name; a name that no item knows takes a column too
_FEW = 8  # attributes
_PREFIX = "attributes."
_AT_ONCE = 512  # records unpacked at one time: what they leave is memory at hand, not new memory
_PUT_AT_ONCE = 65_536  # items


class Column:
    """One field of the first `size` items, as it was when the catalogue had had `mark` changes."""

    def __init__(self, mark: int) -> None:
        self.size = 0
        self.mark = mark
        self.numbers: Lane | None = None
        self.keys: Lane | None = None

    @property
    def nbytes(self) -> int:
        """Memory that it takes, in bytes."""
        return sum(lane.nbytes for lane in (self.numbers, self.keys) if lane)

    @property
    def used(self) -> bool:
        """Whether any item has a value."""
        return any(lane is not None and lane.present > 0 for lane in (self.numbers, self.keys))

    def put(self, items: NDArray[np.int64], read: values.Read, rows: int) -> None:
        """Takes what the records of items (n,), each once and below `rows`, say in this field."""
        if read.numbers is not None and self.numbers is None:
            self.numbers = Lane(np.nan, np.float64)
        if read.keys is not None and self.keys is None:
            self.keys = Lane(values.NO_KEY, np.int64)
        nothing = np.zeros(len(items), np.int32)
        if self.numbers is not None:
            self.numbers.put(items, *(read.numbers or (nothing, np.zeros(0))), rows)
        if self.keys is not None:
            self.keys.put(items, *(read.keys or (nothing, np.zeros(0, np.int64))), rows)


class Fields:
    """Columns of a catalogue, which catch up with it whenever they are read.

    The least recently used ones go where all together take more than `memory_bytes`, but never those that
    were asked for together. Not safe for two threads at once.
    """

    def __init__(self, catalogue: Catalogue, memory_bytes: int = MEMORY_BYTES) -> None:
        self.catalogue = catalogue
        self._memory = memory_bytes
        self._columns: OrderedDict[str, Column] = OrderedDict()  # the last used one last
        self._next_look = CHANGES_KEPT // 2

    @property
    def nbytes(self) -> int:
        """Memory of all columns, in bytes."""
        return sum(column.nbytes for column in self._columns.values())

    def ready(self, names: tuple[str, ...], behind: int = 0) -> bool:
        """Whether all columns are read, but for at most `behind` items each, and can catch up."""
        size = self.catalogue.size - behind
        return all(
            column is not None and column.size >= size and self._reachable(column)
            for column in (self._columns.get(name) for name in _columns_of(names))
        )

    def read(self, names: tuple[str, ...], items: int | None = None) -> bool:
        """Reads what these fields lack, of at most `items` items; True once they know the whole."""
        wanted = _columns_of(names)
        if not wanted:
            return True
        for name in wanted:
            if name not in self._columns or not self._reachable(self._columns[name]):
                self._columns[name] = Column(self.catalogue.changes)
            self._columns.move_to_end(name)
        columns = [self._columns[name] for name in wanted]
        self._catch_up(wanted)
        size = self.catalogue.size
        left = size if items is None else items
        while left > 0 and (first := min(column.size for column in columns)) < size:
            behind = [name for name in wanted if self._columns[name].size == first]
            ends = [column.size for column in columns if column.size > first]
            end = min(first + min(left, _PUT_AT_ONCE), size, *ends)
            self._put(np.arange(first, end), behind)
            for name in behind:
                self._columns[name].size = end
            left -= end - first
            self._forget(len(wanted))
        return all(column.size == size for column in columns)

    def column(self, name: str) -> Column:
        """The column of a field that `read` was asked for."""
        return self._columns[_column_of(name)]

    def codes(
        self, name: str, items: NDArray[np.integer[Any]]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Which values items (n,) have in a field: begins (n + 1,) and codes, both int64.

        Those of item k are codes[begins[k] : begins[k + 1]]; the same code means the same value, each stands
        once an item, and where an item has none the range is empty. Codes hold for this process alone. Reads
        the column if it is not there: `read` it before where a million items must not wait for that.
        """
        rows: NDArray[np.int64] = items.astype(np.int64)
        if name == ITEM_ID:
            return np.arange(len(items) + 1, dtype=np.int64), rows
        self.read((name,))
        column = self.column(name)
        begins = np.zeros(len(items) + 1, np.int64)
        codes = np.zeros(0, np.int64)
        if column.keys is not None:
            counts, codes = column.keys.of(rows)
            np.cumsum(counts, out=begins[1:])
            same = codes != values.OTHER_KEY  # an object is the same as no other
            if not same.all():
                begins, codes = np.concatenate([[0], np.cumsum(same)])[begins], codes[same]
        if column.numbers is not None:
            counts, numbers = column.numbers.of(rows)
            more = np.zeros(len(items) + 1, np.int64)
            np.cumsum(counts, out=more[1:])
            places = np.repeat(begins[1:], counts)  # behind the item's texts
            codes = (
                np.insert(codes, places, values.number_keys(numbers))
                if len(codes)
                else values.number_keys(numbers)
            )
            begins = begins + more
        return begins, codes

    def known(self, name: str, items: int | None = None) -> bool | None:
        """Whether any item has a value in this field; None while that is not known.

        Reads the column, of at most `items` further items.
        """
        if name == ITEM_ID:
            return self.catalogue.size > 0
        whole = self.read((name,), items)
        return True if self.column(name).used else False if whole else None

    def follow(self) -> None:
        """Saves columns that nobody has asked for in a while from falling too far behind; once a round."""
        if self.catalogue.changes < self._next_look:
            return
        late = self.catalogue.changes - CHANGES_KEPT // 2
        for name, column in self._columns.items():
            if column.mark < late and self._reachable(column):
                self._catch_up((name,))
                return
        self._next_look = self.catalogue.changes + CHANGES_KEPT // 8

    def _reachable(self, column: Column) -> bool:
        return self.catalogue.remembers(column.mark)

    def _catch_up(self, names: Iterable[str]) -> None:
        """Reads anew what has changed of the items that the columns have."""
        by_mark: dict[int, list[str]] = {}
        for name in names:
            by_mark.setdefault(self._columns[name].mark, []).append(name)
        for old, these in by_mark.items():
            mark, numbers = self.catalogue.changes_since(old)
            if numbers is not None and len(numbers):
                self._put(numbers, these)
            for name in these:
                self._columns[name].mark = mark

    def _put(self, items: NDArray[np.int64], names: list[str]) -> None:
        """Reads items (n,) into columns."""
        reader = _reader(tuple(names))
        parts = [items[at : at + _AT_ONCE] for at in range(0, len(items), _AT_ONCE)]
        reads: list[list[values.Read]] = [[] for _ in names]
        for part in parts:
            cells = reader(self.catalogue.records.raw(part.tolist()))
            for column, own in zip(reads, cells, strict=True):
                column.append(values.read(own or ()))
        for name, column in zip(names, reads, strict=True):
            whole = column[0] if len(column) == 1 else values.joined(column, [len(part) for part in parts])
            self._columns[name].put(items, whole, self.catalogue.capacity)

    def _forget(self, needed: int) -> None:
        while len(self._columns) > needed and (
            len(self._columns) > MOST_COLUMNS or self.nbytes > self._memory
        ):
            self._columns.popitem(last=False)


@functools.lru_cache(4096)
def _columns_of(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_column_of(name) for name in names if name != ITEM_ID))


def _column_of(name: str) -> str:
    """One name for a column: `attributes.brand` and `brand` are the same."""
    short = name.removeprefix(_PREFIX)
    return name if short in OWN or short.startswith(_PREFIX) else short


@functools.lru_cache(256)
def _reader(names: tuple[str, ...]) -> Callable[[list[bytes]], list[list[Any] | None]]:
    """What turns packed records into a list of cells for each column, or None where none has any.

    It unpacks what is asked for alone: attributes one by one, or where those are many, or have names that no
    struct's field can have, all that a record has.
    """
    attributes = {name.removeprefix(_PREFIX): k for k, name in enumerate(names) if name not in OWN}
    own = {k: operator.attrgetter(name) for k, name in enumerate(names) if name in OWN}
    few = _struct_of(attributes) if 0 < len(attributes) <= _FEW else None
    inner: Any = dict[str, Any] if few is None else few
    parts: list[Any] = [(names[k], Any, None) for k in own]
    if attributes:
        parts.append(("attributes", inner | None, None))
    record: Any = msgspec.defstruct("Record", parts, gc=False)
    decode: Callable[[bytes], Any] = msgspec.msgpack.Decoder(record).decode

    def cells(packed: list[bytes]) -> list[list[Any] | None]:
        records = list(map(decode, packed))
        found: list[list[Any] | None] = [None] * len(names)
        for k, get in own.items():
            found[k] = list(map(get, records))
        if few is not None:
            nothing = few()
            held = [each.attributes or nothing for each in records]
            for k in attributes.values():
                found[k] = list(map(operator.attrgetter(f"cell_{k}"), held))
        elif attributes:
            for row, each in enumerate(records):
                for name in attributes.keys() & each.attributes.keys() if each.attributes else ():
                    column = found[attributes[name]]
                    if column is None:
                        column = found[attributes[name]] = [None] * len(records)
                    column[row] = each.attributes[name]
        return found

    return cells


def _struct_of(attributes: dict[str, int]) -> Any:
    """A struct with a field `cell_<k>` for each attribute; None where one has a name that no field can have.

    Items may have such attributes: with quotes, backslashes or control characters.
    """
    slots = [(f"cell_{k}", Any, None) for k in attributes.values()]
    names = {f"cell_{k}": name for name, k in attributes.items()}
    try:
        return msgspec.defstruct("Attributes", slots, rename=names, gc=False)
    except ValueError:
        return None
