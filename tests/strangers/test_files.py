"""Files as they are out there: names, times, delimiters, formats, packing, and what is broken in them."""

import datetime
import gzip
import json
import logging
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from learner.data.dataset import DataError, columns_named, load_interactions, load_items

Write = Callable[..., Path]
HEADER = "user_id,item_id,timestamp\n"
AT = 1_790_000_000_000  # ms of the one click that most files here have


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes text or bytes to a file; packs it where the name says so."""

    def write(content: str | bytes, name: str = "clicks.csv") -> Path:
        data = content.encode() if isinstance(content, str) else content
        path = tmp_path / name
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return path

    return write


def refusal(load: Callable[[Path], object], path: Path) -> str:
    with pytest.raises(DataError) as error:
        load(path)
    assert str(error.value).startswith(str(path))
    return str(error.value).removeprefix(str(path))


@pytest.mark.parametrize(
    "header",
    [
        "userId,movieId,timestamp",
        "user,item,ts",
        "Customer ID,Product ID,Event Time",
        "reviewerID,asin,unixReviewTime",
        "user_id:token,item_id:token,timestamp:float",
        "uid,iid,datetime",
        "visitorid,itemid,timestamp",
        "User-Id,ARTICLE_ID,Time",
    ],
)
def test_common_names_are_taken_and_said_once(
    write: Write, header: str, caplog: pytest.LogCaptureFixture
) -> None:
    data = load_interactions(write(f"{header}\nann,tea,1790000000\n"))
    assert (data.user_ids, data.item_ids, data.time_ms.tolist()) == (["ann"], ["tea"], [AT])
    user, item, *_ = header.split(",")
    assert len(caplog.records) == 1
    assert f"{user} as user_id, {item} as item_id" in caplog.text


def test_our_own_names_go_before_others(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    data = load_interactions(write("user,user_id,item_id,sku,timestamp,ts\nx,ann,tea,y,1790000000,5\n"))
    assert (data.user_ids, data.item_ids, data.time_ms.tolist()) == (["ann"], ["tea"], [AT])
    assert not caplog.records


def test_names_that_the_user_says_go_before_all(write: Write) -> None:
    columns = columns_named("user_id=who, item_id=what,timestamp=when,value=stars out of 5")
    path = write("user_id,who,what,when,stars out of 5\nx,ann,tea,1790000000,4\n")
    data = load_interactions(path, columns)
    assert (data.user_ids, data.item_ids, data.value.tolist()) == (["ann"], ["tea"], [4.0])


def test_items_that_are_called_otherwise_in_the_second_file_are_found_and_said(
    write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    items = load_items(write("id,Name,genres\ntea,Tea pot,kitchen\n"), columns_named("item_id=movie"))
    assert [(item.item_id, item.title, item.categories) for item in items] == [
        ("tea", "Tea pot", ["kitchen"])
    ]
    assert "has no column movie; item_id is taken from id" in caplog.text


@pytest.mark.parametrize(
    ("said", "mend"),
    [("user_id", "expected NAME=COLUMN"), ("person=who", "expected one of user_id"), ("a=", "expected NAME")],
)
def test_columns_that_make_no_sense_are_refused(said: str, mend: str) -> None:
    with pytest.raises(DataError, match=mend):
        columns_named(said)


def test_a_named_column_that_is_not_there_is_refused(write: Write) -> None:
    path = write("user_id,item_id,timestamp\nann,tea,1790000000\n")
    said = refusal(lambda path: load_interactions(path, {"user_id": "who"}), path)
    assert "expected the column who as --columns says" in said


def test_names_that_cannot_be_guessed_are_asked_for(write: Write) -> None:
    said = refusal(load_interactions, write("wer,was,wann\nann,tea,1790000000\n"))
    assert "say which are meant: --columns user_id=COLUMN,item_id=COLUMN,timestamp=COLUMN" in said
    assert "seems to be data" in refusal(
        load_interactions, write("196,242,3,881250949\n186,302,3,881250950\n")
    )


@pytest.mark.parametrize(
    "text",
    [
        " user_id , item_id,\ttimestamp \nann,tea,1790000000\n",
        "\ufeffuser_id,item_id,timestamp\nann,tea,1790000000\n",
        ",user_id,item_id,timestamp\n0,ann,tea,1790000000\n",
        "user_id,item_id,timestamp,,,\nann,tea,1790000000,,x,\n",
        "note,user_id,note,item_id,note,timestamp\na,ann,,tea,c,1790000000\n",
        "\n\nuser_id,item_id,timestamp\n\nann,tea,1790000000\n\n",
        "user_id,item_id,timestamp\r\nann,tea,1790000000\r\n",
        "user_id,item_id,timestamp\rann,tea,1790000000\r",
    ],
)
def test_headers_with_more_than_names(write: Write, text: str) -> None:
    data = load_interactions(write(text))
    assert (data.user_ids, data.item_ids, data.time_ms.tolist()) == (["ann"], ["tea"], [AT])


def test_a_repeated_column_that_is_read_is_refused(write: Write) -> None:
    said = refusal(load_interactions, write("user_id,item_id,timestamp, item_id\na,b,1790000000,c\n"))
    assert "expected each column once, got item_id twice" in said


@pytest.mark.parametrize("packed", ["", ".gz"])
@pytest.mark.parametrize(
    ("name", "mark"), [("c.csv", ";"), ("c.csv", "\t"), ("c.tsv", "\t"), ("c.txt", "|"), ("C.CSV", ",")]
)
def test_other_delimiters(write: Write, name: str, mark: str, packed: str) -> None:
    text = "item_id,user_id,timestamp\n'a',ann,1790000000\n".replace(",", mark)
    data = load_interactions(write(text, name + packed))
    assert (data.item_ids, data.user_ids, data.time_ms.tolist()) == (["'a'"], ["ann"], [AT])


def test_a_packed_file_without_the_name_of_one(write: Write, tmp_path: Path) -> None:
    packed = write(HEADER + "ann,tea,1790000000\n", "c.csv.gz")
    assert load_interactions(packed.rename(tmp_path / "c.csv")).user_ids == ["ann"]


@pytest.mark.parametrize("packed", ["", ".gz"])
def test_json_lines(write: Write, packed: str) -> None:
    rows = [
        {"userId": 12, "item_id": "007", "timestamp": 1790000000, "nested": {"a": [1]}},
        {"userId": 12.0, "item_id": "é", "timestamp": 1790000001.5, "rating": None},
        {"timestamp": 1790000002, "item_id": "2024-05-01", "userId": "u", "rating": 4.5},
    ]
    text = "\n".join(json.dumps(row) for row in rows) + "\n\n"
    data = load_interactions(write(text, "c.jsonl" + packed))
    assert data.user_ids == ["12", "u"]
    assert data.item_ids == ["007", "é", "2024-05-01"]
    assert data.time_ms.tolist() == [AT, AT + 1500, AT + 2000]
    assert data.value.tolist()[2] == 4.5


def test_a_name_that_comes_late_in_json_lines_is_read(write: Write) -> None:
    rows = [{"user_id": "u", "item_id": f"i{n}", "timestamp": 1790000000} for n in range(1200)]
    text = "\n".join(json.dumps(row | ({"event": "like"} if n > 1100 else {})) for n, row in enumerate(rows))
    assert (load_interactions(write(text, "c.ndjson")).kind == 4).sum() == 99


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            '{"user_id": "a", "item_id": "b", "timestamp": 1790000000}\nnot so\n',
            "line 2: expected a JSON object",
        ),
        ('[{"user_id": "a"}]', "line 1: expected a JSON object, got '[{"),
        ('[{"user_id": "a"}]', "jq -c '.[]' "),
        ('{\n "user_id": "a"\n}\n', "jq -c . "),
        ('\n{"user_id": "a", "item_id": "b", "timestamp": "soon"}\n', "line 2, column timestamp"),
        ('{"user_id": "a\\u0000", "item_id": "b", "timestamp": 1790000000}', "an id without NUL bytes"),
        (
            '{"user_id": "a", "item_id": "b", "timestamp": 1790000000}\n{"user_id": "a"}',
            "line 2, column item_id",
        ),
    ],
)
def test_broken_json_lines(write: Write, text: str, says: str) -> None:
    assert says in refusal(load_interactions, write(text, "c.jsonl"))


def test_packed_parquet_with_names_of_others(tmp_path: Path) -> None:
    table = pa.table(
        {
            " userId ": pa.array([7.0, 8.0]),
            "movieId": pa.array(["a", "b"], pa.large_string()),
            "time": pa.array([datetime.date(2026, 9, 21), datetime.date(2026, 9, 22)]),
        }
    )
    parquet.write_table(table, tmp_path / "c.parquet")
    packed = tmp_path / "c.parquet.gz"
    packed.write_bytes(gzip.compress((tmp_path / "c.parquet").read_bytes()))
    for path in (tmp_path / "c.parquet", packed):
        data = load_interactions(path)
        assert (data.user_ids, data.item_ids) == (["7", "8"], ["a", "b"])
        assert data.time_ms.tolist() == [1_789_948_800_000, 1_790_035_200_000]


@pytest.mark.parametrize(
    "time",
    [
        "2026-09-21T14:13:20Z",
        "2026-09-21T14:13:20",
        "2026-09-21 14:13:20",
        "2026-09-21 14:13:20.000 UTC",
        "2026-09-21T16:13:20+02:00",
        "20260921T141320Z",
        "1790000000",
        "1790000000.0",
        "1.79e9",
        "1790000000000",
    ],
)
def test_times_however_they_are_written(write: Write, tmp_path: Path, time: str) -> None:
    """By the same rules in text, JSON and Parquet."""
    parquet.write_table(
        pa.table({"user_id": ["u"], "item_id": ["i"], "timestamp": [time]}), tmp_path / "c.parquet"
    )
    record = json.dumps({"user_id": "u", "item_id": "i", "timestamp": time})
    for path in (
        write(f'{HEADER}u,i,"{time}"\n'),
        write(record + "\n", "c.jsonl"),
        tmp_path / "c.parquet",
    ):
        assert load_interactions(path).time_ms.tolist() == [AT]


@pytest.mark.parametrize(
    ("times", "says"),
    [
        (["2026-09-21", "21/09/2026"], "line 3, column timestamp: expected a time in ISO 8601"),
        (["09/21/2026"], "column timestamp: expected a time in ISO 8601"),
        (["1790000000", "2026-09-21"], "line 3, column timestamp: expected a number"),
        (["1790000000000000", "1790000000000001"], "divide micro- or nanoseconds"),
        (["20260921", "20260922"], "write days as 2024-05-31"),
        (["1969-07-20T20:17:00Z"], "expected a time from 1970 on"),
        (["-14182980"], "expected a time from 1970 on"),
        (["2026-09-21", "9999-12-31"], "line 3, column timestamp: expected a time before the year 2100"),
        (["4102444800"], "expected a time before the year 2100"),
        (["20260921141320"], "expected a time before the year 2100"),
        (["1790000000", "1790000000000", "1790000000"], "line 3, column timestamp: expected Unix seconds"),
    ],
)
def test_times_that_cannot_be_meant_are_refused_with_their_line(
    write: Write, times: list[str], says: str
) -> None:
    path = write(HEADER + "".join(f"u,i,{time}\n" for time in times))
    assert says in refusal(load_interactions, path)


@pytest.mark.parametrize("year", [1969, 2101])
def test_parquet_has_the_same_years(tmp_path: Path, year: int) -> None:
    times = [datetime.datetime(2026, 9, 21), datetime.datetime(year, 7, 1)]
    path = tmp_path / "c.parquet"
    parquet.write_table(pa.table({"user_id": ["u", "u"], "item_id": ["i", "j"], "timestamp": times}), path)
    assert "row 2, column timestamp: expected a time" in refusal(load_interactions, path)


def test_dates_of_items_out_of_range_are_left_out_and_counted(
    write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    items = load_items(
        write("item_id,published_at\na,1942-11-26\nb,2026-09-21\nc,\nd,9999-12-31\n", "items.csv")
    )
    assert [item.published_at for item in items] == [None, 1_789_948_800_000, None, None]
    assert "2 of 4 times in column published_at are before 1970 or after 2099" in caplog.text
    assert "line 2, 1942-11-26" in caplog.text


def test_years_of_items_are_years(write: Write) -> None:
    items = load_items(write("item_id,published_at\na,1995\nb,\nc,2020\n", "items.csv"))
    assert [item.published_at for item in items] == [788_918_400_000, None, 1_577_836_800_000]


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ('a,"9 inch pan\nb,cup\nc,12" plate\n', ", line 2: expected a closing quote"),
        (
            'a,pan\nb,"cup\nc,plate\n',
            ", line 3: expected a closing quote, got a quoted value that goes on to the end",
        ),
        ('a,pan\nb,"cup', ", line 3: expected a closing quote"),
        ("a,pan\nb\n", ", line 3: expected 2 columns, got 1"),
        ("a,pan\nb,cup,mug\n", ", line 3: expected 2 columns, got 3"),
        ('a,"two\nlines"\nb,cup\nc\n', ", line 5: expected 2 columns, got 1"),
    ],
)
def test_rows_that_are_broken_are_refused_with_their_line(write: Write, rows: str, says: str) -> None:
    assert refusal(load_items, write("item_id,title\n" + rows, "items.csv")).startswith(says)


def test_a_quote_left_open_in_a_column_that_nobody_reads(write: Write) -> None:
    rows = 'u,a,"5 star,1790000000\nu,b,x,1790000001\nu,c,3" thick,1790000002\n'
    said = refusal(load_interactions, write("user_id,item_id,comment,timestamp\n" + rows))
    assert said.startswith(", line 2: expected a closing quote")


def test_rows_within_a_value_are_said(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    items = load_items(write('item_id,title\na,"9 inch\nb,cup"\nc,plate\n', "items.csv"))
    assert len(items) == 2
    assert (
        "1 rows span lines and hold what look like rows of their own (the first begins on line 2)"
        in caplog.text
    )


def test_values_that_span_lines_are_said_and_kept(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    items = load_items(write('item_id,title,description\na,T,"one\ntwo"\nb,"U\nV",\n', "items.csv"))
    assert [item.description for item in items] == ["one\ntwo", None]
    assert "2 rows have values that span lines; the first begins on line 2" in caplog.text


def test_text_behind_a_closing_quote_is_counted(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    items = load_items(write('item_id,title\na,"9 inch" pan\nb,3" nail\n', "items.csv"))
    assert [item.title for item in items] == ["9 inch pan", '3" nail']
    assert "in 1 rows (the first is line 2) text follows a closing quote" in caplog.text


@pytest.mark.parametrize("size", [150_000, 3_000_000])
def test_a_huge_cell_is_read_and_hides_no_error(write: Write, size: int) -> None:
    text = "item_id,description,price\n" + f'a,"{"wort, " * (size // 6)}",1\n'
    assert len(load_items(write(text, "items.csv"))[0].description or "") >= size - 6
    said = refusal(load_items, write(text + "b,,dear\n", "items.csv"))
    assert said.startswith(", line 3, column price: expected a number, got 'dear'")
    assert ", line 3: expected 3 columns" in refusal(load_items, write(text + "b,\n", "items.csv"))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("packed", ["", ".gz"])
def test_other_encodings_of_unicode_are_read(write: Write, encoding: str, packed: str) -> None:
    text = 'item_id,title,price\né1,"Tee, grün",1\nß2,Tasse,2\n'
    items = load_items(write(text.encode(encoding), "items.csv" + packed))
    assert [(item.item_id, item.title) for item in items] == [("é1", "Tee, grün"), ("ß2", "Tasse")]
    said = refusal(load_items, write((text + "z,Z,dear\n").encode(encoding), "items.csv" + packed))
    assert said.startswith(", line 4, column price")


@pytest.mark.parametrize("rows_before", [3, 50_000])
def test_latin_1_is_refused_with_its_line(write: Write, rows_before: int) -> None:
    text = "item_id,title\n" + "".join(f"i{n},pan\n" for n in range(rows_before)) + "z,Café\n"
    said = refusal(load_items, write(text.encode("latin-1"), "items.csv"))
    assert said.startswith(f", line {rows_before + 2}: expected UTF-8, got the byte 0xe9")
    assert "iconv -f WINDOWS-1252 -t UTF-8" in said


def test_nul_bytes_are_refused_with_their_line(write: Write) -> None:
    said = refusal(load_interactions, write(HEADER + "u,i,1790000000\nu,i\0,1790000000\n"))
    assert said.startswith(", line 3: expected text, got a NUL byte")
    assert "tr -d" in said


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("Action|Sci-Fi ", ["Action", "Sci-Fi"]),
        ('["Action", "Sci-Fi"]', ["Action", "Sci-Fi"]),
        ("['Action', \"Children's\"]", ["Action", "Children's"]),
        ("('Action', 'Sci-Fi')", ["Action", "Sci-Fi"]),
        ("['Action' 'Sci-Fi']", ["Action", "Sci-Fi"]),
        ("[Action, Sci-Fi]", ["Action", "Sci-Fi"]),
        ('[{"id": 28, "name": "Action"}, {"id": 878, "name": "Sci-Fi"}]', ["Action", "Sci-Fi"]),
        ("[['Books', 'Crime'], ['Kindle']]", ["Books", "Crime", "Kindle"]),
        ("[1, 2.5, None]", ["1", "2.5"]),
        ("[]", []),
        ("[REC]", ["[REC]"]),
        ("[a]|[b]", ["[a]", "[b]"]),
        ("Home & Garden, outdoor", ["Home & Garden, outdoor"]),
    ],
)
def test_lists_in_cells(write: Write, tmp_path: Path, cell: str, expected: list[str]) -> None:
    """By the same rules in text and Parquet."""
    quoted = cell.replace('"', '""')
    parquet.write_table(pa.table({"item_id": ["a"], "categories": [cell]}), tmp_path / "i.parquet")
    for path in (write(f'item_id,categories\na,"{quoted}"\n', "items.csv"), tmp_path / "i.parquet"):
        assert load_items(path)[0].categories == expected


def test_lists_and_objects_of_json_lines(write: Write) -> None:
    record = {"item_id": "a", "tags": ["x", "y"], "attributes": {"size": 3, "brand": None}}
    item = load_items(write(json.dumps(record), "items.jsonl"))[0]
    assert (item.tags, item.attributes) == (["x", "y"], {"size": 3})


@pytest.mark.parametrize(
    "yes", ["1.0", "1", "true", "True", "YES", "in stock", "InStock", "https://schema.org/InStock"]
)
@pytest.mark.parametrize("no", ["0.0", "0", "false", "No", "out_of_stock", "Sold out"])
def test_availability_in_other_words(write: Write, yes: str, no: str) -> None:
    items = load_items(write(f"item_id,available\na,{yes}\nb,{no}\nc,\n", "items.csv"))
    assert [item.available for item in items] == [True, False, True]


@pytest.mark.parametrize("values", [[1.0, 0.0, None], [1, 0, None], [True, False, None]])
def test_availability_in_parquet(tmp_path: Path, values: list[object]) -> None:
    parquet.write_table(pa.table({"item_id": [1, 2, 3], "available": values}), tmp_path / "i.parquet")
    assert [item.available for item in load_items(tmp_path / "i.parquet")] == [True, False, True]


def test_a_file_as_it_should_be_is_read_in_silence(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    load_interactions(write(HEADER + '"u, 1",i,1790000000\n'))
    assert not caplog.records
