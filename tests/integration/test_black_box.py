"""A producer and a consumer that know only the contract drive 2,000 real clicks through the system.

Plain kafka-python, CSV and JSON; nothing of Nextclick's own code is used to judge its answers.
"""

import csv
import gzip
import json
import time
from collections import defaultdict
from pathlib import Path

from kafka import KafkaConsumer, KafkaProducer
from kafka.partitioner import murmur2

CLICKS = 2000


def test_two_thousand_real_clicks(system, recorded: Path) -> None:
    with gzip.open(recorded / "interactions.csv.gz", "rt") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: int(row["timestamp"]))
    with gzip.open(recorded / "items.csv.gz", "rt") as file:
        catalogue = {row["item_id"] for row in csv.DictReader(file)}
    live = rows[len(rows) // 2 :][:CLICKS]
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
