"""Columns of files: text, ids, numbers and times as they stand there, and errors that name the row."""

import datetime
import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from learner.data.tables import DataError, Table, read_table

Write = Callable[..., Table]


@pytest.fixture
def csv(tmp_path: Path) -> Write:
    """A table of the columns named in the text's first line, by way of a file."""

    def write(text: str, *required: str) -> Table:
        path = tmp_path / "t.csv"
        path.write_text(text)
        return read_table(path, required, text.partition("\n")[0].split(","))

    return write


def arrow(tmp_path: Path, **columns: object) -> Table:
    path = tmp_path / "t.parquet"
    parquet.write_table(pa.table(columns), path)
    return read_table(path, (), tuple(columns))


def test_only_what_is_asked_for_is_read(tmp_path: Path) -> None:
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(b"\xef\xbb\xbfa,b,c\n1,2,3\n"))
    table = read_table(path, ("c",), ("a", "z"))
    assert table.columns.keys() == {"a", "c"}  # and a byte order mark is no part of a name
    assert ("a" in table, "b" in table, "z" in table) == (True, False, False)
    assert table.rows == 1


def test_ids_are_numbered_as_they_appear(csv: Write) -> None:
    numbers, names = csv("i\n007\nNA\n007\nnull\n").ids("i")
    assert names == ["007", "NA", "null"]  # text stays text
    assert numbers.dtype == np.int32
    assert numbers.tolist() == [0, 1, 0, 2]


@pytest.mark.parametrize("name", ["", "x" * 257, "é" * 129])
def test_an_id_has_1_to_256_bytes(csv: Write, name: str) -> None:
    with pytest.raises(DataError, match=r"t\.csv, line 3, column i: expected an id of 1 to 256 bytes"):
        csv(f"i,n\na,1\n{name},2\n").ids("i")
    assert csv("i,n\n{},1\n".format("é" * 128)).ids("i")[1] == ["é" * 128]


def test_words_may_be_missing_and_have_space_around(csv: Write) -> None:
    numbers, names = csv("w,n\n home,1\n,2\nhome ,3\n").words("w")
    assert [names[number] for number in numbers] == ["home", "", "home"]


def test_numbers_are_nan_where_there_is_nothing(csv: Write) -> None:
    values = csv("n,m\n 1 ,x\n,x\n-2.5e3,x\n").numbers("n", "")
    np.testing.assert_array_equal(values, [1, np.nan, -2500])
    assert values.dtype == np.float64


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ("one", "expected a number, got 'one'; mend it"),
        ("1e999", "expected a finite number, got 'inf'; mend"),
    ],
)
def test_the_first_that_is_no_number_is_named(csv: Write, bad: str, says: str) -> None:
    """Among many: it is found by halving."""
    rows = ["1"] * 1000
    rows[617] = rows[700] = bad
    with pytest.raises(DataError, match=rf"line 619, column n: {says}"):
        csv("\n".join(["n", *rows])).numbers("n", "mend it")


def test_a_row_that_spans_lines_counts_as_many(csv: Write) -> None:
    with pytest.raises(DataError, match="line 5, column n"):
        csv('n,text\n1,"one\ntwo\nthree"\nx,\n').numbers("n", "")


@pytest.mark.parametrize(("unit", "times"), [("seconds", 1), ("milliseconds", 1000)])
def test_times_are_milliseconds_whatever_the_file_has(csv: Write, unit: str, times: int) -> None:
    known = [1_700_000_000, 1_700_000_001]
    table = csv("t,m\n" + "".join(f"{time * times},x\n" for time in known) + ",x\n")
    expected = [1000 * time for time in known] + [np.nan]
    np.testing.assert_array_equal(table.times_ms("t", strict=True), expected)


def test_a_column_without_any_time_is_all_nan(csv: Write) -> None:
    assert np.isnan(csv("t,m\n,x\n,x\n").times_ms("t", strict=True)).all()


def test_single_seconds_among_milliseconds_are_refused_where_they_must_be_wrong(csv: Write) -> None:
    table = csv("t\n1700000000000\n1700000000000\n1700000000\n")
    with pytest.raises(DataError, match="line 4, column t: expected Unix milliseconds as in most rows"):
        table.times_ms("t", strict=True)
    assert table.times_ms("t", strict=False)[2] == 1_700_000_000  # an item may be from January 1970


@pytest.mark.parametrize(("stamp", "says"), [("-1", "from 1970"), ("1700000000000000000", "divide micro")])
def test_times_that_cannot_be_are_refused(csv: Write, stamp: str, says: str) -> None:
    with pytest.raises(DataError, match=says):
        csv(f"t\n{stamp}\n").times_ms("t", strict=True)


def test_parquet_keeps_its_types(tmp_path: Path) -> None:
    when = datetime.datetime(2023, 11, 14, 22, 13, 20, tzinfo=datetime.UTC)
    table = arrow(
        tmp_path,
        whole=pa.array([5, None]),
        text=pa.array(["a", None]).dictionary_encode(),
        time=pa.array([when, None], pa.timestamp("us", "UTC")),
        share=pa.array([0.5, None]),
        nothing=pa.nulls(2),
    )
    assert table.text("whole").to_pylist() == ["5", ""]
    assert table.text("text").to_pylist() == ["a", ""]
    assert table.text("nothing").to_pylist() == ["", ""]
    np.testing.assert_array_equal(table.times_ms("time", strict=True), [1_700_000_000_000, np.nan])
    np.testing.assert_array_equal(table.numbers("share", ""), [0.5, np.nan])
    with pytest.raises(DataError, match=r"row 1, column share: expected text or whole numbers, got 'double'"):
        table.text("share")


def test_a_file_that_is_no_parquet_is_told(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    path.write_bytes(b"PAR1 or so")
    with pytest.raises(DataError, match="expected a Parquet file"):
        read_table(path, (), ())


@pytest.mark.parametrize("mark", ["\t", ";"])
def test_other_delimiters_are_recognised(tmp_path: Path, mark: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(f"a{mark}b\n1{mark}2\n")
    assert read_table(path, ("b",), ()).text("b").to_pylist() == ["2"]
