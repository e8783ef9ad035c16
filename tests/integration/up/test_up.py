"""`nextclick up` as a user starts it: refusals in one line, and a whole life with kills in it."""

import csv
import gzip
import itertools
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from streams.runtime.fleet import environment

CLICKS = 4_000
SECONDS = 150  # for whatever is waited for


class Up:
    """One `nextclick up` in a folder, its screen, and a plain HTTP client."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.screen = folder / "screen"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *flags: str) -> None:
        with self.screen.open("wb") as screen:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "streams", "up", "--broker-port", "0", "--port", "0", *flags],
                cwd=self.folder, env=environment({}), stdout=screen, stderr=subprocess.STDOUT,
            )  # fmt: skip

    def said(self) -> str:
        return self.screen.read_text(errors="replace")

    def log(self) -> str:
        log = self.folder / ".nextclick/up/up.log"
        return log.read_text(errors="replace") if log.exists() else ""

    def wait(self, seconds: float = SECONDS) -> int:
        assert self.process is not None
        return self.process.wait(seconds)

    def until(self, holds: Any, what: str) -> Any:
        end = time.monotonic() + SECONDS
        while not (found := holds()):
            logs = self.said() + self.log()[-5000:]
            assert self.process is None or self.process.poll() is None, logs
            assert time.monotonic() < end, f"{what}: not within {SECONDS} s\n{logs}"
            time.sleep(0.1)
        return found

    def address(self) -> str:
        """Once it is told."""
        return str(self.until(lambda: re.search(r"is up at (\S+)", self.said()), "the address").group(1))

    def child(self, name: str) -> psutil.Process:
        """The process of a command."""
        assert self.process is not None

        def found() -> psutil.Process | None:
            for each in psutil.Process(self.process.pid).children():
                words = each.cmdline()
                if name in words or (name == "java" and "java" in words[0]):
                    return each
            return None

        return self.until(found, f"{name} runs")

    def ask(self, address: str, path: str, body: Any = None) -> tuple[int, Any]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(address + path, data, headers={"content-type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())
        except (OSError, ValueError):
            return 0, None

    def list_of(self, address: str, user: str, **query: str) -> Any:
        """A list that knows the click `seen`, waited for: what was killed comes back."""
        words = "&".join(f"{name}={value}" for name, value in {"k": "5", **query}.items())

        def made() -> Any:
            status, body = self.ask(address, f"/v1/users/{user}/recommendations?{words}")
            return body if status == 200 and body["items"] and "behind" not in body else None

        return self.until(made, f"a list for {user}")

    def click(self, address: str, user: str, item: str) -> str:
        """Sends a click, again where the api is away; returns its token."""
        click = {"user_id": user, "item_id": item, "event": "click", "event_id": f"{user}-{item}"}

        def taken() -> Any:
            status, body = self.ask(address, "/v1/clicks", click)
            return body["seen"] if status == 202 else None

        return str(self.until(taken, "the click is taken"))


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    running = Up(tmp_path)
    yield running
    if running.process is not None and running.process.poll() is None:
        running.process.send_signal(signal.SIGTERM)
        try:
            running.process.wait(30)
        finally:
            running.process.kill()


@pytest.fixture
def shop(recorded: Path, tmp_path: Path) -> tuple[Path, Path]:
    """The first clicks of a shop, and its items."""
    with gzip.open(recorded / "interactions.csv.gz", "rt") as file:
        head = list(itertools.islice(csv.reader(file), CLICKS + 1))
    with (tmp_path / "my.csv").open("w", newline="") as file:
        csv.writer(file).writerows(head)
    with gzip.open(recorded / "items.csv.gz", "rb") as file:
        (tmp_path / "my-items.csv").write_bytes(file.read())
    return tmp_path / "my.csv", tmp_path / "my-items.csv"


def refused(up: Up, code: int, words: str) -> None:
    """It has ended with one line that says so, and nothing of it is left."""
    assert up.wait() == code, up.said()
    errors = [line for line in up.said().splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert re.search(words, errors[0]), errors
    assert "Traceback" not in up.said()


def test_a_file_that_is_not_there(up: Up) -> None:
    up.start("--interactions", "mine.csv")
    refused(up, 78, r"--interactions mine\.csv: No such file")


def test_a_port_that_is_taken(up: Up) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        up.start("--broker-port", str(taken.getsockname()[1]))
        refused(up, 78, r"port \d+ is taken by another program; choose another one with --broker-port")
        up.start("--port", str(taken.getsockname()[1]))
        refused(up, 78, r"cannot listen on 127\.0\.0\.1:\d+ .*--port")


@pytest.mark.drill
@pytest.mark.learner
@pytest.mark.timeout(600)
def test_a_life_with_kills_in_it(up: Up, shop: tuple[Path, Path], release: Path) -> None:
    """Whatever is killed comes back, no click is lost, and what was done is not done again."""
    shutil.copytree(release, up.folder / ".nextclick/up/release")  # as if the first training had ended
    clicks, items = shop
    flags = "--interactions", str(clicks), "--items", str(items), "--set", "learn=none"
    up.start(*flags)
    address = up.address()
    assert f"loaded {CLICKS:,} clicks" in up.log()
    with clicks.open() as file:
        user = next(csv.DictReader(file))["user_id"]
    assert len(up.list_of(address, user)["items"]) == 5
    assert up.ask(address, "/")[1]["docs"] == "/docs"

    second = Up(up.folder)
    second.screen = up.folder / "second"
    second.start()
    refused(second, 75, rf"in use by another .*process {up.process.pid if up.process else ''}\)")

    for name in ("worker", "api", "learner", "java"):
        victim = up.child(name)
        seen = up.click(address, "visitor", f"{len(name)}")
        victim.kill()
        told = {"java": "broker"}.get(name, name)
        up.until(lambda told=told: f"{told} ended (killed by SIGKILL)" in up.said(), f"{told} is told of")
        up.until(lambda name=name, pid=victim.pid: up.child(name).pid != pid, f"{name} runs again")
        up.list_of(address, "visitor", seen=seen, timeout_ms="10000")

    assert up.process is not None
    before = [each.pid for each in psutil.Process(up.process.pid).children(recursive=True)]
    seen = up.click(address, "visitor", "50")
    up.process.kill()
    up.process.wait()
    up.start(*flags)
    address = up.address()
    assert "loaded" not in up.said()
    assert up.log().count(f"loaded {CLICKS:,} clicks") == 1
    assert " train " not in up.log()
    up.list_of(address, "visitor", seen=seen, timeout_ms="10000")
    assert not [each for each in before if psutil.pid_exists(each)]
    _, known = up.ask(address, "/v1/users/visitor")
    assert [event["item_id"] for event in known["profile"]["history"]] == ["50", "4", "7", "3", "6"]

    began = time.monotonic()
    up.process.send_signal(signal.SIGINT)
    assert up.wait(30) == 0
    assert time.monotonic() - began < 20  # ten, on a machine that does nothing else
    assert "stopped" in up.said()
    assert "Traceback" not in up.log()


@pytest.mark.drill
@pytest.mark.timeout(600)
def test_an_empty_beginning(up: Up) -> None:
    """Without clicks of the past there is no release, and it says so; clicks are taken all the same."""
    up.start()
    address = up.address()
    assert "There is no release yet" in up.said()
    up.click(address, "u1", "i1")
    assert up.ask(address, "/v1/users/u1/recommendations")[0] == 503
    assert up.process is not None
    up.process.terminate()
    assert up.wait(60) == 0
