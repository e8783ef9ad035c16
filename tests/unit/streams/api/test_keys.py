"""Keys: who may do what with which, what a public one sees, and that nobody learns one from anywhere."""

import hmac
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from litestar.testing import TestClient
from structlog.testing import capture_logs

from streams.api import limits
from streams.api.app import HANDLERS, make_app, with_slashes
from streams.api.keys import scopes_of
from streams.api.limits import Limits, network_of
from streams.api.origins import is_local, with_origins
from streams.api.parts import Parts
from streams.settings import load_settings
from streams.wire.keys import SCOPES, NewKey, is_token, made, origin_of
from streams.wire.partitioner import partition_of
from tests.worlds.no_broker import NoBroker

SHOP = "https://shop.example"


class Broker(NoBroker):
    """Takes everything; a worker behind it answers each request with one list."""

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self.parts, self.partitions, self.sent = parts, 4, []  # type: ignore[var-annotated]

    @property
    def answering(self) -> bool:
        return True

    async def send(self, topic: str, key: bytes, value: bytes | None) -> tuple[int, int]:
        self.sent.append((topic.rpartition(".")[2], key, value))
        offset = len(self.sent)
        if topic.endswith("requests"):
            asked = msgspec.json.decode(value or b"")
            listed = {
                "recommendation_id": f"r-0-{offset}", "policy": "p", "release": "r", "created_at": 1,
                "trigger": {"kind": "request", "id": asked["request_id"], "timestamp": 1}, "items": [],
            }  # fmt: skip
            record = SimpleNamespace(
                value=msgspec.json.encode(listed), timestamp=time.time() * 1000, offset=offset
            )
            self.parts.lists.on_record(record)
        return partition_of(key, 4), offset


class House:
    """An api with keys, as browsers and servers reach it."""

    def __init__(self, folder: Path, needs_key: bool = False, **settings: Any) -> None:
        self.parts = Parts(load_settings(prefix="t.", data_dir=folder, timeout_ms=500, **settings), needs_key)
        self.broker = self.parts.brokers = self.parts.lists.asking.brokers = Broker(self.parts)
        self.offset = 0
        app: Any = with_origins(with_slashes(make_app(self.parts)), self.parts.keys)
        self.client = TestClient(app, base_url="http://127.0.0.1:8080", raise_server_exceptions=False)

    def key(self, name: str, scope: Any, *origins: str, expires_at: int | None = None) -> NewKey:
        """A key that is in force from now on."""
        new = made(name, scope, [*origins], 1, expires_at)
        self.tell(name, msgspec.json.encode(new.record))
        return new

    def tell(self, name: str, value: bytes | None) -> None:
        """A record of `keys`."""
        self.offset += 1
        self.parts.keys.on_record(SimpleNamespace(key=name.encode(), value=value, offset=self.offset))

    def ask(self, method: str, path: str, key: NewKey | str | None = None, **more: Any) -> Any:
        """The answer; `key` as a bearer's."""
        headers = dict(more.pop("headers", {}))
        if key is not None:
            headers["authorization"] = f"Bearer {key if isinstance(key, str) else key.key}"
        return self.client.request(method, path, headers=headers, **more)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    one = House(tmp_path)
    with one.client:
        yield one


def token(key: NewKey, user: str) -> str:
    """As a shop's server makes it, with what it was told once."""
    return hmac.new(key.secret.encode(), user.encode(), "sha256").hexdigest()


CLICK = {"user_id": "u1", "item_id": "i9", "event": "click"}
ASKED: dict[str, tuple[str, str, Any]] = {
    "clicks": ("POST", "/v1/clicks", CLICK),
    "list": ("GET", "/v1/popular", None),
    "profile": ("GET", "/v1/users/u1", None),
    "items": ("GET", "/v1/items", None),
    "item": ("PUT", "/v1/items/i9", {"title": "Pot"}),
    "rules": ("PUT", "/v1/scenarios/default?dry_run=true", {"k": 2}),
    "letters": ("POST", "/v1/dead-letters/retry", {"offsets": "none"}),
}
MAY = {
    "public": {"clicks", "list"},
    "read": {"list", "profile", "items"},
    "write": {"clicks", "list", "profile", "items", "item"},
    "admin": set(ASKED),
}


@pytest.mark.parametrize("scope", SCOPES)
def test_a_scope_may_what_the_contract_says(tmp_path: Path, scope: Any) -> None:
    house = House(tmp_path, trust_user_ids=True)
    with house.client:
        key = house.key("k", scope)
        found = {
            name: house.ask(method, path, key, json=body) for name, (method, path, body) in ASKED.items()
        }
        refused = {name for name, answer in found.items() if answer.status_code == 403}
        assert set(ASKED) - refused == MAY[scope]
        for name in refused:
            assert found[name].headers["content-type"].startswith("application/problem+json")
            assert "insufficient_scope" in found[name].headers["www-authenticate"]


def test_every_handler_is_behind_the_door_but_those_that_say_what_runs() -> None:
    opened = {
        path for each in HANDLERS for path in each.paths
        if each.opt.get("open") or scopes_of(each.opt.get("doc"), "GET") == ()
    }  # fmt: skip
    assert opened == {"/", "/healthz", "/readyz", "/openapi.json", "/docs"}


def test_without_keys_this_machine_may_everything_and_with_one_nobody_else(house: House) -> None:
    assert house.ask("GET", "/v1/items").status_code == 200
    key = house.key("shop", "read")
    answer = house.ask("GET", "/v1/items")
    assert (answer.status_code, answer.json()["status"]) == (401, 401)
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert house.ask("GET", "/v1/items", key).status_code == 200
    assert house.ask("GET", "/v1/items", key.key[:-1]).status_code == 401
    assert house.ask("GET", "/v1/items", headers={"authorization": f"bearer  {key.key}"}).status_code == 200
    assert house.ask("GET", f"/v1/items?key={key.key}").status_code == 401
    assert house.ask("GET", "/readyz").status_code in (200, 503)
    house.tell("shop", None)
    assert house.ask("GET", "/v1/items", key).status_code == 200  # nobody has a key any more
    other = house.key("other", "read")
    assert house.ask("GET", "/v1/items", key).status_code == 401
    assert house.ask("GET", "/v1/items", other).status_code == 200


def test_a_house_that_others_can_reach_is_never_open(tmp_path: Path) -> None:
    house = House(tmp_path, needs_key=True)
    with house.client:
        assert house.ask("GET", "/v1/items").status_code == 401


def test_nobody_comes_in_before_the_keys_are_read(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.parts.keys.is_read = False
    with house.client:
        answer = house.ask("GET", "/v1/items")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        house.parts.keys.begin()
        key = house.key("shop", "read")
        assert house.ask("GET", "/v1/items", key).status_code == 503
        house.parts.keys.reached()
        assert house.ask("GET", "/v1/items", key).status_code == 200
        # Read again from the beginning, for a lost line: what was known stands until all has come.
        house.parts.keys.begin()
        assert house.ask("GET", "/v1/items", key).status_code == 200
        house.parts.keys.reached()
        assert house.ask("GET", "/v1/items", key).status_code == 200  # the topic was made anew, without keys
        assert house.parts.keys.is_open


def test_an_expired_key_is_none_and_opens_nothing(house: House) -> None:
    key = house.key("old", "admin", expires_at=2)
    assert "expired" in house.ask("GET", "/v1/items", key).json()["detail"]
    assert house.ask("GET", "/v1/items").status_code == 401


def test_a_broken_record_changes_nothing(house: House) -> None:
    key = house.key("shop", "read")
    for value in (b"{", b'{"name":"other","scope":"read"}', b'{"name":"shop","scope":"all","sha256":"x"}'):
        house.tell("shop", value)
    assert house.ask("GET", "/v1/items", key).status_code == 200


def test_a_public_key_needs_the_token_of_each_user(house: House) -> None:
    key = house.key("pages", "public")
    one, two = token(key, "u1"), token(key, "u2")
    path = "/v1/users/u1/recommendations"
    assert house.ask("GET", path, key).status_code == 403
    assert house.ask("GET", f"{path}?user_token={two}", key).status_code == 403
    assert house.ask("GET", f"{path}?user_token={one}", key).status_code == 200
    assert house.ask("GET", path, key, headers={"nextclick-user-token": one.upper()}).status_code == 200
    body = {"user_id": "u1", "items": ["a"], "user_token": one}
    assert house.ask("POST", "/v1/rank", key, json=body).status_code == 200
    assert house.ask("POST", "/v1/rank", key, json=body | {"user_id": "u2"}).status_code == 403
    rows = [{"user_id": "u1", "user_token": one}, {"user_id": "u2", "user_token": two}, {}]
    assert house.ask("POST", "/v1/batch", key, json={"requests": rows}).status_code == 200
    assert (
        house.ask("POST", "/v1/batch", key, json={"requests": [*rows, {"user_id": "u3"}]}).status_code == 403
    )
    similar = "/v1/items/i1/similar?user_id=u1"
    assert house.ask("GET", similar, key).status_code == 403
    assert house.ask("GET", f"/v1/search?q=tea&user_id=u1&user_token={one}", key).status_code == 200
    assert house.ask("GET", "/v1/search?q=tea", key).status_code == 200
    clicks = [CLICK | {"user_token": one}, CLICK | {"user_id": "u2", "user_token": two}]
    assert house.ask("POST", "/v1/clicks", key, json={"clicks": clicks}).json()["accepted"] == 2
    assert (
        house.ask("POST", "/v1/clicks", key, json={"clicks": [CLICK, CLICK], "user_token": one}).status_code
        == 202
    )
    sent = len(house.broker.sent)
    wrong = CLICK | {"user_id": "u3", "user_token": one}
    one_of_two = house.ask("POST", "/v1/clicks", key, json={"clicks": [wrong, clicks[0]]})
    assert (one_of_two.status_code, one_of_two.json()["accepted"]) == (202, 1)
    (refused,) = one_of_two.json()["errors"]
    assert (refused["index"], refused["pointer"]) == (0, "/user_token")
    assert "retry" not in refused
    none = house.ask("POST", "/v1/clicks", key, json={"clicks": [wrong, wrong]})
    assert (none.status_code, "WWW-Authenticate" in none.headers) == (403, True)
    assert [each["pointer"] for each in none.json()["errors"]] == [
        f"/clicks/{n}/user_token" for n in range(2)
    ]
    mixed = house.ask("POST", "/v1/clicks", key, json={"clicks": [wrong, {"user_id": "u1"}]})
    assert mixed.status_code == 422
    assert mixed.json()["errors"][1]["pointer"] == "/clicks/0/user_token"
    assert house.ask("POST", "/v1/clicks", key, json=wrong).status_code == 403
    assert (
        house.ask("POST", "/v1/clicks", key, json=CLICK | {"user_id": 3}).status_code == 403
    )  # is read as "3"
    assert len(house.broker.sent) == sent + 1
    assert not any(b"user_token" in (value or b"") for _, _, value in house.broker.sent)


def test_a_token_is_plain_hmac_and_of_another_key_none() -> None:
    key, other = made("a", "public", [], 1, None), made("b", "public", [], 1, None)
    assert len(key.secret) > 64  # else HMAC would not take its SHA-256 in its place
    assert is_token(key.record, "ü", token(key, "ü"))
    assert not is_token(key.record, "u", token(other, "u"))
    assert not is_token(key.record, "u", hmac.new(key.key.encode(), b"u", "sha256").hexdigest())
    assert not is_token(made("c", "read", [], 1, None).record, "u", "")
    kept = msgspec.json.encode(key.record).decode()
    assert key.key not in kept
    assert key.secret not in kept


def test_a_public_key_sees_public_fields_alone(tmp_path: Path) -> None:
    house = House(tmp_path, trust_user_ids=True, public_fields="title,brand")
    with house.client:
        key, reader = house.key("pages", "public"), house.key("shop", "read")
        for query in (
            "fields=margin",
            "filter=margin<3",
            'filter={"any":[{"not":{"field":"margin","lt":1}}]}',
        ):
            path = f"/v1/popular?{query}"
            assert "margin" in house.ask("GET", path, key).json()["detail"]
            assert house.ask("GET", path, key).status_code == 403
            assert house.ask("GET", path, reader).status_code == 200
        assert (
            house.ask("GET", "/v1/popular?fields=title,attributes.brand&filter=brand:Own", key).status_code
            == 200
        )
        assert house.ask("GET", "/v1/users/u1/recommendations/stream?fields=margin", key).status_code == 403
        given = {"rules": {"k": 2}}
        assert house.ask("POST", "/v1/recommendations", key, json=given).status_code == 403
        first = house.ask("GET", '/v1/popular?filter={"field":"margin","lt":3}&k=1', reader)
        assert first.status_code == 200
        from streams.api.cursors import Cursor, written

        forged = written(Cursor(b"", None, {"field": "margin", "lt": 3}, None))
        assert house.ask("GET", f"/v1/users/u1/recommendations?next={forged}", key).status_code == 403


def test_pages_of_the_key_s_origins_may_ask_and_no_others(house: House) -> None:
    key = house.key("pages", "public", SHOP)
    house.key("other", "public", "https://other.example")
    wants = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}
    asked = house.ask("OPTIONS", "/v1/clicks", headers={"origin": SHOP, **wants})
    assert (asked.status_code, asked.headers["access-control-allow-origin"]) == (204, SHOP)
    assert "authorization" in asked.headers["access-control-allow-headers"]
    evil = {"origin": "https://evil.example"}
    assert house.ask("OPTIONS", "/v1/clicks", headers=evil | wants).status_code == 403
    listed = house.ask("GET", "/v1/popular", key, headers={"origin": SHOP})
    assert (listed.status_code, listed.headers["access-control-allow-origin"]) == (200, SHOP)
    assert "Origin" in listed.headers["vary"]
    unknown = house.ask("GET", "/v1/popular", headers={"origin": SHOP})  # a page may read why it got nothing
    assert (unknown.status_code, unknown.headers["access-control-allow-origin"]) == (401, SHOP)
    for origin in ("https://evil.example", "https://other.example", "null"):
        answer = house.ask("GET", "/v1/popular", key, headers={"origin": origin})
        assert answer.status_code == 403
        assert answer.headers.get("access-control-allow-origin") in (None, "https://other.example")
    assert house.ask("GET", "/v1/popular", key).status_code == 200  # no browser
    assert house.ask("GET", "/v1/items", house.key("shop", "read"), headers=evil).status_code == 200


def test_without_keys_pages_and_names_from_elsewhere_get_nothing(house: House) -> None:
    local = {"origin": "http://localhost:3000"}
    answer = house.ask("GET", "/v1/items", headers=local)
    assert answer.headers["access-control-allow-origin"] == local["origin"]
    for headers in ({"origin": "https://evil.example"}, {"host": "evil.example:8080"}, {"origin": "null"}):
        assert house.ask("POST", "/v1/clicks", json=CLICK, headers=headers).status_code == 403
    assert house.broker.sent == []
    assert house.ask("GET", "/healthz", headers={"host": "api.cluster.local"}).status_code == 200
    for origin in ("http://127.0.0.1", "http://[::1]:5", "https://a.localhost"):
        assert is_local(origin)
    for origin in ("null", "", "http://127.0.0.1.evil.example", "http://localhost@evil.example", "http://["):
        assert not is_local(origin)


def test_origins_are_what_browsers_send() -> None:
    assert origin_of("HTTPS://Shop.Example:443/") == "https://shop.example"
    assert origin_of("http://localhost:3000") == "http://localhost:3000"
    assert origin_of("http://[::1]:80") == "http://[::1]"
    for wrong in (
        "shop.example",
        "*",
        "https://shop.example/a",
        "ftp://a",
        "https://a@b",
        "https://a:x",
        "https://",
    ):
        with pytest.raises(ValueError, match="no origin"):
            origin_of(wrong)


def test_who_asks_too_often_is_told_when_to_come_back(tmp_path: Path) -> None:
    house = House(tmp_path, api_rate=0.5, api_rate_public=1, trust_user_ids=True)
    with house.client:
        key, pages, other = house.key("shop", "read"), house.key("pages", "public"), house.key("b", "read")
        assert house.ask("GET", "/v1/items", key).status_code == 200
        answer = house.ask("GET", "/v1/items", key)
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "2")
        assert answer.json()["title"] == "too many requests"
        assert house.ask("GET", "/v1/items", other).status_code == 200
        assert [house.ask("GET", "/v1/popular", pages).status_code for _ in range(3)] == [200, 200, 429]
        assert house.ask("GET", "/healthz").status_code == 200


def test_buckets_fill_again_and_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    some = Limits()
    assert [some.wait("a", 10, 0.0) for _ in range(20)] == [0.0] * 20
    assert some.wait("a", 10, 0.0) == pytest.approx(0.1)
    assert some.wait("a", 10, 0.1) == 0
    assert some.wait("a", 0, 0.1) == 0
    assert some.wait("slow", 0.1, 0.0) == 0
    monkeypatch.setattr(limits, "MOST_BUCKETS", 100)
    for n in range(1000):
        some.wait(f"k{n}", 1, 1.0)
    assert len(some) == 100
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff:1") == "2001:db8::/64"
    assert network_of("::ffff:10.0.0.1") == network_of("10.0.0.1") == "10.0.0.1"


def test_no_key_and_no_user_is_in_any_log(tmp_path: Path) -> None:
    house = House(tmp_path)
    with house.client, capture_logs() as logs:
        key = house.key("pages", "public")
        given = token(key, "somebody")
        house.parts.lists.get = None  # type: ignore[assignment,method-assign]
        path = f"/v1/users/somebody/recommendations?user_token={given}"
        assert house.ask("GET", path, key).status_code == 500
        assert house.ask("GET", f"{path}&k=0", key).status_code == 422
        assert (
            house.ask("GET", f"/v1/users/somebody/recommendations/stream?key={key.key}x").status_code == 401
        )
    told = repr(logs)
    assert "a request failed" in told
    for secret in (key.key, given, "somebody"):
        assert secret not in told
