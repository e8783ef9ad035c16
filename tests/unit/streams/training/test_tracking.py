"""Curves written by the real libraries are read back by them; what fails costs a line and no training."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from streams.settings import Settings
from streams.training import tracking
from streams.training.tracking import (
    Careful,
    TrackerError,
    Untracked,
    mlflow_file,
    name_of_run,
    noting,
    track_judged,
    tracked,
    tracked_or_not,
)
from tests.worlds.boards import board_of
from tests.worlds.places import ROOT


def test_off_by_default(tmp_path: Path) -> None:
    tracker = tracked(Settings(data_dir=tmp_path), "train")
    tracker.log(1, {"loss": 1.0})
    tracker.close()
    assert noting(tracker) is None
    assert not list(tmp_path.iterdir())


def test_tensorboard_reads_what_was_logged_and_a_run_goes_on(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="needs: pip install 'nextclick[tensorboard]'")
    settings = Settings(data_dir=tmp_path, tracker="tensorboard")
    tracker = tracked(settings, "train-my shop")
    tracker.log(0, {"loss/mlm": 2.5, "loss/none": float("nan")})
    note = noting(tracker)
    assert note is not None
    note("student/loss", 1.5, 20)
    tracker.close()
    again = tracked(settings, "train-my shop")
    again.log(1, {"loss/mlm": 2.0})
    again.close()
    assert board_of(tmp_path / "tracked" / "tensorboard" / "train-my_shop") == {
        "loss/mlm": [(0, 2.5), (1, 2.0)], "student/loss": [(20, 1.5)],
    }  # fmt: skip


MLFLOW = """
import json, logging, socket, sys
def refuse(*_): raise AssertionError("it wants the network")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
from pathlib import Path
from streams.settings import Settings
from streams.training import tracking
settings = Settings(data_dir=Path(sys.argv[1]), tracker="mlflow")
for step in range(2):  # the second time the run goes on
    tracker = tracking.tracked(settings, "encoder-1")
    assert type(tracker) is tracking.Careful
    tracker.log(step, {"loss/mlm": 2.5 - step, "ndcg@10": 0.25, "loss/none": float("inf")})
    tracker.close()
from mlflow.tracking import MlflowClient
(file,) = settings.tracked_dir.iterdir()
client = MlflowClient(f"sqlite:///{file}")
(run,) = client.search_runs([client.get_experiment_by_name("nextclick").experiment_id])
found = {name: [(p.step, p.value) for p in client.get_metric_history(run.info.run_id, name)]
         for name in run.data.metrics}
print(json.dumps([run.info.run_name, run.info.status, found]))
"""


def test_mlflow_reads_what_was_logged_nothing_goes_home(tmp_path: Path) -> None:
    pytest.importorskip("mlflow", reason="needs: pip install 'nextclick[mlflow]'")
    home, work, data = tmp_path / "home", tmp_path / "work", tmp_path / "data"
    for each in (home, work):
        each.mkdir()
    environment = os.environ | {
        "HOME": str(home), "TMPDIR": str(home), "XDG_CONFIG_HOME": str(home), "XDG_CACHE_HOME": str(home),
        "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", MLFLOW, str(data)], capture_output=True, text=True, cwd=work,
        env=environment, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    curves = {"loss/mlm": [[0, 2.5], [1, 1.5]], "ndcg_10": [[0, 0.25], [1, 0.25]]}
    assert json.loads(done.stdout) == ["encoder-1", "FINISHED", curves]
    assert [*home.rglob("*"), *work.rglob("*")] == []
    assert len([path for path in data.rglob("*") if path.is_file()]) == 1
    assert done.stderr == ""  # it is quiet


@pytest.mark.parametrize(("tracker", "library"), [("tensorboard", "tensorboard"), ("mlflow", "mlflow")])
def test_a_missing_library_is_one_line_with_the_command(
    tmp_path: Path, tracker: str, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == library]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)  # type: ignore[arg-type]
    settings = Settings(data_dir=tmp_path, tracker=tracker)  # type: ignore[arg-type]
    with pytest.raises(TrackerError, match=rf"missing\): pip install 'nextclick\[{tracker}\]'") as caught:
        tracked(settings, "train")
    assert "\n" not in str(caught.value)
    with capture_logs() as lines:
        assert isinstance(tracked_or_not(settings, "train"), Untracked)
    assert [line["event"] for line in lines] == ["curves are not kept"]


def test_a_file_that_mlflow_cannot_open_costs_a_line(tmp_path: Path) -> None:
    pytest.importorskip("mlflow", reason="needs: pip install 'nextclick[mlflow]'")
    settings = Settings(data_dir=tmp_path, tracker="mlflow")
    (tmp_path / "tracked").mkdir()
    (tmp_path / "tracked" / "mlflow-20300101-000000.sqlite").write_bytes(b"no database " * 1000)
    with pytest.raises(TrackerError, match=r"mlflow cannot be opened .*file is not a database") as caught:
        tracked(settings, "train")
    assert "\n" not in str(caught.value)
    with capture_logs() as lines:
        track_judged(settings, "train", {"answers": 400})
    assert [line["event"] for line in lines] == ["curves are not kept"]


@pytest.mark.parametrize("error", [ImportError("half of it"), TypeError("of another version")])
def test_a_library_that_fails_costs_a_line(
    tmp_path: Path, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("streams.training.trackers.MLflow", fail)
    settings = Settings(data_dir=tmp_path, tracker="mlflow")
    with capture_logs() as lines:
        assert isinstance(tracked_or_not(settings, "train"), Untracked)
    assert str(error) in lines[0]["error"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    settings = Settings(tracker="tensorboard", tracker_dir=tmp_path / "file" / "in")
    with pytest.raises(TrackerError, match=r"tracker_dir: .*file/in cannot be written: Not a directory"):
        tracked(settings, "train")


def test_the_newest_runs_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorboard", reason="needs: pip install 'nextclick[tensorboard]'")
    monkeypatch.setattr(tracking, "MOST_RUNS", 3)
    settings = Settings(data_dir=tmp_path, tracker="tensorboard")
    folder = tmp_path / "tracked" / "tensorboard"
    for number in range(5):
        tracked(settings, f"full-{number}").close()
        os.utime(folder / f"full-{number}", (number, number))
    assert sorted(path.name for path in folder.iterdir()) == ["full-2", "full-3", "full-4"]
    tracked(settings, "full-2").close()  # the oldest, which goes on
    assert sorted(path.name for path in folder.iterdir()) == ["full-2", "full-3", "full-4"]


def test_mlflow_s_files_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "MOST_BYTES", 10)
    for day in range(4):
        file = mlflow_file(tmp_path, 86_400 * day)
        assert not file.exists()
        file.write_bytes(bytes(10))
        assert mlflow_file(tmp_path, 86_400 * day + 60) == file
        file.write_bytes(bytes(11))
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["mlflow-19700103-000000.sqlite", "mlflow-19700104-000000.sqlite"]


def test_a_tracker_that_fails_is_told_of_once_and_left() -> None:
    class Full:
        calls = 0

        def log(self, step: int, figures: Mapping[str, float]) -> None:
            self.calls += 1
            raise OSError(28, "No space left on device")

        def close(self) -> None:
            raise AssertionError("nobody closes it")

    full = Full()
    tracker = Careful(full)
    with capture_logs() as lines:
        for step in range(3):
            tracker.log(step, {"loss": 1.0})
        tracker.close()
    assert full.calls == 1
    assert [line["event"] for line in lines] == ["curves are not kept any further"]
    assert "No space left" in lines[0]["error"]


def test_the_gate_s_figures_stand_in_the_run_of_the_training(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="needs: pip install 'nextclick[tensorboard]'")
    settings = Settings(data_dir=tmp_path, tracker="tensorboard")
    run = name_of_run("full", 1_700_000_000_000)
    assert run == "full-20231114-221320"
    evidence = {
        "answers": 400,
        "ndcg@10": [0.5, 0.25],
        "ratio": 2.0,
        "ci95": [1.5, 2.5],
        "why": "x",
        "a": None,
    }
    track_judged(settings, run, evidence)
    assert board_of(tmp_path / "tracked" / "tensorboard" / run) == {
        "gate/answers": [(400, 400.0)], "gate/ndcg@10/candidate": [(400, 0.5)],
        "gate/ndcg@10/live": [(400, 0.25)], "gate/ratio": [(400, 2.0)], "gate/ci95/low": [(400, 1.5)],
        "gate/ci95/high": [(400, 2.5)],
    }  # fmt: skip
