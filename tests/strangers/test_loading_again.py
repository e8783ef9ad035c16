"""Files that come again: grown, re-sorted, renamed, gzipped, from another folder, after retention; reset."""

import gzip
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kafka import TopicPartition
from typer.testing import CliRunner, Result

from streams.cli import app
from streams.recorded.clicks import RecordedClicks
from streams.runtime.slots import take_slot
from streams.settings import Settings, load_settings
from streams.traffic import loading, playing, resetting
from streams.traffic.admissible import Inadmissible
from streams.traffic.loading import Loaded, LoadError
from streams.transport import clients
from streams.transport.topic_reader import bounds_of, read_to_end
from streams.transport.topics import Names, partition_counts
from streams.wire.contract import Click, decode_click, encode

# One user with more events than anybody downstream remembers, an equal row twice, and others.
ROWS = [
    *(f"keen,s{n},{1_400_000_000 + 30 * n}" for n in range(150)),
    "ada,s1,1400000000", "ada,s1,1400000000", "bea,s2,1400000100",
]  # fmt: skip


@pytest.fixture
def file(tmp_path: Path) -> Callable[..., RecordedClicks]:
    """Clicks read from a file with these rows, under any name."""

    def write(rows: list[str], name: str = "past.csv") -> RecordedClicks:
        text = "\n".join(["user_id,item_id,timestamp", *rows]) + "\n"
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
        return RecordedClicks(path)

    return write


@pytest.fixture
def nextclick(settings: Settings) -> Callable[..., Result]:
    """Runs a command on the test's prefix and data folder."""
    where = ["--bootstrap-servers", settings.bootstrap_servers, "--prefix", settings.prefix]
    where += ["--data-dir", str(settings.data_dir)]
    return lambda *arguments, **more: CliRunner().invoke(
        app, [*arguments, *where], **({"catch_exceptions": False} | more)
    )


def _load(settings: Settings, clicks: RecordedClicks, **more: Any) -> Loaded:
    return loading.load(settings, clicks, clicks.part(None, None), **more)


def _ids(settings: Settings) -> list[str]:
    return [decode_click(r.value).event_id for r in read_to_end(settings, Names(settings.prefix).clicks)]


def _elsewhere(settings: Settings, folder: Path) -> Settings:
    return load_settings(
        bootstrap_servers=settings.bootstrap_servers, prefix=settings.prefix, clock="stream", data_dir=folder
    )


def test_a_file_that_comes_again_in_any_shape_counts_nothing_twice(
    settings: Settings, file: Callable[..., RecordedClicks], tmp_path: Path
) -> None:
    assert _load(settings, file(ROWS)) == Loaded(153, 0)
    shuffled = random.Random(4).sample(ROWS, len(ROWS))
    for rows, name, new in (
        ([*ROWS, "cleo,s3,1400009000"], "past.csv", 1),  # grown
        (shuffled, "sorted.csv", 0),
        (ROWS, "renamed.csv.gz", 0),
        (ROWS[100:], "tail.csv", 0),
        (["dana,s4,1300000000", *ROWS, "ada,s1,1400000000"], "earlier.csv", 2),  # a third of equals too
    ):
        assert _load(settings, file(rows, name)) == Loaded(new, len(rows) - new), name
    other = _elsewhere(settings, tmp_path / "other")
    assert _load(other, file(ROWS, "copy.csv")) == Loaded(0, 153)
    ids = _ids(settings)
    assert len(ids) == len(set(ids)) == 156


def test_the_topic_is_not_read_again(
    settings: Settings, file: Callable[..., RecordedClicks], monkeypatch: pytest.MonkeyPatch
) -> None:
    _load(settings, file(ROWS))

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("everything is known")

    with monkeypatch.context() as patched:
        patched.setattr("streams.traffic.known.read_to_end", refuse)
        assert _load(settings, file([*ROWS, "cleo,s3,1400009000"])) == Loaded(1, 153)
    # What somebody else writes during a load is looked at all the same.
    clicks, live = file([*ROWS, "dana,s3,1400009000"]), file(["eve,s3,1400009000"], "live.csv")
    (click,) = live.clicks(range(1), history=False)
    with clients.producer(settings) as producer:

        def meanwhile(_: int) -> None:
            producer.send(Names(settings.prefix).clicks, key=b"eve", value=encode(click)).get(20)

        assert _load(settings, clicks, progress=meanwhile) == Loaded(1, 153)
    assert _load(settings, live) == Loaded(0, 1)


def test_what_was_played_live_is_recognised_in_the_export(
    settings: Settings, file: Callable[..., RecordedClicks]
) -> None:
    clicks = file(ROWS)
    playing.play(settings, clicks, clicks.part("0.9", None), playing.Pace(rate=0))
    assert _load(settings, clicks) == Loaded(137, 16)


def test_live_clicks_with_their_producers_ids_are_recognised_in_the_export(
    settings: Settings, file: Callable[..., RecordedClicks], topics: Names
) -> None:
    with clients.producer(settings) as producer:
        for n, (user, second) in enumerate((("ada", 1_400_000_000), ("fay", 1_400_000_077))):
            live = Click(
                event_id=f"web-{n}", user_id=user, item_id="s1", event="click", timestamp=1000 * second + 519
            )
            producer.send(topics.clicks, key=user.encode(), value=encode(live))
    # To the second they are the export's; another second, item or event is another click.
    rows = ["ada,s1,1400000000", "fay,s1,1400000077", "fay,s1,1400000078", "fay,s2,1400000077"]
    assert _load(settings, file(rows)) == Loaded(2, 2)
    assert _load(settings, file([*rows, "gil,s1,1400000000"])) == Loaded(1, 4)
    assert len(_ids(settings)) == 5


def test_a_damaged_memory_is_made_anew_from_the_topic(
    settings: Settings, file: Callable[..., RecordedClicks]
) -> None:
    _load(settings, file(ROWS))
    for path in (settings.data_dir / "loads").iterdir():
        path.write_bytes(path.read_bytes()[:11])
    assert _load(settings, file([*ROWS, "cleo,s3,1400009000"])) == Loaded(1, 153)
    assert _load(settings, file([*ROWS, "cleo,s3,1400009000"])) == Loaded(0, 154)


def test_clicks_that_retention_has_deleted_are_known_where_they_were_sent_and_asked_about_elsewhere(
    settings: Settings, file: Callable[..., RecordedClicks], tmp_path: Path
) -> None:
    _load(settings, file(ROWS))
    playing.play(settings, file(["hal,s9,1400000000"], "live.csv"), range(1), playing.Pace(rate=0))
    topic = Names(settings.prefix).clicks
    with clients.admin(settings) as admin:
        ends = {TopicPartition(topic, n): end for n, (_, end) in bounds_of(settings, topic).items()}
        admin.delete_records(ends)
    told: list[str] = []
    assert _load(settings, file(ROWS), say=told.append) == Loaded(0, 153)
    assert len(told) == 1
    assert "warning: 1 records" in told[0]
    other = _elsewhere(settings, tmp_path / "other")
    for _ in range(2):
        with pytest.raises(LoadError, match=r"154 records .* were deleted.*count twice.*--unseen"):
            _load(other, file(ROWS))
    assert _ids(settings) == []
    assert _load(other, file(["eve,s5,1400000000"]), unseen=True) == Loaded(1, 0)


def test_two_loads_at_once_do_not_send_the_same(
    settings: Settings, file: Callable[..., RecordedClicks]
) -> None:
    running = take_slot(settings.data_dir, f"{settings.prefix}load", 0)
    with pytest.raises(LoadError, match="another `nextclick load`"):
        _load(settings, file(ROWS))
    running.release()
    assert _load(settings, file(ROWS)) == Loaded(153, 0)


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("ada,s1,1400000000," + "shelf " * 12_000, "scenario 'shelf .* has 72,00. bytes"),
        ("late,s1,4000000000,", "user 'late' on item 's1'.*ahead"),
        ("ada,s1,1400000000," + '"' + '""	' * 20_000 + '"', "scenario .* bytes"),
    ],
)
def test_clicks_that_workers_would_refuse_are_named_before_any_is_sent(
    settings: Settings, tmp_path: Path, row: str, told: str
) -> None:
    path = tmp_path / "odd.csv"
    path.write_text(f"user_id,item_id,timestamp,scenario\nada,s1,1300000000,\n{row}\n")
    with pytest.raises(Inadmissible, match=told):
        _load(settings, RecordedClicks(path))
    with clients.admin(settings) as admin:
        assert not any(partition_counts(admin, Names(settings.prefix).all()).values())


def test_a_nightly_load_ends_well_and_says_what_it_did(
    settings: Settings, file: Callable[..., RecordedClicks], nextclick: Callable[..., Result]
) -> None:
    path, topic = str(file(ROWS).file), f"{settings.prefix}clicks"
    assert nextclick("load", "--interactions", path).stdout == f"loaded 153 clicks into {topic}\n"
    again = nextclick("load", "--interactions", path)
    assert again.exit_code == 0
    assert again.stdout == f"nothing new: all 153 clicks of {path} were sent to {topic} before\n"
    file([*ROWS, "cleo,s3,1400009000"])
    assert nextclick("load", "--interactions", path).stdout == (
        f"loaded 1 click into {topic}; 153 others were sent before\n"
    )
    assert nextclick("load", catch_exceptions=True).exit_code == 2


def test_reset_begins_anew_after_asking(
    settings: Settings, file: Callable[..., RecordedClicks], nextclick: Callable[..., Result]
) -> None:
    assert "nothing to reset" in nextclick("reset").stdout
    _load(settings, file(ROWS))
    kept, gone = settings.data_dir / "releases" / "r-1", settings.data_dir / "history" / "day=1"
    for folder in (kept, gone):
        folder.mkdir(parents=True)
    asked = nextclick("reset", input="n\n", catch_exceptions=True)
    assert asked.exit_code == 1
    assert f"{settings.prefix}clicks with up to 153 records" in asked.output
    assert len(_ids(settings)) == 153
    assert nextclick("reset", "--yes").exit_code == 0
    with clients.admin(settings) as admin:
        assert not any(partition_counts(admin, Names(settings.prefix).all()).values())
    assert kept.exists()
    assert not gone.exists()
    assert _load(settings, file(ROWS)) == Loaded(153, 0)


def test_reset_waits_for_nobody_who_still_runs(
    settings: Settings, file: Callable[..., RecordedClicks]
) -> None:
    _load(settings, file(ROWS[:3]))
    names = Names(settings.prefix)
    with clients.consumer(settings, names.clicks, group_id=names.worker_group) as member:
        while not member.assignment():
            member.poll(200)
        with pytest.raises(resetting.ResetError, match="stop them first"):
            resetting.remains(settings)
