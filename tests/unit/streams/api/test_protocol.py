"""What is no HTTP is told so in the form of all problems, and no head of a request grows without end."""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn

from streams.api.protocol import MOST_HEAD_BYTES, Protocol


async def app(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    config = uvicorn.Config(app, port=0, http=Protocol, log_config=None, lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    end = time.monotonic() + 90
    while not server.started:
        assert time.monotonic() < end
        time.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join(90)


def answered(port: int, sent: bytes) -> bytes:
    """All that the server says before it closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=90) as line:
        got = b""
        with contextlib.suppress(OSError):  # it may close before all is sent
            line.sendall(sent)
        with contextlib.suppress(ConnectionResetError):
            while some := line.recv(65536):
                got += some
    return got


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /" + b"x" * 66_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",  # TLS
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
        b"no method at all\r\n\r\n",
    ],
)
def test_what_cannot_be_read_is_a_problem(port: int, sent: bytes) -> None:
    head, _, body = answered(port, sent).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"application/problem+json" in head
    told = json.loads(body)
    assert (told["status"], told["title"]) == (400, "malformed")


def test_headers_are_bounded_and_of_one_request_alone(port: int) -> None:
    header = b"X-A: " + b"x" * 10_000 + b"\r\n"
    count = MOST_HEAD_BYTES // 10_000
    fits = b"GET / HTTP/1.1\r\nHost: a\r\n" + header * (count - 1) + b"\r\n"
    twice = fits + fits.replace(b"Host: a", b"Host: a\r\nConnection: close")
    assert answered(port, twice).count(b"HTTP/1.1 204") == 2
    too_many = b"GET / HTTP/1.1\r\nHost: a\r\n" + header * (count + 1) + b"\r\n"
    assert answered(port, too_many).startswith(b"HTTP/1.1 400") or answered(port, too_many) == b""
