"""Index files: what is read is what was written, old versions stay readable, damage is named."""

import json
from pathlib import Path

import faiss
import numpy as np
import pytest

from indexer.graph import GraphRows
from indexer.item_index import ItemIndex
from indexer.rows import Floats, Ints, Kind
from indexer.storage import HEADER_BYTES, VERSION, IndexFileError, load, save
from tests.worlds import places

GOLDEN = places.GOLDEN / "index_v1"
STORED: tuple[Kind, ...] = ("flat", "hnsw", "ivf", "ivfpq")
D = 4


def golden_index(kind: Kind) -> ItemIndex:
    """The index of the golden files, with a removed and a replaced item; whole numbers, so scores are exact.

    `PYTHONPATH=. python tests/unit/indexer/test_storage.py` writes them, never again after a release.
    """
    rng = np.random.default_rng(7)
    n = {"ivfpq": 1000, "hnsw": 100}.get(kind, 260)
    vectors = rng.integers(-9, 10, (n, D)).astype(np.float32)
    items = 2 * np.arange(n, dtype=np.int32)
    index = ItemIndex.build(items, vectors, kind)
    if kind == "hnsw":  # a small graph, for a small file
        index = ItemIndex(D, kind, rows=GraphRows.build(items, vectors))
    index.remove([0, 8])
    index.update([10], np.full((1, D), 9, np.float32))
    return index


def asked() -> Floats:
    return np.random.default_rng(8).integers(-9, 10, (5, D)).astype(np.float32)


def assert_same(first: ItemIndex, second: ItemIndex, k: int = 20) -> None:
    assert len(first) == len(second)
    for one, other in zip(first.search(asked(), k), second.search(asked(), k), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("kind", STORED)
def test_a_golden_file_of_version_1_gives_its_recorded_lists(kind: Kind) -> None:
    index = load(GOLDEN / f"{kind}.index", kind=kind)
    expected = json.loads((GOLDEN / "lists.json").read_text())[kind]
    assert index.kind == kind
    found = index.search(asked(), 5)
    assert found[0].tolist() == expected["items"]
    np.testing.assert_allclose(found[1], expected["scores"], rtol=1e-5)


def test_golden_files_are_small() -> None:
    assert sum(file.stat().st_size for file in GOLDEN.iterdir()) < 100_000


@pytest.mark.parametrize("kind", STORED)
def test_what_is_read_answers_and_changes_as_what_was_written(kind: Kind, tmp_path: Path) -> None:
    index = golden_index(kind)
    save(index, tmp_path / "items.index")
    again = load(tmp_path / "items.index", kind=kind)
    assert (again.kind, again.dimension) == (kind, D)
    assert_same(index, again)
    for each in (index, again):
        each.update([10, 4000], np.array([[1, 2, 3, 4], [30, 30, 30, 30]], np.float32))
        each.remove([4, 6])
    assert_same(index, again)
    assert list(tmp_path.iterdir()) == [tmp_path / "items.index"]


@pytest.mark.parametrize("kind", ["ivf", "ivfpq"])
def test_rows_that_stand_aside_are_stored_too(kind: Kind, tmp_path: Path) -> None:
    index = golden_index(kind)
    index.update([4, 5001], np.full((2, D), 70, np.float32))
    save(index, tmp_path / "items.index")
    again = load(tmp_path / "items.index", kind=kind)
    assert sorted(again.items().tolist()) == sorted(index.items().tolist())
    assert again.search(np.ones((1, D), np.float32), 2)[0].tolist() == [[4, 5001]]
    assert len(index) == (999 if kind == "ivfpq" else 259)


def test_an_empty_index_is_kept(tmp_path: Path) -> None:
    save(ItemIndex(D), tmp_path / "empty.index")
    again = load(tmp_path / "empty.index")
    assert len(again) == 0
    again.add([1], np.ones((1, D), np.float32))
    assert again.search(asked(), 2)[0][:, 0].tolist() == [1] * 5


@pytest.mark.parametrize("kind", STORED)
def test_items_get_the_numbers_of_the_process_that_reads(kind: Kind, tmp_path: Path) -> None:
    index = golden_index(kind)
    save(index, tmp_path / "items.index")
    rng = np.random.default_rng(0)
    numbers: Ints = rng.permutation(5000)[: int(index.items().max()) + 1].astype(np.int32)
    gone = index.items()[3:9]
    numbers[gone] = -1
    again = load(tmp_path / "items.index", numbers, kind)
    index.remove(gone)
    assert sorted(again.items().tolist()) == sorted(numbers[index.items()].tolist())
    found, expected = again.search(asked(), 10), index.search(asked(), 10)
    np.testing.assert_array_equal(found[1], expected[1])
    for row, other, scores in zip(found[0], expected[0], found[1], strict=True):
        inner = scores > scores[-1]  # of those equal to the last, other numbers may be first
        assert set(row[inner].tolist()) == set(numbers[other[inner]].tolist())


def test_too_few_numbers_are_refused(tmp_path: Path) -> None:
    save(golden_index("flat"), tmp_path / "items.index")
    with pytest.raises(ValueError, match="holds item 518; give a number for each"):
        load(tmp_path / "items.index", np.arange(518, dtype=np.int32))


def test_every_damage_is_found_and_named(tmp_path: Path) -> None:
    path = tmp_path / "items.index"
    save(golden_index("flat"), path)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    inside = rng.integers(0, len(whole), 60).tolist()
    header = rng.integers(0, HEADER_BYTES, 60).tolist()
    for place in (*inside, *header):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(bytes(damaged))
        with pytest.raises(IndexFileError, match=r"items\.index.*; (build|use)") as caught:
            load(path)
        assert caught.value.path == path
    for size in (0, 10, HEADER_BYTES, len(whole) - 1, len(whole) // 2):
        path.write_bytes(whole[:size])
        with pytest.raises(IndexFileError, match=r"items\.index.*; build"):
            load(path)
    path.write_bytes(whole + b"x")
    with pytest.raises(IndexFileError, match="bytes where"):
        load(path)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(IndexFileError, match=r"missing\.index: cannot be read \(No such file"):
        load(tmp_path / "missing.index")
    with pytest.raises(IndexFileError, match="cannot be read"):
        load(tmp_path)
    for content in (b"[]", b'{"format": 3}', b"\x80\x04pickle", b"null"):
        (tmp_path / "other").write_bytes(content)
        with pytest.raises(IndexFileError, match="is no index file"):
            load(tmp_path / "other")
    faiss.write_index(faiss.IndexFlatIP(3), str(tmp_path / "other"))
    with pytest.raises(IndexFileError, match="is no index file"):
        load(tmp_path / "other")


def test_a_later_version_names_both(tmp_path: Path) -> None:
    path = tmp_path / "items.index"
    save(golden_index("flat"), path)
    path.write_bytes(path.read_bytes().replace(b'"version": 1', b'"version": 2'))
    with pytest.raises(IndexFileError, match=f"version 2, this program reads {VERSION}; use the Nextclick"):
        load(path)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "items.index"
    save(golden_index("flat"), path)
    before = path.read_bytes()

    def fails(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(faiss, "write_index", fails)
    with pytest.raises(OSError, match="disk full"):
        save(ItemIndex(D), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


if __name__ == "__main__":
    GOLDEN.mkdir(parents=True, exist_ok=True)
    lists = {}
    for name in STORED:
        made = golden_index(name)
        save(made, GOLDEN / f"{name}.index")
        items, scores = made.search(asked(), 5)
        lists[name] = {"items": items.tolist(), "scores": scores.tolist()}
    (GOLDEN / "lists.json").write_text(json.dumps(lists, indent=1) + "\n")
