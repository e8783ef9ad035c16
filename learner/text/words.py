"""Reading without a language model: by hashed words, or by a table of what each word usually says.

Owns both ways and which words of a wish say nothing. Knows no items and no projection. Free of torch.
"""

import re
import zlib
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from learner.text.wordpiece import WordPieces

HASHED_SIZE = 512
_BUCKETS = 4096
_WORD = re.compile(r"\w+")
# Ridge penalty of the table, as a share of the inputs' mean variance and per text: the best of a few for
# 300 and for 5,000 texts of ml-latest-small.
_PENALTY = 3.0
# What a wish is full of and no title is about.
_EMPTY = frozenset(
    _WORD.findall(
        "a about an and any are at be by can for from give has have i in is it like me my of on or please "
        "show some something that the this to want what which with would"
    )
)

Floats = NDArray[np.float32]


def telling_words(query: str) -> str:
    """The words of a wish that say something; all of it where none does."""
    return " ".join(word for word in _WORD.findall(query.lower()) if word not in _EMPTY) or query


def hashed_words(texts: Sequence[str]) -> Floats:
    """Rows (n, 512): sums of a fixed random direction for each different word, or rather for its bucket."""
    directions = _directions()
    rows = np.zeros((len(texts), HASHED_SIZE), np.float32)
    for row, text in zip(rows, texts, strict=True):
        if buckets := {zlib.crc32(word.encode()) % _BUCKETS for word in _WORD.findall(text.lower())}:
            row[:] = directions[sorted(buckets)].sum(axis=0) / np.sqrt(len(buckets))
    return rows


def fitted_table(
    pieces: WordPieces, words: Floats, texts: Sequence[str], targets: Floats
) -> NDArray[np.float16]:
    """What each word says, so that the mean over a text's words comes close to the text's own row.

    words (pieces, E): a language model's embeddings; targets (n, K): what it makes of the texts ->
    (pieces, K). A ridge regression from a text's mean embedding to its row, applied to every word; being
    linear, it says of a text the mean of what it says of the words.
    """
    inputs = np.ones((len(texts), words.shape[1] + 1))
    for row, text in zip(inputs, texts, strict=True):
        split = pieces.split(text)
        row[:-1] = words[split].mean(axis=0) if split else 0.0
    gram = inputs.T @ inputs
    penalty = _PENALTY / len(texts) * np.trace(gram) / len(gram)
    weights = np.linalg.solve(gram + penalty * np.eye(len(gram)), inputs.T @ targets)
    table: NDArray[np.float16] = (words @ weights[:-1] + weights[-1]).astype(np.float16)
    return table


def fitted_spread(texts: Sequence[str], targets: Floats) -> Floats:
    """What hashed words come to mean, where a reader has no words of its own to ask: (513, K).

    targets (n, K): what a reader makes of the texts. The same regression as the table's; its last row is
    added to all.
    """
    inputs = np.ones((len(texts), HASHED_SIZE + 1))
    inputs[:, :-1] = hashed_words(texts)
    gram = inputs.T @ inputs
    penalty = _PENALTY / len(texts) * np.trace(gram) / len(gram)
    spread: Floats = np.linalg.solve(gram + penalty * np.eye(len(gram)), inputs.T @ targets).astype(
        np.float32
    )
    return spread


def by_spread(texts: Sequence[str], spread: Floats) -> Floats:
    """What texts mean by `fitted_spread` (n, K); 0 where there is no word."""
    hashed = hashed_words(texts)
    found: Floats = np.where(hashed.any(axis=1, keepdims=True), hashed @ spread[:-1] + spread[-1], 0.0)
    return found.astype(np.float32)


@lru_cache(maxsize=1)
def _directions() -> Floats:
    """(4096, 512): a sketch of the bag of words keeps its inner products (Johnson-Lindenstrauss)."""
    drawn = np.random.default_rng(7).standard_normal((_BUCKETS, HASHED_SIZE))
    directions: Floats = (drawn / np.sqrt(HASHED_SIZE)).astype(np.float32)
    return directions
