"""More of what strangers' files hold: no tables at all, words for nothing, ids and times that were bent."""

import datetime
import decimal
import gzip
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from learner.data import tables
from learner.data.dataset import DataError, load_interactions, load_items
from learner.data.pair import read_pair
from streams.recorded.clicks import RecordedClicks
from streams.settings import Settings
from streams.traffic.admissible import Inadmissible, check
from streams.wire.contract import decode_item, encode

HEADER = "user_id,item_id,timestamp\n"
AT = 1_790_000_000


@pytest.fixture
def file(tmp_path: Path) -> Any:
    """Writes text, bytes or columns to a file."""

    def write(content: str | bytes | dict[str, Any], name: str = "clicks.csv") -> Path:
        path = tmp_path / name
        if isinstance(content, dict):
            parquet.write_table(pa.table(content), path)
        else:
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def refused(path: Path, load: Any = load_interactions) -> str:
    with pytest.raises(DataError) as error:
        load(path)
    return str(error.value).removeprefix(str(path))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (gzip.compress(gzip.compress(HEADER.encode())), "got gzip within gzip; unpack it once"),
        (b"PK\x03\x04\x14\0", "got a zip archive or a spreadsheet"),
        (b"ORC\n\x0b\x11", "got an ORC file"),
        (b"BZh91AY&SY", "got bzip2; unpack it: bunzip2"),
        (b"\xfd7zXZ\0\0", "got xz; unpack it: xzcat"),
        (b"\x28\xb5\x2f\xfd\x04", "got zstd; unpack it: zstdcat"),
        (gzip.compress(b"x.csv".ljust(257, b"\0") + b"ustar\x0000"), "got a tar archive"),
        (b"PAR1\x15\x04", "got Parquet; give the file a name that ends in .parquet"),
        (b"SQLite format 3\0", "got an SQLite database"),
        (b"\n <!DOCTYPE HTML><title>404</title>", "got a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"", "the file is empty"),
        (gzip.compress(b""), "the file is empty"),
    ],
)
@pytest.mark.parametrize("name", ["c.csv", "c.csv.gz"])
def test_what_is_no_text_is_named(file: Any, content: bytes, name: str, says: str) -> None:
    assert says in refused(file(content, name))


def test_a_packed_file_cut_off_or_with_more_behind_is_refused_behind_its_last_line(file: Any) -> None:
    whole = gzip.compress((HEADER + f"u,i,{AT}\n" * 2000).encode())
    assert refused(file(whole[:-4], "c.csv.gz")).startswith(", after line 2001: expected a whole file")
    assert refused(file(whole + b"more", "c.csv.gz")).startswith(", after line 2001: expected a whole file")
    assert len(load_interactions(file(whole + gzip.compress(f"v,j,{AT}\n".encode()), "c.csv.gz"))) == 2001


@pytest.mark.parametrize("name", ["ORCID", "PAR1", "ARROW1", "BZh9", "Rar!"])
def test_columns_may_be_called_as_binary_files_begin(file: Any, name: str) -> None:
    assert len(load_interactions(file(f"{name},{HEADER}x,u,i,{AT}\n"))) == 1


def test_only_what_can_be_read_twice_is_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "ring.csv").symlink_to("ring.csv")
    assert "found a pipe or a device" in refused(tmp_path / "pipe.csv")
    assert "found none (Too many levels" in refused(tmp_path / "ring.csv")
    assert "found none (File name too long)" in refused(tmp_path / ("x" * 300 + ".csv"))


def test_a_file_that_grows_while_it_is_read_is_refused(file: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = file(HEADER + f"u,i,{AT}\n")
    told = tables._tell

    def grow(*both: Any) -> None:
        told(*both)
        with path.open("a") as more:
            more.write(f"v,j,{AT}\n")

    monkeypatch.setattr(tables, "_tell", grow)
    assert "it changed while it was read" in refused(path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f"# exported today\n{HEADER}u,i,{AT}\n", "seem to stand on line 2: take out what is above it"),
        (f"sep=;\n{HEADER.replace(',', ';')}u;i;{AT}\n", "seem to stand on line 2"),
        (f"Report,,\n,,\n{HEADER}u,i,{AT}\n", "seem to stand on line 3"),
        ("1::1193::5::978300760\n", "divided by '::'"),
        (f"user_id item_id timestamp\nu i {AT}\n", "divided by ' '"),
        ("u,i,2026-09-21T14:13:20\n", "the first line seems to be data"),
        ('{"user_id": "u", "item_id": "i", "timestamp": 1790000000}\n', "a name that ends in .jsonl"),
    ],
)
def test_a_header_that_is_elsewhere_or_otherwise_is_found(file: Any, text: str, says: str) -> None:
    assert says in refused(file(text))


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\n\n \n"])
def test_a_header_alone(file: Any, end: str) -> None:
    said = refused(file(HEADER.strip() + end))
    assert "at least one row below the header" in said or "line 3: expected 3 columns" in said


def test_names_are_shown_on_one_line(file: Any, caplog: pytest.LogCaptureFixture) -> None:
    load_interactions(
        file(f'"User\x1b[31m\nid",item_id,timestamp\nu,i,{AT}\n'), {"user_id": "User\x1b[31m\nid"}
    )
    assert "\x1b" not in caplog.text


@pytest.mark.parametrize("word", ["NULL", "NA", "n/a", "None", "\\N", "NaT", "<NA>", "-", "nan"])
def test_words_for_nothing_are_nothing_in_columns_that_are_no_text(
    file: Any, word: str, caplog: pytest.LogCaptureFixture
) -> None:
    rated = load_interactions(file(f"{HEADER[:-1]},rating,event\nu,i,{AT},{word},{word}\nu,j,{AT},4,like\n"))
    assert np.isnan(rated.value[0])
    assert (rated.value[1], rated.kind.tolist()) == (4.0, [1, 4])
    items = load_items(
        file(f"item_id,price,published_at,available\na,{word},{word},{word}\nb,2,2026-09-21,no\n", "i.csv")
    )
    assert [(item.price, item.published_at, item.available) for item in items] == [
        (None, None, True),
        (2.0, 1_789_948_800_000, False),
    ]
    for column in ("rating", "event", "price", "published_at", "available"):
        assert f"1 of 2 cells in column {column} hold words for nothing" in caplog.text
    assert refused(file(f"{HEADER}u,i,{AT}\nu,j,{word}\n")).startswith(
        ", line 3, column timestamp: expected a time"
    )


@pytest.mark.parametrize(
    ("times", "says"),
    [
        ([AT, AT + 1, 0], "line 4, column timestamp: expected a time like most rows'"),
        ([AT * 1000, 5, AT * 1000], "line 3, column timestamp: expected a time like most rows'"),
        (["2026-09-21", "1970-01-01", "2026-09-22"], "line 3, column timestamp: expected a time like most"),
        ([46286.59, 46287], "write days as 2024-05-31"),
        ([2025, 2026, 2026, 2026], "write days as 2024-05-31; if these are counts from a beginning, add"),
        ([46286, 46287, 46286, 46287], "write days as 2024-05-31"),
    ],
)
def test_times_that_are_none_or_of_a_spreadsheet_are_refused(file: Any, times: list[Any], says: str) -> None:
    assert says in refused(file(HEADER + "".join(f"u,i,{time}\n" for time in times)))


@pytest.mark.parametrize("times", [range(30_000, 59_900), range(2000, 2050), [*range(30_000, 59_900)] * 3])
def test_seconds_of_a_day_and_counters_are_no_days(file: Any, times: Any) -> None:
    loaded = load_interactions(file(HEADER + "".join(f"u,i,{time}\n" for time in times)))
    assert loaded.time_ms[1] == 1000 * times[1]


def test_clicks_counted_from_0_are_refused_before_any_is_sent_with_what_to_do(file: Any) -> None:
    clicks = RecordedClicks(file(HEADER + "".join(f"u{n},i,{n}\n" for n in range(9))))
    with pytest.raises(Inadmissible, match="Add to times that count from 0 the time they began"):
        check(Settings(), clicks, range(9))
    check(Settings(clock="stream"), clicks, range(9))


def test_dates_of_items_however_exact(file: Any, caplog: pytest.LogCaptureFixture) -> None:
    def read(*dates: object) -> list[int | None]:
        rows = "".join(f"i{n},{date}\n" for n, date in enumerate(dates))
        return [item.published_at for item in load_items(file("item_id,published_at\n" + rows, "i.csv"))]

    assert read("1995", "1996-05", "1996-05-02", "0000-00-00") == [
        788_918_400_000, 830_908_800_000, 830_995_200_000, None,
    ]  # fmt: skip
    assert read(1995, 0, -1) == [788_918_400_000, None, None]
    assert "2 of 3 values among years are 0 or -1 and are left out" in caplog.text
    read(1_700_000_001, 1_700_000_000_000, 1_700_000_000_000)
    assert "1 of 3 times lie in the first months of 1970: seconds among milliseconds?" in caplog.text
    assert "write days as" in refused(file("item_id,published_at\na,44000\n", "i.csv"), load_items)


@pytest.mark.parametrize("value", ['["a", "b"]', '{"id": "u"}', "1.5", "1e22"])
def test_ids_of_json_lines_are_text_or_whole_numbers(file: Any, value: str) -> None:
    good = f'{{"user_id": "u", "item_id": "i", "timestamp": {AT}}}\n'
    bad = good.replace('"u"', value)
    said = refused(file(good + bad, "c.jsonl"))
    assert said.startswith(", line 2, column user_id: expected text or a whole number")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{}\n{}", "expected objects with user_id, item_id, timestamp, got none with fields"),
        ('{"user_id": "u", "x": ' + "[" * 5000 + "]" * 5000 + "}", "recursion"),
        ('{"user_id": "u", "rating": NaN}', "neither NaN nor Infinity: write null"),
        ("{'user_id': 'u'}", "json.dumps"),
        ('{"user_id": "\\ud83d and more"}', "surrogate"),
    ],
)
def test_lines_that_are_nearly_json_are_named(file: Any, line: str, says: str) -> None:
    assert says in refused(file(line + "\n", "c.jsonl"))


def columns(**others: Any) -> dict[str, Any]:
    return {"user_id": ["u", "v"], "item_id": ["a", "b"], "timestamp": [AT, AT + 300]} | others


def test_columns_of_parquet_of_all_types(file: Any, caplog: pytest.LogCaptureFixture) -> None:
    def read(**others: Any) -> Any:
        return load_interactions(file(columns(**others), "c.parquet"))

    large = [decimal.Decimal("12345678901234567890"), decimal.Decimal("12345678901234567891")]
    assert read(user_id=pa.array(large, pa.decimal128(38, 0))).user_ids == [str(each) for each in large]
    assert read(user_id=pa.array([b"u", b"v"], pa.binary_view())).user_ids == ["u", "v"]
    digits = [str(AT).encode(), str(AT + 300).encode()]  # as Spark and Impala write text
    for kind in (pa.binary(), pa.large_binary(), pa.binary_view()):
        told = read(timestamp=pa.array(digits, kind), rating=pa.array([b"4", b"NULL"], kind))
        assert (told.time_ms[0], told.value[0]) == (AT * 1000, 4.0)
    assert read(timestamp=pa.array([b"2026-09-21"] * 2)).time_ms[0] == 1_789_948_800_000
    read(timestamp=pa.array(np.array([AT, AT + 300], np.float32)))
    assert "floats of 32 bits hold times to some two minutes only" in caplog.text


@pytest.mark.parametrize(
    ("others", "says"),
    [
        ({"user_id": pa.array(np.array([5, 16_777_217], np.float32))}, "row 2, column user_id"),
        ({"user_id": [decimal.Decimal("1.00"), decimal.Decimal("1.50")]}, "row 2, column user_id"),
        ({"user_id": pa.array([b"u", b"\xff"])}, "row 2, column user_id: expected text in UTF-8"),
        ({"timestamp": [datetime.timedelta(days=1)] * 2}, "row 1, column timestamp: expected a number"),
        ({"timestamp": [datetime.time(1)] * 2}, "row 1, column timestamp: expected a number"),
        ({"rating": [datetime.datetime(2026, 1, 1)] * 2}, "row 1, column rating: expected a number"),
        ({"rating": [1.0, 1e39]}, "row 2, column rating: expected a number below 3e38"),
        ({"item_id": [{"id": "a"}] * 2}, "row 1, column item_id"),
    ],
)
def test_columns_of_parquet_that_cannot_be_meant(file: Any, others: dict[str, Any], says: str) -> None:
    assert says in refused(file(columns(**others), "c.parquet"))


def test_int96_is_read_beyond_the_nanoseconds_of_2262(tmp_path: Path) -> None:
    """They would come round again: 2600 as 2015."""
    table = pa.table(columns(timestamp=[datetime.datetime(2600, 1, 1), datetime.datetime(2026, 1, 1)]))
    parquet.write_table(table, tmp_path / "c.parquet", use_deprecated_int96_timestamps=True)
    assert "before the year 2100" in refused(tmp_path / "c.parquet")


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ('{"size": NaN, "a": 1e400}', {"a": None}),
        ("{'size': nan, 'colour': 'red'}", {"colour": "red"}),
        (
            "{'sizes': {1}, 'b': b'x', 'z': 1j, 'e': ...}",
            {"sizes": ["1"], "b": "x", "z": "1j", "e": "Ellipsis"},
        ),
        ("{'t': '\\ud83d'}", {"t": "?"}),
        ('{"t": {"1": [null, true]}}', {"t": {"1": [None, True]}}),
    ],
)
def test_attributes_are_what_json_has(file: Any, cell: str, expected: dict[str, Any]) -> None:
    (item,) = load_items(file('item_id,attributes\na,"{}"\n'.format(cell.replace('"', '""')), "i.csv"))
    assert item.attributes == expected
    assert decode_item(encode(item)).attributes == expected


def test_attributes_of_parquet_are_what_json_has(file: Any) -> None:
    at = datetime.datetime(2026, 9, 21, 14)
    struct = {
        "at": at,
        "day": at.date(),
        "n": decimal.Decimal("1.5"),
        "m": decimal.Decimal("20"),
        "f": float("nan"),
    }
    (item,) = load_items(file({"item_id": ["a"], "attributes": [struct]}, "i.parquet"))
    assert decode_item(encode(item)).attributes == item.attributes == {
        "at": "2026-09-21T14:00:00", "day": "2026-09-21", "n": 1.5, "m": 20, "f": None,
    }  # fmt: skip
    (item,) = load_items(file({"item_id": ["a"], "attributes": [{"b": b"x", "l": [b"y"]}]}, "i.parquet"))
    assert item.attributes == {"b": "x", "l": ["y"]}
    numbers = pa.array([[(1, 2)]], pa.map_(pa.int64(), pa.int64()))
    assert load_items(file({"item_id": ["a"], "attributes": numbers}, "i.parquet"))[0].attributes == {"1": 2}


def test_brackets_without_end_end_nothing(file: Any) -> None:
    for depth in (40, 400, 900, 5000):
        for column, cell in (
            ("categories", "[" * depth + "]" * depth),
            ("attributes", '{"a":' * depth + "1" + "}" * depth),
        ):
            cell = cell.replace('"', '""')
            (item,) = load_items(file(f'item_id,{column}\na,"{cell}"\n', "i.csv"))
            assert encode(item)


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("null", ["null"]),
        ("None|a", ["None", "a"]),
        ("[nan, 'a']", ["a"]),
        ("NA", ["NA"]),
        ("[null]", []),
        ("{'name': nan}", []),
        ("['\\ud83d']", ["?"]),
    ],
)
def test_lists_of_nothing(file: Any, cell: str, expected: list[str]) -> None:
    assert load_items(file(f'item_id,categories\na,"{cell}"\n', "i.csv"))[0].categories == expected


def test_lists_with_other_marks_are_told(file: Any, caplog: pytest.LogCaptureFixture) -> None:
    load_items(file('item_id,genres\na,"Action;Drama"\nb,"Crime;Drama"\nc,Comedy\n', "i.csv"))
    assert "2 of 3 cells in column genres hold ';', such as 'Action;Drama', and none holds |" in caplog.text
    fixed = pa.array([["x", "y"]], pa.list_(pa.string(), 2))
    (item,) = load_items(file({"item_id": ["a"], "tags": fixed}, "i.parquet"))
    assert item.tags == ["x", "y"]


def test_a_minus_is_no_yes(file: Any) -> None:
    assert "expected true or false, got '-1'" in refused(
        file("item_id,available\na,-1\n", "i.csv"), load_items
    )


def test_ids_that_look_alike_or_were_rounded_are_told(file: Any, caplog: pytest.LogCaptureFixture) -> None:
    ids = ["caf\u00e9", "cafe\u0301", "tea", "tea\u200b", "1.23E+15"]
    read_pair(file(HEADER + "".join(f"{each},i,{AT}\n" for each in ids)), None)
    assert "such as 'caf\\xe9' and 'cafe\\u0301': they count as two" in caplog.text
    assert "2 user ids differ from another one" in caplog.text
    assert (
        "1 user ids have white space or invisible characters around them, such as 'tea\\u200b'" in caplog.text
    )
    assert "1 user ids look as if a spreadsheet had rounded them, such as '1.23E+15'" in caplog.text


def test_unknown_events_are_counted_and_not_all_named(file: Any, caplog: pytest.LogCaptureFixture) -> None:
    rows = "".join(f"u,i,{AT},word{n}\n" for n in range(5000)) + f"u,i,{AT},pv\n" * 7
    load_interactions(file(HEADER[:-1] + ",event\n" + rows))
    assert "unknown events are read as click: 'pv' (7), 'word0' (1)" in caplog.text
    assert "and 4,996 others" in caplog.text
    assert len(caplog.text) < 600


def test_a_long_id_is_to_be_shortened(file: Any) -> None:
    assert refused(file(f"{HEADER}u,{'é' * 129},{AT}\n")).endswith("shorten it")
    assert json.dumps(load_interactions(file(f"{HEADER}u,{'é' * 128},{AT}\n")).item_ids)


def test_a_value_of_a_line_end_alone_holds_no_rows(file: Any, caplog: pytest.LogCaptureFixture) -> None:
    load_items(file('item_id,title\na,"\n"\nb,"x\ny"\n', "i.csv"))
    assert "2 rows have values that span lines; the first begins on line 2" in caplog.text


@pytest.mark.parametrize("cell", ['{"n": 123456789012345678901}', '{"n": [{"m": -9999999999999999999999}]}'])
def test_numbers_that_cannot_be_kept_are_refused_with_their_line(file: Any, cell: str) -> None:
    quoted = cell.replace('"', '""')
    said = refused(file(f'item_id,attributes\na,"{{}}"\nb,"{quoted}"\n', "i.csv"), load_items)
    assert said.startswith(", line 3, column attributes: expected whole numbers of at most 64 bits")


def test_numbers_beyond_counting_and_half_letters_end_nothing(file: Any) -> None:
    huge = "0x" + "f" * 4000
    for column, cell in (
        ("categories", f"[{huge}, 'a']"),
        ("categories", f"{{{huge}: 1}}"),
        ("attributes", f"{{{huge}: {{{huge}}}}}"),
        ("attributes", "{'\\ud83d': {'\\ud83d': {'\\ud83d'}}}"),
    ):
        (item,) = load_items(file(f'item_id,{column}\na,"{cell}"\n', "i.csv"))
        assert encode(item)
    assert "whole numbers of at most 64 bits" in refused(
        file(f"item_id,attributes\na,{{'n': {huge}}}\n", "i.csv"), load_items
    )
