"""The catalogue and scenarios over HTTP: versions, merging, pages, and the file that can be made anew."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from litestar.testing import TestClient

from learner.data.catalogue import Item
from streams.api.app import make_app
from streams.api.brokers import NotAcknowledged
from streams.api.catalogue import Catalogue
from streams.api.item_routes import merged
from streams.api.parts import Parts
from streams.settings import load_settings
from tests.worlds.no_broker import NoBroker


class Loop(NoBroker):
    """What is sent is read at once."""

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self.feeds = {
            parts.names.items: parts._on_item, parts.names.scenarios: parts.steering.on_scenario,
        }  # fmt: skip
        self.is_away = False

    async def send(self, topic: str, key: bytes, value: bytes | None) -> tuple[int, int]:
        if self.is_away:
            raise NotAcknowledged("away")
        offset = self.positions.get((topic, 0), 0)
        self.positions[topic, 0] = offset + 1
        self.feeds[topic](
            SimpleNamespace(key=key, value=value, offset=offset, timestamp=5, partition=0, headers=())
        )
        return 0, offset


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Any]:
    parts = Parts(load_settings(prefix="t.", data_dir=tmp_path, timeout_ms=20))
    loop = parts.brokers = parts.lists.asking.brokers = Loop(parts)
    with TestClient(make_app(parts), raise_server_exceptions=False) as client:
        yield SimpleNamespace(client=client, loop=loop, parts=parts)


def test_an_item_is_told_changed_and_withdrawn(api: Any) -> None:
    client = api.client
    assert client.get("/v1/items/i1").status_code == 404
    made = client.put(
        "/v1/items/i1", json={"title": "Tea", "price": 3, "published_at": "2025-01-01T00:00:00Z"}
    )
    assert (made.status_code, made.headers["etag"]) == (201, '"0"')
    found = client.get("/v1/items/i1")
    assert found.headers["etag"] == '"0"'
    assert (found.json()["published_at"], found.json()["announced"]) == (1_735_689_600_000, True)
    changed = client.patch("/v1/items/i1", json={"price": 4, "title": None, "attributes": {"brand": "Acme"}})
    assert changed.status_code == 200
    assert (changed.json()["price"], changed.json()["title"]) == (4, None)
    assert changed.json()["attributes"] == {"brand": "Acme"}
    gone = client.delete("/v1/items/i1")
    assert (gone.status_code, client.get("/v1/items/i1").status_code) == (204, 404)
    assert "i1" in api.parts.steering.withdrawn
    assert client.patch("/v1/items/i1", json={}).status_code == 404


def test_who_names_another_version_changes_nothing(api: Any) -> None:
    client = api.client
    client.put("/v1/items/i1", json={"title": "Tea"})
    assert client.put("/v1/items/i1", json={}, headers={"if-match": '"7"'}).status_code == 412
    assert client.put("/v1/items/i1", json={}, headers={"if-none-match": "*"}).status_code == 412
    assert client.delete("/v1/items/i2", headers={"if-match": "*"}).status_code == 412
    assert client.put("/v1/items/i1", json={"title": "Pot"}, headers={"if-match": '"0"'}).status_code == 200
    assert client.get("/v1/items/i1").json()["title"] == "Pot"


def test_what_is_no_item_is_named_and_an_absent_broker_said(api: Any) -> None:
    wrong = api.client.put("/v1/items/i1", json={"price": "cheap"})
    assert (wrong.status_code, wrong.json()["errors"][0]["pointer"]) == (422, "/price")
    assert api.client.put("/v1/items/i1", json={"item_id": "i2"}).status_code == 422
    many = api.client.post("/v1/items", json={"items": [{"item_id": "a"}, {"title": "x"}, {"item_id": "b"}]})
    assert (many.status_code, many.json()["accepted"], many.json()["errors"][0]["index"]) == (202, 2, 1)
    assert many.json()["errors"][0]["pointer"] == "/item_id"
    noted = api.client.post("/v1/items", json={"items": [{"item_id": "a"}], "note": "x"})
    assert noted.status_code == 202  # a field that nobody knows is passed over, as in each item
    assert api.client.post("/v1/items", json={"items": []}).json()["errors"][0]["pointer"] == "/items"
    dated = api.client.put("/v1/items/i1", json={"published_at": "2025-01-01"})
    assert dated.json()["published_at"] == 1_735_689_600_000
    api.loop.is_away = True
    for answer in (
        api.client.put("/v1/items/i1", json={}),
        api.client.post("/v1/items", json={"items": [{"item_id": "a"}]}),
        api.client.put("/v1/scenarios/cart", json={}),
    ):  # fmt: skip
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


def test_pages_hold_everything_once(api: Any) -> None:
    lines = b"\n".join(msgspec.json.encode({"item_id": f"i{n:02}", "title": f"Pot {n}"}) for n in range(25))
    api.client.post("/v1/items", content=lines, headers={"content-type": "application/x-ndjson"})
    api.client.delete("/v1/items/i07")
    found, cursor = [], None
    for _ in range(3):
        page = api.client.get(
            "/v1/items", params={"limit": 8} | ({"cursor": cursor} if cursor else {})
        ).json()
        found += [each["item_id"] for each in page["items"]]
        cursor = page["next"]
    assert cursor is None
    assert found == [f"i{n:02}" for n in range(25) if n != 7]
    assert [each["title"] for each in api.client.get("/v1/items?q=pot 1").json()["items"]][:2] == [
        "Pot 1",
        "Pot 10",
    ]
    assert [each["title"] for each in api.client.get("/v1/items?q=24 pot").json()["items"]] == ["Pot 24"]
    assert [each["item_id"] for each in api.client.get("/v1/items?q=i09").json()["items"]] == ["i09"]
    assert api.client.get("/v1/items?q=100%25").json()["items"] == []
    assert api.client.get("/v1/items?cursor=x").status_code == 400


def test_items_that_only_the_live_release_knows_are_there_too(api: Any) -> None:
    client, catalogue = api.client, api.parts.catalogue
    client.put("/v1/items/b", json={"title": "Told"})
    client.delete("/v1/items/c")
    catalogue.put_released("r-1", [Item(item_id=each, title=f"Old {each}") for each in "abcd"])
    assert catalogue.released == "r-1"
    found = client.get("/v1/items").json()["items"]
    assert [(each["item_id"], each["announced"]) for each in found] == [
        ("a", False),
        ("b", True),
        ("d", False),
    ]
    one = client.get("/v1/items/a")
    assert (one.json()["title"], "etag" in one.headers) == ("Old a", False)
    assert client.patch("/v1/items/a", json={"price": 2}).status_code == 201
    assert client.get("/v1/items/a").json()["announced"] is True
    catalogue.put_released("r-2", [Item(item_id="e")])
    assert [each["item_id"] for each in client.get("/v1/items").json()["items"]] == ["a", "b", "e"]


def test_merging_is_rfc_7396() -> None:
    for target, change, expected in (
        ({"a": "b"}, {"a": "c"}, {"a": "c"}), ({"a": "b"}, {"a": None}, {}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}), ([1, 2], {"a": 1}, {"a": 1}), ({"a": "foo"}, "bar", "bar"),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ):  # fmt: skip
        assert merged(target, change) == expected


def test_the_file_goes_on_where_it_was_and_is_made_anew_where_it_cannot(tmp_path: Path) -> None:
    file = tmp_path / "c.sqlite3"
    one, other = Catalogue(file), Catalogue(file)
    for offset, title in enumerate(("Tea", "Pot")):
        value = msgspec.json.encode({"item_id": "i", "title": title})
        one.on_record(SimpleNamespace(key=b"i", value=value, offset=offset))
    one.flush()
    other.on_record(SimpleNamespace(key=b"i", value=b'{"item_id":"i","title":"Tea"}', offset=0))
    found = other.get("i")  # an older record changes nothing
    assert found is not None
    assert found.item is not None
    assert (found.item.title, other.begin(5)) == ("Pot", 2)
    assert (other.begin(1), other.get("i")) == (0, None)
    one.close()
    other.close()
    file.write_bytes(b"no database, and long enough to be looked at" * 30)
    assert Catalogue(file).begin(9) == 0


def test_rules_are_told_tried_and_taken_away(api: Any) -> None:
    client = api.client
    assert client.get("/v1/scenarios").json()["items"][0]["scenario"] == "default"
    assert client.get("/v1/scenarios/cart").status_code == 404
    put = client.put("/v1/scenarios/cart", json={"k": 6, "block": ["i4"]})
    assert (put.status_code, put.headers["etag"]) == (200, '"0"')
    rules = {"scenario": "cart", "k": 6, "block": ["i4"]}
    found = client.get("/v1/scenarios/cart").json()
    assert found["rules"] == rules
    assert {name: found[name] for name in rules} == rules
    assert client.put("/v1/scenarios/cart", json=found | {"k": 5}).json()["rules"] == rules | {"k": 5}
    assert client.put("/v1/scenarios/cart", json={"rules": rules}).status_code == 422
    assert client.put("/v1/scenarios/cart", json={"k": 7}, headers={"if-match": '"9"'}).status_code == 412
    wrong = client.put(
        "/v1/scenarios/cart", json={"boost": [{"filter": {"field": "a", "eq": 1}, "factor": 0.5}]}
    )
    assert (wrong.status_code, wrong.json()["errors"][0]["pointer"]) == (422, "/boost/0/factor")
    assert client.put("/v1/scenarios/cart", json={"bloc": []}).status_code == 422
    api.loop.is_away = True
    assert client.put("/v1/scenarios/cart?dry_run=true", json={"k": 3}).status_code == 503  # it asks a worker
    api.loop.is_away = False
    assert client.delete("/v1/scenarios/cart").status_code == 204
    assert client.delete("/v1/scenarios/cart").status_code == 404
