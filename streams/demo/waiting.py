"""When a system is ready for the demo: its topics made, and the past taken in by worker and learner.

Asks Kafka, until it is so or one of the processes has ended.
"""

import json

from kafka import TopicPartition

from learner.signals.record import FRONTIER
from streams.runtime.fleet import Fleet
from streams.settings import Settings
from streams.transport import clients
from streams.transport.topic_reader import ends_of, read_to_end
from streams.transport.topics import Names, partition_counts


def wait_for_topics(fleet: Fleet, settings: Settings) -> None:
    """Returns when all topics are there."""
    names = Names(settings.prefix).all()
    with clients.admin(settings) as admin:
        fleet.wait_for(lambda: all(partition_counts(admin, names).values()), "the topics", every=0.2)


def wait_until_taken_in(fleet: Fleet, settings: Settings) -> None:
    """Returns when worker and learner have taken in every click that is in the topic now."""
    names = Names(settings.prefix)
    ends = {number: end for number, end in ends_of(settings, names.clicks).items() if end}
    with clients.admin(settings) as admin:

        def applied() -> bool:
            committed = admin.list_group_offsets([names.worker_group])[names.worker_group]
            reached = {place: committed.get(TopicPartition(names.clicks, place)) for place in ends}
            return all(at is not None and at.offset >= ends[place] for place, at in reached.items())

        fleet.wait_for(applied, "the worker to apply the past", every=0.3)

    def counted() -> bool:
        frontier = {}
        for record in read_to_end(settings, names.signals):
            if record.key == FRONTIER.encode() and record.value is not None:
                frontier = json.loads(record.value)["offsets"]
        return all(frontier.get(str(place), -1) >= end - 1 for place, end in ends.items())

    fleet.wait_for(counted, "the learner to count the past", every=1.0)
