"""What texts are called in the cache, and how many of them can be read in the time that there is.

Knows no reader, but its card.
"""

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np

from learner.text.cache import TextCache
from learner.text.card import EncoderCard


def keys_of(card: EncoderCard, texts: Sequence[str]) -> list[bytes]:
    """The cache's keys of items' texts as this reader reads them: 16 bytes each."""
    begin = f"{card.identity or card.name} {card.item_prompt}"
    return [blake2b(f"{begin}{text}".encode(), digest_size=16).digest() for text in texts]


def within(card: EncoderCard, texts: Sequence[str], most: int, cache: TextCache | None) -> int:
    """How many of the texts, the first ones, can be read where `most` may be read anew.

    What the cache has costs nothing.
    """
    if cache is None or len(texts) <= most:
        return min(len(texts), most)
    keys = keys_of(card, texts)
    known = cache.known(keys)
    new = np.cumsum([bool(text) and key not in known for text, key in zip(texts, keys, strict=True)])
    return int(np.searchsorted(new, most, "right"))
