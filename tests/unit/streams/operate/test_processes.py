"""Processes of this machine: what they take, and which are workers."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from streams.operate.processes import cpu_seconds, listening_on, rss_mb, workers_here


@pytest.fixture
def run() -> Iterator[Callable[..., int]]:
    started: list[subprocess.Popen[bytes]] = []

    def begin(*words: str) -> int:
        command = [sys.executable, "-c", "import time; time.sleep(60)", *words]
        started.append(subprocess.Popen(command))
        return started[-1].pid

    yield begin
    for process in started:
        process.kill()
        process.wait()


def test_what_a_process_takes() -> None:
    own = os.getpid()
    megabytes = rss_mb([own])
    assert megabytes is not None
    assert 5 < megabytes < 10_000
    both = rss_mb([own, own])
    assert both is not None
    assert both == pytest.approx(2 * megabytes, rel=0.05)
    assert rss_mb([]) is None
    before = cpu_seconds(own)
    while cpu_seconds(own) < before + 0.05:
        pass


def test_workers_are_known_by_their_command_line(run: Callable[..., int], tmp_path: Path) -> None:
    """`python -m streams worker`, or `nextclick worker`; the default prefix need not be named."""
    prefix = f"{tmp_path.name}."
    named = run("nextclick", "worker", "--prefix", prefix)
    run("nextclick", "learner", "--prefix", prefix)
    run("nextclick", "worker", "--prefix", "other.")
    usual = run("nextclick", "worker")
    assert workers_here(prefix) == [named]
    assert usual in workers_here("nextclick.")
    assert named not in workers_here("nextclick.")


def test_who_listens_on_a_port_is_known() -> None:
    with socket.create_server(("127.0.0.1", 0)) as bound:
        port = bound.getsockname()[1]
        own = os.getpid()
        assert listening_on(port, [own, 2**30]) == [own]
    assert listening_on(port, [own]) == []
