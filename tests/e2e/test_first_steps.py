"""docs/first-steps.md as a new user would type it, in order; `-s` says when each step is done."""

import gzip
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streams.runtime.fleet import environment
from tests.worlds.places import ROOT

PAGE = (ROOT / "docs" / "first-steps.md").read_text(encoding="utf-8")
LINES = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.S) for line in block.strip().splitlines()]
SECONDS = 280


class Terminal:
    """Runs lines of the page in a folder, against a port of the test's own."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port = folder, port
        self.streamed = folder / "streamed"
        self.screen = folder / "screen"
        self.background: list[subprocess.Popen[bytes]] = []
        self.began = time.monotonic()

    def done(self, step: str) -> None:
        """Says when."""
        print(f"{time.monotonic() - self.began:6.1f} s  {step}", flush=True)

    def up(self, line: str) -> None:
        words = line.split()
        assert words[:2] == [".venv/bin/nextclick", "up"]
        ports = ("--port", str(self.port), "--broker-port", "0")
        with self.screen.open("wb") as screen:
            self.background.append(
                subprocess.Popen(
                    [sys.executable, "-m", "streams", *words[1:], *ports],
                    cwd=self.folder, env=environment({}), stdout=screen, stderr=subprocess.STDOUT,
                )
            )  # fmt: skip

    def curl(self, line: str) -> Any:
        """What a line answers, as JSON; a stream goes on beside it."""
        line = line.replace("localhost:8080", f"127.0.0.1:{self.port}")
        if line.endswith("&"):
            with self.streamed.open("wb") as streamed:
                self.background.append(
                    subprocess.Popen(
                        ["/bin/sh", "-c", f"exec {line.removesuffix('&')}"], stdout=streamed, cwd=self.folder
                    )
                )
            return None
        said = subprocess.run(line, shell=True, cwd=self.folder, capture_output=True, check=True, timeout=60)
        return json.loads(said.stdout or b"null")

    def until(self, holds: Any, what: str) -> Any:
        end = time.monotonic() + SECONDS
        while not (found := holds()):
            assert self.background[0].poll() is None, self.screen.read_text()
            assert time.monotonic() < end, f"{what}: not within {SECONDS} s\n{self.screen.read_text()}"
            time.sleep(0.1)
        return found

    def events(self) -> list[dict[str, Any]]:
        """Lists that the stream has brought."""
        return [json.loads(text) for text in re.findall(r"^data: ?(.*)$", self.streamed.read_text(), re.M)]


@pytest.fixture
def terminal(recorded: Path, tmp_path: Path) -> Iterator[Terminal]:
    if shutil.which("curl") is None:
        pytest.skip("curl is not on this machine")
    for name, ours in (("interactions", "my.csv"), ("items", "my-items.csv")):
        (tmp_path / ours).write_bytes(gzip.decompress((recorded / f"{name}.csv.gz").read_bytes()))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    running = Terminal(tmp_path, port)
    yield running
    for process in reversed(running.background):
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()


def ids(answer: dict[str, Any]) -> list[str]:
    return [item["item_id"] for item in answer["items"]]


@pytest.mark.drill
@pytest.mark.learner
@pytest.mark.timeout(600)
def test_the_page_as_it_stands(terminal: Terminal) -> None:
    lines = iter(LINES)
    terminal.up(next(lines))
    terminal.until(lambda: f"is up at http://127.0.0.1:{terminal.port}" in terminal.screen.read_text(), "up")
    terminal.done("up, and the address is told")
    known = terminal.curl(next(lines))
    assert len(ids(known)) == 5
    assert all(item["fields"]["title"] for item in known["items"])
    terminal.done("a list")
    stranger = terminal.curl(next(lines))
    assert len(ids(stranger)) == 5
    assert terminal.curl(next(lines))["accepted"] == 1
    after = terminal.curl(next(lines))
    assert ids(after) != ids(stranger)
    assert "242" not in ids(after)
    terminal.done("a click, and the list that knows it")

    terminal.curl(next(lines))
    obeys = next(lines)
    ruled = terminal.curl(obeys)
    assert len(ids(ruled)) == 5
    assert all("Comedy" in item["fields"]["categories"] for item in ruled["items"])
    terminal.done("a rule, and a list that obeys it")
    terminal.curl(next(lines))

    terminal.curl(next(lines))
    terminal.until(lambda: len(terminal.events()) >= 1, "the stream begins with the newest list")
    assert terminal.curl(next(lines))["accepted"] == 1
    terminal.until(lambda: len(terminal.events()) >= 2, "the stream changes")
    assert ids(terminal.events()[-1]) != ids(terminal.events()[0])
    terminal.done("a stream that has changed")
    assert list(lines) == []
    assert (terminal.folder / ".nextclick/up/up.log").stat().st_size > 0
