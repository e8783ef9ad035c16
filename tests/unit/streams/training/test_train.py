"""`nextclick train` around the training: what is read, passed on, refused and said."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from learner.training import train as training
from streams.recorded.collecting import collect
from streams.settings import Settings
from streams.training import train
from streams.training.train import Recorded, TrainError

pytestmark = pytest.mark.learner
Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command with a training that only keeps what it was given."""
    clicks, items = tmp_path / "clicks.csv", tmp_path / "items.csv"
    clicks.write_text("user_id,item_id,timestamp\n" + "".join(f"u{n % 3},i{n},{n}\n" for n in range(10)))
    items.write_text("item_id,title\ni1,One\ni2,Two\n")

    def call(settings: Settings | None = None, **more: Any) -> dict[str, Any]:
        given: dict[str, Any] = {}

        def train_release(
            part: Any, records: Any, out: Path, collect: Any, options: Any, progress: Any
        ) -> str:
            given.update(part=part, records=records, out=out, collect=collect, **vars(options))
            progress("student", 0.5, "half way")
            progress("student", 1.0, "done")
            return "r-made"

        monkeypatch.setattr(training, "train_release", train_release)
        recorded = Recorded(
            clicks, more.pop("items", items), more.pop("to", 1.0), None, more.pop("held_back", 0)
        )
        options = {"out": tmp_path / "out", "time_budget": 3.0, "seed": 5} | more
        train.run(settings or Settings(cache_dir=tmp_path), recorded, **options)
        return given

    return call


def test_the_first_part_is_trained_on_by_the_hot_path_itself(run: Run, tmp_path: Path) -> None:
    given = run(to=0.6)
    assert given["part"].time_ms.tolist() == [1000 * n for n in range(6)]
    assert [item.title for item in given["records"]] == ["One", "Two"]
    assert given["collect"] is collect
    assert (given["out"], given["seed"]) == (tmp_path / "out", 5)
    assert given["settings"] is None
    assert 1.5 <= given["budget_minutes"] <= 3.0  # what reading took counts, up to the half
    assert run(items=None)["records"] == []


@pytest.mark.parametrize(("wanted", "left"), [(0, 10), (1, 9), (2, 8), (5000, 8)])
def test_the_newest_are_held_back_for_who_judges_the_next_release(run: Run, wanted: int, left: int) -> None:
    assert len(run(held_back=wanted)["part"]) == left


@pytest.mark.parametrize(("word", "meant"), [("yes", True), ("no", False), ("auto", None)])
def test_repeats_are_as_the_setting_says(run: Run, tmp_path: Path, word: str, meant: bool | None) -> None:
    settings = Settings(cache_dir=tmp_path, repeat_consumption=word)  # type: ignore[arg-type]
    assert run(settings)["repeat_consumption"] is meant


def test_what_was_tuned_is_used_and_what_is_wrong_with_it_told(run: Run, tmp_path: Path) -> None:
    tuned = tmp_path / "tuned.toml"
    tuned.write_text("prior = 0.25\n")
    assert run(tuned=tuned)["settings"].prior == 0.25
    tuned.write_text("teapot = 1\n")
    with pytest.raises(TrainError, match=r"tuned\.toml: expected the tables student and ranker.*teapot"):
        run(tuned=tuned)


def test_a_folder_with_something_else_in_it_is_left_alone(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    assert run()["out"] == out  # an empty one is taken
    (out / "thesis.txt").write_text("all I have")
    with pytest.raises(TrainError, match="holds something that is no release; name a new folder with --out"):
        run()
    (out / "manifest.json").write_text("{}")
    assert run()["out"] == out  # a release is replaced


def test_words_and_bars_go_to_stderr(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run()
    said = capsys.readouterr()
    assert said.out == ""
    assert "10 events, 3 users, 2 announced items" in said.err
    assert "done" in said.err
    assert "release r-made in" in " ".join(said.err.split())


def test_without_the_extra_it_says_what_to_install(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "learner.training.train")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(TrainError, match=r"needs the extra `learner` \(torch is missing\): pip install"):
        train.run(Settings(), Recorded(Path("none"), None, 1.0), out=Path("none"), time_budget=1.0, seed=0)
