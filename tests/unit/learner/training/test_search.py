"""The search for settings: never worse than the defaults, blind to what it is scored on, and its file."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")

from learner.ranking.lists import Lists
from learner.training.options import TrainingOptions
from learner.training.search import list_ndcg, search
from learner.training.settings import TrainingSettings, TrainingSettingsError
from tests.worlds.toy_training import FakePipeline, data_of, hashed, random_data

pytestmark = pytest.mark.learner


def options(budget_minutes: float = 1, seed: int = 0) -> TrainingOptions:
    return TrainingOptions(budget_minutes=budget_minutes, seed=seed, encoder=hashed())


def walk(users: int = 40, length: int = 20):
    """Users walk a cycle of 30 items."""
    start = np.random.default_rng(0).integers(30, size=users)
    item = (start[None] + np.arange(length)[:, None]).ravel() % 30
    return data_of(np.tile(np.arange(users), length).tolist(), item.tolist())


def test_finds_settings_at_least_as_good_as_the_defaults() -> None:
    told: list[tuple[str, float, str]] = []
    found = search(
        walk(), [], FakePipeline(), options(budget_minutes=5), trials=2,
        progress=lambda *step: told.append(step),
    )  # fmt: skip
    for figures in found.figures.values():
        assert figures["best"] >= figures["default"]
        assert figures["trials"] == 2
    assert {step for step, _, _ in told} == {"student", "ranker"}
    assert all(0 <= share <= 1 for _, share, _ in told)


def test_where_nothing_beats_the_defaults_they_stand() -> None:
    found = search(walk(), [], FakePipeline(), options(), trials=1)
    assert found.settings == TrainingSettings()


def test_trials_see_nothing_of_the_scored_part() -> None:
    pipeline = FakePipeline()
    data = walk()
    search(data, [], pipeline, options(), trials=1)
    ((live, _, start, stop),) = pipeline.asked
    assert (start, stop) == (len(data) // 2, len(data))
    assert live.id == "r-search"


def test_the_same_seed_finds_the_same() -> None:
    first, again = (
        search(walk(), [], FakePipeline(), options(budget_minutes=5, seed=3), trials=2) for _ in range(2)
    )
    assert first == again


def test_too_little_data_keeps_the_defaults() -> None:
    found = search(random_data(100), [], FakePipeline(), options())
    assert found.settings == TrainingSettings()


def test_ndcg_of_lists_by_hand() -> None:
    lists = Lists(np.zeros((2, 3, 1), np.float32), np.array([0, 2]), np.array([[1, 1, 1], [1, 0, 1]], bool))
    scores = np.array([[1, 2, 0], [1, 9, 1]], np.float32)
    # The first stands second; the second is tied with one of two, at 1.5; the padded place is no rival.
    assert list_ndcg(scores, lists) == pytest.approx((1 / np.log2(3) + 1 / np.log2(2.5)) / 2)


def test_settings_are_read_back_as_written(tmp_path) -> None:
    settings = TrainingSettings()
    settings = replace(
        settings, prior=0.3, distil=True, student=replace(settings.student, layers=3, learning_rate=1e-3),
        ranker=replace(settings.ranker, widths=(96, 48)),
    )  # fmt: skip
    settings.write(tmp_path / "tuned.toml", "two\nremarks")
    assert TrainingSettings.read(tmp_path / "tuned.toml") == settings
    TrainingSettings().write(tmp_path / "plain.toml")
    assert TrainingSettings.read(tmp_path / "plain.toml") == TrainingSettings()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[student]\nlayerz = 3", "layerz"),
        ("[student]\nlayers = 'many'", "student.layers"),
        ("[teacher]\nlayers = 1", "teacher"),
        ("layers", "cannot read"),
        ("distil = 'much'", "true or false"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(text: str, named: str, tmp_path) -> None:
    path = tmp_path / "tuned.toml"
    path.write_text(text)
    with pytest.raises(TrainingSettingsError, match=named) as caught:
        TrainingSettings.read(path)
    assert str(path) in str(caught.value)
