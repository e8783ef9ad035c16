"""Releases: the golden bundle always loads, damage is refused by name, arrays follow the catalogue."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from learner.data.catalogue import Catalogue, Item
from learner.data.records import Lines
from learner.ranking.columns import FEATURES
from learner.release.bundle import ReleaseError, mean_vectors, release_id
from learner.release.files import bundle_sha256, read_manifest, read_release, write_release
from learner.release.live import LiveRelease, load_release
from tests.golden import make_release_v1 as tiny
from tests.worlds.places import ROOT

GOLDEN = Path(tiny.__file__).parent / "release_v1"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_release(tmp_path / "store" / "r-1", tiny.tiny_bundle())


def dims(**changed: int) -> dict[str, int]:
    return {"vector": 4, "hidden": 4, "content": 3, "features": 3} | changed


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )


def live(catalogue: Catalogue, folder: Path = GOLDEN) -> LiveRelease:
    return load_release(folder, catalogue, features=tiny.FEATURES)


def test_the_golden_bundle_loads() -> None:
    catalogue = Catalogue()
    release = live(catalogue)
    assert release.id == "r-20261123-041200-gold"
    assert catalogue.ids == ["a", "b", "c"]
    assert catalogue.available[:3].tolist() == [True, True, False]
    assert [catalogue.records[n] for n in range(3)] == tiny.ITEMS
    model = release.model
    np.testing.assert_allclose(model.vectors[:3, 0], [0.1, 1.1, 2.1], rtol=1e-6)
    assert model.bias[:3].tolist() == [0, 0.5, 1]
    assert (model.content[:3] == np.eye(3)).all()
    assert (model.prior_weight, model.popular_now, model.popular) == (0.25, 1, 3)
    assert model.ease_item.tolist() == [[1, -1], [0, 2]]
    assert model.ease_weight.tolist() == [[0.5, 0], [0.25, -0.125]]
    assert release.initial_vector.tolist() == [1, -1, 1, -1]
    assert release.manifest.views_consume
    assert release.manifest.metrics == {"ndcg@10": 0.5}
    assert release.encoder["mean"].tolist() == [0, 1]
    assert sum(path.stat().st_size for path in GOLDEN.iterdir()) < 100_000


def test_a_gap_in_a_static_row_goes_to_its_end(tmp_path: Path) -> None:
    """The kernels take off what is empty at a row's end, and look up the rest unseen."""
    bundle = tiny.tiny_bundle()
    bundle.arrays.ease_item = np.array([[1, -1, 2], [-1, -1, 0]], np.int32)
    bundle.arrays.ease_weight = np.array([[0.5, 0, -0.25], [0, 0, -0.125]], np.float32)
    model = live(Catalogue(), write_release(tmp_path / "r-1", bundle)).model
    assert model.ease_item.tolist() == [[1, 2, -1], [0, -1, -1]]
    assert model.ease_weight.tolist() == [[0.5, -0.25, 0], [-0.125, 0, 0]]


def test_the_golden_bundle_computes_what_it_did() -> None:
    release = live(Catalogue())
    hidden, vectors = release.step(
        release.model.vectors[[0, 1]],
        np.array([1, 3], np.int64),
        np.zeros(2, np.float32),
        release.normalised(np.array([1, 3]), np.array([np.nan, 4.0], np.float32)),
        np.ones((2, 4), np.float32),
    )
    np.testing.assert_allclose(hidden, [[0.6, 0.7, 0.8, 0.9], [2.7, 2.9, 3.1, 3.3]], rtol=1e-6)
    np.testing.assert_array_equal(vectors, hidden)
    scores = release.rank(np.arange(12, dtype=np.float32).reshape(1, 4, 3))
    np.testing.assert_allclose(scores, [[8, 26, 44, 62]])


def test_many_lists_are_ranked_as_each_alone() -> None:
    release = live(Catalogue())
    features = np.random.default_rng(0).normal(size=(21, 5, 3)).astype(np.float32)
    alone = np.concatenate([release.rank(features[k : k + 1]) for k in range(21)])
    np.testing.assert_allclose(release.rank(features), alone, rtol=1e-6)
    assert release.rank(features[:0]).shape == (0, 5)


def test_what_is_written_is_read(folder: Path) -> None:
    written, read = tiny.tiny_bundle(), read_release(folder)
    assert list(read.items) == written.items
    assert read.student == written.student
    assert read.ranker == written.ranker
    assert msgspec.structs.replace(read.manifest, files={}) == written.manifest
    for name in ("vectors", "content", "ease_item", "projection", "category_parts"):
        np.testing.assert_array_equal(getattr(read.arrays, name), getattr(written.arrays, name))
    assert [path.name for path in folder.parent.iterdir()] == ["r-1"]  # no temporary names left


def test_calibration_goes_to_the_items_it_is_of_and_may_be_missing(tmp_path: Path) -> None:
    bundle, catalogue = tiny.tiny_bundle(), Catalogue()
    catalogue.intern("here-before")
    assert not live(Catalogue()).model.calibration.any()
    bundle.arrays.calibration = np.array([0.5, -1.0, 2.0], np.float32)
    release = load_release(write_release(tmp_path / "r-2", bundle), catalogue, features=tiny.FEATURES)
    assert release.model.calibration[:5].tolist() == [0.0, 0.5, -1.0, 2.0, 0.0]
    catalogue.intern("later")
    release.ensure(catalogue)
    assert release.model.calibration[4] == 0.0
    bundle.arrays.calibration = np.array([0.5, np.nan, 2.0], np.float32)
    with pytest.raises(ReleaseError, match="finite numbers"):
        read_release(write_release(tmp_path / "r-3", bundle))
    bundle.arrays.calibration = np.zeros(2, np.float32)
    with pytest.raises(ReleaseError, match=r"calibration \(3,\) float32, got \(2,\)"):
        read_release(write_release(tmp_path / "r-4", bundle))


def test_items_are_unpacked_when_asked_for(folder: Path) -> None:
    items = read_release(folder).items
    assert (len(items), items[1], items[-1]) == (3, tiny.ITEMS[1], tiny.ITEMS[2])
    for part in (slice(1, None), slice(None, 2), slice(None, None, -1), slice(5, 9), slice(2, 1)):
        assert items[part] == tiny.ITEMS[part]
    with pytest.raises(IndexError):
        items[3]
    assert list(Lines(b"", Item)) == []
    assert [item.item_id for item in Lines(b'{"item_id":"a"}\n{"item_id":"b"}', Item)] == ["a", "b"]


def test_equal_bundles_are_equal_bytes(folder: Path, tmp_path: Path) -> None:
    other = write_release(tmp_path / "r-2", tiny.tiny_bundle())
    assert bundle_sha256(folder) == bundle_sha256(other)


@pytest.mark.parametrize("name", ["student.onnx", "ranker.onnx", "vectors.safetensors", "items.jsonl.gz"])
@pytest.mark.parametrize("damage", ["truncated", "flipped", "missing", "empty", "unlisted"])
def test_a_damaged_file_is_refused_by_name(folder: Path, name: str, damage: str) -> None:
    path = folder / name
    data = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "unlisted":
        manifest = msgspec.json.decode((folder / "manifest.json").read_bytes())
        del manifest["files"][name]
        (folder / "manifest.json").write_bytes(msgspec.json.encode(manifest))
    else:
        half = len(data) // 2
        changed = {
            "truncated": data[:half],
            "empty": b"",
            "flipped": data[:half] + bytes([data[half] ^ 1]) + data[half + 1 :],
        }
        path.write_bytes(changed[damage])
    catalogue = Catalogue()
    with pytest.raises(ReleaseError) as error:
        live(catalogue, folder)
    assert name in str(error.value)
    assert "expected" in str(error.value)
    assert catalogue.size == 0


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"format": 2}, "expected format 1, got format 2; update nextclick"),
        ({"format": 0}, "expected format 1, got format 0; train a new release"),
        ({"items": 4}, "items.jsonl.gz: expected 4 items"),
        ({"items": "many"}, "expected a manifest of format 1"),
        (
            {"dims": {"vector": 5, "hidden": 4, "content": 3, "features": 3}},
            "vectors.safetensors: expected vectors",
        ),
        ({"dims": {"vector": 4, "hidden": 5, "content": 3, "features": 3}}, "student.onnx: expected"),
        ({"features": ["age", "popularity"]}, "expected 3 names of features, got 2"),
        ({"features": ["age", "rank", "x"]}, "got one for 3, with rank, x, without popularity, score; train"),
        ({"files": {"x": {"sha256": "", "bytes": 0}}}, "expected an entry for student.onnx"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(folder: Path, change: dict, says: str) -> None:
    path = folder / "manifest.json"
    path.write_bytes(msgspec.json.encode(msgspec.json.decode(path.read_bytes()) | change))
    with pytest.raises(ReleaseError) as error:
        live(Catalogue(), folder)
    assert says in str(error.value)


def test_a_bundle_of_other_features_is_refused() -> None:
    with pytest.raises(ReleaseError, match=f"this version's {len(FEATURES)} features, got one for 3"):
        load_release(GOLDEN, Catalogue())


def test_a_manifest_cannot_reach_outside_its_folder(folder: Path) -> None:
    path = folder / "manifest.json"
    manifest = msgspec.json.decode(path.read_bytes())
    manifest["files"]["../x"] = {"sha256": "", "bytes": 0}
    path.write_bytes(msgspec.json.encode(manifest))
    with pytest.raises(ReleaseError, match="expected names of files in this folder"):
        read_release(folder)


def test_what_is_no_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match="expected a release folder, found none"):
        live(Catalogue(), tmp_path / "absent")
    with pytest.raises(ReleaseError, match=r"manifest.json: expected a manifest, got no such file"):
        live(Catalogue(), tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(ReleaseError, match="expected a manifest"):
        live(Catalogue(), tmp_path)
    with pytest.raises(ReleaseError, match="expected a manifest"):
        bundle_sha256(tmp_path / "absent")


def test_a_model_that_is_none_is_refused(tmp_path: Path) -> None:
    bundle = tiny.tiny_bundle()
    bundle.student = b"no model"
    with pytest.raises(ReleaseError, match=r"student.onnx: expected an ONNX model"):
        live(Catalogue(), write_release(tmp_path / "r", bundle))


def test_an_empty_folder_or_a_release_is_replaced_and_nothing_else(folder: Path, tmp_path: Path) -> None:
    write_release(folder, tiny.tiny_bundle("r-newer"))
    assert read_manifest(folder).release == "r-newer"
    (tmp_path / "empty").mkdir()
    write_release(tmp_path / "empty", tiny.tiny_bundle())
    assert list(read_release(tmp_path / "empty").items) == tiny.ITEMS
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "a.txt").write_text("dear")
    with pytest.raises(ReleaseError, match="found other files; name another one"):
        write_release(tmp_path / "letters", tiny.tiny_bundle())
    with pytest.raises(ReleaseError, match="found other files"):
        write_release(tmp_path / "letters" / "a.txt", tiny.tiny_bundle())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "letters", "store"]
    assert [path.name for path in folder.parent.iterdir()] == ["r-1"]


def test_a_bundle_that_would_harm_is_not_written(tmp_path: Path) -> None:
    bundle = tiny.tiny_bundle()
    bundle.arrays.vectors[1, 2] = np.nan
    with pytest.raises(ReleaseError, match="training has diverged"):
        write_release(tmp_path / "r", bundle)
    bundle = tiny.tiny_bundle()
    bundle.ranker = None
    with pytest.raises(ReleaseError, match="expected a ranker"):
        write_release(tmp_path / "r", bundle)
    assert not (tmp_path / "r").exists()


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    def fail(path: Path) -> None:
        path.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_release(tmp_path / "r", tiny.tiny_bundle(), {"index.faiss": fail})
    assert list(tmp_path.iterdir()) == []


def test_a_writer_that_is_killed_leaves_no_release(tmp_path: Path) -> None:
    code = f"""
import os, signal
from pathlib import Path
from tests.golden.make_release_v1 import tiny_bundle
from learner.release.files import write_release
crash = lambda path: os.kill(os.getpid(), signal.SIGKILL)
write_release(Path({str(tmp_path / "r")!r}), tiny_bundle(), {{"index.faiss": crash}})
"""
    assert python(code).returncode == -9
    assert not (tmp_path / "r").exists()
    write_release(tmp_path / "r", tiny.tiny_bundle())
    assert live(Catalogue(), tmp_path / "r").id


def test_attached_files_are_part_of_the_bundle(tmp_path: Path) -> None:
    folder = write_release(
        tmp_path / "r", tiny.tiny_bundle(), {"index.faiss": lambda p: p.write_bytes(b"index") and None}
    )
    assert read_manifest(folder).files["index.faiss"].bytes == 5
    (folder / "index.faiss").write_bytes(b"xedni")
    with pytest.raises(ReleaseError, match=r"index.faiss: expected SHA-256"):
        read_release(folder)


def test_rows_follow_the_catalogue(folder: Path) -> None:
    catalogue = Catalogue()
    catalogue.intern("clicked")
    catalogue.intern("b")
    catalogue.announce(Item(item_id="a", title="newer"))
    release = live(catalogue, folder)
    assert catalogue.ids == ["clicked", "b", "a", "c"]
    assert catalogue.records[2].title == "newer"  # the owner's record beats the release's
    np.testing.assert_allclose(release.model.vectors[[2, 1, 3], 0], [0.1, 1.1, 2.1], rtol=1e-6)
    assert release.model.bias[[2, 1, 3]].tolist() == [0, 0.5, 1]
    assert release.model.ease_item.tolist() == [[-1, -1], [2, 3], [1, -1]]
    assert release.model.ease_weight.tolist() == [[0, 0], [0.25, -0.125], [0.5, 0]]
    assert release.own[:4].tolist() == [False, True, True, True]
    np.testing.assert_array_equal(release.model.vectors[0], np.full(4, 9))


def test_a_withdrawn_item_stays_withdrawn(folder: Path) -> None:
    catalogue = Catalogue()
    catalogue.withdraw("a")
    live(catalogue, folder)
    assert not catalogue.available[catalogue.index["a"]]


def test_a_bundle_may_be_taken_up_in_slices(folder: Path) -> None:
    bundle, catalogue = read_release(folder), Catalogue()
    catalogue.intern("c")
    parts = [catalogue.admit_all(bundle.items[at : at + 1]) for at in range(3)]
    release = LiveRelease(bundle, catalogue, numbers=np.concatenate(parts), features=tiny.FEATURES)
    assert catalogue.ids == ["c", "a", "b"]
    np.testing.assert_allclose(release.model.vectors[:3, 0], [2.1, 0.1, 1.1], rtol=1e-6)


def test_new_items_get_the_mean_of_their_categories(folder: Path) -> None:
    catalogue = Catalogue()
    release = live(catalogue, folder)
    for n in range(40):  # past the first growth
        catalogue.intern(f"n{n}")
    drama = catalogue.announce(Item(item_id="d", categories=["drama"]))
    both = catalogue.announce(Item(item_id="both", categories=["crime", "unheard", "drama"]))
    other = catalogue.announce(Item(item_id="o", categories=["unheard"]))
    release.ensure(catalogue)
    for item, value in ((drama, 3), (both, 2), (other, 9), (10, 9)):
        np.testing.assert_array_equal(release.model.vectors[item], np.full(4, value))
        assert release.model.bias[item] == -2
        assert not release.own[item]
    np.testing.assert_allclose(release.model.vectors[:3, 0], [0.1, 1.1, 2.1], rtol=1e-6)  # kept while growing
    catalogue.announce(Item(item_id="n0", categories=["crime"]))
    catalogue.announce(Item(item_id="a", categories=["crime"]))
    release.refresh([catalogue.index["n0"], catalogue.index["a"]])
    np.testing.assert_array_equal(release.model.vectors[catalogue.index["n0"]], np.ones(4))
    np.testing.assert_allclose(release.model.vectors[0, 0], 0.1, rtol=1e-6)


def test_a_vector_that_arrives_replaces_the_stand_in(folder: Path) -> None:
    catalogue = Catalogue()
    release = live(catalogue, folder)
    item = catalogue.announce(Item(item_id="new", categories=["drama"]))
    content = np.array([0, 0.6, 0.8], np.float32)
    vector = release.embed(content, ["drama", "crime", "drama", "unheard"])
    np.testing.assert_allclose(vector, [0, 0.6, 0.8, 3.0])
    release.set_vector(item, vector, content)
    release.refresh([item])
    np.testing.assert_array_equal(release.model.vectors[item], vector)
    np.testing.assert_array_equal(release.model.content[item], content)
    assert release.own[item]
    release.set_vector(0, vector, content)  # of the release: made for an older one, perhaps
    np.testing.assert_allclose(release.model.vectors[0, 0], 0.1, rtol=1e-6)
    with pytest.raises(ValueError, match="item new: expected a vector of 4 and content of 3"):
        release.set_vector(item, vector[:3], content)


def test_nothing_known_of_an_item_gives_the_mean_of_the_tail(folder: Path) -> None:
    release = live(Catalogue(), folder)
    np.testing.assert_array_equal(release.embed(np.zeros(3, np.float32), ["unheard"]), np.full(4, 9))


def test_a_release_in_training_has_no_ranker() -> None:
    bundle = tiny.tiny_bundle()
    bundle.ranker = None
    release = LiveRelease(bundle, Catalogue())  # any features: none are asked for
    with pytest.raises(ReleaseError, match="still in training"):
        release.rank(np.zeros((1, 1, 3), np.float32))


def test_mean_vectors() -> None:
    vectors = np.array([[1.0], [3.0], [8.0]], np.float32)
    categories = np.array([[0, 1], [0, -1], [-1, -1]], np.int32)
    means, tail = mean_vectors(vectors, categories, np.array([5, 1, 1]), 3)
    assert means[:, 0].tolist() == [2, 1, 5.5]  # the third has no items
    assert tail.tolist() == [5.5]


def test_release_ids() -> None:
    at = 1_795_407_120_999
    assert release_id(at, np.random.default_rng(0))[:18] == "r-20261123-041200-"
    assert len({release_id(at) for _ in range(100)}) > 90
    assert release_id(at, np.random.default_rng(1)) == release_id(at, np.random.default_rng(1))


def test_no_torch_on_the_way() -> None:
    heavy = {"torch", "transformers", "pandas", "onnx"}
    code = f"import sys, learner.release.live; print({heavy} & set(sys.modules))"
    assert python(code).stdout.strip() == "set()"


def test_copies_elsewhere_are_as_good(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    assert bundle_sha256(tmp_path / "copy") == bundle_sha256(folder)
    assert live(Catalogue(), tmp_path / "copy").id


def test_a_release_of_before_comes_back_where_the_new_one_cannot_take_its_place(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.rename

    def fails(path: Path, target: Path) -> Path:
        if path.suffix == ".partial":
            raise OSError("no rights")
        return real(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", fails)
        with pytest.raises(OSError, match="no rights"):
            write_release(folder, tiny.tiny_bundle("r-newer"))
    assert read_release(folder).manifest.release == tiny.tiny_bundle().manifest.release
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_a_writer_that_was_killed_between_two_names_leaves_a_word_and_is_mended(folder: Path) -> None:
    aside = folder.with_name(f".{folder.name}.0000.before")
    folder.rename(aside)
    with pytest.raises(ReleaseError, match=rf"a write was cut short.*{aside.name}"):
        read_manifest(folder)
    with pytest.raises(ReleaseError, match="expected a ranker"):
        write_release(folder, replace(tiny.tiny_bundle("r-newer"), ranker=None))
    assert read_release(folder).manifest.release == tiny.tiny_bundle().manifest.release
    aside.mkdir()  # killed after the second name: the new one stands
    write_release(folder, tiny.tiny_bundle("r-newer"))
    assert read_release(folder).manifest.release == "r-newer"
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
