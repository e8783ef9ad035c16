"""Worlds in which one feature is the answer, and parity of the exported ranker."""

from dataclasses import replace

import numpy as np
import onnxruntime
import pytest

torch = pytest.importorskip("torch")

from learner.models import cold_start  # noqa: E402
from learner.models.cold_start import fit_cold_start  # noqa: E402
from learner.models.ranker import Ranker, RankerConfig  # noqa: E402
from learner.models.ranker_export import ranker_from_model, ranker_model  # noqa: E402
from learner.models.ranker_training import moments, refresh, train_ranker  # noqa: E402
from learner.models.run import Run  # noqa: E402
from learner.ranking.layout import Layout  # noqa: E402
from learner.ranking.lists import Lists  # noqa: E402

pytestmark = pytest.mark.learner
QUICK = RankerConfig(epochs=20, batch=32)


def world(n: int = 600, width: int = 12, features: int = 6, answer: int = 2, seed: int = 0) -> Lists:
    """Features at odd scales; the clicked candidate is the one with the largest feature `answer`."""
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=(n, width, features)) * [1, 100, 3, 0.01, 1, 1] + [0, 5000, -7, 0, 20, 0]).astype(
        np.float32
    )
    length = rng.integers(3, width + 1, size=n)
    mask = np.arange(width)[None] < length[:, None]
    positive = np.where(mask, x[..., answer], -np.inf).argmax(1)
    return Lists(x, positive, mask)


def accuracy(ranker: Ranker, lists: Lists) -> float:
    scores = np.where(lists.mask, ranker.scores(lists.features), -np.inf)
    return float((scores.argmax(1) == lists.positive).mean())


def run(model: bytes, features: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(None, {"features": features})[0]


def test_finds_the_feature_that_is_the_answer() -> None:
    ranker, report = train_ranker(world(), QUICK)
    assert (report.lists, report.dropped) == (600, 0)
    assert accuracy(ranker, world(seed=1)) > 0.9


@pytest.mark.parametrize(("heavy", "better"), [(0, True), (1, False)])
def test_an_answer_counts_as_often_as_it_weighs(heavy: int, better: bool) -> None:
    """Half of the lists are answered by the largest, half by the smallest of a feature."""
    lists, least = world(), world(seed=3)
    answer = np.where(least.mask, least.features[..., 2], np.inf).argmin(1)
    joined = Lists.join(
        [
            replace(part, weight=np.full(600, 5.0 if place == heavy else 0.1, np.float32))
            for place, part in enumerate((lists, replace(least, positive=answer)))
        ]
    )
    assert joined.weight is not None
    ranker, _ = train_ranker(joined.part(np.random.default_rng(0).permutation(1200)), QUICK)
    assert (accuracy(ranker, world(seed=1)) > 0.7) == better
    assert (accuracy(ranker, world(seed=1)) < 0.2) == (not better)


def test_lists_without_positive_are_dropped_and_counted() -> None:
    lists = world()
    positive = lists.positive.copy()
    positive[::3] = -1
    _, report = train_ranker(Lists(lists.features, positive, lists.mask), replace(QUICK, epochs=1))
    assert (report.lists, report.dropped) == (400, 200)


def test_no_list_at_all_leaves_the_order_alone() -> None:
    empty = Lists(np.zeros((0, 5, 6), np.float32), np.zeros(0, np.int64), np.zeros((0, 5), bool))
    ranker, report = train_ranker(empty, QUICK)
    assert report.lists == 0
    assert not ranker.scores(world().features).any()
    assert run(ranker_model([ranker]), world().features).shape == (600, 12)


def test_few_lists_leave_the_blend_it_starts_with() -> None:
    start = np.zeros(6, np.float32)
    start[2] = 1.0
    few = world(n=5)
    ranker, _ = train_ranker(few, RankerConfig(), start=start)
    assert accuracy(ranker, world(seed=1)) > 0.95


def test_same_seed_same_ranker() -> None:
    first, again, other = (train_ranker(world(), replace(QUICK, epochs=1), Run(s))[0] for s in (1, 1, 2))
    x = world().features
    np.testing.assert_array_equal(first.scores(x), again.scores(x))
    assert np.abs(first.scores(x) - other.scores(x)).max() > 1e-3


def test_onnx_equals_torch_even_far_outside() -> None:
    ranker, _ = train_ranker(world(), QUICK)
    x = world(seed=2).features
    x[0, 0] = [1e9, -1e9, 1e9, 1e9, -1e9, 0]
    np.testing.assert_allclose(run(ranker_model([ranker]), x), ranker.scores(x), atol=1e-4)


def test_onnx_of_two_is_their_mean() -> None:
    pair = [train_ranker(world(), replace(QUICK, epochs=1), Run(seed))[0] for seed in (0, 1)]
    x = world(seed=2).features
    mean = (pair[0].scores(x) + pair[1].scores(x)) / 2
    np.testing.assert_allclose(run(ranker_model(pair), x), mean, atol=1e-4)


def test_rankers_of_other_inputs_are_not_averaged() -> None:
    pair = [train_ranker(world(seed=seed), replace(QUICK, epochs=1))[0] for seed in (0, 1)]
    with pytest.raises(ValueError, match="one standardisation"):
        ranker_model(pair)


def test_refresh_follows_a_changed_world_and_leaves_the_original() -> None:
    ranker, _ = train_ranker(world(), QUICK)
    changed = world(answer=4, seed=3)
    before = ranker.scores(changed.features)
    after, _ = refresh(ranker, changed, epochs=20)
    assert accuracy(after, world(answer=4, seed=5)) > accuracy(ranker, world(answer=4, seed=5)) + 0.1
    _, report = refresh(ranker, changed, world(seed=4))
    assert report.lists == 1200
    np.testing.assert_array_equal(ranker.scores(changed.features), before)


def test_soft_targets_pull_towards_the_teacher() -> None:
    """Positives are noise; only the teacher knows that feature 2 matters."""
    lists = world()
    rng = np.random.default_rng(0)
    noise = Lists(lists.features, rng.integers(0, 3, size=600), lists.mask)
    soft = lists.features[..., 2] * 2
    alone, _ = train_ranker(noise, QUICK)
    taught, _ = train_ranker(noise, QUICK, soft=soft)
    assert accuracy(taught, world(seed=1)) > 0.8 > accuracy(alone, world(seed=1))


def test_a_feature_that_never_varies_stays_harmless() -> None:
    lists = world()
    lists.features[..., 3] = 1234.5
    _, deviation = moments(lists)
    assert deviation[3] == 1.0
    ranker, _ = train_ranker(lists, QUICK)
    x = world(seed=1).features
    x[..., 3] = 1234.5
    np.testing.assert_allclose(run(ranker_model([ranker]), x), ranker.scores(x), atol=1e-4)


def test_half_precision_lists_train_as_well() -> None:
    lists = world()
    half = Lists(lists.features.astype(np.float16), lists.positive, lists.mask)
    assert accuracy(train_ranker(half, QUICK)[0], world(seed=1)) > 0.85


def test_thinning_keeps_the_positive_first_and_real_candidates_only() -> None:
    lists = world()
    thin = lists.thinned(4, np.random.default_rng(0))
    assert thin.features.shape == (600, 5, 6)
    np.testing.assert_array_equal(thin.positive, 0)
    rows = np.arange(600)
    np.testing.assert_array_equal(thin.features[:, 0], lists.features[rows, lists.positive])
    np.testing.assert_array_equal(thin.mask.sum(1), np.minimum(lists.mask.sum(1), 5))


def test_joining_pads_the_narrower() -> None:
    wide, narrow = world(n=5), world(n=4).thinned(2, np.random.default_rng(0))
    both = Lists.join([wide, narrow])
    assert both.features.shape == (9, 12, 6)
    assert both.mask[5:, 3:].sum() == 0


LAYOUT = Layout(begin=2, places=12, columns=4)


def own_items_world(n: int = 1000, width: int = 10, seed: int = 0) -> Lists:
    """The clicked candidate goes best with the recent ones (gap 0, not 1) of up to twelve own items."""
    rng, places = np.random.default_rng(seed), LAYOUT.places
    x = np.zeros((n, width, LAYOUT.begin + 4 * places), np.float32)
    x[..., :2] = rng.normal(size=(n, width, 2))
    there = np.arange(places)[None] < rng.integers(0, places + 1, n)[:, None]
    gap = rng.integers(0, 2, (n, places)) * there
    pair = rng.normal(size=(n, width, places)) * there[:, None]
    own = np.zeros((n, width, places, 4))
    own[..., 0], own[..., 1], own[..., 3] = there[:, None], gap[:, None], pair
    x[..., 2:] = own.reshape(n, width, -1)
    recent = there & (gap == 0)
    use = recent.any(1)
    clicked = (pair * recent[:, None]).sum(2).argmax(1)
    return Lists(x[use], clicked[use], np.ones((int(use.sum()), width), np.bool_))


def test_weighs_own_items_by_what_is_known_of_them_also_exported_and_averaged() -> None:
    lists, test = own_items_world(300), own_items_world(seed=1)
    alone, _ = train_ranker(lists, replace(QUICK, epochs=30))
    rankers = [train_ranker(lists, replace(QUICK, epochs=30), Run(s), layout=LAYOUT)[0] for s in (0, 1)]
    assert accuracy(rankers[0], test) > max(0.85, accuracy(alone, test) + 0.05)
    mean = (rankers[0].scores(test.features) + rankers[1].scores(test.features)) / 2
    np.testing.assert_allclose(run(ranker_model(rankers), test.features), mean, atol=1e-4)
    again = ranker_from_model(ranker_model(rankers))
    np.testing.assert_allclose(again.scores(test.features), mean, atol=1e-4)
    np.testing.assert_allclose(run(ranker_model([again]), test.features), mean, atol=1e-4)


def test_lists_of_other_columns_than_the_layout_are_refused() -> None:
    lists = Lists(np.ones((5, 3, 10), np.float32), np.zeros(5, np.int64), np.ones((5, 3), bool))
    train_ranker(lists, RankerConfig(epochs=1), layout=Layout(4, 3, 2))
    with pytest.raises(ValueError, match="12 columns, the lists have 10"):
        train_ranker(lists, RankerConfig(epochs=1), layout=Layout(4, 4, 2))


def test_own_items_that_there_are_not_say_nothing() -> None:
    mean, deviation = moments(own_items_world(), LAYOUT)
    np.testing.assert_array_equal(mean[2:].reshape(12, 4), mean[2:6][None].repeat(12, 0))
    np.testing.assert_array_equal(mean[2:][::4], 0.0)
    np.testing.assert_array_equal(deviation[2:][::4], 4.0)
    ranker = train_ranker(own_items_world(), replace(QUICK, epochs=2), layout=LAYOUT)[0]
    x = own_items_world(seed=1).features.copy()
    x[..., 2:] = 0.0
    x[..., 3] = 99.0  # where there is no item, whatever else stands there
    found = ranker.scores(x)
    x[..., 3] = 0.0
    np.testing.assert_array_equal(found, ranker.scores(x))


def cold_world(seed: int) -> Lists:
    """Users with a past (column 0) click by column 2, those without one by column 1."""
    lists = world(seed=seed)
    known = np.arange(len(lists)) % 4 > 0
    features = lists.features.copy()
    features[..., 0] = known[:, None] * 3.0
    positive = np.where(known, lists.positive, np.where(lists.mask, features[..., 1], -np.inf).argmax(1))
    rows = np.arange(len(lists))
    for part in (features, lists.mask):  # answers in place 0
        part[rows, 0], part[rows, positive] = part[rows, positive].copy(), part[rows, 0].copy()
    return Lists(features, np.zeros(len(lists), np.int64), lists.mask)


def test_cold_users_have_an_order_of_their_own_also_exported_averaged_and_refreshed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lists = cold_world(0)
    rankers = [train_ranker(lists, replace(QUICK, epochs=2), Run(seed))[0] for seed in (0, 1)]
    monkeypatch.setattr(cold_start, "PULL", 1.0)
    begin = np.eye(6, dtype=np.float32)[3]
    found = fit_cold_start(lists, rankers[0].standardise, 0, begin)
    assert found.weights.argmax() == 1
    for ranker in rankers:
        ranker.cold_start = found
    test = cold_world(1)
    unknown = test.features[:, 0, 0] == 0
    theirs = Lists(test.features[unknown], test.positive[unknown], test.mask[unknown])
    assert accuracy(rankers[0], theirs) > 0.95
    both = sum(ranker.scores(test.features) for ranker in rankers) / 2
    np.testing.assert_allclose(run(ranker_model(rankers), test.features), both, atol=1e-4)
    again, _ = refresh(rankers[0], lists)
    np.testing.assert_array_equal(
        again.scores(test.features)[unknown], rankers[0].scores(test.features)[unknown]
    )


def test_without_lists_of_cold_users_their_order_is_what_it_begins_with() -> None:
    lists = cold_world(0).part(slice(1, 4))
    begin = np.eye(6, dtype=np.float32)[3]
    found = fit_cold_start(lists, lambda x: x, 0, begin)
    np.testing.assert_array_equal(found.weights, begin)
    assert found.known == 0
