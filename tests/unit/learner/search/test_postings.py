"""BM25 as the library bm25s has it, with items that change afterwards."""

import string

import bm25s
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learner.search.postings import K1, B, Gathered, Postings

WORDS = list(string.ascii_lowercase[:8])
Docs = list[list[str]]
docs = st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=12), min_size=1, max_size=20)


def counted(doc: list[str]) -> dict[int, float]:
    return {WORDS.index(word): float(doc.count(word)) for word in dict.fromkeys(doc)}


def made(texts: Docs) -> Postings:
    gathered = Gathered()
    gathered.add(range(len(texts)), map(counted, texts))
    return Postings(gathered, len(WORDS), len(texts))


@settings(deadline=None, max_examples=50)
@given(docs, st.lists(st.sampled_from(WORDS), min_size=1, max_size=4, unique=True))
def test_scores_are_those_of_bm25(texts: Docs, query: list[str]) -> None:
    library = bm25s.BM25(k1=K1, b=B, method="lucene")
    library.index(texts, show_progress=False)
    known = [word for word in query if any(word in text for text in texts)]
    expected = library.get_scores(known) if known else np.zeros(len(texts))
    found = made(texts).scores({WORDS.index(word): 1.0 for word in query}, len(texts))
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-3)


@settings(deadline=None, max_examples=50)
@given(docs, docs, st.sampled_from(WORDS))
def test_what_an_item_said_before_counts_no_more(texts: Docs, later: Docs, word: str) -> None:
    postings, number = made(texts), WORDS.index(word)
    said = dict(enumerate(texts))
    for place, text in enumerate(later):
        item = 2 * place  # some are known, some new
        postings.put(item, counted(text))
        said[item] = text
    size = max(said) + 1
    scores = postings.scores({number: 1.0}, size)
    saying = {item for item, text in said.items() if word in text}
    assert set(np.flatnonzero(scores).tolist()) == saying == set(postings.saying(number).tolist())
    for item in list(said):
        postings.put(item, {})
    assert not postings.scores({number: 1.0}, size).any()
    assert postings.late == 0


def test_a_changed_item_scores_as_if_it_had_always_said_so() -> None:
    texts = [list("abc"), list("aad"), list("bcd"), list("dda")] * 20
    changed = [list("abc"), list("ddc"), *texts[2:]]
    postings = made(texts)
    postings.put(1, counted(changed[1]))
    query = {WORDS.index("d"): 1.0}
    np.testing.assert_allclose(postings.scores(query, 80), made(changed).scores(query, 80), rtol=0.05)


@pytest.mark.parametrize("size", [0, 3])
def test_nothing_said_is_nothing_found(size: int) -> None:
    postings = Postings(Gathered(), 0, size)
    assert postings.scores({0: 1.0, 5: 1.0}, size + 2).tolist() == [0.0] * (size + 2)
    assert postings.frequency(7) == 0
