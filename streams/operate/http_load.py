"""Load over HTTP in an open loop: requests go out when they are due, however long answers take.

Owns connections, moments and the counting. What is asked for is the caller's business. A closed loop, as
`wrk` and `hey` have it, sends nothing while it waits, and so never sees the queue that a slow moment makes.
"""

import asyncio
import gc
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import SplitResult, urlsplit

import httptools
import numpy as np

MOST_LINES = 256
_STRAGGLE_SECONDS = 10.0  # that late answers are waited for at the end
_SERVED = (b"held", b"computed", b"stale")


@dataclass
class Outcome:
    """What came of some requests.

    took_ms: from the moment a request was due to its answer's last byte, by what the answer says it is
    (held, computed, stale; else its status); errors: how many others, by status, "none" without an answer;
    late_ms (N,) float64: how much later than due the loop came to each request; seconds: of all of it
    """

    took_ms: dict[str, list[float]] = field(default_factory=dict)
    errors: Counter[str] = field(default_factory=Counter)
    late_ms: list[float] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def answered(self) -> int:
        """How many had an answer below 400."""
        return sum(map(len, self.took_ms.values()))


class Target:
    """An api's address, and requests to it as bytes."""

    def __init__(self, url: str, key: str = "") -> None:
        split: SplitResult = urlsplit(url)
        if split.scheme != "http" or not split.hostname:
            raise ValueError(f"{url!r} is no address of an api; expected one such as http://127.0.0.1:8080")
        self.host, self.port = split.hostname, split.port or 80
        self._head = f"Host: {split.netloc}\r\n" + (f"Authorization: Bearer {key}\r\n" if key else "")

    def get(self, path: str, *headers: str) -> bytes:
        """A read."""
        more = "".join(f"{each}\r\n" for each in headers)
        return f"GET {path} HTTP/1.1\r\n{self._head}{more}\r\n".encode()

    def post(self, path: str, body: bytes) -> bytes:
        """A body of JSON."""
        head = f"POST {path} HTTP/1.1\r\n{self._head}Content-Type: application/json\r\n"
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


class Line(asyncio.Protocol):
    """One connection, for one request at a time. `on_idle` is told when it has room for the next one."""

    def __init__(self, on_idle: Callable[["Line"], None], on_gone: Callable[["Line"], None]) -> None:
        self._on_idle, self._on_gone = on_idle, on_gone
        self._transport: asyncio.Transport | None = None
        self._done: Callable[[int, bytes], None] | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._body: list[bytes] = []

    def ask(self, request: bytes, done: Callable[[int, bytes], None]) -> None:
        """Sends it; `done` gets status and body, or 0 where the line broke."""
        assert self._transport is not None
        self._done, self._body = done, []
        self._transport.write(request)

    def close(self) -> None:
        """Ends it."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio's."""
        self._transport = cast(asyncio.Transport, transport)
        self._on_idle(self)

    def data_received(self, data: bytes) -> None:
        """asyncio's."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.close()

    def connection_lost(self, _error: Exception | None) -> None:
        """asyncio's."""
        done, self._done = self._done, None
        self._on_gone(self)
        if done is not None:
            done(0, b"")

    def on_body(self, some: bytes) -> None:
        """httptools'."""
        self._body.append(some)

    def on_message_complete(self) -> None:
        """httptools'."""
        done, self._done = self._done, None
        status = self._parser.get_status_code()
        if done is not None:
            done(status, b"".join(self._body))
        if self._parser.should_keep_alive():
            self._on_idle(self)
        else:
            self.close()


class Load:
    """`run` sends the requests at moments that a Poisson process gives: users do not wait for each other."""

    def __init__(
        self, target: Target, rate: float, rng: np.random.Generator, keep_bodies: bool = False
    ) -> None:
        self._target, self._rate, self._rng, self._keep = target, rate, rng, keep_bodies
        self._idle: list[Line] = []
        self._waiting: deque[tuple[bytes, float]] = deque()
        self._lines = 0
        self._open: set[asyncio.Task[None]] = set()
        self._left = 0
        self._all_done = asyncio.Event()
        self.outcome = Outcome()

    async def run(self, requests: Sequence[bytes]) -> Outcome:
        """Sends all of them, and waits for what is still on its way."""
        loop = asyncio.get_running_loop()
        dues = np.cumsum(self._rng.exponential(1 / self._rate, len(requests)))
        self._left = len(requests)
        gc.collect()
        gc.disable()  # its pauses would be taken for the server's
        begin = loop.time()
        try:
            for request, due in zip(requests, (begin + dues).tolist(), strict=True):
                while (ahead := due - loop.time()) > 0:
                    await asyncio.sleep(ahead)
                self.outcome.late_ms.append((loop.time() - due) * 1000)
                self._put(request, due)
            try:
                async with asyncio.timeout(_STRAGGLE_SECONDS):
                    await self._all_done.wait()
            except TimeoutError:
                self.outcome.errors["none"] += self._left
        finally:
            gc.enable()
        self.outcome.seconds = loop.time() - begin
        for line in self._idle:
            line.close()
        return self.outcome

    def _put(self, request: bytes, due: float) -> None:
        if self._idle:
            self._send(self._idle.pop(), request, due)
            return
        self._waiting.append((request, due))
        if self._lines < MOST_LINES:
            self._lines += 1
            task = asyncio.create_task(self._connect())
            self._open.add(task)
            task.add_done_callback(self._open.discard)

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(
                lambda: Line(self._idled, self._gone), self._target.host, self._target.port
            )
        except OSError:
            self._lines -= 1
            while self._waiting and not self._lines:
                _, due = self._waiting.popleft()
                self._done(due, 0, b"")

    def _idled(self, line: Line) -> None:
        if self._waiting:
            self._send(line, *self._waiting.popleft())
        else:
            self._idle.append(line)

    def _gone(self, line: Line) -> None:
        self._lines -= 1
        if line in self._idle:
            self._idle.remove(line)

    def _send(self, line: Line, request: bytes, due: float) -> None:
        line.ask(request, lambda status, body: self._done(due, status, body))

    def _done(self, due: float, status: int, body: bytes) -> None:
        if 0 < status < 400:
            took_ms = (asyncio.get_running_loop().time() - due) * 1000
            self.outcome.took_ms.setdefault(_kind(status, body), []).append(took_ms)
            if self._keep:
                self.outcome.bodies.append(body)
        else:
            self.outcome.errors[str(status or "none")] += 1
        self._left -= 1
        if self._left == 0:
            self._all_done.set()


def _kind(status: int, body: bytes) -> str:
    """How a list was served, without reading all of it; of other answers the status."""
    for served in _SERVED:
        if b'"served":"%b"' % served in body:
            return served.decode()
    return str(status)
