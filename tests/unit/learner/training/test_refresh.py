"""Refreshing a release: the ranker goes on from where it was, new items join, old ones stay."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")

import onnx

from learner.data.catalogue import Catalogue, Item
from learner.data.dataset import Interactions
from learner.models.cold_start import ColdStart
from learner.models.ranker import RankerConfig
from learner.models.ranker_export import ranker_from_model, ranker_model
from learner.models.ranker_training import train_ranker
from learner.models.run import Run
from learner.ranking.columns import FEATURES, LAYOUT, OWN_ITEMS
from learner.ranking.features import Features
from learner.ranking.layout import Layout
from learner.ranking.lists import Lists
from learner.release.bundle import Bundle, ReleaseError, Window
from learner.release.files import read_release
from learner.release.live import LiveRelease, load_release
from learner.text.content import ContentEncoder
from learner.training.refresh import refresh_release, student_time, with_items
from tests.worlds.served import served_bundle

pytestmark = pytest.mark.learner
ITEMS = [Item(item_id=f"i{n}", title=f"Item {n}", categories=["drama"]) for n in range(10)]


def lists(n: int = 400, seed: int = 0, best: int = 3) -> Lists:
    """Lists in which the candidate with the largest value of feature `best` was clicked."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n, 8, len(FEATURES))).astype(np.float32)
    there = features[..., LAYOUT.begin :: LAYOUT.columns]
    there[:] = there > 0
    return Lists(features, features[..., best].argmax(1), np.ones((n, 8), np.bool_))


def encoder_of(bundle: Bundle) -> ContentEncoder:
    return ContentEncoder.load(bundle.manifest.encoder, bundle.arrays.encoder)


def clicks(names: list[str], first_ms: int = 0) -> Interactions:
    n = len(names)
    ids = list(dict.fromkeys(names))
    return Interactions(
        user=np.arange(n, dtype=np.int32) % 3, item=np.array([ids.index(x) for x in names], np.int32),
        time_ms=first_ms + 1000 * np.arange(n, dtype=np.int64), kind=np.ones(n, np.uint8),
        value=np.full(n, np.nan, np.float32), place=np.zeros(n, np.int32),
        occurrence=np.zeros(n, np.int32), user_ids=["a", "b", "c"], item_ids=ids, scenarios=[None],
    )  # fmt: skip


@pytest.fixture
def bundle() -> Bundle:
    made = served_bundle("r-1", ITEMS, data=Window(first_ms=0, last_ms=5000, events=5, users=3))
    rankers = [train_ranker(lists(), RankerConfig(epochs=3), Run(seed), layout=LAYOUT)[0] for seed in (0, 1)]
    for ranker in rankers:
        ranker.cold_start = ColdStart(2, np.linspace(-1, 1, len(FEATURES), dtype=np.float32))
    made.ranker = ranker_model(rankers)
    return made


def test_a_ranker_survives_its_export(bundle: Bundle) -> None:
    ranker = ranker_from_model(bundle.ranker or b"")
    x = lists(50, seed=5).features / 4  # scores of a few units: single precision is what bounds the rest
    x[:25, :, 2] = 0.0  # lists of cold users
    np.testing.assert_allclose(ranker.scores(x), LiveRelease(bundle, Catalogue()).rank(x), atol=1e-5)


def in_parts(n: int, seed: int) -> Features:
    """Made-up features of lists of up to 8 candidates for users with up to 20 own items."""
    rng = np.random.default_rng(seed)
    count = rng.integers(0, 9, n).astype(np.int32)
    count[0] = 8
    none = np.arange(8) >= count[:, None]
    parts = Features(
        rng.normal(size=(n, 8, LAYOUT.begin)).astype(np.float32),
        rng.normal(size=(n, OWN_ITEMS, 5)).astype(np.float32),
        rng.normal(size=(n, 8, 2 * OWN_ITEMS)).astype(np.float32),
        count,
    )
    parts.alone[none], parts.pairs[none] = 0.0, 0.0
    there = np.arange(OWN_ITEMS) < rng.integers(0, OWN_ITEMS + 1, n)[:, None]
    parts.own[:] *= there[..., None]
    parts.own[..., 0] = there
    parts.alone[~there.any(1), :, 2] = 0.0  # cold users
    return parts


def test_own_items_weighed_beforehand_give_the_scores_that_the_whole_table_gives(bundle: Bundle) -> None:
    release, parts = LiveRelease(bundle, Catalogue()), in_parts(21, seed=3)
    table = parts.table()
    assert table[..., LAYOUT.begin :].any()
    given = np.arange(8) < parts.count[:, None]
    for limit in (1.0, 8.0):  # beyond it columns are cut
        for part in (parts.alone, parts.pairs, parts.own[..., 1:]):
            part *= limit
        want = release.rank(parts.table())
        np.testing.assert_allclose(release.rank(parts)[given], want[given], rtol=1e-4, atol=1e-4)
    none = in_parts(1, seed=0)
    none = Features(none.alone[:0], none.own[:0], none.pairs[:0], none.count[:0])
    assert none.table().shape == (0, 8, len(FEATURES))
    assert release.rank(none).shape == (0, 8)
    graph = onnx.load_from_string(bundle.ranker or b"")
    del graph.graph.output[1:]  # as of a release that does not tell what its layer is made of
    bundle.ranker = graph.SerializeToString()
    older = LiveRelease(bundle, Catalogue())
    np.testing.assert_array_equal(older.rank(parts)[given], older.rank(parts.table())[given])
    np.testing.assert_allclose(older.rank(parts)[given], want[given], rtol=1e-4, atol=1e-4)


def test_a_layer_over_other_columns_is_refused(bundle: Bundle) -> None:
    layout = Layout(LAYOUT.begin + LAYOUT.columns, LAYOUT.places - 1, LAYOUT.columns)
    bundle.ranker = ranker_model([train_ranker(lists(), RankerConfig(epochs=1), layout=layout)[0]])
    with pytest.raises(ReleaseError, match=r"ranker\.onnx: expected a layer over own items.* 152 columns"):
        LiveRelease(bundle, Catalogue())


def test_a_layer_of_no_numbers_is_refused(bundle: Bundle) -> None:
    ranker = ranker_from_model(bundle.ranker or b"")
    assert ranker.places is not None
    ranker.places.read.weight.data[3, 2] = float("nan")  # relu would hide it
    bundle.ranker = ranker_model([ranker])
    with pytest.raises(ReleaseError, match=r"ranker\.onnx: .*expected finite numbers"):
        LiveRelease(bundle, Catalogue())


def test_another_graph_is_refused() -> None:
    with pytest.raises(ReleaseError, match=r"ranker\.onnx: expected a ranker of this version"):
        ranker_from_model(served_bundle("r-1", ITEMS).ranker or b"")


def test_items_join_and_stay(bundle: Bundle) -> None:
    items = [Item(item_id="i3", available=False), Item(item_id="new", title="New", categories=["drama"])]
    items.append(Item(item_id="gone", available=False))
    wider = with_items(bundle, clicks(["i1", "heard", "gone"]), items, encoder_of(bundle))
    assert [item.item_id for item in wider.items] == [*(item.item_id for item in ITEMS), "new", "heard"]
    catalogue = Catalogue()
    release = LiveRelease(wider, catalogue)
    assert not catalogue.available[catalogue.index["i3"]]
    np.testing.assert_array_equal(release.model.vectors[:10], bundle.arrays.vectors)
    content = encoder_of(bundle).encode([items[1]])[0]
    np.testing.assert_allclose(release.model.vectors[10], release.embed(content, ["drama"]), rtol=1e-5)
    assert wider.manifest.items == 12
    assert bundle.manifest.items == 10


def test_a_refreshed_release_has_learned_from_new_lists_alone(bundle: Bundle, tmp_path) -> None:  # type: ignore[no-untyped-def]
    asked = []

    def collect(live, data, start, stop, wanted):  # type: ignore[no-untyped-def]
        asked.append((live, start, stop))
        return fresh

    rng = np.random.default_rng(9)
    made = lists(2000, seed=9, best=7).thinned(7, rng)  # answers in place 0
    items = np.array([rng.permutation(10)[:8] for _ in range(2000)], np.int32)
    fresh = replace(made, items=np.where(np.arange(8) == 0, 4, items).astype(np.int32))  # all take the same
    data = clicks([f"i{n % 10}" for n in range(12)])
    name = refresh_release(
        bundle, data, [], tmp_path / "out", collect, encoder=encoder_of(bundle), epochs=8,
        event_weights={"like": 3.0},
    )  # fmt: skip
    assert asked[0][1:] == (6, 12)  # clicks after the student's newest
    assert asked[0][0].manifest.signals["event_weights"] == {"like": 3.0}  # those of now
    release = load_release(tmp_path / "out", Catalogue())
    assert release.id == name
    manifest = release.manifest
    assert manifest.parents == ["r-1"]
    assert manifest.signals["event_weights"] == {"like": 3.0}
    assert manifest.data.last_ms == 11_000
    assert student_time(manifest) == 5000  # a refresh of the refreshed uses all lists since then again
    before = LiveRelease(bundle, Catalogue()).rank(fresh.features).argmax(1) == fresh.positive
    after = release.rank(fresh.features).argmax(1) == fresh.positive
    assert after.mean() > before.mean() + 0.2
    assert read_release(tmp_path / "out").student == bundle.student
    calibration = release.model.calibration
    assert calibration[4] > 0.5 > 0 > calibration[:4].max()
    assert not read_release(tmp_path / "out").arrays.calibration_begin.any()  # the training had left none
    refreshed = read_release(tmp_path / "out")
    again = with_items(refreshed, data, [*ITEMS, Item(item_id="new")], encoder_of(bundle))
    assert again.manifest.items == 11
    kept = LiveRelease(again, Catalogue()).model.calibration
    np.testing.assert_array_equal(kept[:10], refreshed.arrays.calibration[:10])
    assert not kept[10:].any()


def test_calibration_begins_with_what_the_training_left_at_each_refresh(bundle: Bundle, tmp_path) -> None:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(3)
    made = lists(600, seed=3, best=7).thinned(7, rng)
    items = np.array([rng.permutation(9)[:8] for _ in range(600)], np.int32)
    fresh = replace(made, items=np.where(np.arange(8) == 0, 9, items).astype(np.int32))  # all take the same

    def collect(*_, **__):  # type: ignore[no-untyped-def]
        return fresh

    left = np.linspace(-2, 2, 10).astype(np.float32)
    bundle.arrays.calibration = left
    data, encoder = clicks([f"i{n % 10}" for n in range(12)]), encoder_of(bundle)
    refresh_release(bundle, data, [], tmp_path / "one", collect, encoder=encoder)
    one = read_release(tmp_path / "one")
    np.testing.assert_array_equal(one.arrays.calibration_begin, left)
    one.arrays.calibration = np.full(10, 9.0, np.float32)  # what its refresh has added must not count twice
    refresh_release(one, data, [Item(item_id="new")], tmp_path / "two", collect, encoder=encoder)
    two = read_release(tmp_path / "two").arrays
    np.testing.assert_array_equal(two.calibration_begin, [*left, 0.0])
    assert two.calibration[9] > left[9]
    assert np.abs(two.calibration[:9] - left[:9]).max() < 2.0


def test_without_answers_there_is_nothing_to_refresh(bundle: Bundle, tmp_path) -> None:  # type: ignore[no-untyped-def]
    def collect(*_, **__):  # type: ignore[no-untyped-def]
        return lists(0)

    with pytest.raises(ReleaseError, match="no list was answered"):
        refresh_release(bundle, clicks(["i1"]), [], tmp_path / "out", collect, encoder=encoder_of(bundle))
