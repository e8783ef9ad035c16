"""Files of interactions and items: every oddity that is allowed, and errors that name the place."""

import gzip
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from learner.data.catalogue import Item
from learner.data.dataset import DataError, Interactions, load_interactions, load_items
from learner.data.events import Kind

HEADER = "user_id,item_id,timestamp\n"


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def write(text: str | bytes, name: str = "interactions.csv") -> Path:
        path = tmp_path / name
        data = text.encode() if isinstance(text, str) else text
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return path

    return write


def test_the_smallest_file(write: Callable[..., Path]) -> None:
    data = load_interactions(write(HEADER + "u,007,1763856000\nu,NA,1763856001\nv,007,1763856002\n"))
    assert data.user.tolist() == [0, 0, 1]
    assert data.item.tolist() == [0, 1, 0]
    assert data.user_ids == ["u", "v"]
    assert data.item_ids == ["007", "NA"]  # neither a number nor a missing value
    assert data.time_ms.tolist() == [1763856000000, 1763856001000, 1763856002000]
    assert (data.kind == Kind.CLICK).all()
    assert np.isnan(data.value).all()
    assert data.scenario == [None] * 3
    assert (data.user.dtype, data.time_ms.dtype, data.kind.dtype) == (np.int32, np.int64, np.uint8)


@pytest.mark.parametrize("name", ["i.csv", "i.csv.gz"])
def test_all_columns_in_any_order_with_others_between(write: Callable[..., Path], name: str) -> None:
    data = load_interactions(
        write(
            "\ufeffscenario,event,noise,timestamp,rating,item_id,user_id\r\n"
            'home, Purchase ,x,1763856000123,9.5,"i,1",u\r\n'
            '\r\n,review,"y\nz",1763856000124.0,,i2,"u ""2"""\r\n'
            "cart,,,1763856000125,4,i2,u\r\n",
            name,
        )
    )
    assert data.item_ids == ["i,1", "i2"]
    assert data.user_ids == ["u", 'u "2"']
    assert data.time_ms.tolist() == [1763856000123, 1763856000124, 1763856000125]
    assert data.kind.tolist() == [Kind.PURCHASE, Kind.RATING, Kind.CLICK]
    np.testing.assert_array_equal(data.value, np.float32([9.5, np.nan, 4]))
    assert data.scenario == ["home", None, "cart"]


def test_value_goes_before_rating(write: Callable[..., Path]) -> None:
    text = "user_id,item_id,timestamp,rating,value\nu,i,9,1,2\nu,i,9,1,\nu,i,9,,\nu,i,9,,nan\n"
    np.testing.assert_array_equal(load_interactions(write(text)).value, np.float32([2, 1, np.nan, np.nan]))


def test_unknown_kinds_are_clicks_with_one_warning(
    write: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    text = "user_id,item_id,timestamp,event\nu,i,1,add_to_cart\nu,j,2,share\nu,k,3,add_to_cart\nu,l,4,hide\n"
    with caplog.at_level(logging.WARNING):
        data = load_interactions(write(text))
    assert data.kind.tolist() == [Kind.CLICK] * 3 + [Kind.HIDE]
    assert len(caplog.records) == 1
    assert "'add_to_cart' (2), 'share' (1)" in caplog.text


@pytest.mark.parametrize(
    ("stamps", "expected"),
    [
        (["0", "10"], [0, 10_000]),
        (["828124615", "828124616.25"], [828124615000, 828124616250]),
        (["828124615000", "315532800000"], [828124615000, 315532800000]),
        (["1.7e9", "1.7e9"], [1_700_000_000_000] * 2),
    ],
)
def test_seconds_and_milliseconds(write: Callable[..., Path], stamps: list[str], expected: list[int]) -> None:
    data = load_interactions(write(HEADER + "".join(f"u,i,{stamp}\n" for stamp in stamps)))
    assert data.time_ms.tolist() == expected


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "expected a line of columns' names, the file is empty"),
        ("\n\n \n", "line 3: expected the columns user_id, item_id, timestamp, got ''"),
        (HEADER, "expected at least one row"),
        ("who,item_id,when\nu,i,1\n", "got 'who, item_id, when'; rename or add user_id, timestamp"),
        (
            "user_id,item_id,timestamp,item_id\nu,i,1,i\n",
            "line 1: expected each column once, got item_id twice",
        ),
        (HEADER + "u,i,1\n,i,2\n", "line 3, column user_id: expected an id of 1 to 256 bytes, got ''"),
        (HEADER + f"u,{'é' * 129},1\n", "line 2, column item_id: expected an id of 1 to 256 bytes"),
        (HEADER + "u,i,1\nu,i,\n", "line 3, column timestamp: expected a time, got ''"),
        (
            HEADER + "u,i,1\nu,i,2020-01-01\n",
            "line 3, column timestamp: expected a number, got '2020-01-01'; write",
        ),
        (HEADER + '"u\nv",i,1\n\nu,i,1\nu,i,x\n', "line 6, column timestamp: expected a number, got 'x'"),
        (HEADER + "u,i,-5\n", "line 2, column timestamp: expected a time from 1970 on, got '-5'"),
        (
            HEADER + "u,i,1763856000000000\n",
            "expected Unix seconds or milliseconds, got '1763856000000000'; divide",
        ),
        (
            HEADER + "u,i,1763856000\nu,i,1763856000\nu,i,1763856000000\n",
            "line 4, column timestamp: expected Unix seconds as in most rows, got '1763856000000'; the",
        ),
        (
            HEADER + "u,i,1763856000000\nu,i,1763856000\nu,i,1763856000000\n",
            "line 3, column timestamp: expected Unix milliseconds as in most rows, got '1763856000'",
        ),
        (HEADER + "u,i,1\nu,i\n", "line 3: expected 3 columns, got 2; quote values"),
        (HEADER + "u,i,1\nu,i,1,x\n", "line 3: expected 3 columns, got 4"),
        (HEADER.encode() + b"u,i,1\nu,\xff\xfe,1\n", "expected UTF-8, got the byte 0xff"),
        (
            "user_id,item_id,timestamp,rating\nu,i,1,3\nu,i,1,five\n",
            "line 3, column rating: expected a number, got 'five'; write a number or leave it empty",
        ),
        ("user_id,item_id,timestamp,value\nu,i,1,inf\n", "column value: expected a finite number"),
    ],
)
def test_errors_name_the_place(write: Callable[..., Path], text: str | bytes, says: str) -> None:
    path = write(text)
    with pytest.raises(DataError) as error:
        load_interactions(path)
    assert says in str(error.value)
    assert str(error.value).startswith(str(path))


def test_files_that_are_none(write: Callable[..., Path], tmp_path: Path) -> None:
    for path, says in (
        (tmp_path / "absent.csv", "expected a file, found none"),
        (tmp_path, "found a folder"),
        (write("x", "data.xlsx"), "ends in .csv, .csv.gz or .parquet"),
        (write("x", "data.parquet"), "expected a Parquet file"),
    ):
        with pytest.raises(DataError, match=says):
            load_interactions(path)


@pytest.mark.parametrize("keep", [5, 200, -1])
def test_a_damaged_gzip_file_is_refused(write: Callable[..., Path], keep: int) -> None:
    rng = np.random.default_rng(0)
    path = write(HEADER + "".join(f"u{n},i{rng.integers(1 << 40)},1\n" for n in range(500)), "i.csv.gz")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match="expected a whole file"):
        load_interactions(path)


def test_a_file_that_only_its_name_calls_gzip_is_read(tmp_path: Path) -> None:
    path = tmp_path / "i.csv.gz"
    path.write_text(HEADER + "u,i,1\n")
    assert load_interactions(path).user_ids == ["u"]


def test_parquet_brings_its_own_types(tmp_path: Path) -> None:
    path = tmp_path / "i.parquet"
    stamps = np.array([1_000, 2_500], "datetime64[ms]")
    columns = {
        "user_id": pa.array([5, 6]),
        "item_id": pa.array(["a", "b"]).dictionary_encode(),
        "timestamp": pa.array(stamps).cast(pa.timestamp("us")),
        "rating": pa.array([1, None]),
        "event": pa.array(["view", None]),
    }
    parquet.write_table(pa.table(columns), path)
    data = load_interactions(path)
    assert data.user_ids == ["5", "6"]
    assert data.item_ids == ["a", "b"]
    assert data.time_ms.tolist() == [1000, 2500]
    assert data.kind.tolist() == [Kind.VIEW, Kind.CLICK]
    np.testing.assert_array_equal(data.value, np.float32([1, np.nan]))
    parquet.write_table(pa.table({**columns, "user_id": pa.array([5.5, 6.0])}), path)
    with pytest.raises(
        DataError, match="row 1, column user_id: expected text or whole numbers, got 'double'"
    ):
        load_interactions(path)
    parquet.write_table(pa.table({**columns, "user_id": pa.array([5, None])}), path)
    with pytest.raises(DataError, match="row 2, column user_id: expected an id"):
        load_interactions(path)


def made(times: list[int]) -> Interactions:
    n = len(times)
    zeros = np.zeros(n, np.int32)
    return Interactions(
        zeros, np.arange(n, dtype=np.int32), np.array(times, np.int64), np.ones(n, np.uint8),
        np.full(n, np.nan, np.float32), zeros, zeros, ["u"], [f"i{k}" for k in range(n)], [None],
    )  # fmt: skip


def test_replay_order_is_by_time_with_ties_drawn_by_the_seed() -> None:
    data = made([5, 1, 5, 3, 5, 5])
    orders = {tuple(data.in_order(seed).item.tolist()) for seed in range(60)}
    assert all(order[:2] == (1, 3) and sorted(order[2:]) == [0, 2, 4, 5] for order in orders)
    assert len(orders) > 12  # of 24
    assert data.in_order(7).item.tolist() == data.in_order(7).item.tolist()


def test_split_keeps_the_numbering() -> None:
    first, rest = made(list(range(10))).split(0.8)
    assert (len(first), len(rest)) == (8, 2)
    assert rest.item.tolist() == [8, 9]
    assert first.item_ids is rest.item_ids


def test_event_ids_are_distinct_and_follow_the_row(write: Callable[..., Path]) -> None:
    row = "u,i,5,click,1,home\n"
    other = [
        "u,i,6,click,1,home\n",
        "u,i,5,view,1,home\n",
        "u,i,5,click,,home\n",
        "u,i,5,click,1,\n",
        "ui,,5\n",
    ]
    text = "user_id,item_id,timestamp,event,value,scenario\n" + row + row + "".join(other[:4]) + row
    data = load_interactions(write(text))
    ids = data.event_ids()
    assert len(set(ids)) == 7
    assert data.occurrence.tolist() == [0, 1, 0, 0, 0, 0, 2]
    assert sorted(data.in_order(3).event_ids()) == sorted(ids)
    assert data.split(0.5)[1].event_ids() == ids[3:]
    shifted = load_interactions(write("user_id,item_id,timestamp\nui,x,5\nu,ix,5\n"))
    assert len(set(shifted.event_ids())) == 2


def test_repeats_are_decided_from_the_part(write: Callable[..., Path]) -> None:
    once = "".join(f"u,i{n},{n}\n" for n in range(100))
    again = "".join(f"u,i{n % 10},{n + 100}\n" for n in range(50))
    data = load_interactions(write(HEADER + once + again))
    assert data.repeats()
    assert not data.split(0.6)[0].repeats()


def test_value_scale_is_by_kind(write: Callable[..., Path]) -> None:
    rows = "u,i,1,rating,1\nu,j,2,rating,5\nu,k,3,purchase,100\nu,k,4,view,\n"
    text = "user_id,item_id,timestamp,event,value\n" + rows
    assert load_interactions(write(text)).value_scale() == {"purchase": (100.0, 1e-3), "rating": (3.0, 2.0)}


def test_items_with_every_column(write: Callable[..., Path]) -> None:
    path = write(
        "item_id,title,description,categories,tags,keywords,attributes,price,image,published_at,available\n"
        'a,"Heat, the ""film""",,Crime| Drama |,gun,gun|cop,Acme|Blue,9.99,http://x/y.png,1000000000,no\n'
        "b,,,,,,,,,,\n"
        "c,T,D,X,,k,,nan,,0,TRUE\n",
        "items.csv",
    )
    assert load_items(path) == [
        Item(
            item_id="a",
            title='Heat, the "film"',
            categories=["Crime", "Drama"],
            tags=["gun", "cop"],
            attributes={"values": ["Acme", "Blue"]},
            price=9.99,
            image="http://x/y.png",
            published_at=1_000_000_000_000,
            available=False,
        ),
        Item(item_id="b"),
        Item(item_id="c", title="T", description="D", categories=["X"], tags=["k"], published_at=0),
    ]


def test_the_last_row_of_an_item_counts(write: Callable[..., Path], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        items = load_items(write("item_id,title\na,old\nb,B\na,new\n", "items.csv"))
    assert [(item.item_id, item.title) for item in items] == [("a", "new"), ("b", "B")]
    assert "1 rows repeat an item" in caplog.text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("title\nx\n", "expected the columns item_id, got 'title'"),
        (
            "item_id,price\na,1\nb,$5\n",
            "line 3, column price: expected a number, got '$5'; write a number without",
        ),
        ("item_id,available\na,maybe\n", "line 2, column available: expected true or false, got 'maybe'"),
        ("item_id,title\n,x\n", "line 2, column item_id"),
    ],
)
def test_errors_of_items(write: Callable[..., Path], text: str, says: str) -> None:
    with pytest.raises(DataError) as error:
        load_items(write(text, "items.csv"))
    assert says in str(error.value)


def test_items_may_be_none(write: Callable[..., Path]) -> None:
    assert load_items(write("item_id,title\n", "items.csv")) == []


def test_items_of_parquet(tmp_path: Path) -> None:
    path = tmp_path / "items.parquet"
    parquet.write_table(
        pa.table(
            {
                "item_id": [1, 2],
                "categories": [["a", "b"], None],
                "attributes": [{"brand": "x", "size": 3}, {"brand": None, "size": None}],
                "available": [None, False],
            }
        ),
        path,
    )
    assert load_items(path) == [
        Item(item_id="1", categories=["a", "b"], attributes={"brand": "x", "size": 3}),
        Item(item_id="2", available=False),
    ]


@pytest.mark.parametrize(
    ("name", "rows", "items", "kind"),
    [
        ("movietweetings-100k", 100_000, 10_506, Kind.RATING),
        ("ml-latest-small", 100_836, 9_742, Kind.RATING),
        ("amazon-beauty-5core", 198_502, 12_101, Kind.RATING),
    ],
)
def test_recorded_data(
    data_folder: Callable[[str], Path], name: str, rows: int, items: int, kind: Kind
) -> None:
    folder = data_folder(name)
    data = load_interactions(folder / "interactions.csv.gz")
    assert len(data) == rows
    assert (data.kind == kind).all()
    assert len(set(data.event_ids())) == rows
    assert not data.repeats()
    records = load_items(folder / "items.csv.gz")
    assert len(records) == items
    assert {record.item_id for record in records} >= set(data.item_ids)
