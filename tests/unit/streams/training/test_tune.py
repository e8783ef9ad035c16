"""`nextclick tune` around the search: what is passed on, and the file that `train --tuned` reads."""

import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from learner.training import search as searching
from learner.training.search import Found
from learner.training.settings import TrainingSettings
from streams.recorded.collecting import collect
from streams.settings import Settings
from streams.training import tune
from streams.training.train import Recorded, TrainError

pytestmark = pytest.mark.learner
FIGURES = {"student": {"default": 0.1, "best": 0.125, "trials": 7.0}}


def run(folder: Path, monkeypatch: pytest.MonkeyPatch, found: Found) -> dict[str, Any]:
    """Runs the command with a search that finds `found`; returns what it was given."""
    given: dict[str, Any] = {}
    clicks = folder / "clicks.csv"
    clicks.write_text("user_id,item_id,timestamp\n" + "".join(f"u{n % 3},i{n},{n}\n" for n in range(10)))

    def search(part: Any, records: Any, collect: Any, options: Any, *, trials: Any, progress: Any) -> Found:
        given.update(part=part, records=records, collect=collect, trials=trials, **vars(options))
        progress("student", 1.0, "7 trials")
        return found

    monkeypatch.setattr(searching, "search", search)
    tune.run(
        Settings(cache_dir=folder, repeat_consumption="no"), Recorded(clicks, None, 0.8),
        out=folder / "tuned.toml", time_budget=4.0, trials=7, seed=3,
    )  # fmt: skip
    return given


def test_it_searches_on_the_first_part_and_writes_what_it_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    given = run(tmp_path, monkeypatch, Found(TrainingSettings(prior=0.25), FIGURES))
    assert len(given["part"]) == 8
    assert given["collect"] is collect
    assert (given["trials"], given["seed"], given["repeat_consumption"]) == (7, 3, False)
    assert 2.0 <= given["budget_minutes"] <= 4.0
    out = tmp_path / "tuned.toml"
    assert TrainingSettings.read(out) == TrainingSettings(prior=0.25)
    assert out.read_text().splitlines()[:2] == [
        "# found by nextclick tune on clicks.csv, first 80% of its events, seed 3",
        "# student: NDCG@10 0.1000 by default, 0.1250 at best, 7 trials",
    ]
    said = capsys.readouterr().err
    assert "student: NDCG@10 0.1000 by default, 0.1250 at best, 7 trials" in said
    assert f"settings written to {out}: nextclick train --tuned {out}" in said


def test_where_there_was_nothing_to_search_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path, monkeypatch, Found(TrainingSettings(), {}))
    assert "too few events to search: the defaults stand" in capsys.readouterr().err
    assert TrainingSettings.read(tmp_path / "tuned.toml") == TrainingSettings()


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "learner.training.search")
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(TrainError, match=r"needs the extra `learner` \(optuna is missing\): pip install"):
        tune.run(
            Settings(), Recorded(Path("none"), None, 1.0), out=Path("none"), time_budget=1.0,
            trials=None, seed=0,
        )  # fmt: skip
