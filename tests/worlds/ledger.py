"""Clicks and requests of a crowd at a steady pace, and a ledger of what was sent and acknowledged.

Owns what is sent: clicks of every kind, some of them twice, requests just before clicks, bad records now and
then, and one user who clicks more than all others. Knows the contract and nothing else of the system;
`aftermath` holds the ledger against what came.
"""

import json
import math
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tests.worlds.system import START_MS, System

HUGE = "huge"  # the user of whom there are thousands of clicks
EVENTS = [*16 * ["click"], "view", "view", "purchase", "impression"]
REQUESTED, TWICE, BAD = (
    0.3,
    0.03,
    0.01,
)  # of the clicks: with a request before them, sent twice, and no clicks
OF_HUGE, OF_NEW = 0.1, 0.05  # of the clicks: by the one user, and on the newest item
BAD_VALUES = (
    b"no json", b'{"event_id": "of nobody"}', json.dumps({
        "event_id": "ahead", "user_id": "u0", "item_id": "i0", "event": "click", "timestamp": 2**52,
    }).encode(),
)  # fmt: skip


@dataclass(slots=True)
class Sent:
    """A record that was sent; times are Unix ms of this machine's clock, as the brokers' are."""

    id: str
    user: str
    sent_ms: float
    acknowledged_ms: float = math.inf
    partition: int = -1
    offset: int = -1

    def acknowledge(self, where: Any) -> None:
        """Called by the producer's thread."""
        self.partition, self.offset = where.partition, where.offset
        self.acknowledged_ms = time.time() * 1000

    @property
    def acknowledged(self) -> bool:
        """Whether the brokers have it."""
        return self.offset >= 0


@dataclass
class Ledger:
    """What was sent; a click that was sent twice stands in it twice."""

    clicks: list[Sent] = field(default_factory=list)
    requests: list[Sent] = field(default_factory=list)
    bad: list[Sent] = field(default_factory=list)
    withdrawn: dict[str, float] = field(default_factory=dict)  # item -> when that was acknowledged, Unix ms


class Crowd:
    """Sends `rate` clicks a second, from a thread of its own while `going_on`, by `users` and `HUGE`.

    `items` are those of the release, of which some are clicked far more than others; `newest` is another one
    that is clicked too.
    """

    def __init__(self, system: System, rate: float, users: int, items: list[str]) -> None:
        self.ledger = Ledger()
        self.newest = items[0]
        self._system, self._rate, self._items = system, rate, items
        self._users = [f"u{number}" for number in range(users)]
        self._rng = np.random.default_rng(0)
        self._recent: deque[tuple[str, str, bytes]] = deque(maxlen=20)
        self._began = time.monotonic()
        self._number = 0
        self._sending = threading.Lock()  # `burst` comes from another thread
        self._stop = threading.Event()

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """Sends for the length of the block; what was sent is acknowledged at its end, or never."""
        thread = threading.Thread(target=self._run, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()
            self._system.producer.flush(60)

    def burst(self, clicks: int) -> None:
        """So many clicks of the one user at once."""
        for _ in range(clicks):
            with self._sending:
                self._click(HUGE, str(self._rng.choice(self._items)))

    def _run(self) -> None:
        began, number = time.monotonic(), 0
        while not self._stop.is_set():
            due = int((time.monotonic() - began) * self._rate)
            for _ in range(number, due):
                with self._sending:
                    self._somebody()
            number = due
            time.sleep(0.002)

    def _somebody(self) -> None:
        rng = self._rng
        user = HUGE if rng.random() < OF_HUGE else str(rng.choice(self._users))
        if rng.random() < REQUESTED:
            self._request(user)
        popular = self._items[int(len(self._items) * rng.random() ** 3)]
        self._click(user, self.newest if rng.random() < OF_NEW else popular)
        if rng.random() < TWICE:
            event_id, user, value = self._recent[int(rng.integers(len(self._recent)))]
            self._send(self.ledger.clicks, "clicks", event_id, user, value)
        if rng.random() < BAD:
            value = BAD_VALUES[int(rng.integers(len(BAD_VALUES)))]
            self._send(self.ledger.bad, "clicks", "bad", user, value)

    def _click(self, user: str, item: str) -> None:
        event_id = f"c{self._next()}"
        value = json.dumps({
            "event_id": event_id, "user_id": user, "item_id": item, "timestamp": self._now_ms(),
            "event": EVENTS[int(self._rng.integers(len(EVENTS)))],
        }).encode()  # fmt: skip
        self._send(self.ledger.clicks, "clicks", event_id, user, value)
        if user != HUGE:  # of whom more than the 64 events that are remembered may lie in between
            self._recent.append((event_id, user, value))

    def _request(self, user: str) -> None:
        request_id = f"q{self._next()}"
        value = json.dumps({"request_id": request_id, "user_id": user}).encode()
        self._send(self.ledger.requests, "requests", request_id, user, value)

    def _send(self, page: list[Sent], topic: str, name: str, user: str, value: bytes) -> None:
        sent = Sent(name, user, time.time() * 1000)
        page.append(sent)
        going = self._system.producer.send(self._system.topic(topic), key=user.encode(), value=value)
        going.add_callback(sent.acknowledge)

    def _next(self) -> int:
        self._number += 1
        return self._number

    def _now_ms(self) -> int:
        return START_MS + int(1000 * (time.monotonic() - self._began))
