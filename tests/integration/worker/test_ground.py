"""What states stand on, as a broker says it."""

import time

from kafka.admin import ConfigResource, ConfigResourceType

from streams.hot_path.state_record import MAX_STATE_BYTES
from streams.settings import Settings
from streams.transport import clients
from streams.transport.topics import Names, create_missing, partition_counts
from streams.worker.ground import ground


def test_a_topic_made_anew_is_another_one(settings: Settings, topics: Names) -> None:
    with clients.producer(settings) as producer:
        producer.send(topics.clicks, value=b"x", partition=2)
    before = ground(settings, [0, 2])
    assert before.clicks.id
    assert before.clicks.ends == {0: 0, 2: 1}
    assert before.state_bytes == MAX_STATE_BYTES
    assert ground(settings, [0, 2]) == before
    with clients.admin(settings) as admin:
        admin.delete_topics([topics.clicks])
        while partition_counts(admin, [topics.clicks])[topics.clicks]:
            time.sleep(0.05)
        create_missing(admin, settings)
    after = ground(settings, [0])
    assert after.clicks.id not in ("", before.clicks.id)
    assert after.clicks.ends == {0: 0}


def test_the_topics_own_limit_holds(settings: Settings, topics: Names) -> None:
    limit = 1_000_000
    with clients.admin(settings) as admin:
        admin.alter_configs(
            [ConfigResource(ConfigResourceType.TOPIC, topics.user_states, {"max.message.bytes": str(limit)})]
        )
    assert 0 < limit - ground(settings, []).state_bytes < 10_000
