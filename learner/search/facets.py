"""What items' fields can be asked for in words: values that several items share, and numbers.

Owns which values a phrase may mean and in which fields, with how many items have each. Bounded: a field of
which every item has a value of its own is none to ask for. Knows no queries.
"""

from collections import Counter
from collections.abc import Iterator

from learner.data.catalogue import Item
from learner.search.words import Stems, words_of

MOST_VALUES = 20_000  # of a field; one with more is dropped
MOST_WORDS = 4  # of a value
MOST_FIELDS = 64
_UNIQUE = 0.5  # distinct values of a field by its values, above which it names items
_FEW = 50  # values of a field, below which nothing is said of it by their share


class Facets:
    """Grows as items are read; what no item says any more goes when all are read anew."""

    def __init__(self, stems: Stems) -> None:
        self._stems = stems
        self._values: dict[str, Counter[str]] = {}  # field -> value -> items
        self._meant: dict[str, dict[tuple[str, str], None]] = {}  # stems of a value -> fields and values
        self._dropped: set[str] = set()
        self.numbers: Counter[str] = Counter()  # fields with numbers, by how many items have one
        self.published = 0  # items whose record says when

    def add(self, item: Item) -> None:
        """Takes what a record says."""
        for field, said in (("categories", item.categories), ("tags", item.tags)):
            for name in dict.fromkeys(said):
                self._add(field, name)
        if item.price is not None:
            self.numbers["price"] += 1
        if item.published_at is not None:
            self.published += 1
        for name, cell in item.attributes.items():
            for value in _parts(cell):
                if isinstance(value, str):
                    self._add(_field(name), value)
                elif type(value) in (int, float):
                    self._count(_field(name))

    def meant(self, phrase: str) -> list[tuple[str, str]]:
        """Fields and values that a phrase of stems may mean."""
        return [each for each in self._meant.get(phrase, ()) if self._telling(each[0])]

    def items(self, field: str, value: str) -> int:
        """How many items have a value, about."""
        return self._values.get(field, Counter())[value]

    def values(self, field: str) -> Iterator[tuple[str, int]]:
        """The values of a field and how many items have each."""
        yield from self._values.get(field, Counter()).items()

    def _telling(self, field: str) -> bool:
        """Whether a field groups items: of one that names them nobody asks for a value."""
        own = self._values.get(field)
        if own is None or field in self._dropped:
            return False
        return field == "categories" or len(own) < _FEW or len(own) <= _UNIQUE * own.total()

    def _add(self, field: str, value: str) -> None:
        if field in self._dropped or not value or len(value) > 64:
            return
        own = self._values.get(field)
        if own is None:
            if len(self._values) >= MOST_FIELDS:
                return
            own = self._values[field] = Counter()
        if value not in own:
            if len(own) >= MOST_VALUES:
                self._drop(field)
                return
            words = words_of(value)
            if 0 < len(words) <= MOST_WORDS:
                phrase = " ".join(map(self._stems.stem, words))
                self._meant.setdefault(phrase, {})[field, value] = None
        own[value] += 1

    def _count(self, field: str) -> None:
        if len(self.numbers) < MOST_FIELDS or field in self.numbers:
            self.numbers[field] += 1

    def _drop(self, field: str) -> None:
        self._dropped.add(field)
        del self._values[field]
        for phrase in list(self._meant):
            left = {each: None for each in self._meant[phrase] if each[0] != field}
            if left:
                self._meant[phrase] = left
            else:
                del self._meant[phrase]


def _field(name: str) -> str:
    """An attribute as filters name it."""
    own = ("item_id", "title", "categories", "tags", "price", "published_at")
    return f"attributes.{name}" if name in own or name.startswith("attributes.") else name


def _parts(cell: object) -> list[object]:
    if isinstance(cell, dict) and list(cell) == ["values"]:
        cell = cell["values"]
    return list(cell) if isinstance(cell, list | tuple) else [cell]
