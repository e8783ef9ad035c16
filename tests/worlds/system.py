"""Real processes on one prefix: everything as a user would start it."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from streams.settings import Settings
from tests.worlds.places import ROOT

START_MS = 893_000_000_000  # in the middle of ml-100k's second half
TRAINED = 0.5  # of the recorded clicks; what comes later is live traffic


class System:
    """Processes on one prefix, and a plain Kafka client that knows only the contract."""

    def __init__(self, settings: Settings, folder: Path, release: Path) -> None:
        self.settings, self.folder, self.release = settings, folder, release
        self.prefix, self.bootstrap = settings.prefix, settings.bootstrap_servers
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.producer = KafkaProducer(bootstrap_servers=self.bootstrap, acks="all", linger_ms=1)

    def start(
        self, command: str, *flags: str, name: str | None = None, env: dict[str, str] | None = None
    ) -> str:
        """Starts `nextclick COMMAND`; returns the name under which it is known here."""
        name = name or command
        own = {
            "worker": ("--release", str(self.release), "--exploration", "0"),
            "learner": ("--release", str(self.release)),
        }.get(command, ())
        log = self.log(name).open("ab")
        self.processes[name] = subprocess.Popen(
            [
                sys.executable, "-m", "streams", command, "--bootstrap-servers", self.bootstrap,
                "--prefix", self.prefix, "--clock", self.settings.clock, "--data-dir", str(self.folder),
                *own, *flags,
            ],
            stdout=log, stderr=log, cwd=ROOT, env={**os.environ, **(env or {})},
        )  # fmt: skip
        return name

    def log(self, name: str) -> Path:
        """The log file of a process."""
        return self.folder / f"{name}.log"

    def said(self, name: str) -> str:
        """What a process has logged."""
        return self.log(name).read_text(errors="replace") if self.log(name).exists() else ""

    def wait_for(self, what: Callable[[], Any], why: str, seconds: float = 90) -> Any:
        """Waits until `what` returns something true; fails with the logs."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = what()
            if found:
                return found
            time.sleep(0.05)
        logs = "\n".join(f"--- {name}\n{self.said(name)[-4000:]}" for name in self.processes)
        raise AssertionError(f"{why}: not within {seconds} s\n{logs}")

    def kill(self, name: str) -> None:
        """kill -9."""
        self.processes[name].send_signal(signal.SIGKILL)
        self.processes.pop(name).wait()

    def stop(self, name: str, timeout: float = 40) -> int:
        """SIGTERM; returns the exit code."""
        process = self.processes.pop(name)
        process.terminate()
        return process.wait(timeout)

    def close(self) -> None:
        """Ends everything."""
        self.producer.close(5)
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

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
        consumer = KafkaConsumer(bootstrap_servers=self.bootstrap, enable_auto_commit=False)
        try:
            numbers = consumer.partitions_for_topic(self.topic(topic)) or set()
            if not numbers:
                return []
            places = [TopicPartition(self.topic(topic), number) for number in numbers]
            consumer.assign(places)
            consumer.seek_to_beginning(*places)
            ends = consumer.end_offsets(places)
            records = []
            while any(consumer.position(place) < end for place, end in ends.items()):
                for some in consumer.poll(500).values():
                    records += some
            return records
        finally:
            consumer.close()

    def lists(self) -> dict[str, dict[str, Any]]:
        """The first list of each trigger, by the trigger's id."""
        found: dict[str, dict[str, Any]] = {}
        for record in self.read("recommendations"):
            answer = json.loads(record.value)
            found.setdefault(answer["trigger"]["id"], answer)
        return found

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
        """The newest state of each user."""
        return {
            record.key.decode(): json.loads(record.value)
            for record in self.read("user-states")
            if record.value is not None
        }


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
