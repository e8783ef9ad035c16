"""The bytes of a request before it is one: how long its head may be, and what is said to what is no HTTP.

Owns nothing of a request that could be read: uvicorn and the application have that.
"""

import http

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from streams.api.problems import TYPE, ProblemDetails

# httptools takes no longer address, and uvicorn would keep however many headers a client sends.
MOST_HEAD_BYTES = 128 * 1024
_DETAIL = "no HTTP request that can be read; an address may have 64 KiB, and with all headers 128"


class Protocol(HttpToolsProtocol):
    """uvicorn's, with a bound, and with problems in the form of all others."""

    _head_bytes = 0

    def on_message_begin(self) -> None:
        """Another request of the connection."""
        self._head_bytes = 0
        super().on_message_begin()

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

    def _grow(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > MOST_HEAD_BYTES:
            raise ValueError("the head of a request is too long")
