"""Every command of the README, in its order, as a new user would type it."""

import csv
import gzip
import itertools
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.worlds.places import ROOT

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(sh|python)\n(.*?)```", README, re.S)
NEXTCLICK = ".venv/bin/nextclick"
EVENTS = 6000


def test_the_make_targets_exist() -> None:
    said = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for kind, text in BLOCKS:
        for target in re.findall(r"^make (\w+)", text, re.M) if kind == "sh" else ():
            assert f"make {target}" in said


class Shell:
    """Runs the README's lines in a folder, against a broker port of the test's own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        own = {
            "NEXTCLICK_BROKER_PORT": str(self.port),
            "NEXTCLICK_BOOTSTRAP_SERVERS": f"127.0.0.1:{self.port}",
        }
        self.environment = {**os.environ, **own, "PYTHONPATH": str(ROOT)}
        self.running: list[subprocess.Popen[str]] = []

    def start(self, line: str) -> subprocess.Popen[str]:
        """A line that stays in the background (or is watched)."""
        words = shlex.split(line.removesuffix("&"))
        assert words[0] == NEXTCLICK, f"the README has a command this test does not know: {line}"
        log = (self.folder / f"{words[1]}.log").open("w+")
        process = subprocess.Popen(
            [sys.executable, "-m", "streams", *words[1:]], cwd=self.folder, env=self.environment,
            stdout=log, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        self.running.append(process)
        return process

    def run(self, line: str) -> None:
        """A line that ends by itself, with success; a training takes less time than is good for quality."""
        process = self.start(line.replace("--time-budget 1", "--time-budget 0.1"))
        assert process.wait(240) == 0, f"{line}\n{self.said(shlex.split(line)[1])}"

    def python(self, text: str) -> str:
        """A Python snippet."""
        text = text.replace("127.0.0.1:9092", f"127.0.0.1:{self.port}")
        return subprocess.run(
            [sys.executable, "-c", text], cwd=self.folder, env=self.environment,
            capture_output=True, text=True, check=True, timeout=120,
        ).stdout  # fmt: skip

    def said(self, command: str) -> str:
        """What a command has printed."""
        return (self.folder / f"{command}.log").read_text()

    def wait_for(self, command: str, words: str, seconds: float = 90) -> None:
        """Waits until a command in the background has printed some words."""
        end = time.monotonic() + seconds
        while words not in self.said(command):
            assert time.monotonic() < end, f"{command} did not say {words!r}:\n{self.said(command)}"
            time.sleep(0.1)


@pytest.fixture
def shell(recorded: Path, tmp_path: Path) -> Iterator[Shell]:
    with gzip.open(recorded / "interactions.csv.gz", "rt") as file:
        head = list(itertools.islice(csv.reader(file), EVENTS))
    with (tmp_path / "interactions.csv").open("w", newline="") as file:
        csv.writer(file).writerows(head)
    with gzip.open(recorded / "items.csv.gz", "rb") as file:
        (tmp_path / "items.csv").write_bytes(file.read())
    running = Shell(tmp_path)
    yield running
    for process in reversed(running.running):
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()


@pytest.mark.learner
def test_the_first_five_minutes(shell: Shell) -> None:
    answered = ""
    for kind, text in BLOCKS:
        if kind == "python":
            shell.wait_for("worker", "partitions assigned")
            answered = shell.python(text)
            continue
        for line in text.strip().splitlines():
            if line.startswith("make "):
                continue  # make demo and make test have tests of their own: this one is run by make test
            if line.startswith("printf "):
                subprocess.run(line, shell=True, cwd=shell.folder, check=True)
            elif line.endswith("&"):
                shell.start(line)
                if " broker" in line:
                    shell.wait_for("broker", "ready")
            elif " watch" in line:
                shell.start(line)
                snippet = next(text for kind, text in BLOCKS if kind == "python")
                for again in range(2, 20):  # it shows what comes once it has started, whenever that is
                    shell.python(snippet.replace('"e1"', f'"e{again}"'))
                    if "u1" in shell.said("watch"):
                        break
                shell.wait_for("watch", "u1", 5)
            else:
                shell.run(line)
    assert "'recommendation_id'" in answered
    assert "'user_id': 'u1'" in answered
    assert "played 1 click" in shell.said("play")
    (clicked,) = csv.DictReader((shell.folder / "one.csv").open())
    assert (clicked["user_id"], clicked["item_id"]) == ("u1", "i1")
    assert abs(int(clicked["timestamp"]) - time.time()) < 600
    assert "cart: rules 0" in shell.said("scenarios")
    steered = shell.said("recommend")  # the last one
    assert "u1, scenario cart, rules 0" in steered
    assert "categories" in steered
