"""A producer and a consumer that know only the contract drive 2,000 real clicks through the system.

Plain kafka-python, CSV and JSON; nothing of Nextclick's own code is used to judge its answers.
"""

import csv
import gzip
import json
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.partitioner import murmur2

CLICKS = 2000


def test_two_thousand_real_clicks(system, recorded: Path) -> None:
    with gzip.open(recorded / "interactions.csv.gz", "rt") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: int(row["timestamp"]))
    with gzip.open(recorded / "items.csv.gz", "rt") as file:
        catalogue = {row["item_id"] for row in csv.DictReader(file)}
    live = rows[len(rows) // 2 :][:CLICKS]
    began_ms = time.time() * 1000
    system.start("learner")
    system.start("worker")
    system.wait_for(lambda: "partitions assigned" in system.said("worker"), "the worker")

    producer = KafkaProducer(bootstrap_servers=system.bootstrap, acks="all")
    places = {}
    for n, row in enumerate(live):
        click = {
            "event_id": f"e{n}", "user_id": row["user_id"], "item_id": row["item_id"], "event": "rating",
            "value": float(row["rating"]), "timestamp": int(row["timestamp"]) * 1000, "scenario": "home",
        }  # fmt: skip
        sent = producer.send(
            f"{system.prefix}clicks", key=row["user_id"].encode(), value=json.dumps(click).encode()
        )
        places[f"e{n}"] = sent
        if n % 20 == 19:
            time.sleep(0.02)  # about 1,000 clicks/s: live traffic, not a bulk load
    producer.flush()

    consumer = KafkaConsumer(
        f"{system.prefix}recommendations", bootstrap_servers=system.bootstrap, auto_offset_reset="earliest"
    )
    answers: dict[str, tuple[dict, object]] = {}
    end = time.monotonic() + 120
    while len(answers) < CLICKS and time.monotonic() < end:
        for records in consumer.poll(500).values():
            for record in records:
                answer = json.loads(record.value)
                answers.setdefault(answer["trigger"]["id"], (answer, record))
    consumer.close()
    assert set(answers) == {f"e{n}" for n in range(CLICKS)}, system.said("worker")[-3000:]

    had: dict[str, set[str]] = defaultdict(set)
    for n, row in enumerate(live):
        user = row["user_id"]
        had[user].add(row["item_id"])
        answer, record = answers[f"e{n}"]
        place = places[f"e{n}"].get(10)
        listed = [entry["item_id"] for entry in answer["items"]]
        # Whose, in answer to what, and where.
        assert record.key == user.encode()
        assert answer["user_id"] == user
        assert answer["trigger"] == {
            "kind": "click", "id": f"e{n}", "timestamp": int(row["timestamp"]) * 1000,
        }  # fmt: skip
        assert answer["recommendation_id"] == f"c-{place.partition}-{place.offset}"
        assert place.partition == (murmur2(user.encode()) & 0x7FFFFFFF) % 8
        assert answer["scenario"] == "home"
        assert answer["policy"]
        assert answer["release"].startswith("r-")
        # Ten distinct items of the catalogue, none of which the user has had.
        assert len(listed) == len(set(listed)) == 10
        assert set(listed) <= catalogue
        assert not set(listed) & had[user]
        scores = [entry["score"] for entry in answer["items"]]
        assert scores == sorted(scores, reverse=True)
        for entry in answer["items"]:
            assert entry["source"]
            assert entry["propensity"] == 1.0
            assert entry["reason"]["kind"]
            if entry["reason"]["kind"] == "because_clicked":
                assert set(entry["reason"]["items"]) <= had[user]
        assert record.timestamp >= place.timestamp  # freshness is no negative number
    # Lists follow the clicks: two users with different histories do not get the same.
    assert len({tuple(e["item_id"] for e in answer["items"]) for answer, _ in answers.values()}) > CLICKS / 4

    bad = producer.send(f"{system.prefix}clicks", key=b"u", value=b"{broken").get(20)
    producer.close()
    states_hold_every_click(system, live, {name: sent.get(10) for name, sent in places.items()})
    signals_count_every_click(system, live)
    one_release_is_live(system, {answer["release"] for answer, _ in answers.values()}, began_ms)
    letter = newest(system, "dead-letters", bool)[b"u"]
    assert letter.value == b"{broken"
    headers = {name: value.decode() for name, value in letter.headers}
    assert headers.pop("error")
    assert bad.timestamp <= int(headers.pop("at")) <= time.time() * 1000
    assert headers == {"topic": bad.topic, "partition": str(bad.partition), "offset": str(bad.offset)}


def newest(system, topic: str, enough: Callable[[dict], bool]) -> dict[bytes, object]:
    """The newest record of each key, once they are what is waited for, or when a minute has passed."""
    consumer = KafkaConsumer(bootstrap_servers=system.bootstrap, auto_offset_reset="earliest")
    name = system.prefix + topic
    places = [TopicPartition(name, number) for number in consumer.partitions_for_topic(name)]
    consumer.assign(places)
    found: dict[bytes, object] = {}
    end = time.monotonic() + 60
    while time.monotonic() < end:
        for some in consumer.poll(100).values():
            found.update((record.key, record) for record in some)
        ends = consumer.end_offsets(places)
        if all(consumer.position(place) >= ends[place] for place in places) and enough(found):
            break
    consumer.close()
    return found


def states_hold_every_click(system, live: list[dict], places: dict) -> None:
    clicked: dict[bytes, list[dict]] = defaultdict(list)
    last: dict[bytes, object] = {}
    for n, row in enumerate(live):
        clicked[row["user_id"].encode()].append(row)
        last[row["user_id"].encode()] = places[f"e{n}"]

    def all_there(found: dict) -> bool:
        return found.keys() >= last.keys() and all(
            json.loads(found[user].value)["applied"] >= place.offset for user, place in last.items()
        )

    records = newest(system, "user-states", all_there)
    assert records.keys() == clicked.keys()
    for user, record in records.items():
        state, mine = json.loads(record.value), clicked[user]
        assert state["user_id"] == user.decode()
        assert state["events"] == len(mine)
        assert state["items"] == [row["item_id"] for row in mine][-len(state["items"]) :]
        assert len(state["items"]) >= min(128, len(mine))
        assert state["applied"] >= last[user].offset
        assert record.partition == last[user].partition
        assert state["release"].startswith("r-")


def signals_count_every_click(system, live: list[dict]) -> None:
    counted = Counter(row["item_id"] for row in live)

    def counts(found: dict) -> dict[str, float]:
        signals = [json.loads(record.value) for key, record in found.items() if key and record.value]
        return {signal["item_id"]: signal["count"] for signal in signals if "count" in signal}

    assert counts(newest(system, "signals", lambda found: counts(found) == counted)) == counted


def one_release_is_live(system, answered: set[str], began_ms: float) -> None:
    (record,) = newest(system, "releases", bool).values()
    decision = json.loads(record.value)
    assert {decision["release"]} == {record.key.decode()} == answered
    assert decision["role"] == "live"
    assert decision["decision"] == "first"
    assert decision["reason"]
    assert decision["url"]
    assert len(decision["sha256"]) >= 16
    assert began_ms - 1 <= decision["at"] <= time.time() * 1000
