"""What a worker remembers of the failure that ended it."""

from pathlib import Path

from streams.worker.suspicion import Suspicion


def test_it_outlives_the_process_and_is_told_once(tmp_path: Path) -> None:
    file = tmp_path / "suspicions" / "worker0"
    assert Suspicion(file).take() == ""
    Suspicion(file).note("r-1")
    Suspicion(file).note("r-2")
    assert Suspicion(file).take() == "r-2"
    assert Suspicion(file).take() == ""


def test_a_full_or_broken_disk_is_no_suspicion(tmp_path: Path) -> None:
    file = tmp_path / "worker0"
    file.mkdir()
    Suspicion(file).note("r-1")
    assert Suspicion(file).take() == ""
