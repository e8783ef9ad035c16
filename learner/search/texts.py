"""The catalogue's texts, searchable word by word, kept in step with it.

Owns which fields count how much, when all is read anew, and how much is read within a round. All is read by
`build`, in a thread beside the rounds and with breaths between; what comes or changes later goes into the
small store when somebody next asks. Nobody pays who never asks. Knows no queries.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise

import msgspec
import numpy as np
from numpy.typing import NDArray

from learner.data.catalogue import Catalogue, Item
from learner.search import spelling
from learner.search.facets import Facets
from learner.search.postings import Gathered, Postings
from learner.search.words import Stems, language_of, words_of

FEW = 20_000  # items that are read at once where nobody has read them beside the rounds: half a second
IN_A_ROUND = 500  # changed items that a query waits for: 10 ms
MOST_LATE = (
    20_000  # items of the small store, beyond which all is read anew; a fifth of the others allows for it
)
_MOST_TAKEN = 2_000  # records taken in, beyond which what nobody says any more is let go of
_COMPARED = 400_000  # words that a query's unknown words are compared with in all: some 30 ms
_AT_ONCE = 128  # items read between two breaths
_BREATH_S = 0.001
_LOOKED_AT = 100  # items whose texts are read for a query
_SAMPLE = 500  # texts that tell the language
# The best of a few for tags of ml-latest-small; what is in a title's words twice is in its subject.
_TITLE, _CATEGORY, _TAG, _DESCRIPTION, _ATTRIBUTE = 2.0, 1.0, 1.0, 1.0, 1.0
_ATTRIBUTE_CHARACTERS = 500


class _Known:
    """What was read, up to `size` items as they were after `mark` changes."""

    def __init__(self, stems: Stems, mark: int) -> None:
        self.stems = stems
        self.mark = mark
        self.size = 0
        self.taken = 0  # records taken in since all was read; what they said before stays in the vocabulary
        self.vocabulary: dict[str, int] = {}
        self.facets = Facets(stems)
        self.postings: Postings | None = None

    def said(self, item: Item) -> dict[int, float]:
        """An item's words by number, and how often it says them by the weight of fields."""
        counts: Counter[str] = Counter()
        for text, weight in fields_of(item):
            for stem in self.stems.of(text):
                counts[stem] += weight  # type: ignore[assignment]
        numbers = self.vocabulary
        return {numbers.setdefault(stem, len(numbers)): count for stem, count in counts.items()}


class Texts:
    """Asked by one thread, between or within rounds; `build` may run in another."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self.asked = False
        self._known: _Known | None = None
        self._built: _Known | None = None  # ready to take over
        self._decode = msgspec.msgpack.Decoder(Item).decode
        self._spelt: dict[str, list[str]] = {}  # what unknown words were taken for
        self._spells = 0  # unknown words of this query that may still be compared with all others
        self._lock = threading.RLock()  # a release that is being loaded is tried out in another thread

    @property
    def known(self) -> bool:
        """Whether there is anything to be searched."""
        return self._known is not None

    @property
    def facets(self) -> Facets | None:
        """What can be asked for by value, None before anything is read."""
        return None if self._known is None else self._known.facets

    @property
    def stems(self) -> Stems | None:
        """The stems of the catalogue's language, None before anything is read."""
        return None if self._known is None else self._known.stems

    @property
    def nbytes(self) -> int:
        """Memory of the arrays, in bytes; the words themselves take some 100 bytes each beside them."""
        return 0 if self._known is None or self._known.postings is None else self._known.postings.nbytes

    def follow(self) -> bool:
        """Whether texts can be searched, before a query is read. Takes in what has changed, if little."""
        with self._lock:
            return self._follow()

    def _follow(self) -> bool:
        self.asked = True
        if self._built is not None:
            self._known, self._built = self._built, None
            self._spelt.clear()
        if self._known is None:
            if self._catalogue.size > FEW:
                return False
            self.build(breath_s=0.0)
            self._known, self._built = self._built, None
        self._catch_up(IN_A_ROUND)
        if self._known is not None:
            self._spells = max(1, min(8, _COMPARED // max(len(self._known.vocabulary), 1)))
        return self._known is not None

    @property
    def wants_building(self) -> bool:
        """Whether `build` has something to do; for a look now and then."""
        known, catalogue = self._known, self._catalogue
        if self._built is not None or not catalogue.size:
            return False
        if known is None or known.postings is None:
            return self.asked or catalogue.size <= FEW
        if not catalogue.remembers(known.mark):
            return self.asked
        behind = catalogue.size - known.size + (catalogue.changes - known.mark)
        late = known.postings.late
        return (
            behind > IN_A_ROUND
            or late > max(MOST_LATE, known.size // 5)
            or late > known.size
            or known.taken > max(_MOST_TAKEN, known.size)
        )

    def build(self, go_on: Callable[[], bool] = lambda: True, breath_s: float = _BREATH_S) -> None:
        """Reads all items, with a breath between two stretches; stops where it is not to go on."""
        catalogue = self._catalogue
        mark, size = catalogue.changes, catalogue.size  # first: what changes from now on is read again
        sample = [text for item in self._some(range(min(size, _SAMPLE))) for text, _ in fields_of(item)]
        known = _Known(Stems(language_of(sample)), mark)
        gathered = Gathered()
        for begin in range(0, size, _AT_ONCE):
            numbers = range(begin, min(begin + _AT_ONCE, size))
            items = self._some(numbers)
            gathered.add(numbers, [known.said(item) for item in items])
            for item in items:
                known.facets.add(item)
            if not go_on():
                return
            time.sleep(breath_s)
        known.size = size
        known.postings = Postings(gathered, len(known.vocabulary), size)
        self._built = known

    def numbers(self, words: Iterable[str]) -> dict[int, float]:
        """Words to be looked for, by number with their weight, from plain words; misspelt ones count less."""
        with self._lock:
            return self._numbers(words)

    def _numbers(self, words: Iterable[str]) -> dict[int, float]:
        known = self._known
        assert known is not None
        assert known.postings is not None
        found: dict[int, float] = {}
        for word in words:
            stem = known.stems.stem(word)
            number = known.vocabulary.get(stem)
            if number is not None and known.postings.frequency(number):
                found[number] = max(found.get(number, 0.0), 1.0)
                continue
            for place, other in enumerate(self._meant(stem, known)):
                found.setdefault(known.vocabulary[other], 0.8 / (1 + place))
        return found

    def numbers_beside(self, words: Mapping[str, float], most: int) -> dict[int, float]:
        """Plain words by number with their weight, as they are spelt: those that items say.

        Together they stand in at most `most` places; one that stands in more than are left is passed over.
        """
        with self._lock:
            known = self._known
            assert known is not None
            assert known.postings is not None
            found: dict[int, float] = {}
            for word, weight in words.items():
                number = known.vocabulary.get(known.stems.stem(word))
                if number is None or not 0 < (places := known.postings.places(number)) <= most:
                    continue
                most -= places
                found[number] = max(found.get(number, 0.0), weight)
            return found

    def scores(self, words: Mapping[int, float]) -> NDArray[np.float32]:
        """How much each of the catalogue's items (size,) is about the words."""
        with self._lock:
            assert self._known is not None
            assert self._known.postings is not None
            return self._known.postings.scores(words, self._catalogue.size)

    def saying_all(self, words: Iterable[str]) -> NDArray[np.bool_]:
        """Which of the catalogue's items (size,) say each of some plain words, or what it was meant to be."""
        size = self._catalogue.size
        with self._lock:
            assert self._known is not None
            assert self._known.postings is not None
            every = np.ones(size, np.bool_)
            for word in words:
                says = np.zeros(size, np.bool_)
                for number in self._numbers([word]):
                    says[self._known.postings.saying(number)] = True
                every &= says
        return every

    def saying(self, words: Iterable[str]) -> NDArray[np.int64]:
        """Items (n,) that say all of some plain words as they are spelt."""
        with self._lock:
            return self._saying(words)

    def _saying(self, words: Iterable[str]) -> NDArray[np.int64]:
        known = self._known
        assert known is not None
        assert known.postings is not None
        found: NDArray[np.int64] | None = None
        for word in words:
            number = known.vocabulary.get(known.stems.stem(word))
            items = np.zeros(0, np.int64) if number is None else known.postings.saying(number)
            found = items if found is None else np.intersect1d(found, items)
        return np.zeros(0, np.int64) if found is None else found

    def says_next(self, word: str, following: str) -> bool:
        """Whether an item says one plain word right before another; a few of those that say both are read."""
        for item in self._some(self.saying((word, following))[:_LOOKED_AT].tolist()):
            for text, _ in fields_of(item):
                words = words_of(text)
                if (word, following) in pairwise(words):
                    return True
        return False

    def title(self, item: int) -> str:
        """An item's title, "" where it has none."""
        return self._some([item])[0].title or ""

    def _meant(self, stem: str, known: _Known) -> list[str]:
        if stem not in self._spelt:
            if not self._spells:
                return []
            self._spells -= 1
            postings = known.postings
            assert postings is not None
            if len(self._spelt) >= 1024:
                self._spelt.clear()
            self._spelt[stem] = spelling.meant(
                stem, list(known.vocabulary), lambda word: postings.frequency(known.vocabulary[word])
            )
        return self._spelt[stem]

    def _catch_up(self, most: int) -> None:
        """Takes in up to so many items that have come or changed; `build` sees to more."""
        known, catalogue = self._known, self._catalogue
        assert known is not None
        if known.postings is None or (known.mark == catalogue.changes and known.size == catalogue.size):
            return
        mark, changed = catalogue.changes_since(known.mark)
        if changed is None:
            return
        changed = changed[changed < known.size]
        numbers = [*changed.tolist(), *range(known.size, min(catalogue.size, known.size + most))]
        if len(changed) > most or len(numbers) > 2 * most:
            return
        known.taken += len(numbers)
        for number, item in zip(numbers, self._some(numbers), strict=True):
            known.postings.put(number, known.said(item))
            known.facets.add(item)
        known.mark, known.size = mark, known.size + len(numbers) - len(changed)
        self._spelt.clear()

    def _some(self, numbers: Iterable[int]) -> list[Item]:
        """Records of items; of what has none an item that says nothing."""
        return [
            Item(item_id="-") if len(packed) == 1 else self._decode(packed)
            for packed in self._catalogue.records.raw(numbers)
        ]


def fields_of(item: Item) -> Iterable[tuple[str, float]]:
    """The texts of an item and how much they count."""
    if item.title:
        yield item.title, _TITLE
    for category in item.categories:
        yield category, _CATEGORY
    for tag in item.tags:
        yield tag, _TAG
    if item.description:
        yield item.description, _DESCRIPTION
    for value in item.attributes.values():
        if isinstance(value, dict):
            value = value.get("values")
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, str):
                yield part[:_ATTRIBUTE_CHARACTERS], _ATTRIBUTE
