"""Training from end to end on toy data: who sees what, and that every kind of data leads to a release."""

import time
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from tests.worlds.toy_training import FakePipeline, data_of, hashed, random_data

pytest.importorskip("torch")

from learner.data.catalogue import Catalogue, Item
from learner.data.events import Kind
from learner.models.settings import RankerConfig
from learner.models.teacher import TeacherConfig
from learner.ranking.columns import FEATURES
from learner.release.files import read_release
from learner.release.live import LiveRelease, load_release
from learner.signals.settings import SignalSettings
from learner.training import jobs
from learner.training.options import TrainingOptions
from learner.training.settings import TrainingSettings
from learner.training.time_plan import LIST_S
from learner.training.train import MIN_TRIAL_EVENTS, train_release

pytestmark = pytest.mark.learner
# Where it does not matter what a ranker has learned.
HASTY = TrainingSettings(ranker=RankerConfig(epochs=1))
EVENTS = MIN_TRIAL_EVENTS - 100  # as many as are trained on without trials: enough for a ranker to learn from


def train(data, tmp_path, items=(), collect=None, progress=None, **options):
    """Within processor time of this process: what comes out is the same on a machine that is busy."""
    given = {"budget_minutes": 1, "encoder": hashed(), "clock": time.process_time} | options
    options = TrainingOptions(**given)
    collect = collect or FakePipeline()
    name = train_release(data, list(items), tmp_path / "release", collect, options, progress)
    live = load_release(tmp_path / "release", Catalogue())
    assert live.id == name
    return live


@dataclass
class Plain:
    """A training of random clicks as it is by default, and what it told; several tests look at it."""

    release: LiveRelease
    folder: Path
    told: list[tuple[str, float, str]] = field(default_factory=list)
    points: list[tuple[str, float, int]] = field(default_factory=list)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Plain:
    folder, told, points = tmp_path_factory.mktemp("plain"), [], []
    with pytest.MonkeyPatch.context() as patch:
        for kind in ("student", "ranker"):
            patch.setattr(f"learner.models.{kind}_training.TOLD", 1)  # each step
        release = train(
            random_data(EVENTS), folder, progress=lambda *at: told.append(at),
            noted=lambda *at: points.append(at),
        )  # fmt: skip
    return Plain(release, folder / "release", told, points)


def test_lists_may_take_what_the_budget_leaves_them(tmp_path) -> None:
    """No ask is passed over on a busy machine while there is time for all."""
    collect, ticks = FakePipeline(), count()
    train(random_data(EVENTS), tmp_path, collect=collect, clock=lambda: next(ticks) / 1000, settings=HASTY)
    planned = LIST_S * 0.3 * EVENTS  # of the largest stage; half more is what a stage had before
    assert min(collect.budgets[-3:]) > 3 * planned


def test_makes_a_release_that_answers(plain: Plain) -> None:
    live = plain.release
    assert live.manifest.items == 30
    _, vector = live.step(
        live.model.vectors[:2], np.array([1, 1]), np.zeros(2, np.float32), np.zeros(2, np.float32),
        np.zeros((2, live.hidden_size), np.float32),
    )  # fmt: skip
    assert np.isfinite(vector).all()
    scores = live.rank(np.random.default_rng(0).normal(size=(1, 5, len(FEATURES))).astype(np.float32))
    assert scores.shape == (1, 5)
    assert live.manifest.metrics["ranker"]["lists"] > 0


def test_the_ranker_learns_from_the_lists(plain: Plain) -> None:
    live = plain.release
    x = np.random.default_rng(9).normal(size=(50, 8, len(FEATURES))).astype(np.float32)
    best = x[..., FEATURES.index("student")].argmax(1)
    assert (live.rank(x).argmax(1) == best).mean() > 0.7


def test_calibration_begins_with_the_newest_lists(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(jobs, "CALIBRATED", 800)  # of what comes after 70 % of the clicks
    monkeypatch.setattr(jobs.Unclicked, "offset", lambda _: 0.75)
    taken = {750: 3, 1350: 3, 2100: 7}
    collect = FakePipeline(lambda start: taken.get(start, 0))
    live = train(random_data(3000), tmp_path, collect=collect, settings=HASTY)
    offsets = live.model.calibration[:30]
    assert offsets[7] > 0.02 > 0 >= np.delete(offsets, 7).max()
    assert abs(offsets.sum()) < 1e-3  # a chance that one gains others lose
    assert live.manifest.unclicked == 0.75


def test_lists_are_made_with_models_from_before_them(tmp_path) -> None:
    """Every item is clicked in one stretch only: a model that knows later items has seen the future."""
    n = 600
    item = np.arange(n) // 10
    pipeline = FakePipeline()
    train(data_of((np.arange(n) % 7).tolist(), item.tolist()), tmp_path, collect=pipeline)
    stages = [ask for ask in pipeline.asked if ask[0].id == "r-stage"]
    assert [(start, stop) for _, _, start, stop in stages] == [(150, 270), (270, 420), (420, 600)]
    for live, data, start, _ in stages:
        known = np.flatnonzero(live.model.vectors[: live.manifest.items].any(1))
        first_clicks = {name: k for k, name in reversed(list(enumerate(np.array(data.item_ids)[data.item])))}
        assert known.size
        assert max(first_clicks[live.catalogue.ids[number]] for number in known) < start


def test_items_that_only_later_clicks_bring_are_not_in_the_release(tmp_path) -> None:
    whole = random_data(items=30)
    early = whole.at(slice(0, 40))
    live = train(early, tmp_path)
    clicked = {whole.item_ids[number] for number in early.item}
    assert set(live.catalogue.ids) == clicked
    assert len(clicked) < 30


def test_same_arguments_same_release(tmp_path) -> None:
    first, again = (train(random_data(), tmp_path / str(k), seed=5) for k in range(2))
    for part in ("vectors", "bias"):
        np.testing.assert_array_equal(getattr(first.model, part), getattr(again.model, part))
    x = np.random.default_rng(0).normal(size=(3, 5, len(FEATURES))).astype(np.float32)
    np.testing.assert_array_equal(first.rank(x), again.rank(x))


@pytest.mark.parametrize(
    ("user", "item"),
    [
        ([0], [0]),
        ([0, 0, 0], [0, 1, 2]),
        ([0] * 50, list(range(50))),
        (list(range(50)), [0] * 50),
        ([k % 3 for k in range(50)], [k % 4 for k in range(50)]),
    ],
    ids=["one click", "three clicks", "one user", "one item", "repeats"],
)
def test_any_data_leads_to_a_release(user, item, tmp_path) -> None:
    live = train(data_of(user, item), tmp_path)
    assert np.isfinite(live.model.vectors).all()
    assert np.isfinite(live.rank(np.zeros((1, 3, len(FEATURES)), np.float32))).all()


def test_repeats_are_recorded_and_can_be_ordered(tmp_path) -> None:
    repeating = data_of([k % 3 for k in range(60)], [k % 4 for k in range(60)])
    assert train(repeating, tmp_path / "auto").manifest.repeat_consumption
    assert not train(repeating, tmp_path / "no", repeat_consumption=False).manifest.repeat_consumption


def test_announced_items_without_clicks_have_vectors_from_their_categories(tmp_path) -> None:
    data = data_of([k % 10 for k in range(200)], [k % 10 for k in range(200)])
    records = [Item(item_id=f"i{k}", categories=["even" if k % 2 == 0 else "odd"]) for k in range(12)]
    live = train(data, tmp_path, items=records)
    assert live.manifest.items == 12
    number = live.catalogue.index["i10"]
    assert live.model.vectors[number].any()
    np.testing.assert_allclose(
        live.embed(np.zeros(64, np.float32), ["even"]), live.model.vectors[number], atol=1e-5
    )


def test_only_aversion_teaches_nothing_and_breaks_nothing(tmp_path) -> None:
    live = train(data_of([0, 1, 2] * 10, [0, 1] * 15, kind=[Kind.DISLIKE] * 30), tmp_path)
    assert live.manifest.items == 2


def test_progress_rises_to_the_end_and_curves_are_told(plain: Plain) -> None:
    told, points = plain.told, plain.points
    assert told[-1][:2] == ("release", 1.0)
    assert all(0 <= share <= 1 for _, share, _ in told)
    steps = list(dict.fromkeys(step for step, _, _ in told))
    places = [steps.index(f"student{name}") for name in (" A", " B", " C", "")]
    assert places == sorted(places)
    assert places[-1] < steps.index("ranker")
    curves = {name: [step for curve, _, step in points if curve == name] for name, _, _ in points}
    assert {"student/loss", "student/learning_rate", "ranker/0/loss", "ranker/1/loss"} == curves.keys()
    assert all(steps == sorted(set(steps)) for steps in curves.values())


def test_manifest_says_what_it_was_made_from(plain: Plain) -> None:
    manifest = read_release(plain.folder).manifest
    assert (manifest.data.events, manifest.data.users) == (EVENTS, 20)
    assert manifest.data.last_ms == int(random_data(EVENTS).time_ms[-1])
    assert manifest.training["seed"] == 0
    assert set(manifest.metrics) == {"prior", "lists", "student", "ranker"}


def test_student_and_rankers_can_learn_from_teachers_too(plain: Plain, tmp_path, monkeypatch) -> None:
    """Same seed, same clicks: what differs is what the teacher and the ensemble said."""
    monkeypatch.setattr("learner.training.train.ENSEMBLE", 2)
    monkeypatch.setattr("learner.models.distill.TeacherConfig", partial(TeacherConfig, epochs=4))
    steps = []
    taught = train(
        random_data(EVENTS), tmp_path, settings=TrainingSettings(distil=True),
        progress=lambda step, _share, _text: steps.append(step),
    )  # fmt: skip
    assert "teacher" in steps
    assert not np.array_equal(plain.release.model.vectors, taught.model.vectors)
    x = np.random.default_rng(9).normal(size=(50, 8, len(FEATURES))).astype(np.float32)
    assert not np.array_equal(plain.release.rank(x), taught.rank(x))
    best = x[..., FEATURES.index("student")].argmax(1)
    assert (taught.rank(x).argmax(1) == best).mean() > 0.7


def test_a_teacher_of_a_few_items_that_users_have_had_nearly_all(tmp_path) -> None:
    user = np.repeat(np.arange(10), 5)
    item = np.tile(np.arange(5), 10)
    data = data_of(user.tolist(), item.tolist(), items=40)  # most of which nobody has clicked
    assert train(data, tmp_path, settings=TrainingSettings(distil=True)).manifest.training["distil"]


def test_the_serving_pipeline_makes_the_lists(tmp_path) -> None:
    """With the true `collect`: users walk a cycle, so the next item is certain."""
    from streams.recorded.collecting import collect

    rng = np.random.default_rng(0)
    start = rng.integers(40, size=30)
    user = np.tile(np.arange(30), 15)
    item = (start[None] + np.arange(15)[:, None]).ravel() % 40
    live = train(data_of(user.tolist(), item.tolist()), tmp_path, collect=collect)
    assert live.manifest.metrics["ranker"]["lists"] > 200


def test_weights_of_events_reach_the_lists_the_models_and_the_manifest(tmp_path) -> None:
    weights, pipeline = {"purchase": 5.0, "view": 0.0}, FakePipeline()
    data = data_of(
        [k % 20 for k in range(600)], [k % 27 for k in range(600)], kind=[Kind.VIEW, Kind.PURCHASE] * 300
    )
    alike = train(data, tmp_path / "alike", settings=HASTY)
    assert "event_weights" not in alike.manifest.signals
    weighed = train(data, tmp_path / "weighed", collect=pipeline, event_weights=weights, settings=HASTY)
    assert weighed.manifest.signals["event_weights"] == weights
    assert all(live.manifest.signals["event_weights"] == weights for live, *_ in pipeline.asked)
    assert not np.array_equal(alike.model.vectors, weighed.model.vectors)
    few = data.at(slice(0, 60))
    running = SignalSettings(event_weights={"like": 2.0})
    kept = train(few, tmp_path / "kept", signals=running)  # as what runs already says, unless told otherwise
    assert kept.manifest.signals["event_weights"] == {"like": 2.0}
    told = train(few, tmp_path / "told", signals=running, event_weights={})
    assert "event_weights" not in told.manifest.signals
