"""Real processes on one prefix: everything as a user would start it."""

import json
import re
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from streams.runtime.fleet import Fleet
from streams.settings import Settings

START_MS = 893_000_000_000  # in the middle of ml-100k's second half
TRAINED = 0.5  # of the recorded clicks; what comes later is live traffic


class Topic:
    """A topic's records, read on from its beginning by one consumer. For one thread."""

    def __init__(self, bootstrap: str, name: str) -> None:
        self.name = name
        self._consumer = KafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
        self._records: list[Any] = []
        self._told = 0

    def read(self) -> list[Any]:
        """All records to its present end."""
        consumer = self._consumer
        if not consumer.assignment():
            numbers = consumer.partitions_for_topic(self.name) or ()
            places = [TopicPartition(self.name, number) for number in numbers]
            if not places:
                return []
            consumer.assign(places)
            consumer.seek_to_beginning(*places)
        ends = consumer.end_offsets(list(consumer.assignment()))
        while any(consumer.position(place) < end for place, end in ends.items()):
            for some in consumer.poll(500).values():
                self._records += some
        return list(self._records)

    def news(self) -> list[Any]:
        """The records that no call of this has returned before."""
        news = self.read()[self._told :]
        self._told += len(news)
        return news

    def close(self) -> None:
        """Ends the reading."""
        self._consumer.close()


class System:
    """Processes on one prefix, and a plain Kafka client that knows only the contract."""

    def __init__(self, settings: Settings, folder: Path, release: Path) -> None:
        self.settings, self.folder, self.release = settings, folder, release
        self.prefix, self.bootstrap = settings.prefix, settings.bootstrap_servers
        self.fleet = Fleet(folder, lines=40)
        self.producer = KafkaProducer(bootstrap_servers=self.bootstrap, acks="all", linger_ms=1)
        self._topics: dict[str, Topic] = {}
        self._lists: dict[str, dict[str, Any]] = {}
        self._states: dict[str, dict[str, Any]] = {}

    def start(
        self, command: str, *flags: str, name: str | None = None, env: dict[str, str] | None = None
    ) -> str:
        """Starts `nextclick COMMAND`; returns the name under which it is known here."""
        name = name or command
        own = {
            "worker": ("--release", str(self.release), "--exploration", "0"),
            "learner": ("--release", str(self.release)),
        }.get(command, ())
        self.fleet.start(
            name, "--bootstrap-servers", self.bootstrap, "--prefix", self.prefix,
            "--clock", self.settings.clock, "--data-dir", str(self.folder), *own, *flags,
            command=command, env=env,
        )  # fmt: skip
        return name

    def said(self, name: str) -> str:
        """What a process has logged."""
        return self.fleet.said(name)

    def wait_for(self, what: Callable[[], Any], why: str, seconds: float = 90) -> Any:
        """Waits until `what` returns something true; fails with the logs, at once where a process ends."""
        return self.fleet.wait_for(what, why, seconds, every=0.05)

    def kill(self, name: str) -> None:
        """kill -9."""
        self.fleet.kill(name)

    def stop(self, name: str, timeout: float = 40) -> int:
        """SIGTERM; returns the exit code."""
        return self.fleet.stop(name, timeout)

    def ended(self, name: str, timeout: float = 60) -> int:
        """The exit code of a process that ends by itself."""
        self.fleet.children[name].process.wait(timeout)
        return self.fleet.stop(name)

    def close(self) -> None:
        """Ends everything."""
        self.producer.close(5)
        for topic in self._topics.values():
            topic.close()
        self.fleet.close()

    def topic(self, name: str) -> str:
        """A topic's full name."""
        return self.prefix + name

    def send(self, topic: str, key: str | bytes | None, value: Any, **more: Any) -> Any:
        """Sends JSON (or bytes as they are) and waits for the acknowledgement."""
        raw = value if isinstance(value, bytes) or value is None else json.dumps(value).encode()
        key = key.encode() if isinstance(key, str) else key
        return self.producer.send(self.topic(topic), key=key, value=raw, **more).get(20)

    def click(self, user: str, item: str, timestamp: int, event_id: str | None = None, **more: Any) -> str:
        """Sends one click; returns its event id."""
        event_id = event_id or uuid.uuid4().hex
        self.send(
            "clicks", user,
            {"event_id": event_id, "user_id": user, "item_id": item, "event": "click"}
            | {"timestamp": timestamp, **more},
        )  # fmt: skip
        return event_id

    def read(self, topic: str) -> list[Any]:
        """All records of a topic from its beginning to its present end."""
        return self._topic(topic).read()

    def lists(self) -> dict[str, dict[str, Any]]:
        """The first list of each trigger, by the trigger's id."""
        for record in self._topic("recommendations").news():
            answer = json.loads(record.value)
            self._lists.setdefault(answer["trigger"]["id"], answer)
        return dict(self._lists)

    def answer(self, trigger: str, seconds: float = 60) -> dict[str, Any]:
        """Waits for the list of one trigger."""
        found: dict[str, Any] = self.wait_for(
            lambda: self.lists().get(trigger), f"a list for {trigger}", seconds
        )
        return found

    def request(self, user: str, **more: Any) -> dict[str, Any]:
        """Asks through `requests` and waits for the answer."""
        request_id = uuid.uuid4().hex
        self.send("requests", user, {"request_id": request_id, "user_id": user, **more})
        return self.answer(request_id)

    def states(self) -> dict[str, dict[str, Any]]:
        """The newest state of each user. A list is there before the state that knows its click."""
        for record in self._topic("user-states").news():
            if record.value is None:
                self._states.pop(record.key.decode(), None)
            else:
                self._states[record.key.decode()] = json.loads(record.value)
        return dict(self._states)

    def state(self, user: str, events: int) -> dict[str, Any]:
        """Waits until a user's newest state has so many events."""

        def there() -> dict[str, Any] | None:
            found = self.states().get(user)
            return found if found is not None and found["events"] >= events else None

        found: dict[str, Any] = self.wait_for(there, f"{events} events of {user}")
        return found

    def _topic(self, name: str) -> Topic:
        if name not in self._topics:
            self._topics[name] = Topic(self.bootstrap, self.topic(name))
        return self._topics[name]


def ready(system: Any, name: str = "worker") -> None:
    """Waits until a worker has its partitions."""
    system.wait_for(lambda: "partitions assigned" in system.said(name), f"{name} has its partitions")


def wait_answered(system: Any, ids: list[str], seconds: float = 90) -> dict[str, Any]:
    """Waits until each trigger has its list; returns all lists."""

    def all_there() -> dict[str, Any] | None:
        lists = system.lists()
        return lists if set(ids) <= set(lists) else None

    found: dict[str, Any] = system.wait_for(all_there, f"{len(ids)} lists", seconds)
    return found


def told(system: System, name: str) -> dict[str, str]:
    """The figures that a worker has logged last."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", system.said(name))
    line = [line for line in plain.splitlines() if "] figures" in line][-1]
    return dict(re.findall(r"(\S+)=(\S+)", line))
