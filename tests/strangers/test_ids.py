"""Ids as they are out there: kept as they stand, compared between two files, and odd ones said."""

import logging
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from learner.data.dataset import DataError, load_interactions, load_items
from learner.data.noticed import plain
from learner.data.pair import read_pair

Write = Callable[..., Path]
Said = Callable[..., list[str]]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes clicks, each "user item", a second apart; or a whole file."""

    def write(content: list[tuple[str, str]] | str, name: str = "clicks.csv") -> Path:
        path = tmp_path / name
        if not isinstance(content, str):
            rows = "".join(f"{user},{item},{1790000000 + n}\n" for n, (user, item) in enumerate(content))
            content = "user_id,item_id,timestamp\n" + rows
        path.write_text(content)
        return path

    return write


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture, write: Write) -> Said:
    """What is said of clicks and the ids of an items file."""

    def read(clicks: list[tuple[str, str]], announced: list[str] | None = None) -> list[str]:
        caplog.set_level(logging.WARNING)
        items = None
        if announced is not None:
            items = write("item_id,title\n" + "".join(f"{each},T\n" for each in announced), "items.csv")
        read_pair(write(clicks), items)
        return [record.getMessage() for record in caplog.records]

    return read


@pytest.mark.parametrize(
    "identifier",
    [
        " tea",
        "tea ",
        "12.0",
        "NULL",
        "[b]",
        "-1",
        "🫖",
        "שלום",
        "‮tea",
        "x" * 256,
        "é" * 128,
        "a b",
        "'q'",
        "007",
    ],
)
def test_ids_are_kept_as_they_are(write: Write, tmp_path: Path, identifier: str) -> None:
    """In text and Parquet alike."""
    table = {"user_id": [identifier], "item_id": ["i"], "timestamp": [1_790_000_000]}
    parquet.write_table(pa.table(table), tmp_path / "c.parquet")
    for path in (write([(identifier, "i")]), tmp_path / "c.parquet"):
        assert load_interactions(path).user_ids == [identifier]
    assert load_items(write(f"item_id\n{identifier}\n", "items.csv"))[0].item_id == identifier


@pytest.mark.parametrize(
    ("here", "there"),
    [
        ("7.0", "7"),
        ("7", "7.0"),
        (" b7", "b7"),
        ("b7", "B7"),
        ("0007", "7"),
        ("'b7'", "b7"),
        ("B\u00e9", "Be\u0301"),
        ("b7\u200b", "b7"),
    ],
)
def test_ids_that_the_second_file_spells_otherwise(said: Said, here: str, there: str) -> None:
    lines = said([("u", here), ("v", "other"), ("w", "both")], [there, "both", "more"])
    compared = [line for line in lines if "clicked items" in line]
    assert len(compared) == 1
    assert "1 of 3 clicked items (33 %) stand in items.csv; 1 more would match" in compared[0]
    assert f"{here!r} here is {there!r} there" in compared[0]


def test_ids_that_have_nothing_in_common(said: Said) -> None:
    lines = said([("u", "a"), ("v", "b")], ["c", "d"])
    assert [
        "0 of 2 clicked items (0 %) stand in items.csv; 'a', for instance, does not" in x for x in lines
    ] == [True]


def test_files_that_fit_are_compared_in_silence(said: Said) -> None:
    clicks = [(f"u{n}", f"i{n}") for n in range(20)]
    assert said(clicks, [f"i{n}" for n in range(1, 30)]) == []  # one that nobody announced is no matter


@pytest.mark.parametrize("missing", ["NULL", "nan", "None", "-1", "undefined", "N/A", "\\N", "<NA>", " "])
def test_what_stands_for_a_missing_user_is_said(said: Said, missing: str) -> None:
    clicks = [(f"u{n}", f"i{n}") for n in range(7)] + [(missing, "i1")]
    assert any(f"user {missing!r} has 1 of 8 events (12.5 %)" in line for line in said(clicks))


def test_a_zero_among_numbers_is_an_id(said: Said) -> None:
    assert said([(str(n), f"i{n}") for n in range(20)]) == []


@pytest.mark.parametrize(("clicks_of_one", "warned"), [(50, True), (31, False)])
def test_a_user_with_a_third_of_all_events_is_noticed(said: Said, clicks_of_one: int, warned: bool) -> None:
    clicks = [("crawler", f"i{n}") for n in range(clicks_of_one)]
    clicks += [(f"u{n}", "i1") for n in range(100 - clicks_of_one)]
    lines = said(clicks)
    assert [f"user 'crawler' has {clicks_of_one} of all 100 events" in line for line in lines] == [
        True
    ] * warned


def test_white_space_and_doubles_within_a_file_are_said(said: Said) -> None:
    lines = said([("u", "5"), ("v", "5.0"), ("w", " b"), ("x", "b")])
    assert any(
        "1 item ids have white space or invisible characters around them, such as ' b'" in x for x in lines
    )
    assert any("2 item ids differ from another one in white space, .0 or how" in x for x in lines)


def test_times_that_count_days_are_said(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    read_pair(write("user_id,item_id,timestamp\nu,i,19700\nv,j,19701\n"), None)
    assert "all times lie before 1973" in caplog.text


@pytest.mark.parametrize("missing", [None, float("nan")])
def test_a_missing_id_in_parquet_is_refused_with_its_row(tmp_path: Path, missing: float | None) -> None:
    table = {"user_id": pa.array([1.0, missing]), "item_id": ["a", "b"], "timestamp": [1_790_000_000] * 2}
    parquet.write_table(pa.table(table), tmp_path / "c.parquet")
    with pytest.raises(DataError, match="row 2, column user_id: expected an id of 1 to 256 bytes"):
        load_interactions(tmp_path / "c.parquet")


def test_an_id_of_257_bytes_is_refused_with_its_line(write: Write) -> None:
    with pytest.raises(DataError, match="line 3, column item_id: expected an id of 1 to 256 bytes"):
        load_interactions(write([("u", "i"), ("u", "é" * 128 + "e")]))


@pytest.mark.parametrize(
    ("one", "other", "alike"), [("Ａ1", "a1", True), ("-7", "7", False), ("1.5", "1", False)]
)
def test_what_is_alike(one: str, other: str, alike: bool) -> None:
    assert (plain(one) == plain(other)) is alike
