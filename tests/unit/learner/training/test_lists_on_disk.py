"""Lists in files: the same lists, and hardly any memory."""

from pathlib import Path

import numpy as np
import pytest

from learner.models.cold_start import fit_cold_start
from learner.models.ranker_training import train_ranker
from learner.models.run import Run
from learner.ranking.columns import FEATURES, LAYOUT
from learner.ranking.lists import FEATURES_FILE, Lists, in_file, let_go, on_disk
from learner.training.shared import join_lists, lists_in

WIDTH = 5


def lists(count: int, seed: int, *, weighed: bool = False) -> Lists:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(count, WIDTH, len(FEATURES))).astype(np.float16)
    return Lists(
        features, np.zeros(count, np.int64), np.ones((count, WIDTH), np.bool_),
        rng.integers(99, size=(count, WIDTH)).astype(np.int32),
        rng.random(count).astype(np.float32) if weighed else None,
    )  # fmt: skip


def left(made: Lists, folder: Path) -> Path:
    """As collecting leaves them: a file with room for more."""
    folder.mkdir()
    features = on_disk(folder / FEATURES_FILE, (len(made) + 7, *made.features.shape[1:]))
    features[: len(made)] = made.features
    for name in ("positive", "mask", "items", *(["weight"] if made.weight is not None else [])):
        np.save(folder / f"{name}.npy", getattr(made, name))
    return folder


@pytest.mark.parametrize(("stages", "weighed"), [(1, False), (3, False), (3, True)])
def test_stages_lists_become_one(
    tmp_path: Path, stages: int, weighed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("learner.training.shared.COPIED_AT_ONCE", 8)
    parts = [lists(20 + n, n, weighed=weighed) for n in range(stages)]
    folders = [left(part, tmp_path / f"{n}") for n, part in enumerate(parts)]
    assert join_lists(folders, tmp_path / "all") == [len(part) for part in parts]
    found, expected = lists_in(tmp_path / "all"), Lists.join(parts)
    assert in_file(found.features)
    for name in ("features", "positive", "mask", "items", *(["weight"] if weighed else [])):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    assert (found.weight is None) == (not weighed)
    again = found.parts([len(part) for part in parts])
    np.testing.assert_array_equal(again[-1].features, parts[-1].features)
    if stages > 1:
        assert [path.name for path in tmp_path.iterdir()] == ["all"]


def test_a_ranker_learns_the_same_from_a_file(tmp_path: Path) -> None:
    made = lists(200, 0)
    read = lists_in(left(made, tmp_path / "lists"))
    scores = [train_ranker(each, run=Run(1), layout=LAYOUT)[0].scores(made.features) for each in (made, read)]
    np.testing.assert_array_equal(*scores)
    begin = np.zeros(len(FEATURES), np.float32)
    cold = [fit_cold_start(each, lambda x: x, 0, begin).weights for each in (made, read)]
    np.testing.assert_array_equal(*cold)


def test_what_was_written_and_let_go_is_still_there(tmp_path: Path) -> None:
    features = on_disk(tmp_path / "a.npy", (100, 3))
    features[50] = 7
    let_go(features[40:60])
    assert features[50].tolist() == [7, 7, 7]
    assert np.load(tmp_path / "a.npy")[50].tolist() == [7, 7, 7]
    let_go(np.zeros(3))  # in memory: it stays
