"""A catalogue's words by an encoder: which ones a query means as well, and how a release keeps them."""

from pathlib import Path

import numpy as np
import pytest

from learner.data.catalogue import Catalogue, Item
from learner.release.bundle import Bundle, ReleaseError
from learner.release.files import read_release, write_release
from learner.release.live import LiveRelease
from learner.release.word_vectors import WordVectors, most_words
from learner.text import encoder as encoders
from learner.text.card import EncoderChoice
from tests.worlds.served import served_bundle

ITEMS = [Item(item_id="i", title="Red lipstick")]
WORDS = [f"word{n}" for n in range(50)]


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def some(shift: float = 0.0) -> np.ndarray:
    """Vectors of the words; with a shift all of them lean to one side, as some encoders have it."""
    return unit(np.random.default_rng(0).standard_normal((len(WORDS), 64)) + shift)


def with_words(words: WordVectors) -> Bundle:
    bundle = served_bundle("r-20231114-221320-test", ITEMS)
    arrays = bundle.arrays
    arrays.word_letters = words.letters()
    arrays.words, arrays.word_scales = words.rows.whole, words.rows.scales
    return bundle


@pytest.mark.parametrize("shift", [0.0, 1.5])
def test_what_is_near_comes_first_and_what_is_not_does_not_come(shift: float) -> None:
    rows = some(shift)
    words = WordVectors.of(WORDS, rows)
    near = words.near(unit(rows[7:8] + 0.8 * rows[11:12])[0])
    assert list(near)[:2] == ["word7", "word11"]
    assert len(near) == 2
    assert 0.35 <= near["word11"] < near["word7"] <= 1.0


def test_a_word_is_nearest_to_itself_and_the_width_of_another_encoder_finds_nothing() -> None:
    words = WordVectors.of(WORDS, some())
    assert words.near(some()[3]) == {"word3": pytest.approx(1.0, abs=0.01)}
    assert words.near(np.ones(32, np.float32)) == {}
    assert WordVectors.of(WORDS[:3], some()[:3]).near(some()[0]) == {}


def test_eight_words_come_at_most_and_none_that_is_passed_over() -> None:
    rows = unit(some()[:1] + 0.3 * some())  # all near to the first one
    words = WordVectors.of(WORDS, np.concatenate([rows[:20], some()[20:]]))
    every = list(words.near(some()[0]))
    assert len(every) == 8
    assert list(words.near(some()[0], set(every[:2]).__contains__))[:6] == every[2:]


def test_one_bad_vector_leaves_the_others_and_wide_ones_are_fewer() -> None:
    rows = some()
    rows[5] = np.nan
    words = WordVectors.of(WORDS, rows)
    assert (len(words.words), list(words.near(some()[3]))) == (49, ["word3"])
    assert (most_words(384), most_words(4096)) == (10_000, 976)


def test_a_release_keeps_its_words_and_one_of_before_has_none(tmp_path: Path) -> None:
    rows = some()
    rows[2] = 0.0  # of this one the encoder made nothing
    words = WordVectors.of(["größe", *WORDS[1:]], rows)
    written = read_release(write_release(tmp_path / "with", with_words(words)))
    found = LiveRelease(written, Catalogue()).words
    assert (len(found.words), found.words[:2]) == (49, ["größe", "word1"])
    assert found.near(rows[0]) == words.near(rows[0])
    assert LiveRelease(served_bundle("r-20231114-221320-test", ITEMS), Catalogue()).words.near(rows[0]) == {}


@pytest.mark.parametrize("letters", [b"one\ntwo", b"", b"\xff\xfe"])
def test_letters_that_do_not_fit_are_refused(letters: bytes, tmp_path: Path) -> None:
    bundle = with_words(WordVectors.of(WORDS, some()))
    bundle.arrays.word_letters = np.frombuffer(letters, np.uint8)
    with pytest.raises(ReleaseError, match="word_letters"):
        write_release(tmp_path / "broken", bundle)


@pytest.mark.skipif(not encoders.installed(), reason="needs: pip install 'nextclick[learner]'")
def test_a_query_means_words_that_it_does_not_say() -> None:
    encoder = encoders.open_encoder(EncoderChoice())
    said = ["horror", "comedy", "robot", "cooking", "romance", "football", "paris", "western", "soap",
            "razor"]  # fmt: skip
    words = WordVectors.of(said, encoder.read(said))
    assert next(iter(words.near(encoder.read(["scary"], query=True)[0]))) == "horror"
    assert next(iter(words.near(encoder.read(["shaver"], query=True)[0]))) == "razor"
