"""The topic `releases`, for commands that look at it or write to it once.

Owns its reading up to the end that it has now; workers and the learner follow it. `Roles` says what its
records mean. Knows nothing of what a release holds.
"""

from collections.abc import Iterable, Iterator

from streams.releases.roles import Roles
from streams.settings import Settings
from streams.transport import clients, topics
from streams.transport.topic_reader import TopicMissing, read_to_end
from streams.transport.topics import Names
from streams.wire.contract import UNREADABLE, ReleaseRecord, decode_release, encode


def records(settings: Settings) -> Iterator[ReleaseRecord]:
    """All records of `releases` in their order; bad ones are left out."""
    for record in read_to_end(settings, Names(settings.prefix).releases):
        if record.value is None:
            continue
        try:
            yield decode_release(record.value)
        except UNREADABLE:
            continue


def roles_now(settings: Settings) -> Roles:
    """The topic `releases`, read to its end; nothing where it does not exist yet."""
    try:
        return Roles(records(settings))
    except TopicMissing:
        return Roles()


def announce(settings: Settings, decided: Iterable[ReleaseRecord]) -> None:
    """Sends records to `releases`, in their order, each acknowledged before the next."""
    with clients.admin(settings) as admin:
        topics.create_missing(admin, settings)
    topic = Names(settings.prefix).releases
    with clients.producer(settings) as producer:
        for record in decided:
            producer.send(topic, key=record.release.encode(), value=encode(record)).get(30)
