"""Both clients on real sockets: a server that breaks off and sends away; and the buffer of clicks."""

import asyncio
import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from nextclick import (
    AsyncClient,
    Bounds,
    BufferFull,
    ClicksNotSent,
    Client,
    NextclickError,
    Patience,
    Unreachable,
)

QUICK = Patience(retries=3, first_wait_s=0.01)
LIST = {
    "items": [], "release": "r", "policy": "p", "created_at": 1,
    "trigger": {"kind": "click", "id": "e", "timestamp": 1},
}  # fmt: skip


class Server(ThreadingHTTPServer):
    """Says what is in `moods`, one for each request; else yes to all clicks. `bodies`: what it got."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.moods: list[str] = []
        self.bodies: list[dict[str, Any]] = []
        self.last_ids: list[str | None] = []
        self.lines: list[int] = []  # from which port each body came
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def ids(self) -> list[str]:
        return [each["event_id"] for body in self.bodies for each in body.get("clicks", [body])]


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.bodies.append(body)
        self.server.lines.append(self.client_address[1])
        mood = self.server.moods.pop(0) if self.server.moods else "yes"
        clicks = body.get("clicks", [body])
        if mood == "break":
            self.close_connection = True
        elif mood == "half":
            self.wfile.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: 500\r\n\r\n{")
            self.close_connection = True
        elif mood == "away":
            self._say(503, {"detail": "away"}, {"Retry-After": "0"})
        else:
            bad = [
                {"index": n, "detail": "no event", "pointer": "/event"}
                for n, c in enumerate(clicks)
                if c["event"] == "bad"
            ]
            self._say(202, {"accepted": len(clicks) - len(bad), "seen": "0-1", "errors": bad}, {})

    def do_GET(self) -> None:
        self.server.last_ids.append(self.headers.get("Last-Event-ID"))
        n = len(self.server.last_ids)
        data = json.dumps(LIST | {"recommendation_id": f"c-0-{n}"})
        event = f"retry: 10\n\nid: c-0-{n}\nevent: recommendation\ndata: {data}\n\n: cut off".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Content-Length", str(len(event) + 100 * (n % 2)))  # breaks off, or ends
        self.end_headers()
        self.wfile.write(event)
        self.close_connection = True

    def _say(self, status: int, told: Any, headers: dict[str, str]) -> None:
        body = json.dumps(told).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.shutdown()
    running.server_close()


def test_a_click_survives_a_line_that_breaks(server: Server) -> None:
    server.moods = ["break", "half", "away"]
    with Client(server.url, patience=QUICK) as client:
        assert client.click("u1", "i1").accepted == 1
    assert len(server.ids) == 4
    assert len(set(server.ids)) == 1


def test_nobody_there(server: Server) -> None:
    url = server.url
    server.shutdown()
    server.server_close()
    with Client(url, patience=Patience(retries=1, first_wait_s=0.01)) as client, pytest.raises(Unreachable):
        client.popular()
    for wrong in ("127.0.0.1:8080", "ftp://x", "", "http://"):
        with pytest.raises(ValueError, match="url is"):
            Client(wrong)


def test_a_stream_goes_on_over_lines_that_break_and_end(server: Server) -> None:
    with Client(server.url) as client:
        lists = client.stream("u1", last_event_id="c-0-0")
        assert [next(lists).recommendation_id for _ in range(4)] == [f"c-0-{n}" for n in range(1, 5)]
        lists.close()  # type: ignore[attr-defined]

    async def run() -> list[str]:
        async with AsyncClient(server.url) as client:
            found = []
            async for each in client.stream("u1", last_event_id="c-0-4"):
                found.append(each.recommendation_id)
                if len(found) == 3:
                    return found
        return []

    assert asyncio.run(run()) == ["c-0-5", "c-0-6", "c-0-7"]
    assert server.last_ids == [f"c-0-{n}" for n in range(7)]


def until(holds: Any, seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.01)


def test_the_buffer_sends_by_number_by_time_and_at_the_end(server: Server) -> None:
    with Client(server.url, buffer=Bounds(size=3, seconds=600)) as client:
        client.clicks.add("u1", "i1")
        assert server.bodies == []
        for n in range(2, 6):
            client.clicks.add("u1", f"i{n}")
        until(lambda: len(server.ids) >= 3)
    assert len(set(server.ids)) == 5
    assert [each["item_id"] for body in server.bodies for each in body["clicks"]] == [
        f"i{n}" for n in range(1, 6)
    ]
    with Client(server.url, buffer=Bounds(seconds=0.01)) as client:
        client.clicks.add("u1", "i6")
        until(lambda: len(server.ids) == 6)
    with pytest.raises(NextclickError, match="closed"):
        client.clicks.add("u1", "i7")


def test_what_is_refused_is_told_and_holds_up_nothing(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "nextclick")
    server.moods = ["away", "break"]
    client = Client(server.url, patience=Patience(retries=0), buffer=Bounds(size=1))
    for event in ("view", "bad", "view"):
        client.clicks.add("nobody's business", "i1", event, event_id=event)
    with pytest.raises(ClicksNotSent) as told:
        client.clicks.flush(90)
    assert [(click.event, why) for click, why in told.value.refused] == [("bad", "/event: no event")]
    client.close()
    assert set(server.ids) == {"view", "bad"}
    assert "no event" in caplog.text
    assert "nobody" not in caplog.text


def test_what_could_not_be_sent_is_handed_back(server: Server) -> None:
    server.moods = ["away"] * 10_000
    client = Client(server.url, patience=QUICK, buffer=Bounds(size=2, most=2, full_s=0.05))
    client.clicks.add("u1", "i1")
    client.clicks.add("u1", "i2")
    with pytest.raises(BufferFull, match="2 clicks wait"):
        client.clicks.add("u1", "i3")
    with pytest.raises(ClicksNotSent) as told:
        client.close(timeout_s=0.05)
    assert [click.item_id for click in told.value.unsent] == ["i1", "i2"]
    assert all(click.event_id for click in told.value.unsent)
    client.close()


def test_the_same_for_asyncio(server: Server) -> None:
    async def run() -> None:
        server.moods = ["away", "break", "half"]
        async with AsyncClient(server.url, patience=QUICK, buffer=Bounds(size=2, seconds=600)) as client:
            await client.click("u1", "i0")
            for n in range(1, 4):
                await client.clicks.add("u1", f"i{n}")
            assert await client.clicks.flush(90) == 0
            await client.clicks.add("u1", "i4", "bad")
            with pytest.raises(ClicksNotSent, match="1 refused"):
                await client.clicks.flush(90)
            await client.clicks.add("u1", "i5")
        assert len(set(server.ids)) == 6
        server.moods = ["away"] * 10_000
        client = AsyncClient(server.url, patience=QUICK, buffer=Bounds(size=1, most=1, full_s=0.05))
        await client.clicks.add("u1", "i6")
        with pytest.raises(BufferFull):
            await client.clicks.add("u1", "i7")
        with pytest.raises(ClicksNotSent, match="1 not sent"):
            await client.close(timeout_s=0.05)

    asyncio.run(run())


def test_a_program_that_forgets_to_close_sends_all_the_same(server: Server) -> None:
    program = (
        f"from nextclick import Client, Bounds; c = Client({server.url!r}, buffer=Bounds(seconds=600));"
        "c.clicks.add('u1', 'i1')"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=200)
    assert len(server.ids) == 1


def test_a_forked_process_has_its_own_of_everything(server: Server) -> None:
    """As web servers fork: connections, the thread that sends, what waits and the locks are the parent's."""
    program = f"""
import os, threading
from nextclick import Bounds, Client
client = Client({server.url!r}, buffer=Bounds(seconds=600))
client.click("u", "parent")
client.clicks.add("u", "waits")
held, forked = threading.Event(), threading.Event()
def hold():
    with client.clicks._changed:
        held.set()
        forked.wait()
threading.Thread(target=hold).start()
held.wait()
child = os.fork()
if child == 0:
    client.clicks.add("u", "child")
    client.clicks.flush()
    os._exit(0)
code = os.waitstatus_to_exitcode(os.wait()[1])
forked.set()
client.click("u", "parent again")
client.close()
os._exit(code)
"""
    done = subprocess.run([sys.executable, "-c", program], timeout=90, check=False)
    assert done.returncode == 0
    items = [each["item_id"] for body in server.bodies for each in body.get("clicks", [body])]
    assert items == ["parent", "child", "parent again", "waits"]
    first, child, *parents = server.lines
    assert child not in {first, *parents}


FORKED_PAUSES = """
import os
from nextclick import AsyncClient, Client
clients = [Client(), AsyncClient()]
def say():
    print([each._line.patience.pause(0) for each in clients], flush=True)
for _ in range(2):
    if os.fork() == 0:
        say()
        os._exit(0)
    os.wait()
say()
"""


def test_forked_clients_do_not_come_back_together() -> None:
    done = subprocess.run([sys.executable, "-c", FORKED_PAUSES], capture_output=True, text=True, check=True)
    pauses = [pause for line in done.stdout.splitlines() for pause in json.loads(line)]
    assert len(set(pauses)) == len(pauses) == 6


def test_it_needs_httpx_and_msgspec_alone() -> None:
    heavy = [
        "numpy",
        "numba",
        "torch",
        "faust",
        "kafka",
        "aiokafka",
        "streams",
        "learner",
        "indexer",
        "kernels",
        "litestar",
        "structlog",
        "pydantic",
    ]
    program = (
        f"import sys, nextclick; print(sorted({{n.partition('.')[0] for n in sys.modules}} & set({heavy!r})))"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "[]"
