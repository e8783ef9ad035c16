"""Data folders as they are: copied, moved, or on a file system that cannot lock files."""

import errno
import fcntl
import os
import shutil
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from streams.runtime.slots import LocksUnsupported, SlotError, take_slot


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EIO])
@pytest.mark.parametrize("after", [0, 1])
def test_a_file_system_without_locks_is_named_at_once(
    code: int, after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def refuse(*_: object) -> None:
        calls.append(1)
        if len(calls) > after:
            raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(LocksUnsupported) as told:
        take_slot(tmp_path, "w")
    assert str(tmp_path) in str(told.value)
    assert os.strerror(code) in str(told.value)
    assert "--data-dir" in str(told.value)
    assert "None" not in str(told.value)
    assert told.value.exit_code == 78
    assert len(list((tmp_path / "slots").iterdir())) <= 2


def test_a_copy_takes_a_name_of_its_own_and_says_so_once(tmp_path: Path) -> None:
    first = take_slot(tmp_path / "a", "w")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    with capture_logs() as lines:
        second, third = take_slot(tmp_path / "b", "w"), take_slot(tmp_path / "b", "w")
    assert first.instance != second.instance
    assert second.instance.partition("-")[0] == third.instance.partition("-")[0]
    (line,) = lines
    assert "is a copy" in line["event"]


def test_a_folder_that_was_moved_keeps_its_name(tmp_path: Path) -> None:
    first = take_slot(tmp_path / "a", "w")
    first.release()
    (tmp_path / "a").rename(tmp_path / "b")
    assert take_slot(tmp_path / "b", "w").instance == first.instance


def test_a_name_of_an_earlier_version_stays(tmp_path: Path) -> None:
    (tmp_path / "machine-id").write_text("0123456789ab")
    first, second = take_slot(tmp_path, "w"), take_slot(tmp_path, "w")
    assert (first.instance, second.instance) == ("0123456789ab-0", "0123456789ab-1")


def test_a_slot_that_is_taken_is_still_told_as_such(tmp_path: Path) -> None:
    held = take_slot(tmp_path, "w", 3)
    with pytest.raises(SlotError, match="slot 3 of w is taken"):
        take_slot(tmp_path, "w", 3)
    held.release()
