"""Has a user forgotten: sends the wish to where the user's clicks stand, and looks whether it was met.

Owns nothing of the forgetting: the owner of the user's partition deletes the state, under its own epoch, and
the learner what it remembers.
"""

import time

from streams.settings import Settings
from streams.transport import clients
from streams.transport.topic_reader import ends_of, read_to_end
from streams.transport.topics import Names, check
from streams.wire.contract import Forget, decode_forget, encode
from streams.wire.partitioner import partition_of


def forget(settings: Settings, user: str, timeout_s: float) -> bool:
    """Whether a worker has deleted the user's state within that time; if not, the next one does.

    Raises TopicsError where there are no topics, and msgspec.ValidationError for what is no user's id.
    """
    names = Names(settings.prefix)
    wish = encode(Forget(user_id=user, event="forget"))
    decode_forget(wish)
    with clients.admin(settings) as admin:
        partitions = check(admin, settings)
    key = user.encode()
    home = partition_of(key, partitions)
    end = ends_of(settings, names.user_states)[home]
    with clients.producer(settings) as producer:
        producer.send(names.clicks, key=key, value=wish, partition=home).get(30)
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        for record in read_to_end(settings, names.user_states, partitions=[home], start={home: end}):
            if record.key == key and record.value is None:
                return True
        time.sleep(0.1)
    return False
