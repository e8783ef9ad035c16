"""Load in an open loop: what is due is sent, and a moment in which the server stands still counts."""

import asyncio
import contextlib

import numpy as np
import pytest

from streams.operate.http_load import Load, Outcome, Target

ANSWER = b'{"served":"held"}'


class Stalling:
    """Answers at once, but all that come while it stands still once it goes on; `broken`: closes instead."""

    def __init__(self, status: int = 200, still: tuple[int, float] = (0, 0.0), broken: int = 0) -> None:
        self.status, self.still, self.broken, self.asked = status, still, broken, 0
        self.going = asyncio.Event()
        self.going.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            if b"Content-Length: 4" in head:
                await reader.readexactly(4)
            self.asked += 1
            if self.asked == self.still[0]:
                self.going.clear()
                asyncio.get_running_loop().call_later(self.still[1], self.going.set)
            await self.going.wait()
            if self.asked == self.broken:
                writer.close()
                return
            length = f"Content-Length: {len(ANSWER)}".encode()
            writer.write(b"HTTP/1.1 %d x\r\n%b\r\n\r\n%b" % (self.status, length, ANSWER))


def loaded(server: Stalling, rate: float, count: int) -> Outcome:
    async def run() -> Outcome:
        async def quietly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                await server.serve(reader, writer)

        listening = await asyncio.start_server(quietly, "127.0.0.1", 0)
        port = listening.sockets[0].getsockname()[1]
        target = Target(f"http://127.0.0.1:{port}", "secret")
        requests = [target.get("/a"), target.post("/b", b"1234")] * (count // 2)
        found = await Load(target, rate, np.random.default_rng(0), keep_bodies=True).run(requests)
        listening.close()
        return found

    return asyncio.run(run())


def test_each_is_answered_once() -> None:
    server = Stalling()
    found = loaded(server, 1000, 400)
    assert (found.answered, server.asked, dict(found.errors)) == (400, 400, {})
    assert set(found.took_ms) == {"held"}
    assert found.bodies == [ANSWER] * 400
    assert len(found.late_ms) == 400


def test_a_server_that_stands_still_is_asked_on_and_the_wait_counts() -> None:
    server = Stalling(still=(100, 1.0))
    took = np.array(loaded(server, 200, 400).took_ms["held"])
    # In that second some 200 were due: a closed loop would have had one slow answer for each connection.
    assert (took > 100).sum() > 100
    assert took.max() > 900


def test_errors_and_lines_that_break_are_counted() -> None:
    assert dict(loaded(Stalling(status=503), 1000, 10).errors) == {"503": 10}
    found = loaded(Stalling(broken=3), 1000, 10)
    assert (found.answered, dict(found.errors)) == (9, {"none": 1})


def test_nobody_there() -> None:
    target = Target("http://127.0.0.1:9")
    found = asyncio.run(Load(target, 1000, np.random.default_rng(0)).run([target.get("/")] * 5))
    assert (found.answered, dict(found.errors)) == (0, {"none": 5})


@pytest.mark.parametrize("url", ["127.0.0.1:8080", "https://a", "", "http://"])
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(ValueError, match="expected one such as"):
        Target(url)
