"""Many at once on a real broker: reads after writes between two apis, a crowd of streams, kill -9 in a burst.

    CROWD_CLICKS=10000 CROWD_STREAMS=10000 python -m pytest -s -m drill tests/integration/api/test_crowd.py

Without the variables it is a smaller crowd of the same kind (`make drills`).
"""

import json
import os
import random
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from tests.worlds.over_http import listening
from tests.worlds.system import START_MS, System, ready

CLICKS = int(os.environ.get("CROWD_CLICKS", "1000"))
STREAMS = int(os.environ.get("CROWD_STREAMS", "1000"))
AT_ONCE = 8
MOST_STREAM_BYTES = 40_000
KILLS = 4


def click(user: str, item: str, **more: Any) -> dict[str, Any]:
    return {"user_id": user, "item_id": item, "event": "click", "timestamp": START_MS} | more


@pytest.mark.drill
@pytest.mark.timeout(3600)
def test_what_was_written_through_one_api_is_read_through_another(system: System) -> None:
    system.start("worker")
    ready(system)
    one, other = listening(system, name="one"), listening(system, name="other")
    stale: list[Any] = []
    behind: list[int] = []

    def run(thread: int) -> None:
        rng = random.Random(thread)
        with (
            httpx.Client(base_url=one, timeout=60) as writes,
            httpx.Client(base_url=other, timeout=60) as reads,
        ):
            for n in range(CLICKS // AT_ONCE):
                user, item = f"u{thread}-{rng.randrange(20)}", str(rng.randrange(1, 900))
                event = rng.choice(("click", "click", "like", "hide"))
                told = writes.post(
                    "/v1/clicks", json=click(user, item, event=event, event_id=f"{thread}-{n}")
                )
                assert told.status_code == 202
                query = {"seen": told.json()["seen"], "timeout_ms": "30000"}
                found = reads.get(f"/v1/users/{user}/recommendations", params=query)
                assert found.status_code == 200, found.text
                if found.json().get("behind"):
                    behind.append(n)
                elif item in [each["item_id"] for each in found.json()["items"]]:
                    stale.append((user, item, found.json()))

    with ThreadPoolExecutor(AT_ONCE) as threads:
        list(threads.map(run, range(AT_ONCE)))
    print(f"\n{CLICKS} reads after writes, {len(behind)} said to be behind, {len(stale)} stale")
    assert stale == []
    assert len(behind) < CLICKS


@pytest.mark.drill
@pytest.mark.timeout(3600)
def test_a_crowd_of_streams_takes_little_and_gets_its_lists(system: System) -> None:
    system.start("worker")
    ready(system)
    url = listening(system)
    host, port = urlsplit(url).hostname, urlsplit(url).port
    process = psutil.Process(system.fleet.children["api"].pid)
    with httpx.Client(base_url=url, timeout=60) as client:
        client.get("/v1/users/u0/recommendations", params={"timeout_ms": "30000"})
        before = process.memory_info().rss
        streams = []
        for n in range(STREAMS):
            one = socket.create_connection((host, port), timeout=60)
            one.sendall(b"GET /v1/users/s%d/recommendations/stream HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" % n)
            streams.append(one)
        for one in streams:
            assert b"200" in one.recv(15)
        each = (process.memory_info().rss - before) / STREAMS
        print(f"\n{STREAMS} streams, {each / 1000:.1f} KB each")
        assert each < MOST_STREAM_BYTES
        for n in range(0, STREAMS, max(1, STREAMS // 50)):
            assert client.post("/v1/clicks", json=click(f"s{n}", "50", event_id=f"s{n}")).status_code == 202
        for n in range(0, STREAMS, max(1, STREAMS // 50)):
            said = b""
            while b'"kind":"click"' not in said:
                part = streams[n].recv(65536)
                assert part
                said += part
    assert system.stop("api", 20) == 0
    for one in streams:
        one.close()


@pytest.mark.drill
@pytest.mark.timeout(3600)
def test_no_click_that_was_acknowledged_is_lost_whenever_the_api_is_killed(system: System) -> None:
    rng = random.Random(0)
    acknowledged: set[str] = set()
    most_rss = 0
    for kill in range(KILLS):
        url = listening(system, name=f"api{kill}")
        process = psutil.Process(system.fleet.children[f"api{kill}"].pid)

        def send(thread: int, kill: int = kill, url: str = url) -> None:
            with httpx.Client(base_url=url, timeout=60) as client:
                for n in range(100_000):
                    names = [f"{kill}-{thread}-{n}-{m}" for m in range(100)]
                    clicks = [
                        click(f"u{thread}-{m}", str(1 + m), event="view", event_id=name)
                        for m, name in enumerate(names)
                    ]
                    try:
                        told = client.post("/v1/clicks", json={"clicks": clicks})
                    except httpx.HTTPError:
                        return
                    lost = {each["index"] for each in told.json().get("errors", ())}
                    if told.status_code == 202:
                        acknowledged.update(name for m, name in enumerate(names) if m not in lost)

        senders = [threading.Thread(target=send, args=(thread,)) for thread in range(AT_ONCE)]
        for each in senders:
            each.start()
        wanted = len(acknowledged) + rng.randrange(500, 5000)
        system.wait_for(lambda wanted=wanted: len(acknowledged) >= wanted, "clicks")
        most_rss = max(most_rss, process.memory_info().rss)
        system.kill(f"api{kill}")
        for each in senders:
            each.join(90)
    there = {json.loads(record.value)["event_id"] for record in system.read("clicks")}
    print(f"\n{len(acknowledged)} acknowledged, {len(there)} there, {most_rss / 1e6:.0f} MB at most")
    assert acknowledged <= there
