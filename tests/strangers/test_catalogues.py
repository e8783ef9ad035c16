"""Catalogues as they come: alone, with items gone, with items too large; and single items by command."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from learner.data.catalogue import Item
from streams.cli import app
from streams.settings import Settings
from streams.traffic.admissible import Inadmissible, prepare
from streams.traffic.catalogue import entries, send_items, withdraw
from streams.transport import clients
from streams.transport.topic_reader import read_to_end
from streams.transport.topics import Names, partition_counts
from streams.wire.contract import MAX_RECORD_BYTES, decode_item


@pytest.fixture
def nextclick(settings: Settings) -> Callable[..., Result]:
    """Runs a command on the test's prefix; a path stands for itself."""
    where = ["--bootstrap-servers", settings.bootstrap_servers, "--prefix", settings.prefix]
    return lambda *arguments, **more: CliRunner().invoke(
        app, [*map(str, arguments), *where], **({"catch_exceptions": False} | more)
    )


@pytest.fixture
def catalogue(tmp_path: Path) -> Callable[..., Path]:
    """A file of items, by their ids."""

    def write(*ids: str) -> Path:
        path = tmp_path / "shop.csv"
        path.write_text("\n".join(["item_id,title", *(f"{each},Title {each}" for each in ids)]) + "\n")
        return path

    return write


def _available(settings: Settings) -> set[str]:
    return {entry.item_id for entry in entries(settings).values() if entry.available}


def test_items_go_alone_and_those_gone_are_said_and_withdrawn_on_wish(
    settings: Settings, nextclick: Callable[..., Result], catalogue: Callable[..., Path]
) -> None:
    assert nextclick("load", "--items", catalogue("cup", "pot", "can")).stdout == "announced 3 items\n"
    path = catalogue("cup")
    left = nextclick("load", "--items", path)
    assert left.exit_code == 0
    assert left.stdout.splitlines() == [
        "announced 1 item",
        f"2 items known from before are not in {path}: pot, can; --withdraw-others withdraws them",
    ]
    assert _available(settings) == {"cup", "pot", "can"}
    done = nextclick("load", "--items", path, "--withdraw-others").stdout
    assert "withdrew 2 items that are not in" in done
    assert _available(settings) == {"cup"}
    assert nextclick("load", "--items", path).stdout == "announced 1 item\n"  # said once
    # One that comes back is announced as any other.
    nextclick("load", "--items", catalogue("cup", "pot"))
    assert _available(settings) == {"cup", "pot"}
    # An export that has failed takes nothing away.
    empty = nextclick("load", "--items", catalogue(), "--withdraw-others", catch_exceptions=True)
    assert empty.exit_code != 0
    assert _available(settings) == {"cup", "pot"}
    alone = nextclick("load", "--withdraw-others", "--interactions", path, catch_exceptions=True)
    assert alone.exit_code == 2


def test_single_items_are_listed_shown_announced_and_withdrawn(
    settings: Settings, nextclick: Callable[..., Result], catalogue: Callable[..., Path]
) -> None:
    nextclick("load", "--items", catalogue("cup", "pot"))
    assert nextclick("items", "list").stdout.splitlines() == [
        "cup\tTitle cup", "pot\tTitle pot", "2 items may be recommended, 0 are withdrawn",
    ]  # fmt: skip
    nextclick("items", "announce", "[jar] 12.0", "--title", "Jar", "--category", "glass", "--price", "3.5")
    nextclick("items", "announce", "cup", "--tag", "tea")  # its title stays
    shown = json.loads(nextclick("items", "show", "[jar] 12.0").stdout)
    assert (shown["title"], shown["categories"], shown["price"]) == ("Jar", ["glass"], 3.5)
    assert json.loads(nextclick("items", "show", "cup").stdout)["title"] == "Title cup"
    told = nextclick("items", "withdraw", "pot", "nobody")
    assert "nobody has announced 'nobody'" in told.stderr
    assert told.stdout == "withdrew 2 items\n"
    listed = nextclick("items", "list", "--json", "--withdrawn").stdout.splitlines()
    assert [json.loads(line)["item_id"] for line in listed] == ["pot", "nobody"]
    assert nextclick("items", "announce", "pot").stdout == "announced pot\n"
    assert json.loads(nextclick("items", "show", "pot").stdout)["title"] == "Title pot"
    assert nextclick("items", "show", "unheard", catch_exceptions=True).exit_code == 1
    assert _available(settings) == {"cup", "pot", "[jar] 12.0"}


@pytest.mark.parametrize(
    "text", ["plain words " * 20_000, 'quotes " and \\ ' * 9_000, "茶壺 " * 30_000, "\n\t\x01" * 40_000]
)
def test_a_long_description_is_cut_to_what_workers_take(text: str) -> None:
    prepared = prepare([Item(item_id="long", title="T", description=text), Item(item_id="short")])
    (_, value), (_, other) = prepared.records
    assert MAX_RECORD_BYTES - 8 <= len(value) <= MAX_RECORD_BYTES
    assert text.startswith(str(decode_item(value).description))
    assert decode_item(other).item_id == "short"
    (line,) = prepared.told
    assert "'long' has" in line
    assert f"of {len(text):,} characters" in line


def _deep(levels: int) -> dict[str, Any]:
    return {"in": _deep(levels - 1)} if levels else {}


@pytest.mark.parametrize(
    ("item", "told"),
    [
        (Item(item_id="wide", tags=["x" * 90] * 1000, description="d"), r"'wide': 93,?\d+ bytes"),
        (Item(item_id="deep", attributes=_deep(40)), "'deep': attributes are nested"),
        (Item(item_id="é" * 200), "400 bytes"),
        (Item(item_id="old", published_at=-5), "'old'.*published_at"),
    ],
)
def test_an_item_that_workers_would_refuse_is_named_before_anything_is_sent(
    settings: Settings, item: Item, told: str
) -> None:
    with pytest.raises(Inadmissible, match=told):
        send_items(settings, [Item(item_id="fine"), item])
    with clients.admin(settings) as admin:
        assert not partition_counts(admin, [Names(settings.prefix).items])[Names(settings.prefix).items]


def test_what_is_said_to_be_announced_arrives(
    settings: Settings, nextclick: Callable[..., Result], tmp_path: Path
) -> None:
    path = tmp_path / "shop.csv"
    path.write_text(f"item_id,title,description\na,A,short\nb,B,{'ab ' * 60_000}\nc,C,\n")
    sent = nextclick("load", "--items", path)
    assert sent.stdout == "announced 3 items\n"
    assert "item 'b' has 180,0" in sent.stderr
    values = [record.value for record in read_to_end(settings, Names(settings.prefix).items)]
    assert [decode_item(value).item_id for value in values] == ["a", "b", "c"]
    withdraw(settings, ["b"])
    assert _available(settings) == {"a", "c"}
