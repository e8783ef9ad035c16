"""The catalogue: which items exist, under which number, and which may be recommended now.

Owns the numbering of items (an item keeps its number for the life of the process) and what the
catalogue's owner says of them. Knows neither models nor signals: their arrays follow the numbering.
"""

import array
import math
import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from learner.data.arrays import grown
from learner.data.records import Records
from learner.data.times import YEAR_MS

_TITLE_YEAR = re.compile(r"\((1[89]\d\d|20\d\d)\b[^()]*\)")  # "(1995)", "(2005–2013)"

Id = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
# Up to what every JSON parser keeps exactly: 285,000 years.
Timestamp = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1, description="Unix milliseconds")]
_AT_ONCE = 8192  # records of a release unpacked at one time
_USUAL_ITEMS = 20_000  # what category weights are relative to
CHANGES_KEPT = 65_536  # at least so many of the last changes are told; who comes later reads all items anew
MAX_CATEGORIES = 6  # of an item that the features look at; further ones are kept in the record only


class Item(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What the catalogue's owner says of an item: topic `items`, key `item_id`."""

    item_id: Id
    title: str | None = None
    description: str | None = None
    categories: list[str] = []
    tags: list[str] = []
    image: str | None = None
    attributes: dict[str, Any] = {}
    available: bool = True
    published_at: Timestamp | None = None
    price: float | None = None
    v: Literal[1] = 1


class Catalogue:
    """Items by number, grown by doubling; a number once given never changes or goes away.

    Arrays have `capacity` rows of which the first `size` are in use; growth replaces them, so read
    them from the catalogue each time. Not safe for two threads at once.

    ids: item id by number; index: the inverse
    available (capacity,) bool: may be recommended now
    spoken (capacity,) bool: the owner has spoken of it; neither a release's record nor a click overrides that
    expired (capacity,) bool: left by rule, since it was idle; a click brings it back
    categories (capacity, 6) int32: numbers into `category_names`, -1 padded
    published (capacity,) float64: year with fraction, nan where unknown (float32 would round to hours)
    records: the last record of each item that has one, by number
    version: rises whenever the availability of an item changes
    changes: rises, too, with each record that is taken of an item that was there before
    """

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.index: dict[str, int] = {}
        self.available: NDArray[np.bool_] = np.zeros(16, np.bool_)
        self.spoken: NDArray[np.bool_] = np.zeros(16, np.bool_)
        self.expired: NDArray[np.bool_] = np.zeros(16, np.bool_)
        self.categories: NDArray[np.int32] = np.full((16, MAX_CATEGORIES), -1, np.int32)
        self.published: NDArray[np.float64] = np.full(16, math.nan, np.float64)
        self.records = Records(Item)
        self.category_names: list[str] = []
        self.version = 0
        self._changed = array.array("i")  # numbers of items, the last change last
        self._forgotten = 0  # changes that are no longer in it
        self._category_index: dict[str, int] = {}
        self._category_items: list[int] = []  # items that carry the category
        self._category_weight: NDArray[np.float32] = np.zeros(16, np.float32)

    @property
    def size(self) -> int:
        """How many items have a number."""
        return len(self.ids)

    @property
    def capacity(self) -> int:
        """Rows of the arrays."""
        return len(self.available)

    @property
    def category_weight(self) -> NDArray[np.float32]:
        """How telling a category is: log(20,000 / (1 + items that carry it)), (categories,) float32.

        Relative to a usual size of catalogue instead of the present one, so that an announcement
        changes the weights of the item's own categories alone.
        """
        return self._category_weight[: len(self.category_names)]

    @property
    def changes(self) -> int:
        """How many changes there have been; the mark to begin with for `changes_since`."""
        return self._forgotten + len(self._changed)

    def changes_since(self, mark: int) -> tuple[int, NDArray[np.int64] | None]:
        """Which items' record or availability may have changed since an earlier mark; returns a new mark.

        The numbers (n,) int64 are sorted, each once; None where the mark is so old that nobody knows. Items
        that joined are not among them: they are what lies beyond the size that one has seen.
        """
        first = mark - self._forgotten
        if first < 0:
            return self.changes, None
        numbers = np.array(self._changed[first:], np.int64)  # a copy: an array that is looked at cannot grow
        return self.changes, np.unique(numbers) if len(numbers) > 1 else numbers

    def remembers(self, mark: int) -> bool:
        """Whether `changes_since` can tell what has changed since a mark."""
        return mark >= self._forgotten

    def intern(self, item_id: str) -> int:
        """Returns the item's number; an unknown item joins, available and without content."""
        number = self.index.get(item_id)
        return self._join(item_id, available=True) if number is None else number

    def announce(self, item: Item) -> int:
        """Takes the owner's record of an item, which replaces all earlier ones; returns its number."""
        number = self._take(item, by_owner=True)
        self.spoken[number] = True
        return number

    def withdraw(self, item_id: str) -> int:
        """Removes an item until the owner announces it again; later clicks do not bring it back.

        The last record stays, since lists and histories may still name the item.
        """
        number = self.index.get(item_id)
        if number is None:
            number = self._join(item_id, available=False)
        self._set_available(number, False)
        self.spoken[number], self.expired[number] = True, False
        return number

    def expire(self, numbers: NDArray[np.int64]) -> None:
        """Takes idle items (n,) out until `revive` or the owner brings them back."""
        for number in numbers.tolist():
            self._set_available(number, False)
        self.expired[numbers] = True

    def revive(self, number: int) -> None:
        """Brings an expired item back: somebody has clicked it."""
        self.expired[number] = False
        self._set_available(number, True)

    def admit(self, item: Item) -> int:
        """Takes a release's record of an item, unless the owner has spoken of it; returns its number."""
        number = self.index.get(item.item_id)
        return number if number is not None and self.spoken[number] else self._take(item)

    def admit_all(self, items: Sequence[Item]) -> NDArray[np.int64]:
        """Takes a release's records, as `admit` does; returns their numbers (n,) int64.

        What the catalogue already says is passed over, and what it has never heard of joins in one go.
        """
        if not self.size:
            self._reserve(len(items))
        numbers = [self._admit_some(items[at : at + _AT_ONCE]) for at in range(0, len(items), _AT_ONCE)]
        return np.array([number for part in numbers for number in part], np.int64)

    def _admit_some(self, items: Sequence[Item]) -> list[int]:
        index, begin = self.index, self.size
        numbers: list[int] = []
        joined: list[Item] = []
        for item in items:
            number = index.get(item.item_id)
            if number is None:
                number = index[item.item_id] = len(self.ids)
                self.ids.append(item.item_id)
                joined.append(item)
            numbers.append(number)
        self._describe(begin, joined)
        if len(joined) < len(items):
            for number, item in zip(numbers, items, strict=True):
                if not self.records.holds(number, item):
                    self.admit(item)
        return numbers

    def category(self, name: str) -> int:
        """Returns the category's number; an unknown one joins."""
        number = self._category_index.get(name)
        if number is None:
            number = self._category_index[name] = len(self.category_names)
            self.category_names.append(name)
            self._category_items.append(0)
            if number == len(self._category_weight):
                self._category_weight = grown(self._category_weight, 2 * number)
            self._weigh(number)
        return number

    def _take(self, item: Item, *, by_owner: bool = False) -> int:
        packed = self.records.pack(item)  # first: an item that cannot be kept must not join
        number = self.index.get(item.item_id)
        if number is None:
            number = self._join(item.item_id, available=item.available)
        if by_owner:
            self.expired[number] = False
        self._set_available(number, item.available and not self.expired[number])
        self.records.put(number, packed)
        self.published[number] = _published(item)
        self._set_categories(number, item.categories)
        self._note(number)
        return number

    def _note(self, number: int) -> None:
        self._changed.append(number)
        if len(self._changed) >= 2 * CHANGES_KEPT:
            del self._changed[:CHANGES_KEPT]
            self._forgotten += CHANGES_KEPT

    def _describe(self, begin: int, items: Sequence[Item]) -> None:
        """Takes the records of new items, numbered from `begin` on: as `_take`, without a step for each."""
        end = begin + len(items)
        self._reserve(end)
        rows = np.full((len(items), MAX_CATEGORIES), -1, np.int32)
        for row, item in enumerate(items):
            self.records[begin + row] = item
            if item.categories:
                numbers = [self.category(name) for name in dict.fromkeys(item.categories)][:MAX_CATEGORIES]
                rows[row, : len(numbers)] = numbers
        self.categories[begin:end] = rows
        self.published[begin:end] = [_published(item) for item in items]
        self.available[begin:end] = [item.available for item in items]
        self.version += int(self.available[begin:end].any())
        counts = np.bincount(rows[rows >= 0], minlength=len(self.category_names))
        for category in np.flatnonzero(counts).tolist():
            self._category_items[category] += int(counts[category])
            self._weigh(category)

    def _join(self, item_id: str, *, available: bool) -> int:
        number = len(self.ids)
        if number == self.capacity:
            self._grow(2 * number)
        self.ids.append(item_id)
        self.index[item_id] = number
        self.available[number] = available
        self.version += available
        return number

    def _reserve(self, items: int) -> None:
        """Makes room for `items` in all and a quarter more, or the next one would cost a copy of it all."""
        if items > self.capacity:
            self._grow(max(items + items // 4, 2 * self.capacity))

    def _grow(self, capacity: int) -> None:
        self.available = grown(self.available, capacity)
        self.spoken = grown(self.spoken, capacity)
        self.expired = grown(self.expired, capacity)
        self.categories = grown(self.categories, capacity, -1)
        self.published = grown(self.published, capacity, math.nan)

    def _set_available(self, number: int, available: bool) -> None:
        if self.available[number] != available:
            self.available[number] = available
            self.version += 1
            self._note(number)

    def _set_categories(self, number: int, names: list[str]) -> None:
        row = self.categories[number]
        old = row[row >= 0].tolist()
        new = [self.category(name) for name in dict.fromkeys(names)][:MAX_CATEGORIES]
        if old == new:
            return
        for change, categories in ((-1, old), (1, new)):
            for category in categories:
                self._category_items[category] += change
                self._weigh(category)
        row[:] = -1
        row[: len(new)] = new

    def _weigh(self, category: int) -> None:
        weight = math.log(_USUAL_ITEMS / (1 + self._category_items[category]))
        self._category_weight[category] = max(weight, 0.1)  # what nearly all items have still counts a little


def _published(item: Item) -> float:
    """Year with fraction: of `published_at`, else the last year in brackets in the title, else nan."""
    if item.published_at is not None:
        return 1970.0 + item.published_at / YEAR_MS
    years = _TITLE_YEAR.findall(item.title) if item.title else ()
    return float(years[-1]) if years else math.nan
