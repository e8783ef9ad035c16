"""Words of texts in several languages and scripts, and slips of the pen."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from learner.search import spelling
from learner.search.words import Stems, language_of, plain, words_of


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Amélie's Sci-Fi", ["amelies", "sci", "fi"]),
        ("Straße", ["strasse"]),
        ("映画館", ["映画", "画館"]),
        ("Кино, 2001!", ["кино", "2001"]),
        ("🙂", []),
        ("𝐀lien Ⅳ", ["alien", "iv"]),
    ],
)
def test_words_are_plain(text: str, words: list[str]) -> None:
    assert words_of(text) == words


@given(st.text(max_size=200))
def test_any_text_has_words(text: str) -> None:
    assert all(word == plain(word) for word in Stems("english").of(text) if word.isascii())


def test_forms_of_a_word_have_one_stem() -> None:
    english, german = Stems("english"), Stems("german")
    assert english.of("comedies comedy") == ["comedi", "comedi"]
    assert german.of("Filme Film") == ["film", "film"]
    assert english.of("sci-fi")[-1] == english.of("scifi")[0]
    assert Stems("klingon").language == "english"


@pytest.mark.parametrize(
    ("texts", "language"),
    [
        (["Das ist ein Film über die Liebe", "Der Hund und die Katze sind hier"], "german"),
        (["El perro de la casa y los gatos", "Una historia de amor en la ciudad"], "spanish"),
        (["Horror", "The cat in the hat"], "english"),
        (["Star Trek", "Batman"], "english"),
        ([], "english"),
    ],
)
def test_the_language_of_a_catalogue_is_told_by_its_function_words(texts: list[str], language: str) -> None:
    assert language_of(texts) == language


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("treck", ["trek"]),
        ("maybelin", ["maybellin"]),
        ("godfahter", ["godfather"]),
        ("cat", []),  # too short to be sure
        ("2002", []),
        ("zzzzzz", []),
    ],
)
def test_a_slip_is_forgiven(word: str, meant: list[str]) -> None:
    known = {"trek": 9, "tree": 99, "maybellin": 3, "godfather": 2, "car": 5, "2001": 1}
    assert spelling.meant(word, list(known), lambda each: known[each]) == meant


def test_of_two_that_could_be_meant_the_one_that_more_items_say_comes_first() -> None:
    known = {"trick": 1, "truck": 8, "wreck": 50}
    assert spelling.meant("treck", list(known), lambda each: known[each]) == ["truck", "trick"]
