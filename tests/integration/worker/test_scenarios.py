"""Rules with a real broker: they change while clicks come in, and each list obeys those that it names."""

import json
import random
import re
import time
import uuid
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from streams.cli import app
from streams.transport.topics import Names
from tests.worlds.system import START_MS, ready, told, wait_answered

BRANDS = ("Acme", "Own", "Plain")
ITEMS = [str(number) for number in range(1, 1683)]  # those of the release
USERS = 40


def brand(item: str) -> str:
    return BRANDS[int(item) % 3]


def price(item: str) -> int:
    return int(item) * 7 % 100


def announced(item: str) -> dict[str, Any]:
    return {
        "item_id": item,
        "title": f"No. {item}",
        "price": price(item),
        "attributes": {"brand": brand(item)},
    }


@pytest.fixture
def shop(topics: Names, system: Any) -> Any:
    """A worker whose items have brands and prices."""
    for item in ITEMS:
        system.producer.send(
            system.topic("items"), key=item.encode(), value=json.dumps(announced(item)).encode()
        )
    system.producer.flush()
    system.start("worker")
    ready(system)
    return system


@pytest.fixture
def nextclick(shop: Any) -> Callable[..., Result]:
    """Runs a command on the shop."""
    where = ["--bootstrap-servers", shop.bootstrap, "--prefix", shop.prefix, "--clock", "stream"]
    return lambda *arguments: CliRunner().invoke(app, [*arguments, *where], catch_exceptions=False)


def put(system: Any, name: str, rules: Any) -> int:
    """Sends rules (None takes them away); returns the record's offset."""
    offset: int = system.send("scenarios", name, rules).offset
    return offset


def listed(answer: dict[str, Any]) -> list[str]:
    return [item["item_id"] for item in answer["items"]]


def random_rules(rng: random.Random, name: str, number: int) -> dict[str, Any]:
    rules: dict[str, Any] = {"scenario": name, "k": rng.randint(3, 12), "policy": f"{name} {number}"}
    if rng.random() < 0.7:
        rules["filter"] = rng.choice([
            {"field": "price", "lt": rng.randint(5, 60)},
            {"all": [{"field": "brand", "in": rng.sample(BRANDS, 2)}, {"field": "price", "gte": 30}]},
            {"not": {"field": "attributes.brand", "eq": rng.choice(BRANDS)}},
        ])  # fmt: skip
    if rng.random() < 0.5:
        rules["block"] = rng.sample(ITEMS, 400)
    if rng.random() < 0.5:
        rules["caps"] = [{"field": "brand", "most": rng.randint(1, 3)}]
    if rng.random() < 0.5:
        rules["boost"] = [{"filter": {"field": "brand", "eq": "Own"}, "factor": 5}]
    return rules


def passes(asked: dict[str, Any], item: str) -> bool:
    """The filters above, evaluated plainly."""
    if "all" in asked:
        return all(passes(part, item) for part in asked["all"])
    if "not" in asked:
        return not passes(asked["not"], item)
    value = price(item) if asked["field"] == "price" else brand(item)
    tests: dict[str, Callable[[Any], bool]] = {
        "lt": lambda limit: value < limit, "gte": lambda limit: value >= limit,
        "in": lambda some: value in some, "eq": lambda one: value == one,
    }  # fmt: skip
    return all(tests[operator](asked[operator]) for operator in asked if operator != "field")


def obeys(answer: dict[str, Any], rules: dict[str, Any]) -> None:
    """The list breaks no hard rule and carries the rules' label."""
    items = listed(answer)
    assert answer["policy"] == rules["policy"]
    assert len(items) <= rules["k"]
    assert not set(items) & set(rules.get("block", ()))
    for item in items:
        assert passes(rules["filter"], item) if "filter" in rules else True, (item, rules)
    for cap in rules.get("caps", ()):
        assert max(Counter(map(brand, items)).values(), default=0) <= cap["most"]


def test_each_list_obeys_the_rules_whose_offset_it_names(shop: Any) -> None:
    """Rules and withdrawals change between rounds, while forty users click and ask."""
    rng = random.Random(20)
    by_offset: dict[int, dict[str, Any]] = {}
    scenario_of: dict[str, str] = {}
    gone: set[str] = set()
    for number in range(60):
        name = rng.choice(("cart", "home"))
        if rng.random() < 0.15:
            put(shop, name, None)
        else:
            rules = random_rules(rng, name, number)
            by_offset[offset := put(shop, name, rules)] = rules
            if len(by_offset) % 8 == 0:  # whichever way the two topics are read, some do come into force
                until_named(shop, name, offset)
        item = rng.choice(ITEMS[300:])
        gone ^= {item}
        shop.send("items", item, None if item in gone else announced(item))
        for _ in range(10):
            user, name = f"u{rng.randrange(USERS)}", rng.choice(("cart", "home"))
            event_id = uuid.uuid4().hex
            scenario_of[event_id] = name
            if rng.random() < 0.2:
                shop.send(
                    "requests", user,
                    {"request_id": event_id, "user_id": user, "scenario": name, "timestamp": START_MS},
                )  # fmt: skip
            else:
                shop.click(user, rng.choice(ITEMS[:300]), START_MS + number, event_id, scenario=name)
    answers = wait_answered(shop, list(scenario_of))
    for trigger, scenario in scenario_of.items():
        answer = answers[trigger]
        assert answer["scenario"] == scenario
        if answer["rules"] is None:
            assert (answer["policy"], len(listed(answer))) == ("default", 10)
        else:
            assert by_offset[answer["rules"]]["scenario"] == scenario
            obeys(answer, by_offset[answer["rules"]])
    assert len({answer["rules"] for answer in answers.values()}) > 5  # they did change meanwhile
    # What has come into force stays so: of two lists of one user the later names no older rules.
    latest: dict[tuple[str, str], int] = {}
    for record in shop.read("recommendations"):
        answer = json.loads(record.value)
        if answer["rules"] is not None:
            place = answer["user_id"], answer["scenario"]
            assert answer["rules"] >= latest.get(place, 0)
            latest[place] = answer["rules"]
    last = {"scenario": "cart", "k": 12, "policy": "last", "filter": {"field": "price", "gte": 0}}
    offset = put(shop, "cart", last)
    until_named(shop, "cart", offset)
    for user in (f"u{number}" for number in range(USERS)):
        answer = shop.request(user, scenario="cart", k=200, timestamp=START_MS + 100)
        assert answer["rules"] == offset
        assert not set(listed(answer)) & gone


def until_named(system: Any, scenario: str, offset: int | None) -> dict[str, Any]:
    """Asks until a list names these rules; returns it."""
    end = time.monotonic() + 60
    while (answer := system.request("asker", scenario=scenario, timestamp=START_MS))["rules"] != offset:
        assert time.monotonic() < end, f"no list of {scenario} names {offset}: {answer['rules']}"
    return answer  # type: ignore[no-any-return]


def again(system: Any, topic: str, key: str, behind: int) -> Any:
    """Waits for the record that restores what a broken one at `behind` has taken the place of."""

    def found() -> Any:
        for record in system.read(topic):
            if record.key == key.encode() and dict(record.headers).get("restores") == str(behind).encode():
                return record
        return None

    return system.wait_for(found, f"{key} to be written again behind {behind}")


def test_a_broken_record_leaves_the_last_good_in_force_and_it_is_written_again(shop: Any) -> None:
    good = {"scenario": "cart", "k": 4, "filter": {"field": "brand", "eq": "Own"}, "policy": "good"}
    until_named(shop, "cart", put(shop, "cart", good))
    broken = []
    for bad in (b'{"k": 4', {"filter": {"field": "price", "below": 3}}, good | {"scenario": "card"}):
        broken.append(put(shop, "cart", bad))
        restored = again(shop, "scenarios", "cart", broken[-1])
        assert json.loads(restored.value) == good
    answer = until_named(shop, "cart", restored.offset)
    obeys(answer, good)
    letters = shop.wait_for(
        lambda: found if len(found := shop.read("dead-letters")) == 3 else None, "three letters"
    )
    assert [dict(each.headers)["offset"] for each in letters] == [str(offset).encode() for offset in broken]
    # An item's last word: what a worker that starts later would not know without it.
    bad = shop.send("items", "5", {"item_id": "5", "price": "dear"}).offset
    assert json.loads(again(shop, "items", "5", bad).value) == announced("5")
    shop.send("items", "6", None)
    bad = shop.send("items", "6", b"{").offset
    assert again(shop, "items", "6", bad).value is None
    # Who reads it all later begins with the same, and writes nothing more.
    count = {topic: len(shop.read(topic)) for topic in ("scenarios", "items")}
    assert shop.stop("worker") == 0
    shop.start("worker", name="later")
    ready(shop, "later")
    obeys(until_named(shop, "cart", restored.offset), good)
    assert {topic: len(shop.read(topic)) for topic in count} == count
    assert len(shop.read("dead-letters")) == 5


def test_what_nobody_can_have_meant_is_said_once(shop: Any) -> None:
    rules = {"filter": {"any": [{"field": "brand", "exists": True}, {"field": "colour", "eq": "red"}]}}
    until_named(shop, "cart", put(shop, "cart", rules))
    asked = shop.request("u1", scenario="crat", timestamp=START_MS)
    assert asked["rules"] is None
    shop.request("u1", scenario="crat", timestamp=START_MS)
    shop.wait_for(lambda: "nobody has defined" in shop.said("worker"), "the scenario is said")
    shop.wait_for(lambda: "read a field that no item has" in shop.said("worker"), "the field is said")
    assert shop.stop("worker") == 0
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shop.said("worker"))
    assert plain.count("nobody has defined") == 1
    assert "scenario=crat" in plain
    assert "field=colour" in plain
    assert "field=brand" not in plain
    figures = told(shop, "worker")
    assert (figures["scenarios"], figures["unheard_scenarios"], figures["unknown_fields"]) == ("1", "2", "1")
    assert figures["idle_shown_caps"] == "0"


def test_the_commands_steer_and_show(shop: Any, nextclick: Callable[..., Result]) -> None:
    shop.click("u1", "50", START_MS)
    shop.state("u1", 1)
    said = nextclick(
        "scenarios", "put", "cart", "--k", "5", "--filter", "price<50", "--cap", "brand=2", "--pin", "4=1",
        "--block", "9999", "--note", "first",
    )  # fmt: skip
    assert said.exit_code == 0, said.output
    assert "warning: block: nobody has announced 9999" in said.stderr
    assert "filter leaves" in said.stderr
    offset = int(re.findall(r"cart: rules (\d+)", said.stdout)[0])
    until_named(shop, "cart", offset)
    assert "first" in nextclick("scenarios", "list").stdout
    assert json.loads(nextclick("scenarios", "show", "cart").stdout)["k"] == 5
    answer = json.loads(nextclick("recommend", "u1", "--scenario", "cart", "--json").stdout)
    assert answer["rules"] == offset
    assert listed(answer)[0] == "4"
    assert all(price(item) < 50 for item in listed(answer))
    tried = json.loads(
        nextclick("scenarios", "try", "cart", "--user", "u1", "--filter", "price>=50", "--json").stdout
    )
    assert tried["rules"] is None
    assert listed(tried)
    assert all(price(item) >= 50 for item in listed(tried))
    assert "now" in nextclick("scenarios", "try", "cart", "--user", "u1", "--filter", "price>=50").stdout
    assert json.loads(nextclick("scenarios", "show", "cart").stdout)["filter"] == {"field": "price", "lt": 50}
    stranger = nextclick(
        "recommend", "--filter", "brand:Own, price<20", "--fields", "price,brand", "--k", "3"
    )
    assert "a stranger" in stranger.stdout
    assert stranger.stdout.count("Own") == 3
    like = json.loads(nextclick("similar", "50", "--k", "4", "--user", "u1", "--json").stdout)
    assert len(listed(like)) == 4
    assert "50" not in listed(like)
    assert "Like No. 50" in nextclick("similar", "50").stdout
    ranked = json.loads(nextclick("rank", "1", "2", "3", "x", "--user", "u1", "--json").stdout)
    assert (sorted(listed(ranked)), ranked["unknown"]) == (["1", "2", "3"], ["x"])
    known = nextclick("recommend", "u1", "--profile", "--if-clicked", "181").stdout
    assert "1 events" in known
    assert nextclick("scenarios", "delete", "cart").stdout == "cart has no rules any more\n"
    until_named(shop, "cart", None)
    assert "no scenario has rules" in nextclick("scenarios", "list").stdout


def test_the_owner_of_partition_0_writes_it_again_whoever_that_is(shop: Any) -> None:
    shop.start("worker", name="second")
    ready(shop, "second")
    shop.wait_for(lambda: owner(shop) is not None, "partition 0 has one owner of two")
    good = {"scenario": "cart", "k": 4, "policy": "good"}
    until_named(shop, "cart", put(shop, "cart", good))
    put(shop, "cart", good | {"k": 5})
    first = put(shop, "cart", b"{")
    assert json.loads(again(shop, "scenarios", "cart", first).value)["k"] == 5
    shop.kill(owner(shop))  # the other one learns of the next broken record before the partition is its own
    second = put(shop, "cart", b"{")
    restored = again(shop, "scenarios", "cart", second)
    assert json.loads(restored.value)["k"] == 5
    until_named(shop, "cart", restored.offset)
    written = [dict(record.headers).get("restores") for record in shop.read("scenarios")]
    assert [each for each in written if each] == [str(first).encode(), str(second).encode()]


def owner(system: Any) -> str | None:
    """The worker that was given partition 0 last; None before both have been given theirs anew."""
    found = None
    for name in ("worker", "second"):
        plain = re.sub(r"\x1b\[[0-9;]*m", "", system.said(name))
        partitions = re.findall(r"partitions assigned.*? partitions=\[([^\]]*)\]", plain)
        if not partitions or len(partitions[-1].split(",")) == 8:
            return None
        if "0" in partitions[-1].replace(" ", "").split(","):
            found = name
    return found
