"""What an operator reads at the level `info`: a dozen lines at the start, then events and a line a minute."""

import re
import time
from typing import Any

import pytest

from tests.worlds.system import START_MS, ready, told, wait_answered

MOST_AT_START = 12
BAD = 3_000


def lines(system: Any, name: str) -> list[str]:
    plain = re.sub(r"\x1b\[[0-9;]*m", "", system.said(name))
    return [line for line in plain.splitlines() if line.strip()]


class Allowed:
    """How many lines there may be: so many, and two more for each minute that passes from here on."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def __call__(self, most: int) -> int:
        return most + 2 * int((time.monotonic() - self._began) / 60 + 0.5)


@pytest.mark.usefixtures("topics")
def test_a_system_says_little_and_a_flood_of_bad_records_little_more(system: Any) -> None:
    allowed = Allowed()
    system.start("learner", "--learn", "none")
    system.start("worker")
    ready(system)
    system.wait_for(lambda: "learner ready" in system.said("learner"), "the learner")
    clicks = [system.click(f"u{n}", "1", START_MS + n) for n in range(20)]
    wait_answered(system, clicks)
    for name in ("worker", "learner"):
        assert len(lines(system, name)) <= allowed(MOST_AT_START)
    before = len(lines(system, "worker"))
    for n in range(BAD):
        key = f"u{n}".encode()
        system.producer.send(system.topic("clicks"), key=key, value=b'{"event_id": %d}' % n)
    system.producer.flush()
    wait_answered(system, [system.click("u1", "2", START_MS + 1_000)])
    system.wait_for(lambda: len(system.read("dead-letters")) >= BAD, "all bad records of all partitions")
    assert len(lines(system, "worker")) <= allowed(before + 3)
    for name in ("worker", "learner"):
        assert system.stop(name) == 0
        assert not [
            line
            for line in lines(system, name)
            if re.search(r"\[error *\]", line, re.I) or "Traceback" in line
        ]
    assert int(told(system, "worker")["bad_records"]) == BAD
    assert len(lines(system, "worker")) <= allowed(before + 6)
