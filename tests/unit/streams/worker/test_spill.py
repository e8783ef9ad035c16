"""States on disk: what is put there comes back once, and goes with its partition."""

import sqlite3
from pathlib import Path

import pytest

from streams.worker.spill import Spill, SpillError


def test_a_state_comes_back_once(tmp_path: Path) -> None:
    spill = Spill(tmp_path / "spilled" / "worker.sqlite")
    spill.put([])
    spill.put([("u1", 0, b"one"), ("ü\0", 1, b"two"), ("u3", 0, b"three")])
    assert len(spill) == 3
    assert spill.take("ü\0") == b"two"
    assert spill.take("ü\0") is None
    assert spill.take("nobody") is None
    assert len(spill) == 2
    spill.forget([0, 5])
    assert len(spill) == 0
    assert spill.take("u1") is None
    spill.put([("u1", 0, b"again")])
    spill.clear()
    assert (len(spill), spill.take("u1")) == (0, None)


def test_what_fails_keeps_none(tmp_path: Path) -> None:
    spill = Spill(tmp_path / "worker.sqlite")
    spill.put([("u1", 0, b"one")])
    with pytest.raises(sqlite3.Error):
        spill.put([("u2", 0, b"two"), ("u1", 0, b"is there already")])
    assert len(spill) == 1
    assert spill.take("u2") is None
    assert spill.take("u1") == b"one"


def test_a_process_begins_with_nothing(tmp_path: Path) -> None:
    for _ in range(2):
        spill = Spill(tmp_path / "worker.sqlite")
        assert spill.take("u1") is None
        spill.put([("u1", 0, b"one")])


def test_a_disk_that_takes_nothing_more_still_gives_back_each_state_once(tmp_path: Path) -> None:
    spill = Spill(tmp_path / "worker.sqlite")
    spill.put([("u1", 0, b"one"), ("u2", 0, b"two"), ("u3", 1, b"three")])
    spill._rows.execute("PRAGMA query_only = 1")  # as where a disk is full, or read-only by now
    assert spill.take("u1") == b"one"
    assert spill.take("u1") is None
    assert spill.take("u3") == b"three"
    assert len(spill) == 1
    with pytest.raises(sqlite3.Error):
        spill.put([("u1", 0, b"again")])
    assert spill.take("u1") is None
    spill._rows.execute("PRAGMA query_only = 0")
    spill.put([("u1", 0, b"again")])
    assert (len(spill), spill.take("u1")) == (2, b"again")
    spill.forget([1])
    assert len(spill) == 1
    spill.put([("u3", 1, b"new")])
    assert spill.take("u3") == b"new"


def test_a_file_that_cannot_be_read_says_what_to_do(tmp_path: Path) -> None:
    spill = Spill(tmp_path / "worker.sqlite")
    spill.put([("u1", 0, b"one")])
    spill._rows.execute("ALTER TABLE states RENAME TO gone")
    with pytest.raises(SpillError, match=r"worker\.sqlite.*no such table"):
        spill.take("u1")
    with pytest.raises(SpillError, match="starts anew"):
        spill.forget([0])
