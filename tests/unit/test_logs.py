"""A broker that is away fills no disk with the clients' complaints."""

import logging

import pytest

from streams import logs


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
