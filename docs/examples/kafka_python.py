"""A click and the list that it makes, with kafka-python: python kafka_python.py USER ITEM."""

import json
import os
import sys
import time
import uuid

from kafka import KafkaConsumer, KafkaProducer

brokers = os.environ.get("BOOTSTRAP_SERVERS", "127.0.0.1:9092")
prefix = os.environ.get("NEXTCLICK_PREFIX", "nextclick.")
user, item = sys.argv[1:3]

lists = KafkaConsumer(f"{prefix}recommendations", bootstrap_servers=brokers, auto_offset_reset="latest")
while not lists.assignment():
    lists.poll(100)
for place in lists.assignment():
    lists.position(place)  # from here on, before the click is sent

click = {
    "event_id": uuid.uuid4().hex, "user_id": user, "item_id": item, "event": "click",
    "timestamp": int(time.time() * 1000),
}  # fmt: skip
producer = KafkaProducer(bootstrap_servers=brokers, acks="all")
producer.send(f"{prefix}clicks", key=user.encode(), value=json.dumps(click).encode())
producer.flush()

for record in lists:
    made = json.loads(record.value)
    if made["trigger"]["id"] == click["event_id"]:
        print(json.dumps(made))
        break
