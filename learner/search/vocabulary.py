"""The words that a catalogue says, as they are written: what an encoder can read of them one by one.

Owns which of them count, and in what form. Knows no encoder and no queries.
"""

from collections import Counter
from collections.abc import Sequence

from learner.data.catalogue import Item
from learner.search import lexicon
from learner.search.texts import fields_of
from learner.search.words import Stems, language_of, words_of

_SAMPLE = 500  # items whose texts tell the language
_FEWEST_LETTERS = 3
_FIRST = 500  # characters of a field: all of 20,000 long descriptions would take half a minute


def words_most_said(items: Sequence[Item], most: int) -> list[str]:
    """Up to `most` words that the most items say, those first: of each stem the form that is usual, plain.

    Words of letters alone, three at least, that tell something: so none of scripts that write no spaces,
    whose words are pairs of characters here.
    """
    stems = Stems(language_of([text for item in items[:_SAMPLE] for text, _ in fields_of(item)]))
    said: Counter[str] = Counter()  # words as they are written, each once an item
    for item in items:
        said.update({word for text, _ in fields_of(item) for word in words_of(text[:_FIRST])})
    forms: dict[str, Counter[str]] = {}
    for word, count in said.items():
        tells = not (stems.is_function(word) or lexicon.is_kind(word))
        if tells and len(word) >= _FEWEST_LETTERS and word.isalpha():
            forms.setdefault(stems.stem(word), Counter())[word] = count
    usual = sorted(forms.values(), key=lambda counts: (-counts.total(), min(counts)))
    return [min(counts, key=lambda word: (-counts[word], word)) for counts in usual[:most]]
