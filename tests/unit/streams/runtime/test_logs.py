"""A broker that is away fills no disk with the clients' complaints."""

import logging
import socket

import pytest
from aiokafka.errors import GroupAuthorizationFailedError, GroupCoordinatorNotAvailableError
from kafka.errors import Cancelled, KafkaTimeoutError
from kafka.net.transport import KafkaTCPTransport

from streams.runtime import logs


def test_a_client_says_each_thing_once_in_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(logs.time, "monotonic", lambda: now)
    seldom = logs.Seldom()

    def passes(name: str, message: str, *args: object) -> bool:
        return seldom.filter(logging.LogRecord(name, logging.ERROR, "", 0, message, args, None))

    assert passes("aiokafka", "no node %s", 1)
    assert not passes("aiokafka", "no node %s", 2)
    assert passes("aiokafka", "another thing")
    assert passes("kafka", "no node %s", 1)
    assert passes("kafka", "no node at 127.0.0.1:9092")
    assert not passes("kafka", "no node at 127.0.0.1:9093")
    for number in range(3 * logs._MOST_MESSAGES):
        passes("kafka", "ab"[number % 2] * number)
    assert len(seldom._last) <= logs._MOST_MESSAGES
    now = logs.SELDOM_SECONDS
    assert passes("aiokafka", "no node %s", 3)


@pytest.mark.parametrize(
    ("message", "error", "told"),
    [
        ("Group Coordinator Request failed: %s", GroupCoordinatorNotAvailableError(), False),
        ("Group Coordinator Request failed: %s", GroupAuthorizationFailedError(), True),
        ("Metadata refresh: failed %s", Cancelled(), False),
        ("Metadata refresh: failed %s", KafkaTimeoutError(), True),
    ],
)
def test_what_is_normal_while_brokers_and_clients_come_and_go_is_no_error(
    message: str, error: Exception, told: bool
) -> None:
    record = logging.LogRecord("aiokafka", logging.ERROR, "", 0, message, (error,), None)
    assert logs.out_of_order(record) == told


def test_a_connection_that_its_client_has_closed_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    near, far = socket.socketpair()
    near.setblocking(False)
    transport = KafkaTCPTransport(None, near)
    kafka = logging.getLogger("kafka")
    before = kafka.level, kafka.handlers, kafka.propagate
    logs.set_up("warning")
    try:
        far.close()
        transport._sock_recv()
        assert "socket disconnected" in capsys.readouterr().err  # the other side went: that is one
        transport._closed, transport._sock = True, None
        assert transport._sock_recv()[1]
        assert not capsys.readouterr().err
    finally:
        near.close()
        kafka.setLevel(before[0])
        kafka.handlers, kafka.propagate = before[1:]
