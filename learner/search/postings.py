"""Which items say a word, and how much each is about it: BM25 over weighted fields.

Owns the arithmetic (Robertson and Zaragoza 2009; as in BM25F a word counts by the weight of the field that it
stands in) and both stores: arrays of all items, made at once, and beside them a small one for items that have
come or changed since, weighed by what is known of all. Knows no texts and no catalogue.
"""

import math
from collections.abc import Iterable, Mapping
from typing import overload

import numpy as np
from numpy.typing import NDArray

_LATE_COSTS = 50  # of looking up an item of the small store, in places of the large one
K1, B = 1.2, 0.75
Floats = NDArray[np.float32]


class Gathered:
    """Words of items as they are read, until all are there."""

    def __init__(self) -> None:
        self._items: list[NDArray[np.int32]] = []
        self._words: list[NDArray[np.int32]] = []
        self._counts: list[Floats] = []

    def add(self, items: Iterable[int], said: Iterable[Mapping[int, float]]) -> None:
        """Of each item its words' numbers with how often it says them, by the weight of fields."""
        numbers: list[int] = []
        words: list[int] = []
        counts: list[float] = []
        for item, own in zip(items, said, strict=True):
            numbers += [item] * len(own)
            words += own.keys()
            counts += own.values()
        self._items.append(np.array(numbers, np.int32))
        self._words.append(np.array(words, np.int32))
        self._counts.append(np.array(counts, np.float32))

    def arrays(self) -> tuple[NDArray[np.int32], NDArray[np.int32], Floats]:
        """Items, words and counts, (n,) each."""
        nothing = np.zeros(0, np.int32)
        return (
            np.concatenate([nothing, *self._items]),
            np.concatenate([nothing, *self._words]),
            np.concatenate([np.zeros(0, np.float32), *self._counts]),
        )


class Postings:
    """Scores of items, (size,) float32, for words by number.

    `vocabulary` counts the words there are. Memory: 6 bytes for each word of each item.
    """

    def __init__(self, gathered: Gathered, vocabulary: int, size: int) -> None:
        items, words, counts = gathered.arrays()
        length = np.bincount(items, counts, minlength=size).astype(np.float32)
        self.described = int(np.count_nonzero(length))
        self._mean_length = float(length.sum()) / max(self.described, 1)
        order = np.argsort(words, kind="stable")
        self._items = items[order]
        saturated = counts[order] / (counts[order] + _halfway(length[self._items], self._mean_length))
        self._weights = saturated.astype(np.float16)
        self._begins = np.searchsorted(words[order], np.arange(vocabulary + 1))
        self._stale = np.zeros(size, np.bool_)  # items whose words stand in the small store, if anywhere
        self._late: dict[int, dict[int, float]] = {}  # word -> item -> weight
        self._late_words: dict[int, tuple[int, ...]] = {}  # item -> its words there

    @property
    def late(self) -> int:
        """How many items the small store has."""
        return len(self._late_words)

    @property
    def nbytes(self) -> int:
        """Memory of the arrays, in bytes."""
        return self._items.nbytes + self._weights.nbytes + self._begins.nbytes + self._stale.nbytes

    def put(self, item: int, said: Mapping[int, float]) -> None:
        """Takes what an item says now, in the place of all that it said."""
        if item < len(self._stale):
            self._stale[item] = True
        for word in self._late_words.pop(item, ()):
            own = self._late[word]
            del own[item]
            if not own:
                del self._late[word]
        if not said:
            return
        halfway = _halfway(sum(said.values()), self._mean_length)
        for word, count in said.items():
            self._late.setdefault(word, {})[item] = count / (count + halfway)
        self._late_words[item] = tuple(said)

    def frequency(self, word: int) -> int:
        """How many items say a word, about: one that has changed may count twice."""
        return self._span(word)[1] - self._span(word)[0] + len(self._late.get(word, ()))

    def places(self, word: int) -> int:
        """How much a word costs to look up, in places of the large store; one of the small store costs 50."""
        begin, end = self._span(word)
        return end - begin + _LATE_COSTS * len(self._late.get(word, ()))

    def rarity(self, word: int) -> float:
        """How much a word tells (Lucene's form, never negative)."""
        every, saying = self.described + self.late, self.frequency(word)
        return math.log(1.0 + max(every - saying + 0.5, 0.5) / (saying + 0.5))

    def scores(self, words: Mapping[int, float], size: int) -> Floats:
        """Scores (size,) for words with their weight in the query."""
        found = np.zeros(size, np.float32)
        for word, weight in words.items():
            factor = np.float32(weight * self.rarity(word))
            begin, end = self._span(word)
            items = self._items[begin:end]
            found[items] += factor * self._weights[begin:end]  # each item stands once
        found[: len(self._stale)][self._stale[:size]] = 0.0
        for word, weight in words.items():
            most = weight * self.rarity(word)
            for item, own in self._late.get(word, {}).items():
                if item < size:
                    found[item] += np.float32(most * own)
        return found

    def saying(self, word: int) -> NDArray[np.int64]:
        """Numbers (n,) of the items that say a word."""
        begin, end = self._span(word)
        items = self._items[begin:end].astype(np.int64)
        late = np.fromiter(self._late.get(word, {}), np.int64)
        return np.concatenate([items[~self._stale[items]], late])

    def _span(self, word: int) -> tuple[int, int]:
        if word + 1 >= len(self._begins):
            return 0, 0
        return int(self._begins[word]), int(self._begins[word + 1])


@overload
def _halfway(length: float, mean: float) -> float: ...
@overload
def _halfway(length: Floats, mean: float) -> Floats: ...
def _halfway(length: float | Floats, mean: float) -> float | Floats:
    """How often a text of some length has to say a word for half of what saying it can ever count."""
    return K1 * (1.0 - B + B * length / max(mean, 1e-9))
