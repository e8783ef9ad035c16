"""Texts as the stems of their words, by language.

Owns what a word is: letters and digits, lower case, without accents; a word with a hyphen counts in parts and
as a whole; where a script writes no spaces, each two neighbours. Knows no items.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache

import Stemmer

from learner.search import lexicon

DEFAULT = "english"
_WORD = re.compile(r"\w+")
_HYPHENED = re.compile(r"\w+(?:-\w+)+")
_APOSTROPHE = re.compile(r"(?<=\w)['’](?=\w)")
_UNSPACED = re.compile(r"[぀-ヿ㐀-鿿豈-﫿가-힯]+")
_MOST_CHARACTERS = 4_000  # of a text: descriptions say in their first sentences what they are about
_FEWEST_TELLING = 0.05  # of a catalogue's words that a language's function words must be, or it is English


def plain(text: str) -> str:
    """Lower case, without accents."""
    text = text.casefold()
    if text.isascii():
        return text
    parts = unicodedata.normalize("NFKD", text).casefold()  # again: 𝐀 becomes A only here
    return "".join(part for part in parts if not unicodedata.combining(part))


def words_of(text: str) -> list[str]:
    """The words of a text in order, plain; those of unspaced scripts as pairs of neighbours."""
    text = _APOSTROPHE.sub("", plain(text[:_MOST_CHARACTERS]))
    found = _WORD.findall(text)
    if text.isascii():
        return found
    words: list[str] = []
    for word in found:
        run = _UNSPACED.fullmatch(word)
        words += [word[at : at + 2] for at in range(len(word) - 1)] if run and len(word) > 1 else [word]
    return words


class Stems:
    """Stems of one language's words."""

    def __init__(self, language: str) -> None:
        self.language = language if language in Stemmer.algorithms() else DEFAULT
        self._stemmer = Stemmer.Stemmer(self.language)
        self._function = lexicon.function_words(self.language)

    def stem(self, word: str) -> str:
        """The stem of a plain word."""
        stem: str = self._stemmer.stemWord(word)
        return stem

    def of(self, text: str) -> list[str]:
        """Stems of all words of an item's text, and of hyphened words as wholes."""
        words = words_of(text)
        if "-" in text:
            words += [whole.replace("-", "") for whole in _HYPHENED.findall(plain(text[:_MOST_CHARACTERS]))]
        stems: list[str] = self._stemmer.stemWords(words)
        return stems

    def telling(self, words: Iterable[str]) -> list[str]:
        """Of plain words those that say what is looked for, in order; none where there are none."""
        some = [word for word in words if word not in self._function]
        return [word for word in some if not lexicon.is_kind(word)] or some

    def is_function(self, word: str) -> bool:
        """Whether a plain word says nothing by itself."""
        return word in self._function


@lru_cache(maxsize=8)
def stems_of(language: str) -> Stems:
    """The stems of a language, made once."""
    return Stems(language)


def language_of(texts: Sequence[str]) -> str:
    """The language that most of the texts are in, by its function words; English where none stands out."""
    counts = Counter(word for text in texts for word in words_of(text))
    every = sum(counts.values())
    shares = {
        language: sum(counts[word] for word in lexicon.function_words(language)) / max(every, 1)
        for language in lexicon.languages()
    }
    best = max(shares, key=lambda language: shares[language])
    return best if shares[best] > max(_FEWEST_TELLING, 1.2 * shares[DEFAULT]) else DEFAULT
