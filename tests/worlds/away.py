"""A worker and a learner under light clicks on a broker of their own that goes away and comes back.

Owns how it goes: stopped in order, killed, or held still as a machine is that sleeps. Holds what was sent
against what came of it.
"""

import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kafka import KafkaProducer

from learner.data.events import INTEREST, KIND_OF_WORD
from streams.broker.node import HOST, EmbeddedBroker, _free_port
from streams.settings import load_settings
from streams.transport import clients
from streams.transport.topics import create_missing
from tests.worlds import aftermath
from tests.worlds.ledger import Crowd
from tests.worlds.system import System, ready

RATE, USERS = 8, 40
ITEMS = [str(number) for number in range(1, 400)]
GONE, BACK = "the broker does not answer", "the broker answers again"


class Away:
    """The broker, the system on it and its crowd."""

    def __init__(self, folder: Path, release: Path) -> None:
        self.folder = folder
        self.broker = self._new(0).start()
        self.second = _free_port()
        settings = load_settings(
            bootstrap_servers=f"{self.broker.bootstrap_servers},{HOST}:{self.second}", clock="stream",
            data_dir=folder, prefix="away.",
        )  # fmt: skip
        with clients.admin(settings) as admin:
            create_missing(admin, settings)
        self.system = System(settings, folder, release)
        self.system.producer = self._new_producer()
        self.crowd = Crowd(self.system, RATE, USERS, ITEMS)

    def close(self) -> None:
        """Ends everything."""
        self.broker.process and self.broker.process.send_signal(signal.SIGCONT)
        self.system.fleet.close()  # first: a producer may fail to close
        try:
            self.system.close()
        finally:
            self.broker.stop()

    def begin(self) -> None:
        """Worker and learner are ready."""
        self.system.start("worker")
        self.system.start("learner")
        ready(self.system)
        self.system.wait_for(lambda: "learner ready" in self.said("learner"), "the learner is ready")

    def goes(self, how: str, seconds: float) -> None:
        """The broker goes for so long; `how`: "stopped", "killed" or "still"."""
        self._forget_readers()
        if how == "still":
            assert self.broker.process is not None
            self.broker.process.send_signal(signal.SIGSTOP)
            time.sleep(seconds)
            self.broker.process.send_signal(signal.SIGCONT)
            return
        (self.broker.kill if how == "killed" else self.broker.stop)()
        time.sleep(seconds)
        self.broker = self._new(self.broker.port).start()

    def moves(self, seconds: float) -> None:
        """The broker goes for so long and comes back at the second address that all have been told of."""
        self._forget_readers()
        self.broker.stop()
        time.sleep(seconds)
        self.broker = self._new(self.second).start()
        self.system.producer = self._new_producer()

    def _new_producer(self) -> KafkaProducer:
        """One that tries for as long as the broker may be away, but follows no move."""
        return KafkaProducer(
            bootstrap_servers=self.system.bootstrap, acks="all", linger_ms=1, delivery_timeout_ms=600_000
        )

    def said(self, name: str) -> str:
        """The log of a process."""
        return self.system.said(name)

    def back(self, times: int, *names: str) -> None:
        """Waits until each has said so often that it is back; fails where one of them has ended."""
        for name in names or ("worker", "learner"):
            self.system.wait_for(
                lambda name=name: self.said(name).count(BACK) == times, f"{name} says that it is back"
            )

    def settled(self) -> None:
        """Waits until each acknowledged click has its list, and the signals know all of them."""
        self.system.wait_for(lambda: not self._unanswered(), "a list for each click")
        self.system.wait_for(lambda: self.counted() == self.expected(), "each click is counted, once")

    def wrong(self) -> dict[str, list[str]]:
        """By what it is, what does not hold; nothing where all is well."""
        lists = aftermath.lists_of(self.system.read("recommendations"))
        clicks = aftermath.clicks_of(self.system.read("clicks"))
        ledger = self.crowd.ledger
        lost = [f"{sent}" for sent in ledger.clicks if not sent.acknowledged]
        found = {
            "not acknowledged": aftermath.told(lost),
            "unanswered": aftermath.told(aftermath.unanswered(ledger, clicks, lists)),
            "of several names": aftermath.told(aftermath.of_several_names(lists)),
            "consumed again": aftermath.told(aftermath.consumed_again(ledger, clicks, lists)),
            "letters": aftermath.told(
                each
                for each in aftermath.letters_of(ledger, self.system.read("dead-letters"))
                if not each.startswith("2 ")  # what was written in silence is sent again
            ),
            "tracebacks": aftermath.tracebacks(self.folder),
        }
        return {what: words for what, words in found.items() if words}

    def expected(self) -> int:
        """How many events of interest stand in the topic, each id once."""
        ids = {
            placed.click.event_id
            for placed in aftermath.clicks_of(self.system.read("clicks"))
            if KIND_OF_WORD[placed.click.event] in INTEREST
        }
        return len(ids)

    def counted(self) -> int:
        """How many events the signals have counted: of each item's newest record."""
        newest: dict[bytes, Any] = {
            record.key: json.loads(record.value) for record in self.system.read("signals") if record.key
        }
        return round(sum(record["count"] for record in newest.values()))

    def _forget_readers(self) -> None:
        """The tests' own consumers are none of what is tested: they begin anew."""
        for topic in self.system._topics.values():
            topic.close()
        self.system._topics.clear()

    def _unanswered(self) -> list[str]:
        lists = aftermath.lists_of(self.system.read("recommendations"))
        clicks = aftermath.clicks_of(self.system.read("clicks"))
        return aftermath.unanswered(self.crowd.ledger, clicks, lists)

    def _new(self, port: int) -> EmbeddedBroker:
        return EmbeddedBroker(self.folder / "broker", port=port, cache=load_settings().cache_dir)


@contextmanager
def away(folder: Path, release: Path) -> Iterator[Away]:
    """All of it, ended at the end."""
    world = Away(folder, release)
    try:
        yield world
    finally:
        world.close()
