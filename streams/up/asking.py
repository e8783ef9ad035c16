"""Asks the running system as a user would: a list over HTTP, and somebody to ask it for.

Knows no processes.
"""

import http.client
import json
from typing import NamedTuple
from urllib.parse import quote, urlsplit

from streams.settings import Settings
from streams.transport import clients
from streams.transport.topic_reader import ends_of
from streams.transport.topics import Names
from streams.wire.contract import UNREADABLE, decode_click

_POLL_MS = 2_000


class Somebody(NamedTuple):
    """A user, and an item that he clicked."""

    user: str
    item: str


def somebody(settings: Settings) -> Somebody | None:
    """Of the first click that can be read of those in the topic; None where there is none."""
    from kafka import TopicPartition

    topic = Names(settings.prefix).clicks
    with clients.consumer(settings, max_poll_records=50) as consumer:
        places = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or ()]
        consumer.assign(places)
        consumer.seek_to_beginning(*places)
        for records in consumer.poll(timeout_ms=_POLL_MS).values():
            for record in records:
                try:
                    click = decode_click(record.value, settings.event_names)
                except UNREADABLE:
                    continue
                return Somebody(click.user_id, click.item_id)
    return None


def clicks_in(settings: Settings) -> int:
    """How many records the topic `clicks` has had."""
    return sum(ends_of(settings, Names(settings.prefix).clicks).values())


def asked(address: str, path: str, seconds: float) -> tuple[int, dict[str, object]]:
    """Status and body of a GET; 0 where nothing answers in time."""
    where = urlsplit(address)
    assert where.hostname is not None
    connection = http.client.HTTPConnection(where.hostname, where.port, timeout=seconds)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        found = json.loads(answer.read() or b"{}")
        return answer.status, found if isinstance(found, dict) else {}
    except (OSError, http.client.HTTPException, ValueError):
        return 0, {}
    finally:
        connection.close()


def has_list(address: str, user: str) -> bool:
    """Whether the user gets a list with something in it."""
    path = f"/v1/users/{quote(user, safe='')}/recommendations?k=5&timeout_ms=800"
    status, body = asked(address, path, 2.0)
    return status == 200 and bool(body.get("items"))
