"""The embedded broker as a process: start, stop, kill -9, and what it says when it cannot start."""

from pathlib import Path

from streams import kafka_client
from streams.broker import EmbeddedBroker, answers
from streams.settings import Settings, load_settings
from streams.topics import Names, create_missing


def _broker(folder: Path, **options: object) -> EmbeddedBroker:
    return EmbeddedBroker(folder, cache=load_settings().cache_dir, **{"port": 0, **options})  # type: ignore[arg-type]


def _settings(broker: EmbeddedBroker) -> Settings:
    return load_settings(bootstrap_servers=broker.bootstrap_servers, partitions=2)


def test_acknowledged_records_survive_kill_9(tmp_path: Path) -> None:
    node = _broker(tmp_path).start()
    try:
        settings = _settings(node)
        topic = Names(settings.prefix).clicks
        with kafka_client.admin(settings) as admin:
            create_missing(admin, settings)
        sender = kafka_client.producer(settings)
        acknowledged = [sender.send(topic, key=b"u", value=b"%d" % n) for n in range(2000)]
        sender.flush()
        assert all(each.succeeded() for each in acknowledged)
        node.kill()
        assert not answers(node.port)
        sender.close(timeout=0)
        node.start()  # same folder, same port
        reader = kafka_client.consumer(
            settings, topic, auto_offset_reset="earliest", consumer_timeout_ms=5000
        )
        found = []
        for record in reader:
            found.append(int(record.value))
            if len(found) == 2000:
                break
        reader.close()
        assert found == list(range(2000))
    finally:
        node.stop()
    assert not answers(node.port)
