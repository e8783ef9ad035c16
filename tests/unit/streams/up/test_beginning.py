"""What is done of a beginning, and what a start after the first still has to do."""

from pathlib import Path

import pytest

from streams.up.beginning import Files, Notes, Unusable


@pytest.fixture
def files(tmp_path: Path) -> Files:
    clicks, items = tmp_path / "clicks.csv", tmp_path / "items.csv"
    clicks.write_text("user_id,item_id,timestamp\nu1,i1,1\n")
    items.write_text("item_id\ni1\n")
    return Files(clicks, items)


@pytest.fixture
def notes(tmp_path: Path) -> Notes:
    folder = tmp_path / "up"
    folder.mkdir()
    return Notes(folder)


def load(notes: Notes, files: Files, topic: str = "t1") -> tuple[str, ...] | None:
    """What is to be loaded, and then is."""
    found = notes.to_load(files, topic)
    if found is None:
        return None
    notes.loaded(found)
    return found.flags


def test_what_is_loaded_is_not_loaded_again(notes: Notes, files: Files, tmp_path: Path) -> None:
    assert load(notes, files) == (
        "--interactions", str(files.interactions), "--items", str(files.items)
    )  # fmt: skip
    assert load(notes, files) is None
    elsewhere = tmp_path / "copy.csv"
    elsewhere.write_bytes(files.interactions.read_bytes())
    assert load(notes, Files(elsewhere, files.items)) is None


def test_a_load_that_has_not_ended_is_done_again(notes: Notes, files: Files) -> None:
    assert notes.to_load(files, "t1") is not None
    assert notes.to_load(files, "t1") is not None


def test_a_file_that_has_grown_is_loaded_and_items_that_have_not_changed_are_left_alone(
    notes: Notes, files: Files
) -> None:
    load(notes, files)
    files.interactions.write_text(files.interactions.read_text() + "u2,i1,2\n")
    assert load(notes, files) == ("--interactions", str(files.interactions))
    assert files.items is not None
    files.items.write_text("item_id\ni1\ni2\n")
    assert load(notes, files) == (
        "--interactions", str(files.interactions), "--items", str(files.items)
    )  # fmt: skip


def test_a_topic_made_anew_has_nothing(notes: Notes, files: Files) -> None:
    load(notes, files)
    assert load(notes, files, "t2") is not None
    assert load(notes, files, "t2") is None


def test_another_share_of_the_same_file_is_loaded(notes: Notes, files: Files) -> None:
    load(notes, Files(files.interactions, to=0.8))
    assert load(notes, Files(files.interactions, to=0.9, columns="user_id=who")) == (
        "--interactions", str(files.interactions), "--columns", "user_id=who", "--to", "0.9"
    )  # fmt: skip


@pytest.mark.parametrize("noted", ["", "{", "[]", '{"topic": "t1"}', '{"topic": "t1", "files": 3}'])
def test_damaged_notes_mean_that_nothing_is_known(notes: Notes, files: Files, noted: str) -> None:
    notes._file.write_text(noted)
    assert load(notes, files) is not None


def test_a_release_without_its_manifest_is_none(notes: Notes) -> None:
    assert not notes.trained
    notes.release.mkdir()
    assert not notes.trained
    (notes.release / "manifest.json").write_text("{}")
    assert notes.trained


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, files: Files) -> None:
    files.check()
    with pytest.raises(Unusable, match=r"--interactions .*gone\.csv: No such file") as raised:
        Files(tmp_path / "gone.csv").check()
    assert raised.value.exit_code == 78
    with pytest.raises(Unusable, match=f"--items {tmp_path}: Is a directory"):
        Files(files.interactions, tmp_path).check()
