"""A server that reads texts as OpenAI's API has it, around the installed encoder, on a port of its own.

Owns the wire's other side, and what may be wrong with it: `faults` are taken one for each request.
"""

import socket
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from litestar import Litestar, Request, Response, post
from litestar.params import JSONBody

from learner.text.card import EncoderChoice
from learner.text.encoder import open_encoder

MODEL = "minilm"


@dataclass
class Told:
    """What the server was asked, and what it is to do wrong next."""

    url: str = ""
    key: str = ""
    faults: deque[Any] = field(
        default_factory=deque
    )  # a status, ("after", seconds), or a change of the answer
    bodies: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    delay_s: float = 0.0


@contextmanager
def text_server(key: str = "") -> Iterator[Told]:
    """Runs one until the block ends."""
    told = Told(key=key)

    @post("/v1/embeddings", status_code=200, sync_to_thread=True)
    def embeddings(request: Request[Any, Any, Any], data: JSONBody[dict[str, Any]]) -> Response[Any]:
        told.bodies.append(data)
        told.keys.append(request.headers.get("Authorization", ""))
        if told.delay_s:
            time.sleep(told.delay_s)
        if told.key and told.keys[-1] != f"Bearer {told.key}":
            return Response({"error": {"message": "Incorrect API key provided"}}, status_code=401)
        if data["model"] != MODEL:
            return Response({"error": {"message": f"no model {data['model']}"}}, status_code=404)
        fault = told.faults.popleft() if told.faults else None
        if isinstance(fault, int):
            return Response({"error": {"message": "not now"}}, status_code=fault)
        if isinstance(fault, tuple):
            return Response({}, status_code=429, headers={"Retry-After": str(fault[1])})
        rows = open_encoder(EncoderChoice()).read(data["input"])
        answer: dict[str, Any] = {
            "object": "list",
            "model": MODEL,
            "data": [
                {"object": "embedding", "index": place, "embedding": row.tolist()}
                for place, row in reversed(list(enumerate(rows)))
            ],
            "usage": {"prompt_tokens": 7 * len(rows), "total_tokens": 7 * len(rows)},
        }
        return Response(fault(answer) if fault is not None else answer)

    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        told.url = f"http://127.0.0.1:{bound.getsockname()[1]}/v1"
        server = uvicorn.Server(uvicorn.Config(Litestar([embeddings]), log_level="error"))
        thread = threading.Thread(target=server.run, args=([bound],), daemon=True)
        thread.start()
        try:
            until = time.monotonic() + 90
            while not server.started and time.monotonic() < until:
                time.sleep(0.01)
            yield told
        finally:
            server.should_exit = True
            thread.join(30)
