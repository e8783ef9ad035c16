"""Asks the running system as a user would: a list over HTTP, and somebody to ask it for.

Knows no processes.
"""

import http.client
import json
from typing import NamedTuple
from urllib.parse import quote, urlsplit

from kafka.errors import KafkaError

from streams.settings import Settings
from streams.transport import clients
from streams.transport.clients import BrokerUnreachable
from streams.transport.topic_reader import ReadTimeout, TopicMissing, ends_of
from streams.transport.topics import Names
from streams.wire.contract import UNREADABLE, decode_click

_POLL_MS = 2_000
# What a broker answers that has just started, is away or starts again: there is no answer now.
NO_ANSWER = (KafkaError, BrokerUnreachable, ReadTimeout, TopicMissing, OSError)


class Somebody(NamedTuple):
    """A user, and an item that he clicked."""

    user: str
    item: str


def somebody(settings: Settings) -> Somebody | None:
    """Of the first click that can be read of those in the topic; None where there is none, or no answer."""
    try:
        return _somebody(settings)
    except NO_ANSWER:
        return None


def _somebody(settings: Settings) -> Somebody | None:
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


class TakenIn:
    """How much of what the topic `clicks` holds now the workers have applied; for the length of a block."""

    def __init__(self, settings: Settings) -> None:
        names = Names(settings.prefix)
        self.ends = {number: end for number, end in ends_of(settings, names.clicks).items() if end}
        self._names = names
        self._admin = clients.admin(settings)

    def close(self) -> None:
        """Ends the asking."""
        self._admin.close()

    def count(self) -> int:
        """Of all that stands there."""
        from kafka import TopicPartition

        group = self._names.worker_group
        committed = self._admin.list_group_offsets([group])[group]
        reached = {number: committed.get(TopicPartition(self._names.clicks, number)) for number in self.ends}
        return sum(min(at.offset, self.ends[number]) for number, at in reached.items() if at is not None)

    @property
    def all(self) -> int:
        """How many there are."""
        return sum(self.ends.values())


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


def needs_key(address: str) -> bool:
    """Whether the api answers only who has a key."""
    return asked(address, "/v1/scenarios", 2.0)[0] == 401


def has_list(address: str, user: str) -> bool | None:
    """Whether the user gets a list with something in it; None where only who has a key may know."""
    path = f"/v1/users/{quote(user, safe='')}/recommendations?k=5&timeout_ms=800"
    status, body = asked(address, path, 2.0)
    if status in (401, 403):
        return None
    return status == 200 and bool(body.get("items"))
