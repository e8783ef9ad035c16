"""`nextclick api` with a real broker and a real worker: reads after writes, several processes, kill -9."""

import json
import re
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streams.broker.node import EmbeddedBroker
from streams.operate.releases import add
from streams.settings import load_settings
from tests.worlds.system import START_MS, System, ready


class Http:
    """A plain client of one api, and the name of its process."""

    def __init__(self, base: str, name: str) -> None:
        self.base, self.name = base, name

    def ask(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> tuple[int, dict[str, str], Any]:
        """Status, headers, and the body as JSON."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, data, method=method, headers=headers)
        if data is not None and "content-type" not in headers:
            request.add_header("content-type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=90) as answer:
                return answer.status, dict(answer.headers), json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            return error.code, dict(error.headers), json.loads(error.read())

    def get(self, path: str) -> Any:
        """The body of an answer that has to be 200."""
        status, _, found = self.ask("GET", path)
        assert status == 200, found
        return found

    def click(self, user: str, item: str, **more: Any) -> dict[str, Any]:
        """Sends a click; returns the receipt."""
        sent = {"user_id": user, "item_id": item, "event": "click", "timestamp": START_MS} | more
        status, _, found = self.ask("POST", "/v1/clicks", sent)
        assert status == 202, found
        return found  # type: ignore[no-any-return]


def started(system: Any, name: str = "api") -> Http:
    """An api of the system, once it is ready."""
    system.start("api", "--port", "0", name=name)
    plain = lambda: re.sub(r"\x1b\[[0-9;]*m", "", system.said(name))  # noqa: E731
    said = system.wait_for(lambda: re.search(r"address=(\S+)", plain()), f"{name} listens")
    http = Http(said.group(1), name)
    system.wait_for(lambda: http.ask("GET", "/readyz")[0] == 200, f"{name} is ready")
    return http


@pytest.fixture
def served(system: Any) -> tuple[Any, Http]:
    """A worker that has its partitions, and an api."""
    system.start("worker")
    ready(system)
    return system, started(system)


@pytest.fixture
def beside(working: System) -> Iterator[tuple[System, Http]]:
    """That worker, and an api of the test's own."""
    http = started(working, f"api-{time.time_ns()}")
    yield working, http
    if http.name in working.fleet.children:
        working.stop(http.name)


def ids(answer: dict[str, Any]) -> list[str]:
    return [item["item_id"] for item in answer["items"]]


def test_a_click_and_what_follows_it(beside: tuple[System, Http]) -> None:
    system, http = beside
    seen = http.click("annabel", "50")["seen"]
    first = http.get("/v1/users/annabel/recommendations?timeout_ms=20000")
    assert "behind" not in first
    assert first["trigger"]["kind"] == "click" or first["served"] == "computed"
    assert "50" not in ids(first)
    system.wait_for(
        lambda: http.get(f"/v1/users/annabel/recommendations?seen={seen}")["served"] == "held",
        "the list is held",
    )
    second = http.get(f"/v1/users/annabel/recommendations?next={first['next']}&timeout_ms=20000")
    assert not set(ids(first)) & set(ids(second))
    hidden = ids(first)[0]
    http.click("annabel", hidden, event="hide")
    assert hidden not in ids(http.get("/v1/users/annabel/recommendations?timeout_ms=20000"))
    assert http.get("/v1/users/annabel")["profile"]["events"] == 2

    strangers = [http.get("/v1/popular?k=4&timeout_ms=20000") for _ in range(2)]
    assert [each["served"] for each in strangers] == ["computed", "held"]
    assert len(strangers[0]["items"]) == 4
    assert len(http.get("/v1/search?q=comedy&k=3&timeout_ms=20000")["items"]) == 3
    assert len(http.get("/v1/items/50/similar?k=3&timeout_ms=20000")["items"]) == 3
    assert http.ask("GET", "/v1/items/nothing/similar?timeout_ms=20000")[0] == 404
    ranked = http.ask("POST", "/v1/rank", {"user_id": "annabel", "items": ["1", "2", "no"]})[2]
    assert (sorted(ids(ranked)), ranked["unknown"]) == (["1", "2"], ["no"])
    rows = {"requests": [{"user_id": "annabel", "k": 3}, {"user_id": "annabel", "k": 3, "query": "war"}]}
    lists = http.ask("POST", "/v1/batch", rows)[2]["lists"]
    assert not set(ids(lists[0])) & set(ids(lists[1]))
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    told = {"user_id": "bea", "item_id": "50", "event": "click", "timestamp": START_MS}
    http.ask("POST", "/v1/clicks", told, traceparent=trace)
    http.ask("GET", "/v1/search?q=war&user_id=bea&timeout_ms=20000", traceparent=trace)
    for topic in ("clicks", "requests"):
        assert any(("traceparent", trace.encode()) in record.headers for record in system.read(topic))
    assert "annabel" not in system.said(http.name)
    assert system.stop(http.name, 30) == 0


def test_what_one_api_was_told_another_one_reads(beside: tuple[System, Http]) -> None:
    system, one = beside
    other = started(system, f"{one.name}-other")
    stale = []
    for n in range(40):
        user, item = f"u{n % 7}", str(50 + n)
        seen = one.click(user, item, event="click" if n % 3 else "dislike")["seen"]
        found = other.get(f"/v1/users/{user}/recommendations?seen={seen}&timeout_ms=20000")
        if item in ids(found) and "behind" not in found:
            stale.append((n, found))
    assert stale == []
    assert not other.get(f"/v1/users/u1/recommendations?seen={seen}&timeout_ms=20000").get("behind")
    system.stop(other.name)


def test_a_stream_says_each_list_as_it_is_made(beside: tuple[System, Http]) -> None:
    system, http = beside
    http.click("streamed", "50")
    events: list[tuple[str, dict[str, Any]]] = []

    def follow() -> None:
        with urllib.request.urlopen(
            http.base + "/v1/users/streamed/recommendations/stream?fields=title"
        ) as stream:
            name = ""
            for line in stream:
                if line.startswith(b"id: "):
                    name = line[4:].decode().strip()
                elif line.startswith(b"data: "):
                    events.append((name, json.loads(line[6:])))

    follower = threading.Thread(target=follow, daemon=True)
    follower.start()
    system.wait_for(lambda: events, "the newest list")
    http.click("streamed", "172")
    system.wait_for(lambda: "172" not in ids(events[-1][1]) and len(events) > 1, "the next list")
    assert all(name == told["recommendation_id"] for name, told in events)
    assert system.stop(http.name, 30) == 0
    follower.join(90)
    assert not follower.is_alive()


def test_a_click_that_was_answered_by_202_outlives_kill_9(beside: tuple[System, Http]) -> None:
    system, http = beside
    acknowledged: list[str] = []

    def send() -> None:
        for n in range(100_000):
            name = f"e{n}"
            try:
                http.click(f"sure{n % 5}", str(1 + n % 300), event_id=name, event="view")
            except (OSError, ValueError):
                return
            acknowledged.append(name)

    sender = threading.Thread(target=send)
    sender.start()
    system.wait_for(lambda: len(acknowledged) > 100, "some clicks")
    system.kill(http.name)
    sender.join(90)
    there = {json.loads(record.value)["event_id"] for record in system.read("clicks")}
    assert set(acknowledged) <= there


def test_a_broker_that_goes_away_is_said_and_its_return_needs_nobody(tmp_path: Path, release: Path) -> None:
    def broker(port: int) -> EmbeddedBroker:
        return EmbeddedBroker(tmp_path / "broker", port=port, cache=load_settings().cache_dir)

    running = broker(0).start()
    settings = load_settings(
        bootstrap_servers=running.bootstrap_servers, clock="stream", data_dir=tmp_path, prefix="gone."
    )
    system = System(settings, tmp_path, release)
    try:
        http = started(system)
        http.click("u1", "50")
        running.kill()
        click = {"user_id": "u1", "item_id": "51", "event": "click", "timestamp": START_MS, "event_id": "e51"}
        status, headers, _ = http.ask("POST", "/v1/clicks", click)
        assert (status, headers["retry-after"]) == (503, "1")
        assert http.ask("GET", "/v1/popular")[0] == 503
        system.wait_for(lambda: http.ask("GET", "/readyz")[0] == 503, "it is not ready")
        assert http.ask("GET", "/healthz")[0] == 200
        running = broker(running.port).start()
        system.wait_for(lambda: http.ask("GET", "/readyz")[0] == 200, "it is ready again")
        assert http.ask("POST", "/v1/clicks", click)[0] == 202
        assert "Traceback" not in system.said("api")
    finally:
        system.close()
        running.stop()


def test_an_operator_steers_over_http(served: tuple[Any, Http]) -> None:
    system, http = served
    first = http.get("/v1/users/u1/recommendations?timeout_ms=20000&k=5")
    blocked, withdrawn = ids(first)[:2]
    assert http.ask("PUT", "/v1/scenarios/default", {"block": [blocked]})[0] == 200
    assert http.ask("DELETE", f"/v1/items/{withdrawn}")[0] == 204

    def obeyed() -> bool:
        found = http.get("/v1/users/u1/recommendations?timeout_ms=20000&k=5")
        return found["rules"] == 0 and withdrawn not in ids(found)

    system.wait_for(obeyed, "lists obey the rules")
    assert blocked not in ids(http.get("/v1/users/u1/recommendations?timeout_ms=20000&k=5"))
    tried = http.ask("PUT", "/v1/scenarios/default?dry_run=true&user_id=u1", {"k": 2, "pin": []})
    assert (tried[0], len(tried[2]["items"])) == (200, 2)
    assert http.get("/v1/scenarios/default")["rules"]["block"] == [blocked]
    told = http.ask("PUT", "/v1/items/new%2F1", {"title": "New", "price": 2})
    assert told[0] == 201
    assert http.get("/v1/items?q=New")["items"][0]["item_id"] == "new/1"
    wanted = {"user_id": "u1", "filter": "price<3", "fields": ["price"], "timeout_ms": 20000}

    def priced() -> list[tuple[str, Any]]:
        found = http.ask("POST", "/v1/recommendations", wanted)[2]["items"]
        return [(each["item_id"], each["fields"]) for each in found]

    system.wait_for(lambda: priced() == [("new/1", {"price": 2.0})], "the worker knows the item")

    system.send("clicks", "u1", b"{broken")
    system.wait_for(lambda: http.get("/v1/dead-letters")["items"], "the letter")
    assert http.get("/v1/dead-letters")["items"][0]["value"] == "{broken"
    assert http.ask("POST", "/v1/dead-letters/retry", {})[2] == {"retried": 1}
    assert http.ask("POST", "/v1/dead-letters/retry", {"offsets": [99]})[0] == 404

    name = add(system.settings, system.release, "live").release
    assert [(each["release"], each["role"]) for each in http.get("/v1/releases")["items"]] == [(name, "live")]
    system.wait_for(lambda: http.ask("GET", "/v1/items/50")[0] == 200, "the live release's items")
    assert http.get("/v1/items/50")["announced"] is False
    pinned = http.ask("POST", f"/v1/releases/{name}/pin", {"reason": "a sale"})[2]
    assert (pinned["decision"], pinned["reason"]) == ("pinned", "a sale")
    assert http.ask("POST", f"/v1/releases/{name}/rollback", {})[0] == 409
    assert http.ask("POST", "/v1/releases/r-none/promote", {})[0] == 404
