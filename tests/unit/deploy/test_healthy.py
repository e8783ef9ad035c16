"""What a container's health check makes of a process's addresses, asked over real HTTP."""

import importlib.util
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import ModuleType

import pytest

from tests.worlds.places import ROOT


def _loaded() -> ModuleType:
    spec = importlib.util.spec_from_file_location("healthy", ROOT / "deploy" / "containers" / "healthy.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


healthy = _loaded().healthy


class Process:
    """A process that says of itself what it is told to say: texts by path, anything else is away (503)."""

    def __init__(self) -> None:
        self.said: dict[str, str] = {}
        process = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                text = process.said.get(self.path)
                self.send_response(503 if text is None else 200)
                self.end_headers()
                self.wfile.write((text or "").encode())

            def log_message(self, *_: object) -> None:
                """Nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def port(self) -> str:
        return str(self.server.server_address[1])


@pytest.fixture
def process() -> Iterator[Process]:
    running = Process()
    yield running
    running.server.shutdown()


def nobody() -> str:
    """A port that nothing listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def test_an_api_is_asked_whether_it_lives_and_whether_it_is_ready(process: Process) -> None:
    ports = {"NEXTCLICK_API_PORT": process.port, "NEXTCLICK_METRICS_PORT": nobody()}
    assert not healthy(ports, ready=False)
    process.said["/healthz"] = "{}"
    assert healthy(ports, ready=False)
    assert not healthy(ports, ready=True)
    process.said["/readyz"] = "{}"
    assert healthy(ports, ready=True)


@pytest.mark.parametrize("figure", ["nextclick_ready", "nextclick_learner_ready", "nextclick_api_ready"])
def test_any_other_process_by_its_figures(figure: str, process: Process) -> None:
    ports = {"NEXTCLICK_API_PORT": nobody(), "NEXTCLICK_METRICS_PORT": process.port}
    assert not healthy(ports, ready=False)
    process.said["/metrics"] = f"# HELP {figure} x\n{figure} 0.0\nnextclick_users 0.0\n"
    assert healthy(ports, ready=False)
    assert not healthy(ports, ready=True)
    process.said["/metrics"] = f"{figure} 1.0\nnextclick_users 0.0\n"
    assert healthy(ports, ready=True)
