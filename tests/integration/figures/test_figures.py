"""Real processes, a real broker: topic, `/v1/status`, `nextclick top` and `/metrics` say what was sent."""

import fcntl
import json
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
import urllib.request
from collections import deque
from collections.abc import Iterator
from typing import Any

import pyte
import pytest
from prometheus_client.parser import text_string_to_metric_families

from streams.figures.table import METRICS
from streams.wire.figures import decode_figures
from tests.worlds.places import ROOT
from tests.worlds.system import START_MS, System, ready, wait_answered

CLICKS = 40
OBSERVED = ("freshness_ms", "answer_ms")


@pytest.fixture
def running(system: System) -> Iterator[System]:
    for command in ("worker", "learner"):
        system.start(
            command, "--set", "metrics_port=0", *(("--learn", "none") if command == "learner" else ())
        )
    system.start("api", "--port", "0", "--set", "metrics_port=0")
    ready(system)
    system.wait_for(lambda: "learner ready" in system.said("learner"), "the learner")
    return system


def address(system: System, name: str, word: str) -> str:
    """What a process has logged of where it listens."""

    def said() -> str | None:
        line = next(
            (line for line in system.said(name).splitlines() if f"{word}=" in line or word in line), ""
        )
        found = [
            part for part in line.replace("\x1b[0m", " ").replace("\x1b[35m", "").split() if "http" in part
        ]
        return found[0].partition("http")[2] if found else None

    return "http" + system.wait_for(said, f"{name} to say where it listens")


def got(url: str) -> str:
    with urllib.request.urlopen(url, timeout=20) as answer:
        return str(answer.read().decode())


def metrics(system: System, name: str) -> dict[str, float]:
    """Samples of a process's `/metrics`, summed over labels; all that the table has for it must be told."""
    families = list(text_string_to_metric_families(got(address(system, name, "/metrics"))))
    told = {family.name + "_total" * (family.type == "counter") for family in families}
    assert {metric.name for metric in METRICS.values() if name in metric.by} <= told
    found: dict[str, float] = {}
    for family in families:
        for sample in family.samples:
            found[sample.name] = found.get(sample.name, 0) + sample.value
    return found


def top(system: System, *flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            sys.executable, "-m", "streams", "top", "--bootstrap-servers", system.bootstrap, "--prefix",
            system.prefix, *flags,
        ],
        capture_output=True, text=True, cwd=ROOT, timeout=90, check=False,
    )  # fmt: skip


def watched(system: System, *keys: tuple[str, str]) -> str:
    """What `nextclick top` has drawn in a terminal at last; the last key must end it.

    Each key is pressed once some words are shown.
    """
    screen = pyte.Screen(200, 50)
    drawn, stream = "", pyte.ByteStream(screen)
    pid, terminal = pty.fork()
    if not pid:
        flags = ["--bootstrap-servers", system.bootstrap, "--prefix", system.prefix]
        os.chdir(ROOT)
        os.execv(sys.executable, [sys.executable, "-m", "streams", "top", *flags])
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 200, 0, 0))
    pressed = deque(keys)
    end = time.monotonic() + 90
    try:
        while time.monotonic() < end:
            if not select.select([terminal], [], [], 1)[0]:
                continue
            try:
                stream.feed(os.read(terminal, 65536))
            except OSError:  # it has ended
                break
            shown = "\n".join(screen.display)
            if pressed and pressed[0][1] in shown:
                drawn = shown
                os.write(terminal, pressed.popleft()[0].encode())
        _, status = os.waitpid(pid, 0)
        assert os.waitstatus_to_exitcode(status) == 0
    finally:
        os.close(terminal)
    return drawn


@pytest.mark.usefixtures("topics")
def test_everybody_says_what_was_sent(running: System) -> None:
    system = running
    ids = [system.click(f"u{n % 7}", f"i{n}", START_MS + n) for n in range(CLICKS)]
    system.send("clicks", "u1", b"{broken")
    wait_answered(system, ids)
    assert system.request("u1", k=3)["items"]
    api = address(system, "api", "api listens")

    def status() -> Any:
        found = json.loads(got(f"{api}/v1/status"))
        wanted = {"clicks": CLICKS, "counted_clicks": CLICKS, "lists": CLICKS + 1, "bad_records": 1}
        told = {name: found["counters"].get(name) for name in wanted}
        observed = [found["histograms"].get(name, {"n": [0]})["n"][-1] for name in OBSERVED]
        done = told == wanted and observed == [CLICKS, 1]
        return found if done and found["gauges"].get("lag_clicks") == 0 else None

    found = system.wait_for(status, "the status to say so")
    assert {each["process"] for each in found["processes"]} >= {"worker", "learner", "api"}
    assert json.loads(got(f"{api}/"))["running"].items() >= {"worker": 1, "learner": 1, "api": 1}.items()
    assert found["counters"]['lists{trigger="request"}'] == 1
    (worker,) = [each for each in found["processes"] if each["process"] == "worker"]
    assert worker["partitions"] == list(range(8))
    assert worker["release"] == json.loads((system.release / "manifest.json").read_text())["release"]
    assert all(
        worker["histograms"][f'stage_ms{{stage="{stage}"}}']["n"][-1] == CLICKS + 1
        for stage in ("waiting", "computing", "delivery")
    )
    assert worker["gauges"]["users"] == 7
    assert worker["gauges"]["process_resident_memory_bytes"] > 50e6
    assert not {each["kind"] for each in found["remarks"]} & {"no_worker", "no_learner", "unowned_partitions"}

    shown = top(system, "--once", "--json")
    assert shown.returncode == 0, shown.stderr
    same = json.loads(shown.stdout)
    for name in ("clicks", "lists", "bad_records", "counted_clicks"):
        assert same["counters"][name] == found["counters"][name], name
    table = top(system, "--once", "--sort", "rate")
    assert table.returncode == 0, table.stderr
    assert "learner" in table.stdout
    assert "in all" in table.stdout

    scraped = metrics(system, "worker")
    assert scraped["nextclick_clicks_total"] == CLICKS
    assert scraped["nextclick_lists_total"] == CLICKS + 1
    assert scraped["nextclick_freshness_seconds_count"] == CLICKS
    assert scraped["process_resident_memory_bytes"] > 50e6
    assert metrics(system, "learner")["nextclick_counted_clicks_total"] == CLICKS
    assert metrics(system, "api")["nextclick_api_requests_total"] >= 1

    with urllib.request.urlopen(f"{api}/v1/status/stream", timeout=20) as stream:
        event = [stream.readline().decode() for _ in range(5)]
    assert event[2:3] == ["event: status\n"]
    assert json.loads(event[3].removeprefix("data: "))["counters"]["clicks"] == CLICKS

    screen = watched(system, ("l", "in all"), ("q", "sorted by lag"))
    assert "sorted by lag" in screen
    assert "in all" in screen

    said = [(record.key.decode(), decode_figures(record.value)) for record in system.read("figures")]
    seqs = [record.seq for key, record in said if key == worker["key"]]
    assert seqs == list(range(len(seqs)))
    assert system.read("figures")[0].timestamp_type == 1  # LogAppendTime

    system.kill("worker")
    system.wait_for(
        lambda: "no_worker" in {each["kind"] for each in json.loads(got(f"{api}/v1/status"))["remarks"]},
        "a dead worker to be gone",
    )


@pytest.mark.usefixtures("topics")
def test_where_nobody_speaks_top_says_so(system: System) -> None:
    alone = top(system, "--once")
    assert alone.returncode == 1
    assert "no process has spoken" in alone.stderr
    assert json.loads(top(system, "--once", "--json").stdout)["processes"] == []


def test_without_the_topic_top_says_what_to_do(system: System) -> None:
    alone = top(system, "--once")
    assert alone.returncode == 1
    assert "there is no topic" in alone.stderr
    assert "another --prefix" in alone.stderr
