"""Good records written again: by whom, behind which, and what cannot be sent."""

import asyncio
from typing import Any

from aiokafka import ConsumerRecord
from aiokafka.errors import KafkaConnectionError, MessageSizeTooLargeError

from streams.transport.delivery import Outgoing
from streams.transport.last_good import LastGood, Unknown
from streams.worker.restoring import Restoring


class Brokers:
    """Stands for `Delivery`: fails as often as told, then takes everything."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.taken: list[tuple[str, Outgoing]] = []

    async def send(self, topic: str, records: list[Outgoing]) -> list[Any]:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.failures:
            future.set_exception(self.failures.pop(0))
        else:
            self.taken += [(topic, record) for record in records]
            future.set_result(None)
        return [future]


def broken(offset: int, key: bytes) -> ConsumerRecord:
    return ConsumerRecord("items", 0, offset, 0, 0, key, b"{", None, 1, 1, ())


def restoring(*keys: bytes) -> Restoring:
    """Broken records of these keys, of which `unknown` alone was never good."""

    def good(key: bytes) -> bytes | None:
        if key == b"unknown":
            raise Unknown("never")
        return None if key == b"gone" else b"good " + key

    topic, made = LastGood("items", good), Restoring()
    made.add(topic)
    for offset, key in enumerate(keys):
        topic.broke(broken(offset, key))
    return made


def send(made: Restoring, brokers: Any) -> None:
    asyncio.run(made.send(brokers))


def test_what_is_due_is_written_behind_the_broken_one_and_no_more() -> None:
    made, brokers = restoring(b"a", b"unknown", b"gone"), Brokers()
    send(made, brokers)
    send(made, brokers)
    assert [(topic, *record) for topic, record in brokers.taken] == [
        ("items", b"a", b"good a", 0, [("restores", b"0")]),
        ("items", b"gone", None, 0, [("restores", b"2")]),
    ]
    assert len(made) == 0
    assert made.told.counted == 2


def test_what_cannot_be_sent_now_is_sent_later() -> None:
    made, brokers = restoring(b"a", b"b"), Brokers(KafkaConnectionError())
    send(made, brokers)
    assert len(made) == 2
    send(made, brokers)
    assert len(made) == 0
    assert {record.key for _, record in brokers.taken} == {b"a", b"b"}


def test_what_the_brokers_never_take_holds_nothing_up() -> None:
    made, brokers = restoring(b"a", b"b"), Brokers(MessageSizeTooLargeError())
    send(made, brokers)
    assert len(made) == 0
    assert [record.key for _, record in brokers.taken] == [b"b"]
