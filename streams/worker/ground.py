"""What states stand on: which topic `clicks` their offsets are of, and how large a record of theirs may be.

The one place that asks the broker for it, at each assignment: topics are made anew and altered while workers
run. Knows no states.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple
from uuid import UUID

from kafka import TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, OffsetSpec

from streams.hot_path.state_record import MAX_STATE_BYTES, ClicksTopic
from streams.settings import Settings
from streams.transport import clients
from streams.transport.growth import Grown
from streams.transport.topics import Names

_AROUND = 1024  # bytes that a batch of one record needs beside key and value


class Ground(NamedTuple):
    """`state_bytes`: the largest record that `user-states` is sent, key and value."""

    clicks: ClicksTopic = ClicksTopic()
    state_bytes: int = MAX_STATE_BYTES


def ground(settings: Settings, partitions: Iterable[int], *, read: int | None = None) -> Ground:
    """Asks the broker, which blocks. Raises what kafka-python does where it does not answer.

    Raises Grown where states have more partitions than `read`: then this is no place to begin.

    A broker before 2.8 gives topics no id, and a topic's limit may be nobody's to read: then there is none.
    """
    names = Names(settings.prefix)
    with clients.admin(settings) as admin:
        asked = admin.describe_topics([names.clicks, names.user_states])
        found_topics = {topic["name"]: topic for topic in asked if topic["error_code"] == 0}
        states = len(found_topics.get(names.user_states, {}).get("partitions", ()))
        if read is not None and states > read:
            raise Grown(f"{names.user_states} has {states} partitions, not {read}")
        ends = admin.list_partition_offsets(
            {TopicPartition(names.clicks, each): OffsetSpec.LATEST for each in partitions}
        )
        limit = _limit(admin, names.user_states)
    topic_id = found_topics.get(names.clicks, {}).get("topic_id")
    return Ground(
        ClicksTopic(
            str(topic_id) if topic_id and UUID(str(topic_id)).int else "",
            {place.partition: found.offset for place, found in ends.items()},
        ),
        min(MAX_STATE_BYTES, limit - _AROUND),
    )


def _limit(admin: Any, topic: str) -> int:
    wanted = [ConfigResource(ConfigResourceType.TOPIC, topic)]
    try:
        entries = admin.describe_configs(wanted, config_filter="all")["topic"][topic]
        return int(entries["max.message.bytes"]["value"])
    except (LookupError, TypeError, ValueError):
        return MAX_STATE_BYTES + _AROUND
