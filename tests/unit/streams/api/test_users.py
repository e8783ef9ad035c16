"""Wishes about users, impressions that an api tells of, versions against the topic's end, slow clients."""

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from litestar.testing import TestClient

from streams.api import bodies, impressions, protocol
from streams.api.app import make_app
from streams.api.brokers import NotAcknowledged
from streams.api.lists import ListOut
from streams.api.parts import Parts
from streams.settings import load_settings
from streams.wire.contract import decode_click, decode_forget, decode_merge
from tests.worlds.no_broker import NoBroker


class Broker(NoBroker):
    """Takes everything; `elsewhere` are records of another process that this one has not read."""

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self.parts, self.partitions = parts, 4
        self.sent: list[tuple[str, bytes, bytes | None]] = []
        self.elsewhere: list[Any] = []
        self.is_away = False
        self.offset = 0

    @property
    def answering(self) -> bool:
        return not self.is_away

    async def send(self, topic: str, key: bytes, value: bytes | None) -> tuple[int, int]:
        if self.is_away:
            raise NotAcknowledged("away")
        self.sent.append((topic.rpartition(".")[2], key, value))
        offset, self.offset = self.offset, self.offset + 1
        self.positions[topic, 0] = self.offset
        if topic.endswith("items"):
            await asyncio.sleep(0.01)
            self.parts._on_item(record(key, value, offset))
        return 0, offset

    async def read_up(self, topic: str) -> None:
        if self.is_away:
            raise NotAcknowledged("away")
        for each in self.elsewhere:
            self.parts._on_item(each)
        self.elsewhere.clear()


def record(key: bytes, value: bytes | None, offset: int) -> Any:
    return SimpleNamespace(key=key, value=value, offset=offset, timestamp=5, partition=0, headers=())


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Any]:
    parts = Parts(load_settings(prefix="t.", data_dir=tmp_path, timeout_ms=20, impressions="auto"))
    broker = parts.brokers = parts.lists.asking.brokers = Broker(parts)
    with TestClient(make_app(parts), raise_server_exceptions=False) as client:
        yield SimpleNamespace(client=client, broker=broker, parts=parts)


def listed(api: Any, offset: int, user: str = "u1") -> None:
    items = [
        {"item_id": f"i{n}", "score": 1.0, "source": "ann", "reason": {"kind": "popular"}} for n in range(3)
    ]
    value = {
        "recommendation_id": f"c-0-{offset}", "user_id": user, "items": items, "release": "r", "policy": "p",
        "trigger": {"kind": "click", "id": f"e{offset}", "timestamp": 1}, "created_at": 1, "scenario": "home",
    }  # fmt: skip
    now_ms = int(time.time() * 1000)
    api.parts.lists.on_record(
        SimpleNamespace(value=msgspec.json.encode(value), timestamp=now_ms, offset=offset)
    )


def until(holds: Callable[[], Any]) -> None:
    """Waits for what nobody waits for."""
    end = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_user_is_forgotten_and_merged_by_records_of_clicks(api: Any) -> None:
    listed(api, 5)
    told = api.client.delete("/v1/users/u1")
    assert (told.status_code, told.json()) == (202, {"seen": "0-0"})
    topic, key, value = api.broker.sent[-1]
    assert (topic, key, decode_forget(value).user_id) == ("clicks", b"u1", "u1")
    assert api.client.get("/v1/users/u1/recommendations?scenario=home").status_code == 503  # none is held
    told = api.client.post("/v1/users/u1/merge", json={"visitor": "v1"})
    topic, key, value = next(each for each in reversed(api.broker.sent) if each[0] == "clicks")
    merge = decode_merge(value)
    assert (told.status_code, key, merge.user_id, merge.into) == (202, b"v1", "v1", "u1")
    assert api.client.post("/v1/users/u1/merge", json={"visitor": "u1"}).status_code == 422
    assert api.client.get("/v1/users/u1/export").status_code == 501
    api.broker.is_away = True
    assert api.client.delete("/v1/users/u1").status_code == 503


def test_a_list_that_is_handed_out_is_one_impression(api: Any) -> None:
    listed(api, 5)
    path = "/v1/users/u1/recommendations?scenario=home&k=2"
    for _ in range(3):
        assert api.client.get(path).json()["served"] == "held"
    until(lambda: api.broker.sent)
    (sent,) = api.broker.sent
    click = decode_click(sent[2])
    assert (sent[1], click.event, click.shown) == (b"u1", "impression", ["i0", "i1"])
    assert (click.recommendation_id, click.scenario, click.event_id) == ("c-0-5", "home", "shown-c-0-5")
    listed(api, 6)
    api.client.get(path)
    until(lambda: len(api.broker.sent) == 2)


def test_what_was_not_acknowledged_is_told_again_and_what_is_known_is_bounded(
    api: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(impressions, "MOST_KNOWN", 10)
    listed(api, 5)
    path = "/v1/users/u1/recommendations?scenario=home&k=2"
    api.broker.is_away = True
    api.client.get(path)
    until(lambda: not api.parts.impressions._known)
    api.broker.is_away = False
    api.client.get(path)
    until(lambda: len(api.broker.sent) == 1)

    async def many() -> None:
        out = msgspec.convert(api.client.get(path).json(), ListOut)
        for n in range(30):
            api.parts.impressions.shown(msgspec.structs.replace(out, recommendation_id=f"c-1-{n}"))
        assert len(api.parts.impressions._known) == 10
        await asyncio.gather(*api.parts.impressions._waiting)

    asyncio.run(many())


def test_a_condition_holds_against_what_another_process_wrote(api: Any) -> None:
    api.client.put("/v1/items/i1", json={"title": "Tea"})
    api.broker.elsewhere.append(record(b"i1", b'{"item_id":"i1","title":"Theirs","price":2}', 7))
    assert api.client.put("/v1/items/i1", json={}, headers={"if-match": '"0"'}).status_code == 412
    assert api.client.get("/v1/items/i1").json()["title"] == "Theirs"
    api.broker.elsewhere.append(record(b"i1", b'{"item_id":"i1","title":"Newer","price":3}', 8))
    api.broker.offset = 9
    changed = api.client.patch("/v1/items/i1", json={"price": 4}).json()
    assert (changed["title"], changed["price"]) == ("Newer", 4)
    api.broker.is_away = True
    assert api.client.put("/v1/items/i1", json={}, headers={"if-match": "*"}).status_code == 503


def test_of_two_that_change_the_same_version_one_succeeds(api: Any) -> None:
    from concurrent.futures import ThreadPoolExecutor

    api.client.put("/v1/items/i1", json={"title": "Tea"})

    def put(n: int) -> int:
        headers = {"if-match": '"0"'}
        return int(api.client.put("/v1/items/i1", json={"title": f"t{n}"}, headers=headers).status_code)

    with ThreadPoolExecutor(5) as several:
        assert sorted(several.map(put, range(5))) == [200, 412, 412, 412, 412]


def test_a_body_that_does_not_come_is_408(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(bodies, "BODY_SECONDS", 0.05)
    parts = Parts(load_settings(prefix="t.", data_dir=tmp_path))
    parts.brokers = parts.lists.asking.brokers = Broker(parts)
    app, said = make_app(parts), []

    async def receive() -> Any:
        await asyncio.sleep(30)

    async def send(message: Any) -> None:
        said.append(message)

    headers = [(b"content-type", b"application/json"), (b"content-length", b"100")]
    scope = {
        "type": "http", "method": "POST", "state": {},
        "path": "/v1/clicks", "raw_path": b"/v1/clicks",
        "headers": headers,
        "query_string": b"", "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2), "scheme": "http",
        "http_version": "1.1", "root_path": "", "asgi": {"version": "3.0", "spec_version": "2.3"},
    }  # fmt: skip
    asyncio.run(asyncio.wait_for(app(scope, receive, send), 20))
    assert said[0]["status"] == 408
    assert (b"connection", b"close") in [(name.lower(), value) for name, value in said[0]["headers"]]


class Transport:
    """As uvicorn's protocol needs it."""

    def __init__(self) -> None:
        self.is_left, self.high = False, 0

    def abort(self) -> None:
        self.is_left = True

    def set_write_buffer_limits(self, high: int) -> None:
        self.high = high

    def get_extra_info(self, name: str) -> Any:
        return None

    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    def close(self) -> None: ...
    def write(self, data: bytes) -> None: ...


@pytest.mark.parametrize("part", [b"", b"GET /heal", b"GET /healthz HTTP/1.1\r\nHost: a\r\n"])
def test_a_head_that_does_not_come_is_not_waited_for(part: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.05)

    async def run(*parts: bytes) -> bool:
        one, transport = _protocol()
        for each in parts:
            one.data_received(each)
        await asyncio.sleep(0.3)
        one.connection_lost(OSError())
        return bool(transport.is_left)

    assert asyncio.run(run(part))
    assert not asyncio.run(run(b"GET /healthz HTTP/1.1\r\n", b"Host: a\r\n\r\n"))


def test_a_client_that_takes_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "STALLED_SECONDS", 0.05)

    async def run(takes: bool) -> bool:
        one, transport = _protocol()
        one.data_received(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        one.pause_writing()
        if takes:
            one.resume_writing()
        await asyncio.sleep(0.3)
        one.connection_lost(OSError())
        return bool(transport.is_left)

    assert asyncio.run(run(takes=False))
    assert not asyncio.run(run(takes=True))


def _protocol() -> tuple[Any, Any]:
    import uvicorn
    from uvicorn.server import ServerState

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(30)

    transport = Transport()
    one = protocol.Protocol(uvicorn.Config(app), ServerState(), {})
    one.connection_made(transport)  # type: ignore[arg-type]
    return one, transport
