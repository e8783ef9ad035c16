"""Which list a read gets: held, computed or stale; tokens, rules, deadlines; over the real handlers."""

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from litestar import Litestar
from litestar.testing import TestClient

from streams.api.app import make_app, with_slashes
from streams.api.brokers import NotAcknowledged
from streams.api.parts import Parts
from streams.settings import load_settings
from streams.wire.event_ids import event_hash
from streams.wire.partitioner import partition_of
from tests.worlds.no_broker import NoBroker

PARTITIONS = 4


class FakeBrokers(NoBroker):
    """Takes what is sent, and lets a worker of the test's own answer requests."""

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self.parts = parts
        self.partitions = PARTITIONS
        self.is_away = False
        self.sent: list[tuple[str, str, dict[str, Any]]] = []
        self.offsets: dict[str, int] = {}
        self.answer: Callable[[dict[str, Any]], dict[str, Any] | None] = lambda _: None
        self.caught_up.set()

    @property
    def answering(self) -> bool:
        return not self.is_away

    async def send(self, topic: str, key: bytes, value: bytes | None) -> tuple[int, int]:
        if self.is_away:
            raise NotAcknowledged("away")
        name, decoded = topic.rpartition(".")[2], None if value is None else msgspec.json.decode(value)
        self.sent.append((name, key.decode(), decoded))
        offset = self.offsets[name] = self.offsets.get(name, -1) + 1
        if name == "requests" and (found := self.answer(decoded)) is not None:
            place = f"r-0-{offset}"
            listed = made(place, "request", decoded["request_id"], decoded.get("user_id"), **found)
            asyncio.get_running_loop().call_soon(self.parts.lists.on_record, listed)
        return partition_of(key, PARTITIONS), offset

    def requests(self) -> list[dict[str, Any]]:
        return [value for name, _, value in self.sent if name == "requests"]


_places = iter(range(10**9))


def made(
    place: str, kind: str, trigger: str, user: str | None, items: tuple[str, ...] = ("a", "b", "c"),
    age_ms: int = 0, **more: Any,
) -> Any:  # fmt: skip
    """A record of `recommendations`."""
    listed = [
        {"item_id": each, "score": 1.0, "source": "ann", "reason": {"kind": "popular"}, "propensity": 1.0}
        for each in items
    ]
    value = {
        "recommendation_id": place, "trigger": {"kind": kind, "id": trigger, "timestamp": 1}, "items": listed,
        "release": "r", "policy": "default", "scenario": None, "created_at": 1, "rules": None, "v": 1,
    } | more | ({} if user is None else {"user_id": user})  # fmt: skip
    return SimpleNamespace(
        value=msgspec.json.encode(value), timestamp=int(time.time() * 1000) - age_ms, offset=next(_places)
    )


class World:
    """An api over a broker of the test's own."""

    def __init__(self, **settings: Any) -> None:
        self.parts = Parts(load_settings(prefix="t.", k=3, wait_ms=50, timeout_ms=200, **settings))
        self.brokers = FakeBrokers(self.parts)
        self.parts.brokers = self.parts.lists.asking.brokers = self.brokers
        self.app: Litestar = make_app(self.parts)
        self.client: Any = None

    def listed(self, place: str, user: str = "u1", **more: Any) -> None:
        """A click of the user has made a list."""
        self.parts.lists.on_record(made(place, "click", place, user, **more))

    def get(self, user: str = "u1", **query: Any) -> dict[str, Any]:
        """A user's list over HTTP."""
        answer = self.client.get(f"/v1/users/{user}/recommendations", params=query)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def rule(self, name: str, offset: int, rules: dict[str, Any] | None) -> None:
        """A record of `scenarios`."""
        value = None if rules is None else msgspec.json.encode(rules)
        self.parts.steering.on_scenario(
            SimpleNamespace(
                key=name.encode(), value=value, offset=offset, timestamp=1, partition=0, headers=()
            )
        )


@pytest.fixture
def world(tmp_path: Any) -> Iterator[World]:
    one = World(data_dir=tmp_path)
    with TestClient(with_slashes(one.app), raise_server_exceptions=False) as client:
        one.client = client
        yield one


def ids(answer: dict[str, Any]) -> list[str]:
    return [item["item_id"] for item in answer["items"]]


def test_a_click_s_list_is_handed_out_as_it_is(world: World) -> None:
    world.listed("c-0-7")
    found = world.get()
    assert (found["served"], found["recommendation_id"], ids(found)) == ("held", "c-0-7", ["a", "b", "c"])
    assert "propensity" not in found["items"][0]
    assert world.brokers.sent == []


def test_the_newer_list_is_that_of_the_later_click_whenever_it_came(world: World) -> None:
    world.listed("c-0-8", items=("x", "y", "z"))
    world.listed("c-0-7")
    assert ids(world.get()) == ["x", "y", "z"]
    world.listed("c-0-8", items=("p", "q", "r"))  # of a repeat after a crash the first is kept
    assert ids(world.get()) == ["x", "y", "z"]


def test_a_list_that_is_too_old_is_computed_and_a_plain_answer_is_held(world: World) -> None:
    world.listed("c-0-7", age_ms=61_000)
    world.brokers.answer = lambda _: {"items": ("n", "o", "p")}
    assert world.get()["served"] == "computed"
    assert world.get()["served"] == "held"
    assert len(world.brokers.requests()) == 1
    assert world.get(max_age_ms=0)["served"] == "computed"


def test_what_a_request_asked_for_of_its_own_is_not_held(world: World) -> None:
    world.listed("c-0-7")
    world.brokers.answer = lambda _: {"items": ("n", "o", "p")}
    assert ids(world.get(filter="price<20", exclude="a,b")) == ["n", "o", "p"]
    (asked,) = world.brokers.requests()
    assert (asked["filter"], asked["exclude"]) == ({"field": "price", "lt": 20}, ["a", "b"])
    assert asked["expires_at"] > time.time() * 1000
    assert ids(world.get()) == ["a", "b", "c"]


def test_withdrawn_items_are_out_and_a_list_that_got_too_short_is_computed(world: World) -> None:
    world.listed("c-0-7", items=("a", "b", "c", "d"))
    item = SimpleNamespace(key=b"b", value=None)
    world.parts.steering.on_item(item)
    assert ids(world.get()) == ["a", "c", "d"]
    world.parts.steering.on_item(SimpleNamespace(key=b"a", value=b'{"item_id":"a","available":false}'))
    world.brokers.answer = lambda _: {"items": ("n", "o", "p")}
    assert world.get()["served"] == "computed"


def test_other_rules_than_the_current_ones_make_a_list_unfit(world: World) -> None:
    world.listed("c-0-7")
    world.rule("default", 5, {"k": 2})
    world.brokers.answer = lambda _: {"items": ("n", "o"), "rules": 5}
    assert (world.get()["served"], world.get()["served"]) == ("computed", "held")
    world.rule("default", 6, {"k": 2, "block": ["n"]})
    world.brokers.answer = lambda _: None
    late = world.get()
    assert (late["served"], ids(late)) == ("stale", ["o"])


def test_a_read_after_a_click_here_knows_it(world: World) -> None:
    world.listed("c-0-0")
    sent = world.client.post("/v1/clicks", json={"user_id": "u1", "item_id": "a", "event": "hide"})
    assert sent.status_code == 202
    partition, offset = map(int, sent.json()["seen"].split("-"))
    assert sent.headers["nextclick-seen"] == sent.json()["seen"]
    world.listed(f"c-{partition}-{offset - 1}")
    world.brokers.offsets["clicks"] = 40
    sent = world.client.post("/v1/clicks", json={"user_id": "u1", "item_id": "a", "event": "hide"})
    assert sent.json()["seen"] == f"{partition}-41"
    world.brokers.answer = lambda _: {"items": ("n", "o", "p")}
    found = world.get()
    assert found["served"] == "computed"
    assert world.brokers.requests()[0]["at_least"] == {"partition": partition, "offset": 41}
    assert world.get()["served"] == "held"  # the answer knows it, and so does who reads it


def test_a_hasty_read_after_a_click_asks_too(world: World) -> None:
    """A click's own list is waited for, but not for all of the time that there is."""
    world.brokers.answer = lambda _: {}
    click = {"user_id": "u1", "item_id": "a", "event": "click"}
    assert world.client.post("/v1/clicks", json=click).status_code == 202
    assert world.get(timeout_ms=50)["served"] == "computed"


def test_a_token_of_another_process_is_waited_for_and_then_said_to_be_behind(world: World) -> None:
    world.listed("c-0-7")
    seen = f"{partition_of(b'u1', PARTITIONS)}-9"
    behind = world.get(seen=seen)
    assert (behind["served"], behind["behind"], behind["recommendation_id"]) == ("held", True, "c-0-7")
    assert world.brokers.requests()[0]["at_least"]["offset"] == 9
    world.listed("c-0-9", items=("x", "y", "z"))
    known = world.get(seen=seen)
    assert ids(known) == ["x", "y", "z"]
    assert "behind" not in known


def test_no_list_in_time_is_503_with_retry_after(world: World) -> None:
    answer = world.client.get("/v1/users/u9/recommendations", params={"timeout_ms": 30})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.headers["content-type"].startswith("application/problem+json")
    assert answer.json()["status"] == 503


def test_without_a_broker_held_lists_go_out_and_others_are_503(world: World) -> None:
    world.listed("c-0-7")
    world.listed("c-0-8", user="u2", age_ms=99_000)
    world.brokers.is_away = True
    assert world.get()["served"] == "held"
    assert world.get("u2")["served"] == "stale"
    for path in ("/v1/users/u9/recommendations", "/v1/popular", "/readyz"):
        answer = world.client.get(path)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    world.brokers.is_away = False
    assert world.client.get("/readyz").status_code == 200


def test_all_strangers_share_a_list(world: World) -> None:
    world.brokers.answer = lambda _: {"items": ("n", "o", "p")}
    first, second = (world.client.get("/v1/popular").json() for _ in range(2))
    assert (first["served"], second["served"]) == ("computed", "held")
    assert "user_id" not in first
    third = world.client.post("/v1/recommendations", json={})
    assert third.json()["served"] == "held"
    world.client.get("/v1/popular", params={"filter": "price<3"})
    assert len(world.brokers.requests()) == 2


def test_one_stranger_s_patience_is_nobody_elses(world: World) -> None:
    """One waits long, another not, for the same list, which is made once the other has gone."""
    with ThreadPoolExecutor() as at_once:
        patient = at_once.submit(world.client.get, "/v1/popular", params={"timeout_ms": 30_000})
        while not world.brokers.requests():
            time.sleep(0.01)
        assert world.client.get("/v1/popular", params={"timeout_ms": 50}).status_code == 503
        assert not patient.done()
        (asked,) = world.brokers.requests()
        listed = made("r-0-0", "request", asked["request_id"], None)
        with world.client.portal() as portal:
            portal.call(world.parts.lists.on_record, listed)
        assert patient.result().status_code == 200


def test_a_cursor_leaves_out_what_was_shown_and_keeps_what_was_asked(world: World) -> None:
    pages = [("a", "b", "c"), ("d", "e", "f"), ("g",)]
    world.brokers.answer = lambda _: {"items": pages.pop(0)}
    first = world.get(filter="price<20", query="tea", scenario="home")
    second = world.get(next=first["next"])
    third = world.get(next=second["next"])
    assert third["next"] is None
    asked = world.brokers.requests()[2]
    assert asked["exclude_hashes"] == [event_hash(each) for each in "abcdef"]
    assert (asked["filter"], asked["query"], asked["scenario"]) == (
        {"field": "price", "lt": 20}, "tea", "home",
    )  # fmt: skip


@pytest.mark.parametrize(
    "change", [lambda text: text[:-2], lambda text: "B" + text[1:], lambda _: "x?", lambda _: "é"]
)
def test_a_cursor_that_nobody_gave_out_is_400(world: World, change: Callable[[str], str]) -> None:
    world.listed("c-0-7")
    broken = change(world.get()["next"])
    answer = world.client.get("/v1/users/u1/recommendations", params={"next": broken})
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith("next is no cursor")


def test_a_cursor_holds_at_most_500(world: World) -> None:
    world.brokers.answer = lambda asked: {"items": tuple(f"i{n}" for n in range(asked["k"]))}
    first = world.get(k=400)
    second = world.get(k=200, next=first["next"])
    world.get(k=3, next=second["next"])
    assert [len(each.get("exclude_hashes", ())) for each in world.brokers.requests()] == [0, 400, 500]


def test_similar_items_of_an_unknown_one_are_404(world: World) -> None:
    world.brokers.answer = lambda asked: {"items": (), "unknown": [asked["similar_to"]]}
    answer = world.client.get("/v1/items/a%2Fb/similar")
    assert (answer.status_code, world.brokers.requests()[0]["similar_to"]) == (404, "a/b")


def test_an_id_may_hold_whatever_utf_8_has_and_is_never_empty(world: World) -> None:
    world.listed("c-0-7", user="a/b\x00 ä%")
    found = world.client.get("/v1/users/a%2fb%00%20%C3%A4%25/recommendations")
    assert found.json()["user_id"] == "a/b\x00 ä%"
    assert world.client.get("/v1/users//recommendations").status_code == 404


def test_rank_search_and_profile_ask_for_what_they_are(world: World) -> None:
    profile = {
        "events": 3, "consumed": 2, "history": [], "categories": [], "release": "r", "applied_offset": 4,
    }  # fmt: skip
    world.brokers.answer = lambda asked: {
        "items": tuple(asked.get("rank", ("a",))),
        **({"profile": profile} if asked.get("profile") else {}),
    }
    ranked = world.client.post("/v1/rank", json={"user_id": "u1", "items": [f"i{n}" for n in range(20)]})
    assert (len(ranked.json()["items"]), ranked.json()["next"]) == (20, None)
    assert world.client.get("/v1/search", params={"q": "tea pot"}).status_code == 200
    assert world.client.get("/v1/users/u1").json() == {"user_id": "u1", **profile, "profile": profile}
    asked = world.brokers.requests()
    assert (asked[1]["query"], asked[2]["profile"]) == ("tea pot", True)
    assert world.client.get("/v1/search").status_code == 422


def test_the_rows_of_a_page_hold_no_item_twice(world: World) -> None:
    items = tuple(f"i{n}" for n in range(30))
    world.brokers.answer = lambda asked: {"items": items[: asked["k"]]}
    rows = [{"user_id": "u1", "k": 3, "query": "a"}, {"user_id": "u1", "k": 4, "query": "b"}, {"k": 2}]
    found = world.client.post("/v1/batch", json={"requests": rows}).json()["lists"]
    assert [ids(each) for each in found] == [list(items[:3]), list(items[3:7]), list(items[7:9])]
    again = world.client.post("/v1/batch", json={"requests": rows, "distinct": False}).json()["lists"]
    assert [ids(each) for each in again] == [list(items[:3]), list(items[:4]), list(items[:2])]


def test_a_worker_that_has_not_read_what_this_process_has_is_asked_again(world: World) -> None:
    withdraw = SimpleNamespace(key=b"a", value=None, offset=1, timestamp=1, partition=0, headers=())
    world.parts.steering.on_item(withdraw)
    world.rule("cart", 4, {"scenario": "cart", "k": 2})
    late = [{"items": ("a", "b"), "rules": 4}, {"items": ("b", "c"), "rules": 3}]
    answers = iter([*late, {"items": ("c", "d"), "rules": 4}])
    world.brokers.answer = lambda asked: next(answers)
    found = world.get(scenario="cart", max_age_ms=0, timeout_ms=60_000)
    assert (ids(found), len(world.brokers.requests())) == (["c", "d"], 3)
    world.brokers.answer = lambda asked: {"items": ("a", "b", "c"), "rules": None}
    never = world.client.post(
        "/v1/recommendations", json={"user_id": "u1", "filter": "price<9", "k": 3}
    ).json()
    assert ids(never) == ["b", "c"]  # whoever never reads it is not waited for
    assert world.client.get("/v1/popular").status_code == 200


def test_rules_of_a_request_s_own_say_how_long_its_list_is(world: World) -> None:
    world.rule("cart", 1, {"scenario": "cart", "k": 2})
    world.brokers.answer = lambda asked: {"items": tuple(f"i{n}" for n in range(20))}
    asked = {"user_id": "u1", "scenario": "cart"}
    for rules, length in (({"k": 5}, 5), ({}, 3), (None, 2)):
        found = world.client.post("/v1/recommendations", json=asked | {"rules": rules}).json()
        assert (len(found["items"]), found["next"] is not None) == (length, True)
    tried = world.client.put("/v1/scenarios/cart?dry_run=true", json={"block": ["a"]}).json()
    assert len(tried["items"]) == 3
    assert [world.brokers.requests()[-1][name] for name in ("scenario", "rules")] == [
        "cart", {"scenario": "cart", "block": ["a"]},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("row", "status", "pointer"),
    [
        ({"filter": "price<"}, 422, "/filter"), ({"user_id": "ä" * 200}, 422, "/user_id"),
        ({"filter": {"and": "x"}}, 422, "/filter"),
        ({"user_id": "u", "filter": {"and": "x"}}, 422, "/filter"),
        ({"rules": {"filter": {"and": "x"}}}, 422, "/rules/filter"),
        ({"next": "x"}, 400, "/next"), ({"user_id": "u", "seen": "x"}, 400, "/seen"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_row_is_named_with_its_place(
    world: World, row: dict[str, Any], status: int, pointer: str
) -> None:
    world.brokers.answer = lambda _: {"items": ("a", "b", "c")}
    wrong = world.client.post("/v1/batch", json={"requests": [{"k": 1}, row, row]})
    assert (wrong.status_code, wrong.json()["errors"][0]["pointer"]) == (status, f"/requests/1{pointer}")


def test_an_item_s_name_that_is_too_long_is_named_with_its_place(world: World) -> None:
    wrong = world.client.post("/v1/rank", json={"items": ["a", "ä" * 200]})
    assert (wrong.status_code, wrong.json()["errors"][0]["pointer"]) == (422, "/items/1")


@pytest.mark.parametrize("depth", [200, 600, 800, 1500, 2500])
@pytest.mark.parametrize("end", ["", "]}"])
def test_a_filter_that_is_nested_too_deep_is_refused(world: World, depth: int, end: str) -> None:
    deep = '{"all":[' * depth + end * depth
    for path in ("/v1/users/u1/recommendations", "/v1/popular"):
        assert world.client.get(path, params={"filter": deep}).status_code in (400, 422)


def test_rules_as_a_read_gives_them_are_taken_back_and_no_change_is_lost(world: World) -> None:
    world.rule("cart", 4, {"scenario": "cart", "k": 6})
    read = world.client.get("/v1/scenarios/cart").json()
    again = {"k": 6, "rules": {"k": 6}}
    for body in (read, again, read | {"k": 9}):
        world.brokers.answer = lambda _: {"items": ("a",)}
        assert world.client.put("/v1/scenarios/cart?dry_run=true", json=body).status_code == 200
    for body in (read | {"rules": read["rules"] | {"k": 9}}, {"rules": {"k": 9}}, {"rules": {"k": 6}}):
        wrong = world.client.put("/v1/scenarios/cart", json=body)
        assert (wrong.status_code, wrong.json()["errors"][0]["pointer"]) == (422, "/rules")


@pytest.mark.parametrize(
    ("body", "status", "pointer"),
    [
        (b"[1", 400, None), (b'{"k": "x", ', 400, None), (b"[1]", 422, ""), (b'{"k": "x"}', 422, "/k"),
        (b'{"colour": 1}', 422, "/colour"), (b'{"a.b": 1}', 422, "/a.b"),
        (b'{"rules": {"pin": [{"position": 1}]}}', 422, "/rules/pin/0/item_id"),
    ],
)  # fmt: skip
def test_what_is_no_json_is_malformed_and_the_rest_off_the_schema(
    world: World, body: bytes, status: int, pointer: str | None
) -> None:
    answer = world.client.post("/v1/recommendations", content=body)
    told = answer.json()
    assert (answer.status_code, told.get("errors", [{}])[0].get("pointer")) == (status, pointer)


def test_search_and_popular_lists_go_on_by_their_cursors(world: World) -> None:
    world.brokers.answer = lambda asked: {"items": ("a", "b", "c")}
    for path, asked in (
        ("/v1/search", {"q": "tea"}),
        ("/v1/popular", {"filter": "price<9", "scenario": "home"}),
    ):
        first = world.client.get(path, params=asked).json()
        world.client.get(path, params={"q": "tea", "next": first["next"]})
        before, after = world.brokers.requests()[-2:]
        assert [int(each) for each in after["exclude_hashes"]] == [event_hash(each) for each in "abc"]
        assert all(after.get(name) == before.get(name) for name in ("query", "filter", "scenario"))


@pytest.mark.parametrize(
    ("query", "pointer"),
    [({"k": 0}, "/k"), ({"diversity": 2}, "/diversity"), ({"filter": "price<x"}, "/filter")],
)
def test_a_parameter_off_the_schema_is_named(world: World, query: dict[str, Any], pointer: str) -> None:
    answer = world.client.get("/v1/users/u1/recommendations", params=query)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == pointer


def test_of_a_user_s_lists_those_of_the_scenario_nobody_asks_for_go_first(tmp_path: Any) -> None:
    world = World(data_dir=tmp_path, api_cache_mb=0.1)
    with TestClient(world.app) as world.client:
        for n in range(200):
            world.listed(f"c-0-{n}", user="u0", scenario="asked" if n == 0 else f"s{n}")
            world.get("u0", scenario="asked", seen="9-0", timeout_ms=1)
        held = world.parts.lists.held
        assert held.bytes <= 100_000
        user = held.of("u0", "asked")
        assert user is not None
        assert {"asked", "s199"} <= set(user.lists)
        assert "s1" not in user.lists
        held.forget("u0")
        assert (held.bytes, len(held)) == (0, 0)


def test_memory_stays_within_its_bound_and_the_least_asked_go(tmp_path: Any) -> None:
    world = World(data_dir=tmp_path, api_cache_mb=0.1)
    with TestClient(world.app) as world.client:
        for n in range(20):
            world.listed(f"c-0-{n}", user=f"u{n}")
        for n in range(20, 300):
            world.get("u0")
            world.listed(f"c-0-{n}", user=f"u{n}")
        held = world.parts.lists.held
        assert held.bytes <= 100_000
        assert 10 < len(held) < 300
        assert held.of("u0") is not None
        assert held.of("u1") is None
