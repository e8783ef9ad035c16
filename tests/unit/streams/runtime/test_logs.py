"""A broker that is away fills no disk with the clients' complaints."""

import logging
import socket

import pytest
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
    now = logs.SELDOM_SECONDS
    assert passes("aiokafka", "no node %s", 3)


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
