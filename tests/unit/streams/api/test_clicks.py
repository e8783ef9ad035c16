"""Clicks over HTTP: forms of a body, ids and times that are filled in, and what is refused."""

import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from litestar.testing import TestClient

from streams.api.app import make_app
from streams.api.bodies import MAX_BODY_BYTES
from streams.api.brokers import NotAcknowledged
from streams.api.clicks import Intake
from streams.api.parts import Parts
from streams.settings import load_settings
from tests.worlds.no_broker import NoBroker

CLICK = {"user_id": "u1", "item_id": "a", "event": "click", "timestamp": 1_763_856_000_000}


class Sink(NoBroker):
    """Keeps what is sent; `refused` users get no acknowledgement."""

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self.sent: list[dict[str, Any]] = []
        self.refused: set[str] = set()

    async def send(self, topic: str, key: bytes, value: bytes | None) -> tuple[int, int]:
        if key.decode() in self.refused:
            raise NotAcknowledged("away")
        assert value is not None
        self.sent.append(msgspec.json.decode(value))
        return 3, len(self.sent) - 1


@pytest.fixture
def api(tmp_path: Any) -> Iterator[Any]:
    parts = Parts(load_settings(prefix="t.", data_dir=tmp_path, event_names={"add_to_cart": "like"}))
    sink = parts.brokers = parts.lists.asking.brokers = Sink(parts)
    with TestClient(make_app(parts), raise_server_exceptions=False) as client:

        def post(
            body: Any = None, raw: bytes | None = None, kind: str = "application/json", **more: str
        ) -> Any:
            content = msgspec.json.encode(body) if raw is None else raw
            headers = {name.replace("_", "-"): value for name, value in more.items()}
            return client.post("/v1/clicks", content=content, headers={"content-type": kind} | headers)

        yield SimpleNamespace(post=post, sent=sink.sent, refused=sink.refused)


def test_one_object_several_and_lines(api: Any) -> None:
    one = api.post(CLICK)
    assert (one.status_code, one.json()) == (202, {"accepted": 1, "seen": "3-0", "errors": []})
    assert api.post({"clicks": [CLICK, CLICK]}).json()["accepted"] == 2
    lines = b"\n".join([msgspec.json.encode(CLICK), b"", b"{half", msgspec.json.encode(CLICK), b""])
    answer = api.post(raw=lines, kind="application/x-ndjson")
    assert answer.json()["accepted"] == 2
    assert answer.json()["errors"][0]["index"] == 1
    assert answer.headers["nextclick-seen"] == answer.json()["seen"] == "3-4"


def test_an_id_is_made_of_what_the_click_says_and_of_its_place(api: Any) -> None:
    api.post({"clicks": [CLICK, CLICK]})
    api.post({"clicks": [CLICK, CLICK]})
    api.post({"clicks": [CLICK | {"event_id": "own"}]})
    names = [each["event_id"] for each in api.sent]
    assert names[:2] == names[2:4]
    assert len(set(names)) == 3
    assert names[4] == "own"


def test_without_a_time_it_is_now_and_each_click_its_own(api: Any) -> None:
    untimed = {name: value for name, value in CLICK.items() if name != "timestamp"}
    for _ in range(2):
        api.post(untimed)
    assert api.sent[0]["event_id"] != api.sent[1]["event_id"]
    assert abs(api.sent[0]["timestamp"] - time.time() * 1000) < 60_000
    for _ in range(2):
        api.post(untimed, idempotency_key="k1")
    assert api.sent[2]["event_id"] == api.sent[3]["event_id"]


def test_with_the_stream_s_clock_now_is_the_newest_event() -> None:
    intake = Intake(load_settings(clock="stream"))
    intake.observe(893_000_000_000, "u9")
    (taken,), _ = intake.read([{"user_id": "u1", "item_id": "a", "event": "click"}], None)
    assert taken.click.timestamp == 893_000_000_000


def test_what_a_worker_would_refuse_is_refused_with_its_place(api: Any) -> None:
    answer = api.post(CLICK | {"event": "lick"})
    assert answer.status_code == 422
    assert answer.headers["content-type"].startswith("application/problem+json")
    ahead = int(time.time() * 1000) + 3_600_000
    bad = [CLICK | {"position": "x"}, CLICK | {"timestamp": ahead}, 7, CLICK | {"user_id": "ä" * 200}]
    mixed = api.post({"clicks": [CLICK, *bad]})
    assert (mixed.status_code, mixed.json()["accepted"]) == (202, 1)
    assert [(each["index"], each["pointer"]) for each in mixed.json()["errors"]] == [
        (1, "/position"), (2, "/timestamp"), (3, ""), (4, "/user_id"),
    ]  # fmt: skip
    none = api.post({"clicks": bad})
    assert none.status_code == 422
    assert none.json()["errors"][0]["pointer"] == "/clicks/0/position"
    assert len(api.sent) == 1


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"event": "dance"}, "/event"), ({"item_id": None}, "/item_id"), ({"user_id": {}}, "/user_id"),
        ({"timestamp": 1_763_856_000_000_000}, "/timestamp"), ({"timestamp": "soon"}, "/timestamp"),
        ({"items": ["a"]}, "/items"), ({"event": "impression", "undo": True}, "/undo"),
        ({"user_id": "ä" * 200}, "/user_id"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_by_its_field(api: Any, change: dict[str, Any], pointer: str) -> None:
    answer = api.post(CLICK | change)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer)
    bare = {name: value for name, value in (CLICK | change).items() if "/" + name != pointer}
    if pointer in ("/event", "/user_id"):
        assert api.post(bare).json()["errors"][0]["pointer"] == pointer


def test_a_time_as_text_makes_the_same_id_as_in_milliseconds(api: Any) -> None:
    for time_of_day in (
        1_735_689_600_000,
        "2025-01-01T00:00:00Z",
        "2025-01-01T01:00:00+01:00",
        "2025-01-01T00:00",
    ):
        assert api.post(CLICK | {"timestamp": time_of_day}).status_code == 202
    assert {each["timestamp"] for each in api.sent} == {1_735_689_600_000}
    assert len({each["event_id"] for each in api.sent}) == 1


def test_slips_are_mended_as_a_worker_does(api: Any) -> None:
    api.post(CLICK | {"user_id": 7, "event": "add_to_cart", "timestamp": "2025-01-01T00:00:00Z"})
    assert (api.sent[0]["user_id"], api.sent[0]["event"]) == ("7", "like")
    assert api.sent[0]["timestamp"] == 1_735_689_600_000


def test_what_is_not_acknowledged_may_be_sent_again(api: Any) -> None:
    api.refused.add("u2")
    mixed = api.post({"clicks": [CLICK, CLICK | {"user_id": "u2"}]})
    assert mixed.status_code == 202
    assert [(each["index"], each["retry"]) for each in mixed.json()["errors"]] == [(1, True)]
    api.refused.add("u1")
    all_of_them = api.post({"clicks": [CLICK, CLICK | {"user_id": "u2"}]})
    assert (all_of_them.status_code, all_of_them.headers["retry-after"]) == (503, "1")


@pytest.mark.parametrize(
    ("raw", "kind", "status"),
    [
        (b"{", "application/json", 400), (b"[1]", "application/json", 422), (b"\xff", "text/plain", 400),
        (b"a=b", "application/x-www-form-urlencoded", 415), (b'{"clicks": 1}', "application/json", 422),
        (b'{"clicks": []}', "application/json", 422), (b"", "application/x-ndjson", 422),
        (b" " * (MAX_BODY_BYTES + 1), "application/json", 413),
        (b'{"clicks": [' + b",".join([b"{}"] * 1001) + b"]}", "application/json", 422),
    ],
)  # fmt: skip
def test_bodies_that_are_none(api: Any, raw: bytes, kind: str, status: int) -> None:
    answer = api.post(raw=raw, kind=kind)
    assert (answer.status_code, answer.json()["status"]) == (status, status)
    assert answer.headers["content-type"].startswith("application/problem+json")
