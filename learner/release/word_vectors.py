"""What a release's encoder made of the catalogue's own words, and which of them a query means as well.

Owns how near a word must be to a whole query, and how it is kept in a release's arrays. Which words there are
is `learner.search.vocabulary`'s; what they find is whoever's searches.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from learner.release.bundle import Arrays
from learner.release.text_vectors import TextVectors

_NUMBERS = 4_000_000  # of a release's words: 4 MB, and 1 ms of a query
_MOST = 10_000
_BESIDE = 8  # words that are looked for beside a query's own
_FEWEST = 9  # words: the mean of fewer says nothing
_NEAR = 0.35  # from the usual cosine (0) to a query that is the word (1)

Floats = NDArray[np.float32]


def most_words(width: int) -> int:
    """How many words of so many numbers a release has at most."""
    return min(_MOST, _NUMBERS // max(width, 1))


@dataclass(frozen=True, eq=False)
class WordVectors:
    """Words with their vectors: row n of `rows` is of words[n]."""

    words: Sequence[str]
    rows: TextVectors

    @classmethod
    def of(cls, words: Sequence[str], vectors: Floats) -> "WordVectors":
        """Words with what an encoder made of them (n, W); those of which it made nothing are left out."""
        said = np.flatnonzero(vectors.any(axis=1) & np.isfinite(vectors).all(axis=1))
        rows = TextVectors.of(np.arange(len(said), dtype=np.int32), vectors[said])
        return cls([words[int(number)] for number in said], rows)

    @classmethod
    def unpacked(cls, arrays: Arrays) -> "WordVectors":
        """Those of a release; none where it is of before."""
        letters = arrays.word_letters.tobytes().decode("utf-8")
        numbers = np.arange(len(arrays.words), dtype=np.int32)
        return cls(letters.split("\n"), TextVectors(numbers, arrays.words, arrays.word_scales))

    def letters(self) -> NDArray[np.uint8]:
        """The words as a release has them: in UTF-8, a line each."""
        return np.frombuffer("\n".join(self.words).encode("utf-8"), np.uint8)

    def near(
        self, query: Floats, passed_over: Callable[[str], bool] = lambda _word: False
    ) -> dict[str, float]:
        """Up to eight words near to a query's vector (W,) of length 1, with how near, at most 1, falling.

        passed_over: says which words do not count, such as the query's own
        Expansion of a query by neighbours among embedded words, as Kuzi et al. (2016, "Query expansion using
        word embeddings") do it. A cosine counts by how far it stands from the mean of all words, since
        encoders differ in what they hold usual. Nothing where the vector is another encoder's.
        """
        if len(self.rows.items) < _FEWEST or self.rows.whole.shape[1] != len(query):
            return {}
        cosines = self.rows.cosines(query[None])[0]
        usual = float(cosines.mean())
        likely = np.flatnonzero(cosines - usual >= _NEAR * (1.0 - usual))
        found: dict[str, float] = {}
        for n in likely[np.argsort(-cosines[likely], kind="stable")].tolist():
            if not passed_over(self.words[n]):
                found[self.words[n]] = min(float((cosines[n] - usual) / max(1.0 - usual, 1e-6)), 1.0)
                if len(found) == _BESIDE:
                    break
        return found
