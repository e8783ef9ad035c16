"""The bytes of a request before it is one: how long its head may be and take, what is said if it is no HTTP.

And those of an answer that nobody takes: a client that has stopped reading is left.

Owns nothing of a request that could be read: uvicorn and the application have that.
"""

import asyncio
import http

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from streams.api.problems import TYPE, ProblemDetails

# httptools takes no longer address, and uvicorn would keep however many headers a client sends.
MOST_HEAD_BYTES = 128 * 1024
HEAD_SECONDS = 20.0  # of a head that comes bit by bit, or not at all
STALLED_SECONDS = 30.0  # of an answer or stream whose client takes nothing any more
_UNREAD_BYTES = 32 * 1024  # that wait for one client, before this process waits with the rest
_DETAIL = "no HTTP request that can be read; an address may have 64 KiB, and with all headers 128"


class Protocol(HttpToolsProtocol):
    """uvicorn's, with a bound, and with problems in the form of all others."""

    _head_bytes = 0
    _until: asyncio.TimerHandle | None = None  # the head has come
    _taken: asyncio.TimerHandle | None = None  # what was written is taken

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Another connection."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(_UNREAD_BYTES)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Its end."""
        for timer in (self._until, self._taken):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """Another request of the connection."""
        self._head_bytes = 0
        self._await_head()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """It has a head."""
        if self._until is not None:
            self._until.cancel()
        super().on_headers_complete()

    def pause_writing(self) -> None:
        """The client does not take what is written."""
        self._taken = self.loop.call_later(STALLED_SECONDS, self.transport.abort)
        super().pause_writing()

    def resume_writing(self) -> None:
        """It does again."""
        if self._taken is not None:
            self._taken.cancel()
        super().resume_writing()

    def on_url(self, url: bytes) -> None:
        """A part of the address. Raises ValueError, which ends the request."""
        self._grow(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header. Raises ValueError."""
        self._grow(len(name) + len(value))
        super().on_header(name, value)

    def send_400_response(self, msg: str) -> None:
        """Says that it was no request, and closes."""
        del msg
        problem = ProblemDetails(
            type="urn:nextclick:problem:malformed", title="malformed", status=400, detail=_DETAIL
        )
        body = msgspec.json.encode(problem)
        head = f"HTTP/1.1 400 {http.HTTPStatus(400).phrase}\r\nContent-Type: {TYPE}\r\nConnection: close\r\n"
        self.transport.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        self.transport.close()

    def _await_head(self) -> None:
        if self._until is not None:
            self._until.cancel()
        self._until = self.loop.call_later(HEAD_SECONDS, self.transport.abort)

    def _grow(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > MOST_HEAD_BYTES:
            raise ValueError("the head of a request is too long")
