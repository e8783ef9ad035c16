"""Several apis on a real broker: keys in force everywhere, versions between them, topics made anew."""

import asyncio
import hmac
import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from kafka import KafkaAdminClient
from typer.testing import CliRunner

from nextclick import (
    AsyncClient,
    Click,
    ClicksNotSent,
    Client,
    Forbidden,
    Patience,
    Row,
    Unavailable,
    user_token,
)
from streams.cli import app
from streams.operate import keys as operate
from streams.settings import Settings
from streams.wire.keys import NewKey
from streams.wire.partitioner import partition_of
from tests.worlds.browser import browser_page, shop
from tests.worlds.over_http import listening
from tests.worlds.places import ROOT
from tests.worlds.system import START_MS, System

SHOP = "https://shop.example"
EXAMPLES = ROOT / "docs" / "examples"


@pytest.fixture
def system(settings: Settings, tmp_path: Path) -> Iterator[System]:
    """Apis alone: nothing here needs a worker."""
    running = System(settings, tmp_path, tmp_path / "no-release")
    yield running
    running.close()


def of(key: NewKey | str) -> dict[str, str]:
    return {"authorization": f"Bearer {key if isinstance(key, str) else key.key}"}


def add(settings: Settings, name: str, scope: Any, *origins: str) -> NewKey:
    return operate.add(settings, name, scope, [*origins], None, int(time.time() * 1000))


def test_a_key_is_in_force_everywhere_until_it_is_revoked(system: System, settings: Settings) -> None:
    apis = [httpx.Client(base_url=listening(system, name=name), timeout=30) for name in ("one", "other")]
    assert [api.get("/v1/items").status_code for api in apis] == [200, 200]
    where = ["--bootstrap-servers", system.bootstrap, "--prefix", system.prefix]
    made = CliRunner().invoke(app, ["keys", "add", "shop", "--scope", "read", *where])
    assert made.exit_code == 0, made.output
    reader = made.stdout.splitlines()[0]
    for api in apis:
        system.wait_for(lambda api=api: api.get("/v1/items").status_code == 401, "the door is shut")
        assert api.get("/v1/items", headers=of(reader)).status_code == 200
    again = CliRunner().invoke(app, ["keys", "add", "shop", "--scope", "admin", *where])
    assert isinstance(again.exception, operate.NotFit)

    pages = add(settings, "pages", "public", SHOP)
    click = {"user_id": "somebody", "item_id": "i1", "event": "click", "timestamp": START_MS}
    token = hmac.new(pages.secret.encode(), b"somebody", "sha256").hexdigest()
    for api in apis:
        system.wait_for(
            lambda api=api: api.get("/v1/items", headers=of(pages)).status_code == 403, "the key is known"
        )
        assert api.post("/v1/clicks", json=click, headers=of(pages)).status_code == 403
        told = api.post(
            "/v1/clicks", json=click | {"user_token": token}, headers=of(pages) | {"origin": SHOP}
        )
        assert (told.status_code, told.headers["access-control-allow-origin"]) == (202, SHOP)
        path = f"/v1/users/somebody/recommendations/stream?key={pages.key}&user_token={token}"
        with api.stream("GET", path) as stream:
            assert stream.status_code == 200
            assert next(stream.iter_lines()).startswith("retry")
        assert api.get(path.replace(pages.key, reader)).status_code == 401
    url = str(apis[0].base_url)
    for user in ("reader-1", "reader-2"):
        system.send("recommendations", user, listed(user))
        held = f"/v1/users/{user}/recommendations"
        system.wait_for(
            lambda held=held: apis[0].get(held, headers=of(reader)).status_code == 200, "the list is held"
        )
    speaks_for_its_users(url, pages)
    asyncio.run(speaks_for_its_users_too(url, pages))

    assert CliRunner().invoke(app, ["keys", "revoke", "pages", *where]).exit_code == 0
    for api in apis:
        system.wait_for(
            lambda api=api: api.get("/v1/items", headers=of(pages)).status_code == 401, "it is revoked"
        )
    told = json.loads(CliRunner().invoke(app, ["keys", "list", "--json", *where]).stdout)
    assert [(each["name"], each["scope"], each["in_force"]) for each in told] == [("shop", "read", True)]
    said = "".join(map(system.said, ("one", "other"))) + repr(
        [record.value for record in system.read("keys")]
    )
    for secret in (reader, pages.key, pages.secret, token, "somebody"):
        assert secret not in said


AT_ONCE = Patience(retries=0)
CLICKS = [Click(user_id=f"reader-{n}", item_id="i1", timestamp=START_MS) for n in (1, 2)]


def speaks_for_its_users(url: str, pages: NewKey) -> None:
    """A client with a public key, all of whose methods that name users send their tokens."""
    mine = user_token("reader-1", pages.secret)
    with Client(url, key=pages.key, patience=AT_ONCE) as nobody, pytest.raises(Forbidden):
        nobody.recommendations("reader-1")
    with Client(url, key=pages.key, user_token=mine, patience=AT_ONCE) as one:
        assert one.recommendations("reader-1").ids == one.recommend("reader-1").ids
        assert next(one.stream("reader-1")).user_id == "reader-1"
        with pytest.raises(Forbidden):
            one.recommendations("reader-2")
        with pytest.raises(Forbidden):
            next(one.stream("reader-2"))
        with pytest.raises(Forbidden):
            one.user("reader-1")  # which takes another key, not a token
    with Client(url, key=pages.key, user_token=lambda user: user_token(user, pages.secret)) as all_of_them:
        lists = all_of_them.batch([Row(user_id="reader-1"), Row(user_id="reader-2")], distinct=False).lists
        assert [each.user_id for each in lists] == ["reader-1", "reader-2"]
        assert all_of_them.click_many(CLICKS).accepted == 2
        assert all_of_them.click("reader-2", "i2", timestamp=START_MS).accepted == 1
        all_of_them.clicks.add("reader-1", "i2", timestamp=START_MS)
        assert all_of_them.clicks.flush(90) == 0
    with Client(url, key=pages.key, user_token=mine, patience=AT_ONCE) as one:
        one.clicks.add("reader-2", "i2", timestamp=START_MS)  # refused, and holds up nobody
        one.clicks.add("reader-1", "i2", timestamp=START_MS)
        with pytest.raises(ClicksNotSent) as told:
            one.clicks.flush(90)
        assert [click.user_id for click, _ in told.value.refused] == ["reader-2"]
        assert len(one.clicks) == 0
        for ask in (
            lambda user: one.search("tea", user_id=user, timeout_ms=50),
            lambda user: one.similar("i1", user_id=user, timeout_ms=50),
            lambda user: one.rank(user, ["i1"], timeout_ms=50),
        ):
            with pytest.raises(Unavailable):  # nobody makes lists here; that comes after the door
                ask("reader-1")
            with pytest.raises(Forbidden):
                ask("reader-2")


async def speaks_for_its_users_too(url: str, pages: NewKey) -> None:
    """The same for asyncio, as far as it is not the same code."""
    tokens = {click.user_id: user_token(click.user_id, pages.secret) for click in CLICKS}
    async with AsyncClient(url, key=pages.key, user_token=tokens.__getitem__, patience=AT_ONCE) as client:
        assert (await client.click_many(CLICKS)).accepted == 2
        await client.clicks.add("reader-3", "i3", timestamp=START_MS)  # no token of this user can be made
        await client.clicks.add("reader-1", "i3", timestamp=START_MS)
        with pytest.raises(ClicksNotSent) as told:
            await client.clicks.flush(90)
        assert [why for _, why in told.value.refused] == ["/user_token: no token of this user could be made"]
        assert len(client.clicks) == 0
        async for made in client.stream("reader-1"):
            assert made.user_id == "reader-1"
            break
    async with AsyncClient(url, key=pages.key, patience=AT_ONCE) as client:
        with pytest.raises(Forbidden):
            await client.click("reader-1", "i1")


def listed(user: str) -> dict[str, Any]:
    """A list as a worker writes it."""
    return {
        "recommendation_id": "c-0-7", "user_id": user, "release": "r", "policy": "p", "created_at": START_MS,
        "trigger": {"kind": "click", "id": "e7", "timestamp": START_MS}, "scenario": None, "rules": None,
        "items": [
            {"item_id": f"i{n}", "score": 1, "source": "ann", "propensity": 1, "reason": {"kind": "popular"}}
            for n in range(10)
        ],
    }  # fmt: skip


FROM_A_PAGE = """async ([url, key, userToken]) => {
    const { Nextclick } = await import(`${location.origin}/browser.js`);
    const nextclick = new Nextclick(url, { key, userToken });
    const streamed = await new Promise((go) => nextclick.stream("reader-1", go, { fields: "title" }));
    const read = await nextclick.recommendations("reader-1");
    const receipt = await nextclick.click("reader-1", "i1");
    const wrong = await nextclick.recommendations("reader-2").catch((error) => error);
    return [streamed.user_id, read.user_id, receipt.accepted, wrong.status];
}"""


def test_a_page_speaks_with_a_public_key_from_its_origin_alone(system: System, settings: Settings) -> None:
    """In a browser, which sends preflights and keeps answers from pages of other origins."""
    with browser_page() as (page, wrong), shop(EXAMPLES) as port:
        pages = add(settings, "pages", "public", f"http://127.0.0.1:{port}")
        url = listening(system)
        system.send("recommendations", "reader-1", listed("reader-1"))
        page.goto(f"http://127.0.0.1:{port}/")
        told = page.evaluate(FROM_A_PAGE, [url, pages.key, user_token("reader-1", pages.secret)])
        assert told == ["reader-1", "reader-1", 1, 403]
        wrong.clear()
        page.goto(f"http://localhost:{port}/")
        said = page.evaluate("(asked) => fetch(asked).catch((error) => error.name)", f"{url}/v1/popular")
        assert said == "TypeError"
        assert "CORS" in " ".join(wrong)


def test_an_address_that_others_can_reach_needs_a_key(system: System, settings: Settings) -> None:
    system.start("api", "--host", "0.0.0.0", "--port", "0", name="bare")
    assert system.ended("bare") == os.EX_CONFIG
    (line,) = [each for each in system.said("bare").splitlines() if "error" in each]
    assert "nextclick keys add" in system.said("bare"), line
    add(settings, "shop", "read")
    system.start("api", "--host", "0.0.0.0", "--port", "0", name="keyed")
    system.wait_for(lambda: "api listens" in system.said("keyed"), "it listens")


def test_of_two_apis_each_knows_the_version_that_the_other_wrote(system: System) -> None:
    one, other = (
        httpx.Client(base_url=listening(system, name=name), timeout=30) for name in ("one", "other")
    )
    tag = one.put("/v1/items/i1", json={"title": "0"}).headers["etag"]
    for n in range(6):
        told = one.put("/v1/items/i1", json={"title": f"{n}"}, headers={"if-match": tag})
        assert told.status_code == 200
        stale = other.put("/v1/items/i1", json={"title": "stale"}, headers={"if-match": tag})
        assert stale.status_code == 412
        tag = other.patch("/v1/items/i1", json={"price": n}).headers["etag"]
        assert other.get("/v1/items/i1").json()["title"] == f"{n}"
        one, other = other, one
    tag = one.put("/v1/scenarios/cart", json={"k": 3}).headers["etag"]
    assert other.put("/v1/scenarios/cart", json={"k": 4}, headers={"if-match": tag}).status_code == 200
    assert one.put("/v1/scenarios/cart", json={"k": 5}, headers={"if-match": tag}).status_code == 412


def test_topics_that_are_made_anew_are_read_anew(system: System, settings: Settings) -> None:
    api = httpx.Client(base_url=listening(system), timeout=30)
    api.put("/v1/items/i1", json={"title": "Old"})
    click = {"user_id": "u1", "item_id": "i1", "event": "click", "timestamp": START_MS}
    for n in range(3):
        seen = api.post("/v1/clicks", json=click | {"event_id": f"e{n}"}).json()["seen"]
    assert seen.endswith("-2")
    names = [system.topic(name) for name in ("clicks", "items")]
    admin = KafkaAdminClient(bootstrap_servers=system.bootstrap)
    admin.delete_topics(names)
    system.wait_for(lambda: "is of another topic" in system.said("api"), "it is noticed")
    system.wait_for(lambda: api.get("/readyz").status_code == 200, "it is ready again")
    system.wait_for(lambda: api.get("/v1/items/i1").status_code == 404, "the old item is gone")

    def taken() -> str:
        told = api.post("/v1/clicks", json=click | {"event_id": "new"})
        return str(told.json()["seen"]) if told.status_code == 202 else ""

    place = int(system.wait_for(taken, "a click of the new topic").rpartition("-")[2])
    assert place < 3

    def asked_for() -> Any:  # nobody makes a list; the first request may wait for where it is to go
        assert api.get("/v1/users/u1/recommendations?timeout_ms=50").status_code == 503
        return system.read("requests")

    asked = json.loads(system.wait_for(asked_for, "a request")[-1].value)
    partitions = settings.partitions
    assert asked["at_least"] == {"partition": partition_of(b"u1", partitions), "offset": place}
    admin.close()


def test_an_impression_is_written_for_a_list_that_is_handed_out(system: System) -> None:
    system.start("api", "--port", "0", "--set", "impressions=auto", name="told")
    url = _address(system, "told")
    other = listening(system, name="silent")
    system.wait_for(lambda: httpx.get(f"{url}/readyz").status_code == 200, "it is ready")
    system.send("recommendations", "u1", listed("u1"))
    for base in (url, other):
        path = f"{base}/v1/users/u1/recommendations?k=4"
        system.wait_for(lambda path=path: httpx.get(path).status_code == 200, "the list is held")
        httpx.get(path)
    shown = [
        json.loads(record.value) for record in system.wait_for(lambda: system.read("clicks"), "it is told")
    ]
    assert [(each["event"], each["items"], each["recommendation_id"]) for each in shown] == [
        ("impression", ["i0", "i1", "i2", "i3"], "c-0-7")
    ]


def _address(system: System, name: str) -> str:
    def said() -> "re.Match[str] | None":
        return re.search(r"address=(\S+)", re.sub(r"\x1b\[[0-9;]*m", "", system.said(name)))

    address: str = system.wait_for(said, "it listens").group(1)
    return address
