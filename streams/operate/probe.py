"""What a producer and a consumer see of a running system: records sent, and the lists that come.

Owns the sending and the waiting, with the moments of both. Knows the contract and nothing else of the system.
"""

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec

from streams.settings import Settings
from streams.transport import clients
from streams.transport.topics import Names
from streams.wire.contract import Click, Recommendation, Request, encode

WAIT_SECONDS = 20.0  # for one list, and for one effect
ALL = 1000  # the longest list that the contract allows: what is not in it is not known

_decode = msgspec.json.Decoder(Recommendation).decode


class BenchError(Exception):
    """Nothing could be measured: says why and what to do."""


@dataclass(slots=True)
class Answer:
    """A list, when it was in the consumer's hands (seconds of the monotonic clock), and its CreateTime."""

    made: Recommendation
    at: float
    created_ms: int


class Probe:
    """A producer of clicks, items and requests, and a consumer of lists in a thread of its own."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.names = settings, Names(settings.prefix)
        self.producer = clients.producer(settings, linger_ms=0)
        self.answers: dict[str, Answer] = {}
        self._news = threading.Condition()
        self._stop = threading.Event()
        self._ready = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        if not self._ready.wait(WAIT_SECONDS):
            raise BenchError(f"{self.names.recommendations} cannot be read; see `nextclick doctor`")

    def close(self) -> None:
        """Ends the reading."""
        self._stop.set()
        self._reader.join(5)
        self.producer.close(5)

    def send(self, topic: str, key: str, message: Any) -> float:
        """Sends one record without waiting for it; returns the moment."""
        at = time.perf_counter()
        self.producer.send(topic, key=key.encode(), value=None if message is None else encode(message))
        return at

    def click(self, user: str, item: str, timestamp: int) -> tuple[str, float]:
        """Sends a click; returns its event id and the moment."""
        event_id = f"bench-{uuid.uuid4().hex}"
        message = Click(event_id=event_id, user_id=user, item_id=item, event="click", timestamp=timestamp)
        return event_id, self.send(self.names.clicks, user, message)

    def wait(self, trigger: str) -> Answer:
        """The list of a trigger. Raises BenchError where none comes."""
        with self._news:
            if not self._news.wait_for(lambda: trigger in self.answers, WAIT_SECONDS):
                raise BenchError(
                    f"no list within {WAIT_SECONDS:.0f} s: are a worker and a learner running on prefix "
                    f"{self.settings.prefix!r}? See `nextclick doctor`"
                )
            return self.answers.pop(trigger)

    def ask(self, user: str, timestamp: int, k: int = ALL) -> Answer:
        """The list of a user at a time of the stream."""
        request = Request(request_id=f"bench-{uuid.uuid4().hex}", user_id=user, timestamp=timestamp, k=k)
        self.send(self.names.requests, user, request)
        return self.wait(request.request_id)

    def until(self, since: float, holds: Callable[[], Answer | None], what: str) -> float:
        """Milliseconds from `since` until `holds` brings the list that shows it."""
        while time.perf_counter() < since + WAIT_SECONDS:
            answer = holds()
            if answer is not None:
                return (answer.at - since) * 1000
        raise BenchError(f"{what}: not within {WAIT_SECONDS:.0f} s")

    def _read(self) -> None:
        with clients.consumer(
            self.settings, self.names.recommendations, auto_offset_reset="latest", fetch_max_wait_ms=50
        ) as consumer:
            while not consumer.assignment():
                consumer.poll(timeout_ms=50)
            for place in consumer.assignment():
                consumer.position(place)
            self._ready.set()
            while not self._stop.is_set():
                fetched = consumer.poll(timeout_ms=100)
                at = time.perf_counter()
                with self._news:
                    for records in fetched.values():
                        for record in records:
                            self.take(Answer(_decode(record.value), at, record.timestamp))
                    self._news.notify_all()

    def take(self, answer: Answer) -> None:
        """Keeps the first list of each trigger; called by the reading thread."""
        self.answers.setdefault(answer.made.trigger.id, answer)


@contextmanager
def probing(settings: Settings) -> Iterator[Probe]:
    """A probe for the length of a block."""
    probe = Probe(settings)
    try:
        yield probe
    finally:
        probe.close()


@dataclass
class Traffic:
    """Clicks sent at a steady pace, by a thread of its own while a block goes on."""

    probe: Probe
    users: list[str]
    items: list[str]
    now: int
    rate: float
    sent: dict[str, int] = field(default_factory=dict)  # event id -> Unix ms of sending
    _stop: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """Sends for the length of the block, and to its end what is due by then."""
        sender = threading.Thread(target=self._run, daemon=True)
        sender.start()
        try:
            yield
        finally:
            self._stop.set()
            sender.join()

    def _run(self) -> None:
        """Sends; what it falls behind is sent at once."""
        began, number = time.perf_counter(), 0
        while not self._stop.is_set():
            due = int((time.perf_counter() - began) * self.rate)
            for _ in range(number, due):
                user, item = self.users[number % len(self.users)], self.items[(7 * number) % len(self.items)]
                event_id, _at = self.probe.click(user, item, self.now)
                self.sent[event_id] = int(time.time() * 1000)
                number += 1
            time.sleep(0.001)
        self.probe.producer.flush()
