"""A click and the list that it makes, with confluent-kafka: python confluent.py USER ITEM."""

import json
import os
import sys
import time
import uuid

from confluent_kafka import Consumer, Producer, TopicPartition

brokers = os.environ.get("BOOTSTRAP_SERVERS", "127.0.0.1:9092")
prefix = os.environ.get("NEXTCLICK_PREFIX", "nextclick.")
user, item = sys.argv[1:3]

lists = Consumer({"bootstrap.servers": brokers, "group.id": f"example-{uuid.uuid4().hex}"})
topic = f"{prefix}recommendations"
partitions = lists.list_topics(topic, timeout=60).topics[topic].partitions
ends = [TopicPartition(topic, number) for number in partitions]
for place in ends:
    place.offset = lists.get_watermark_offsets(place, timeout=60)[1]
lists.assign(ends)  # from here on, before the click is sent

click = {
    "event_id": uuid.uuid4().hex, "user_id": user, "item_id": item, "event": "click",
    "timestamp": int(time.time() * 1000),
}  # fmt: skip
# murmur2_random puts the user where workers look; librdkafka's own default would not.
producer = Producer({"bootstrap.servers": brokers, "partitioner": "murmur2_random", "acks": "all"})
producer.produce(f"{prefix}clicks", key=user, value=json.dumps(click))
producer.flush()

while True:
    record = lists.poll(1.0)
    if record is None or record.error():
        continue
    made = json.loads(record.value())
    if made["trigger"]["id"] == click["event_id"]:
        print(json.dumps(made))
        break
lists.close()
