"""Words of a query that no item says, taken for those that they were meant to be.

Owns how far a slip may go and which of several words is meant. Knows no items.
"""

from collections.abc import Callable, Sequence

from rapidfuzz import process
from rapidfuzz.distance import OSA

_SHORTEST = 4  # letters of a word that may be misspelt
_LONG = 8  # letters from which on two slips are forgiven
MOST_MEANT = 2  # words that one may stand for


def meant(word: str, vocabulary: Sequence[str], frequency: Callable[[str], int]) -> list[str]:
    """Up to two words of a vocabulary that differ from an unknown one by a slip or two, the likelier first.

    A slip is a letter too many, too few, another one, or two changed about. `frequency`: items that say a
    word.
    """
    if len(word) < _SHORTEST or any(letter.isdigit() for letter in word):
        return []
    most = 2 if len(word) >= _LONG else 1
    found = process.extract(word, vocabulary, scorer=OSA.distance, score_cutoff=most, limit=50)
    ranked = sorted(
        (distance, known[0] != word[0], -frequency(known), known)
        for known, distance, _ in found
        if not any(letter.isdigit() for letter in known)
    )
    return [known for distance, other, _, known in ranked if (distance, other) == ranked[0][:2]][:MOST_MEANT]
