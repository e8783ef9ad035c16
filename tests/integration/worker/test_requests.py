"""Requests with a real broker: strangers, clicks that an answer must know, answers that come too late."""

import json
import time
import uuid
from collections.abc import Sequence
from typing import Any

import pytest
from kafka import KafkaConsumer, TopicPartition

from streams.transport import clients
from streams.transport.topics import Names
from streams.wire.partitioner import partition_of
from streams.worker.first_use import BUILT_IN_A_ROUND, MOST_IN_LINE
from tests.worlds.system import START_MS, System, Topic, ready, told, wait_answered

PARTITIONS = 8


@pytest.fixture
def worked(system: Any) -> Any:
    """A system whose worker has its partitions."""
    system.start("worker")
    ready(system)
    return system


def ask(system: Any, user: str | None = None, **more: Any) -> str:
    """Sends a request; returns its id."""
    request_id = f"q{uuid.uuid4().hex}"
    asked = {"request_id": request_id, **({} if user is None else {"user_id": user}), **more}
    system.send("requests", user or request_id, asked)
    return request_id


def click(system: Any, user: str, item: str, **more: Any) -> tuple[str, dict[str, int]]:
    """Sends a click; returns its event id and its token, as `at_least` has it."""
    event_id = uuid.uuid4().hex
    sent = {"event_id": event_id, "user_id": user, "item_id": item, "event": "click", "timestamp": START_MS}
    at = system.send("clicks", user, sent | more)
    return event_id, {"partition": at.partition, "offset": at.offset}


def next_click(system: Any, user: str) -> dict[str, int]:
    """Where the user's next click will stand, if no other comes first."""
    consumer = KafkaConsumer(bootstrap_servers=system.bootstrap)
    place = TopicPartition(system.topic("clicks"), partition_of(user.encode(), PARTITIONS))
    try:
        return {"partition": place.partition, "offset": consumer.end_offsets([place])[place]}
    finally:
        consumer.close()


def listed(answer: dict[str, Any]) -> list[str]:
    return [item["item_id"] for item in answer["items"]]


def letters(system: Any, count: int) -> dict[str, str]:
    """The errors of so many dead letters, by request."""
    records: Sequence[Any] = system.wait_for(
        lambda: found if len(found := system.read("dead-letters")) >= count else None, f"{count} dead letters"
    )
    assert len(records) == count
    return {json.loads(each.value)["request_id"]: dict(each.headers)["error"].decode() for each in records}


def test_a_stranger_gets_a_list_and_leaves_nothing(worked: Any) -> None:
    requests = [ask(worked, k=5) for _ in range(20)]
    misplaced = f"q{uuid.uuid4().hex}"
    elsewhere = (partition_of(misplaced.encode(), PARTITIONS) + 1) % PARTITIONS
    worked.send("requests", None, {"request_id": misplaced}, partition=elsewhere)
    event_id, _ = click(worked, "u", "50")
    answers = wait_answered(worked, [*requests, misplaced, event_id])
    for request_id in (*requests, misplaced):
        answer = answers[request_id]
        assert "user_id" not in answer
        assert len(listed(answer)) == (10 if request_id == misplaced else 5)
        assert answer["trigger"]["kind"] == "request"
        home = partition_of(request_id.encode(), PARTITIONS)
        assert answer["recommendation_id"].startswith(f"r-{home}-")
    assert answers[event_id]["user_id"] == "u"
    keys = {
        json.loads(record.value)["trigger"]["id"]: record.key for record in worked.read("recommendations")
    }
    assert {request_id: keys[request_id] for request_id in requests} == {
        name: name.encode() for name in requests
    }
    worked.state("u", 1)
    assert worked.stop("worker") == 0
    assert worked.states().keys() == {"u"}
    assert told(worked, "worker")["users"] == "1"
    assert told(worked, "worker")["forwarded_records"] == "1"


def test_a_stranger_gets_what_a_new_user_gets(working: System) -> None:
    stranger = working.answer(ask(working, timestamp=START_MS))
    assert listed(stranger) == listed(working.request("nobody-knows", timestamp=START_MS))


def test_an_answer_knows_the_click_that_it_must_know_under_load(worked: Any) -> None:
    """For each acknowledged click a request right after, while others click by the hundred."""
    expected: list[tuple[str, str, str, str]] = []
    for n in range(60):
        for other in range(40):
            user = f"other-{n}-{other}"
            worked.producer.send(
                worked.topic("clicks"), key=user.encode(), value=json.dumps(
                    {"event_id": user, "user_id": user, "item_id": str(1 + other), "event": "click",
                     "timestamp": START_MS}
                ).encode(),
            )  # fmt: skip
        user, item = f"u{n % 6}", str(50 + n)
        event_id, token = click(worked, user, item)
        expected.append((user, item, event_id, ask(worked, user, at_least=token, k=50)))
    wait_answered(worked, [request_id for *_, request_id in expected])
    answers = worked.lists()
    order = [json.loads(record.value)["trigger"]["id"] for record in by_place(worked)]
    known: dict[str, list[str]] = {}
    for user, item, event_id, request_id in expected:
        known.setdefault(user, []).append(item)
        assert not set(known[user]) & set(listed(answers[request_id])), (user, item)
        assert order.index(event_id) < order.index(request_id)
    assert worked.stop("worker") == 0
    assert told(worked, "worker")["behind_requests"] == "0"


def by_place(system: Any) -> list[Any]:
    topic = Topic(system.bootstrap, system.topic("recommendations"))
    try:
        return sorted(topic.read(), key=lambda record: (record.partition, record.offset))
    finally:
        topic.close()


def test_a_request_that_comes_first_waits_for_its_click_and_holds_nobody_up(working: System) -> None:
    system, user = working, "early"
    token = next_click(system, user)
    early = ask(system, user, at_least=token, k=100)
    behind = ask(system, user)  # in the same partition, and of the same user
    system.answer(behind)
    assert early not in system.lists()
    event_id, at = click(system, user, "50")
    assert at == token
    wait_answered(system, [early, event_id])
    assert "50" not in listed(system.lists()[early])
    order = [json.loads(record.value)["trigger"]["id"] for record in by_place(system)]
    assert order.index(behind) < order.index(event_id) < order.index(early)


@pytest.mark.parametrize("more", [{"event": "dislike"}, {"event": "hide"}, {"history": True}])
def test_clicks_without_a_list_are_waited_for_too(working: System, more: dict[str, Any]) -> None:
    system, user = working, f"silent-{more}"
    best = listed(system.request(user))[0]
    early = ask(system, user, at_least=next_click(system, user))
    _, token = click(system, user, best, **more)
    late = ask(system, user, at_least=token)
    answers = wait_answered(system, [early, late])
    assert best not in listed(answers[early])
    assert best not in listed(answers[late])


def test_offsets_that_are_no_clicks_are_not_waited_for(worked: Any) -> None:
    """A marker of a transaction, a dead letter, and a record that was forwarded."""
    partition = partition_of(b"u", PARTITIONS)
    with clients.producer(worked.settings, transactional_id=worked.prefix) as producer:
        producer.init_transactions()
        producer.begin_transaction()
        value = {"event_id": "e1", "user_id": "u", "item_id": "50", "event": "click", "timestamp": START_MS}
        at = producer.send(worked.topic("clicks"), key=b"u", value=json.dumps(value).encode()).get(20)
        producer.commit_transaction()
    worked.answer("e1")
    marker = ask(worked, "u", at_least={"partition": partition, "offset": at.offset + 1}, k=100)
    assert "50" not in listed(worked.answer(marker))
    other = next(name for n in range(99) if partition_of((name := f"v{n}").encode(), PARTITIONS) != partition)
    for bad in (b"{", json.dumps(value | {"event_id": "e2", "user_id": other}).encode()):
        at = worked.send("clicks", None, bad, partition=partition)
        worked.answer(ask(worked, "u", at_least={"partition": partition, "offset": at.offset}))
    assert worked.stop("worker") == 0
    assert told(worked, "worker")["behind_requests"] == "0"


def test_a_click_that_never_comes_is_waited_for_and_then_gone_without(worked: Any) -> None:
    token = next_click(worked, "u")
    token["offset"] += 1000
    waiting = ask(worked, "u", at_least=token)
    others = wait_answered(worked, [ask(worked, user) for user in ("u", *(f"o{n}" for n in range(20)))])
    answer = worked.answer(waiting)
    assert len(listed(answer)) == 10
    assert answer["created_at"] > max(other["created_at"] for other in others.values())
    assert worked.stop("worker") == 0
    assert told(worked, "worker")["behind_requests"] == "1"
    assert told(worked, "worker")["expired_requests"] == "0"


def test_a_request_that_has_expired_is_dropped_and_its_offset_is_done(worked: Any) -> None:
    """By the wall clock, though this system's clock stands in the year of its clicks."""
    now_ms = int(time.time() * 1000)
    late = [ask(worked, user, expires_at=now_ms - 1000) for user in ("u", None, "v")]
    timely = ask(worked, "u", expires_at=now_ms + 60_000)
    last = [ask(worked, user) for user in ("u", "v")]
    wait_answered(worked, [timely, *last])
    assert worked.stop("worker") == 0
    assert not set(late) & worked.lists().keys()
    assert worked.read("dead-letters") == []
    assert told(worked, "worker")["expired_requests"] == "3"
    names = Names(worked.prefix)
    with clients.admin(worked.settings) as admin:
        marked = admin.list_group_offsets([names.worker_group])[names.worker_group]
    ends = {(record.topic, record.partition): record.offset + 1 for record in worked.read("requests")}
    assert {place: marked[TopicPartition(*place)].offset for place in ends} == ends


def test_requests_that_cannot_be_answered_are_dead_letters_that_say_why(working: System) -> None:
    worked = working
    home = partition_of(b"u", PARTITIONS)
    other = (home + 1) % PARTITIONS
    where = ask(worked, "u", at_least={"partition": other, "offset": 0})
    unknown = ask(worked, "u", filter={"any": [{"field": "price", "gt": 1}, {"field": "price", "near": 2}]})
    rules = ask(worked, "u", rules={"block": ["1"], "bury": [{"filter": {"field": "brand"}, "factor": 0.5}]})
    worked.answer(ask(worked, "u"))
    errors = letters(worked, 3)
    assert errors[where].endswith(f"it is {other}, and clicks of 'u' are in {home}")
    assert "filter.any[1]" in errors[unknown]
    assert "rules.bury[0].filter" in errors[rules]
    assert not {where, unknown, rules} & worked.lists().keys()


def test_of_a_flood_of_new_filters_only_so_many_wait_and_nobody_else_is_held_up(worked: Any) -> None:
    """At a catalogue of which a mask is not built in a round."""
    items, last = worked.topic("items"), f"new-{BUILT_IN_A_ROUND}"
    for n in range(BUILT_IN_A_ROUND + 1):
        item_id = f"new-{n}"
        worked.producer.send(items, key=item_id.encode(), value=json.dumps({"item_id": item_id}).encode())
    worked.producer.flush()
    only = {"field": "item_id", "eq": last}
    worked.wait_for(lambda: worked.answer(ask(worked, "u", filter=only))["items"] or None, "the last item")
    flood = [f"flood-{n}" for n in range(300)]
    for n, request_id in enumerate(flood):
        asked = {"request_id": request_id, "user_id": "u", "filter": {"field": "price", "gt": n}}
        worked.producer.send(worked.topic("requests"), key=b"u", value=json.dumps(asked).encode())
    worked.answer(ask(worked, "v"))
    worked.answer(ask(worked, "u"))  # behind all of them
    refused = {json.loads(each.value)["request_id"]: each for each in worked.read("dead-letters")}
    assert refused
    for letter in refused.values():
        assert dict(letter.headers)["error"].startswith(b"too many new filters at once")
    answered = set(flood) & worked.lists().keys()
    assert answered | refused.keys() == set(flood)
    assert not answered & refused.keys()
    assert len(answered) >= MOST_IN_LINE
    assert worked.stop("worker") == 0
    assert told(worked, "worker")["bad_records"] == str(len(refused))


def test_after_a_restart_old_clicks_are_known_and_waiting_requests_wait_again(worked: Any) -> None:
    event_id, token = click(worked, "u", "50")
    worked.answer(event_id)
    far = ask(worked, "u", at_least={"partition": token["partition"], "offset": token["offset"] + 1})
    worked.answer(ask(worked, "u"))
    assert worked.stop("worker") == 0
    assert far not in worked.lists()
    _, second = click(worked, "u", "51")
    assert second["offset"] == token["offset"] + 1
    worked.start("worker", name="again")
    old = ask(worked, "u", at_least=token, k=100)
    answers = wait_answered(worked, [old, far])
    assert "50" not in listed(answers[old])
    assert not {"50", "51"} & set(listed(answers[far]))
    assert worked.stop("again") == 0
    assert told(worked, "again")["behind_requests"] == "0"


def test_a_query_in_plain_words_finds_what_was_just_announced_and_says_what_it_understood(
    worked: Any,
) -> None:
    for item, title, price in (("z1", "Zeppelin voyages", 12.5), ("z2", "Zeppelins of the great war", 40.0)):
        record = {"item_id": item, "title": title, "categories": ["Airships"], "price": price}
        worked.send("items", item, record)

    def found(query: str, wanted: list[str]) -> dict[str, Any]:
        """The answer once the items have come; each try is a request of its own."""

        def answered() -> dict[str, Any] | None:
            request_id = ask(worked, query=query, k=2)
            answer = wait_answered(worked, [request_id])[request_id]
            return answer if listed(answer)[: len(wanted)] == wanted else None

        answer: dict[str, Any] = worked.wait_for(answered, f"{wanted} for {query!r}")
        return answer

    answer = found("a zepelin story under 20 dollars", ["z1"])
    assert listed(answer) == ["z1"]
    assert answer["understood"] == {"filter": {"field": "price", "lt": 20}, "text": "zepelin story"}
    assert answer["items"][0]["reason"]["kind"] == "matches_query"
    found("zeppelin of the great war", ["z2"])
    worked.send(
        "items", "z2", {"item_id": "z2", "title": "Submarines", "categories": ["Boats"], "price": 40.0}
    )
    found("submarine", ["z2"])
    worked.send("items", "z1", None)
    gone = found("zeppelin", [])
    for _ in range(100):
        if "z1" not in listed(gone):
            break
        gone = found("zeppelin", [])
    assert "z1" not in listed(gone)
    assert worked.stop("worker") == 0
